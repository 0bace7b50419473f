"""Videos: what they are, how long and how large, and the thumbnail WhatsApp shows; animated GIFs as videos.

As with sound, a file from a stranger is opened with every door shut: only containers that hold their own
tracks, only the codecs named here, no protocol and no second file.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, NoReturn

import av
from av import VideoStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from PIL import Image

from gateway.media.images import make_thumbnail
from gateway.media.sniff import MediaError, sniff

av.logging.set_level(None)  # FFmpeg would write to our stderr, and take the GIL to do it

MAX_BYTES: Final = 64 << 20
MAX_PIXELS: Final = 36_000_000  # 8K
MAX_WALL_SECONDS: Final = 20.0
MAX_GIF_FRAMES: Final = 1_500
MAX_GIF_PIXELS: Final = 2_100_000  # 1080p

_FORMATS: Final = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf"
_CODECS: Final = (
    "h264,hevc,vp8,vp9,av1,libdav1d,libvpx,libvpx-vp9,mpeg4,h263,mpeg1video,mpeg2video,msmpeg4v2,msmpeg4v3,wmv1,wmv2,flv"
)
_ENCRYPTED_TAGS: Final = ("drmi", "encv")


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """`seconds` whole, at least 1; `width` and `height` in pixels as it is seen (rotation applied).

    `codec` as FFmpeg names it: every WhatsApp client plays `h264`. `thumbnail` is a JPEG of the first frame.
    """

    mimetype: str
    seconds: int
    width: int
    height: int
    codec: str
    thumbnail: bytes


def inspect_video(data: bytes) -> VideoInfo:
    """Reads a video's index and decodes its first frame. Blocking and pure; ends within 20 s.

    Raises MediaError: `empty`, `too_large` (bytes or pixels), `not_video`, `protected`, `damaged`, `timeout`.
    """
    _check_bytes(data)
    deadline = time.monotonic() + MAX_WALL_SECONDS
    try:
        with _open(data, _FORMATS, _CODECS) as container:
            stream = _choose_stream(container)
            thumbnail, width, height = _first_frame(container, stream, deadline)
            seconds = _length(container, stream, deadline)
            return VideoInfo(sniff(data).mimetype, max(1, int(seconds)), width, height, stream.codec_context.name, thumbnail)
    except MediaError:
        raise
    except Exception as error:  # whatever FFmpeg or its bindings raise for a damaged file
        raise MediaError("damaged", "The video is damaged.") from error


def gif_to_video(data: bytes) -> bytes:
    """An animated GIF as a silent H.264 MP4, which WhatsApp loops (`gifPlayback`). Blocking and pure.

    Raises MediaError: `empty`, `too_large` (bytes, pixels or frames), `not_image`, `damaged`, `timeout`.
    """
    _check_bytes(data)
    if data[:4] != b"GIF8":
        raise MediaError("not_image", "The file is not a GIF.")
    deadline = time.monotonic() + MAX_WALL_SECONDS
    out = io.BytesIO()
    try:
        with _open(data, "gif", "gif") as source, av.open(out, "w", format="mp4") as target:
            _encode_frames(source, target, deadline)
    except MediaError:
        raise
    except Exception as error:
        raise MediaError("damaged", "The GIF is damaged.") from error
    return out.getvalue()


def _encode_frames(source: InputContainer, target: av.container.OutputContainer, deadline: float) -> None:
    picture = source.streams.video[0]
    if picture.width * picture.height > MAX_GIF_PIXELS:
        raise MediaError("too_large", f"The GIF has more than {MAX_GIF_PIXELS} pixels.")
    movie = target.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "23"})
    # 4:2:0 has one colour for 2 x 2 pixels, so both sides are even
    movie.width, movie.height = max(2, picture.width & ~1), max(2, picture.height & ~1)
    movie.pix_fmt = "yuv420p"
    movie.codec_context.time_base = Fraction(1, 100)  # GIF counts hundredths of a second
    movie.codec_context.thread_count = 1
    count = 0
    for frame in source.decode(picture):
        count += 1
        if count > MAX_GIF_FRAMES:
            raise MediaError("too_large", f"The GIF has more than {MAX_GIF_FRAMES} frames.")
        _check_time(deadline)
        target.mux(movie.encode(frame.reformat(width=movie.width, height=movie.height, format="yuv420p")))
    if not count:
        raise MediaError("damaged", "The GIF holds no frame.")
    target.mux(movie.encode(None))


def _check_bytes(data: bytes) -> None:
    if not data:
        raise MediaError("empty", "The file is empty.")
    if len(data) > MAX_BYTES:
        raise MediaError("too_large", f"The file is larger than {MAX_BYTES >> 20} MiB.")


def _check_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise MediaError("timeout", "The video took too long to read.")


def _open(data: bytes, formats: str, codecs: str) -> InputContainer:
    options: dict[str, Any] = {}
    if int(av.__version__.split(".")[0]) < 19:  # 19 made "replace" the only way
        options["metadata_errors"] = "replace"
    try:
        container = av.open(
            io.BytesIO(data),
            "r",
            options={"max_pixels": str(MAX_PIXELS)},  # for every decoder, also those that only probe
            container_options={"format_whitelist": formats, "codec_whitelist": codecs, "protocol_whitelist": "none"},
            io_open=_refuse_other_files,
            buffer_size=1 << 16,
            **options,
        )
    except (FFmpegError, ValueError, OSError) as error:
        raise MediaError("not_video", "The file is not a video format we know, or it is damaged.") from error
    assert isinstance(container, InputContainer)
    return container


def _refuse_other_files(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError("an uploaded file may not name other files")


def _choose_stream(container: InputContainer) -> VideoStream:
    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not moving:
        raise MediaError("not_video", "The file holds no video.")
    stream = moving[0]
    if stream.codec_context is None or stream.codec_context.codec_tag in _ENCRYPTED_TAGS:
        raise MediaError("protected", "The video is encrypted (DRM) or of a kind we cannot decode.")
    if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
        raise MediaError("too_large", f"The video has more than {MAX_PIXELS // 1_000_000} megapixels.")
    stream.codec_context.thread_count = 1
    return stream


def _first_frame(container: InputContainer, stream: VideoStream, deadline: float) -> tuple[bytes, int, int]:
    """The thumbnail, and the size as it is seen."""
    for packet in container.demux(stream):
        _check_time(deadline)
        try:
            frames = packet.decode()
        except FFmpegError:
            continue
        for frame in frames:
            width, height, turn = frame.width, frame.height, frame.rotation
            scale = min(1.0, 4 * 72 / max(width, height))
            small = frame.reformat(width=max(1, round(width * scale)), height=max(1, round(height * scale)))
            image: Image.Image = small.to_image()  # type: ignore[no-untyped-call]
            if turn:
                image = image.rotate(turn, expand=True)
            return make_thumbnail(image), *((height, width) if turn % 180 else (width, height))
    raise MediaError("damaged", "No frame of the video can be decoded.")


def _length(container: InputContainer, stream: VideoStream, deadline: float) -> float:
    """Seconds as declared; a browser's WebM declares nothing, so its packets are asked."""
    if container.duration:
        return float(container.duration / av.time_base)
    start = end = None
    container.seek(0)
    for packet in container.demux(stream):
        _check_time(deadline)
        if packet.pts is not None:
            start = packet.pts if start is None else min(start, packet.pts)
            end = max(end or 0, packet.pts + (packet.duration or 0))
    return float(((end or 0) - (start or 0)) * (stream.time_base or 0))
