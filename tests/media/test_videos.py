from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import av
import pytest
from PIL import Image

from gateway.media import videos
from gateway.media.images import THUMBNAIL_BYTES
from gateway.media.sniff import MediaError
from gateway.media.videos import gif_to_video, inspect_video


def video(container: str = "mp4", codec: str = "libx264", *, seconds: float = 3, mux: dict[str, str] | None = None) -> bytes:
    """160 x 96, orange."""
    out = io.BytesIO()
    with av.open(out, "w", format=container, container_options=mux or {}) as file:
        stream = file.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        frame = av.VideoFrame.from_image(Image.new("RGB", (160, 96), "orange")).reformat(format="yuv420p")
        for index in range(int(seconds * 10)):
            frame.pts = index
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def gif(count: int = 10, size: tuple[int, int] = (51, 33), hundredths: int = 20) -> bytes:
    out = io.BytesIO()
    frames = [Image.new("RGB", size, (index * 20, 0, 128)) for index in range(count)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=hundredths * 10, loop=0)
    return out.getvalue()


@pytest.mark.parametrize(
    ("container", "codec", "mimetype", "name"),
    [
        ("mp4", "libx264", "video/mp4", "h264"),
        ("mov", "libx264", "video/quicktime", "h264"),
        ("3gp", "mpeg4", "video/3gpp", "mpeg4"),
        ("webm", "libvpx", "video/webm", "vp8"),
        ("webm", "libvpx-vp9", "video/webm", "vp9"),
        ("matroska", "libx264", "video/x-matroska", "h264"),
        ("avi", "mpeg4", "video/x-msvideo", "mpeg4"),
    ],
)
def test_a_video_is_measured_and_gets_a_thumbnail(container: str, codec: str, mimetype: str, name: str) -> None:
    info = inspect_video(video(container, codec))
    assert (info.mimetype, info.seconds, info.width, info.height, info.codec) == (mimetype, 3, 160, 96, name)
    assert len(info.thumbnail) <= THUMBNAIL_BYTES
    small = Image.open(io.BytesIO(info.thumbnail))
    assert (small.format, small.size) == ("JPEG", (72, 43))
    red, green, blue = small.getpixel((30, 20))
    assert red > 230 > 190 > green > 130 > 40 > blue


def test_a_browser_s_webm_without_a_length_is_counted() -> None:
    live = video("webm", "libvpx", seconds=4, mux={"live": "1"})
    with av.open(io.BytesIO(live)) as file:
        assert file.duration is None
    assert inspect_video(live).seconds == 4


def test_less_than_a_second_is_a_second() -> None:
    assert inspect_video(video(seconds=0.3)).seconds == 1


def test_a_phone_s_upright_video_is_upright() -> None:
    """Phones film sideways and write a rotation into the track header's matrix (ISO 14496-12, 8.3.2)."""
    data = video()
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 96 << 16, 0, 1 << 30)
    track = data.index(b"tkhd")
    at = data.index(identity, track)
    info = inspect_video(data[:at] + quarter + data[at + 36 :])
    assert (info.width, info.height) == (96, 160)
    assert Image.open(io.BytesIO(info.thumbnail)).size == (43, 72)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"hello", "not_video"),
        (gif(), "not_video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not_video"),
        (b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "not_video"),
        (video()[:900], "not_video"),
        (video().replace(b"avc1", b"encv"), "protected"),
    ],
    ids=["empty", "text", "gif", "ffconcat", "hls", "cut", "encrypted"],
)
def test_what_is_not_a_video_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(MediaError) as caught:
        inspect_video(data)
    assert caught.value.code == code
    assert caught.value.text.endswith(".")


def test_sound_alone_is_not_a_video() -> None:
    example = Path(__file__).parents[2] / "gateway" / "examples" / "hello.mp3"
    with pytest.raises(MediaError, match="not_video"):
        inspect_video(example.read_bytes())


def test_a_video_without_a_decodable_frame_is_damaged() -> None:
    data = bytearray(video("matroska"))
    start = len(data) // 3
    data[start:] = random.Random(1).randbytes(len(data) - start)
    with pytest.raises(MediaError) as caught:
        inspect_video(bytes(data))
    assert caught.value.code in ("damaged", "not_video")


def test_limits_hold(monkeypatch) -> None:
    monkeypatch.setattr(videos, "MAX_PIXELS", 10_000)
    with pytest.raises(MediaError) as caught:
        inspect_video(video())
    assert caught.value.code in ("too_large", "damaged", "protected")
    monkeypatch.setattr(videos, "MAX_BYTES", 100)
    with pytest.raises(MediaError, match="too_large"):
        inspect_video(video())
    monkeypatch.undo()
    monkeypatch.setattr(videos, "MAX_WALL_SECONDS", -1)
    with pytest.raises(MediaError, match="timeout"):
        inspect_video(video())
    with pytest.raises(MediaError, match="timeout"):
        gif_to_video(gif())


def test_an_animated_gif_becomes_a_silent_h264_mp4_of_the_same_length() -> None:
    movie = gif_to_video(gif(count=10, hundredths=20))
    info = inspect_video(movie)
    assert (info.mimetype, info.codec, info.width, info.height) == ("video/mp4", "h264", 50, 32)
    with av.open(io.BytesIO(movie)) as file:
        assert [stream.type for stream in file.streams] == ["video"]
        assert file.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert file.duration / 1_000_000 == pytest.approx(2, abs=0.25)
        frames = list(file.decode(video=0))
    assert len(frames) == 10
    assert frames[9].to_image().getpixel((20, 20))[0] == pytest.approx(180, abs=12)


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "empty"), (b"GIF", "not_image"), (video(), "not_image"), (b"GIF89a" + bytes(30), "damaged")],
    ids=["empty", "short", "video", "no frame"],
)
def test_what_is_not_a_gif_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(MediaError) as caught:
        gif_to_video(data)
    assert caught.value.code in (code, "not_video")


def test_a_gif_with_too_many_frames_or_pixels_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(videos, "MAX_GIF_FRAMES", 5)
    with pytest.raises(MediaError, match="too_large"):
        gif_to_video(gif(count=6))
    monkeypatch.setattr(videos, "MAX_GIF_PIXELS", 100)
    with pytest.raises(MediaError, match="too_large"):
        gif_to_video(gif(count=2))


def test_300_damaged_videos_give_an_answer_or_a_clean_error() -> None:
    originals = [video(seconds=0.5), video("webm", "libvpx", seconds=0.5), video("avi", "mpeg4", seconds=0.5), gif(4)]
    outcomes: set[str] = set()
    for seed in range(300):
        dice = random.Random(seed)
        data = bytearray(dice.choice(originals))
        for _ in range(dice.randint(1, 10)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            gif_to_video(bytes(data)) if data[:3] == b"GIF" else inspect_video(bytes(data))
            outcomes.add("ok")
        except MediaError as error:
            outcomes.add(error.code)
    assert {"ok", "not_video"} <= outcomes
