"""Demuxing, decoding and resampling what a stranger uploaded.

The file is opened with every door shut: only container formats that hold their own sound, only audio
decoders, no protocol and no second file. Without that, a 45-byte text makes FFmpeg read a local file into
the note (ffconcat, HLS) or open UDP ports (SDP), and a cover art of 12000 x 12000 costs half a gigabyte.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from types import TracebackType
from typing import Any, Final, NoReturn

import av
from av import AudioFrame, AudioResampler, AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from gateway.audio.errors import AudioError
from gateway.audio.limits import AudioLimits

av.logging.set_level(None)  # FFmpeg would write to our stderr, and take the GIL to do it

# No playlist, script, network or device "format": those open other files and sockets.
FORMATS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2,mp3,aac,wav,w64,flac,ogg,matroska,webm,amr,amrnb,amrwb,aiff,au,caf,asf,avi,mpegts,mpeg,flv"
)
# Probing opens decoders: only these, so that no picture or video decoder ever sees the file.
CODECS: Final = (
    "mp3,mp3float,mp2,mp2float,mp1,mp1float,aac,aac_latm,opus,libopus,vorbis,flac,alac,amrnb,amrwb,"
    "libopencore_amrnb,libopencore_amrwb,wmav1,wmav2,wmapro,wmavoice,ac3,eac3,speex,"
    "adpcm_ima_wav,adpcm_ms,adpcm_ima_qt,gsm,gsm_ms,"
    "pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,"
    "pcm_f64le,pcm_f64be,pcm_alaw,pcm_mulaw"
)
_DISCARD_ALL: Final[Any] = 48  # AVDISCARD_ALL: the demuxer skips the stream's packets
_MOST_NAMES: Final = 1000  # looked at where bytes are searched: 64 MB of nothing but names would take a quarter of a minute
_ENCRYPTED_TAGS: Final = ("drms", "enca")  # sample entries of FairPlay and of ISO 23001-7


def open_untrusted(data: bytes, formats: str, codecs: str) -> InputContainer:
    """Opens bytes as a container. Raises FFmpegError, ValueError or OSError. Never given a name: names are URLs."""
    options: dict[str, Any] = {}
    if int(av.__version__.split(".")[0]) < 19:  # 19 made "replace" the only way
        options["metadata_errors"] = "replace"
    container = av.open(
        io.BytesIO(data),
        "r",
        container_options={"format_whitelist": formats, "codec_whitelist": codecs, "protocol_whitelist": "none"},
        io_open=_refuse_other_files,
        buffer_size=1 << 16,
        **options,
    )
    assert isinstance(container, InputContainer)
    return container


def _refuse_other_files(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError("an uploaded file may not name other files")


def is_encrypted_mp4(data: bytes) -> bool:
    """True when a sample entry (`stsd`) carries a protection scheme (`sinf`, `schm`): it would play as noise. Of a file that
    is made of such names only the first are looked at."""
    entry = -4
    for _ in range(_MOST_NAMES):
        if (entry := data.find(b"stsd", entry + 4)) < 0:
            break
        if data.find(b"sinf", entry, entry + 400) >= 0 and data.find(b"schm", entry, entry + 600) >= 0:
            return True
    return False


class SoundSource:
    """The best audio track of an upload, as mono s16 frames. A context manager; read once.

    Entering raises AudioError for everything that can be known before decoding. `truncated` and `skipped`
    (undecodable packets) are complete when `frames` is exhausted.
    """

    def __init__(self, data: bytes, limits: AudioLimits) -> None:
        self._data = data
        self._limits = limits
        self.truncated = False
        self.skipped = 0

    def __enter__(self) -> SoundSource:
        try:
            self._container = open_untrusted(self._data, FORMATS, CODECS)
        except (FFmpegError, ValueError, OSError) as error:
            text = "The file is not an audio or video format we know, or it is damaged."
            raise AudioError("not_audio", text) from error
        try:
            self._stream = self._choose_stream()
        except BaseException:
            self._container.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._container.close()

    def _choose_stream(self) -> AudioStream:
        container, limits = self._container, self._limits
        if len(container.streams) > limits.max_streams:
            raise AudioError("too_complex", f"The file holds {len(container.streams)} streams.")
        stream = container.streams.best("audio")
        if stream is None:
            raise AudioError("no_audio", "The file has no audio track.")
        assert isinstance(stream, AudioStream)
        context = stream.codec_context
        self.container = container.format.name.partition(",")[0]
        if (
            context is None  # no decoder for it: in an MP4 that is what encryption looks like
            or context.codec_tag in _ENCRYPTED_TAGS
            or (self.container == "mov" and is_encrypted_mp4(self._data))
        ):
            raise AudioError("protected", "The audio is encrypted (DRM) or of a kind we cannot decode.")
        self.codec, self.sample_rate, self.channels = context.name, context.sample_rate, context.channels
        self._check_shape(context.sample_rate or limits.min_rate, context.channels)
        self.declared_seconds = float(stream.duration * (stream.time_base or 0)) if stream.duration else None
        # An honest ten-hour file is refused at once, not after half an hour's worth of decoding.
        if self._exact_seconds > 2 * limits.max_seconds:
            raise limits.too_long()
        for other in container.streams:
            if other is not stream:
                with suppress(AttributeError):  # before PyAV 18: their packets are read for nothing
                    other.discard = _DISCARD_ALL
        context.thread_count = 1
        return stream

    @property
    def _exact_seconds(self) -> float:
        """The declared length where the format states it; 0 where FFmpeg guesses it from the bit rate."""
        guessed = self.container in ("aac", "amr", "amrnb", "amrwb") or (
            self.container == "mp3" and not _has_mp3_length(self._data)
        )
        return 0.0 if guessed else max(0.0, self.declared_seconds or 0.0)

    @property
    def audio_tracks(self) -> int:
        return len(self._container.streams.audio)

    @property
    def has_video(self) -> bool:
        """True for a moving picture; cover art is not one."""
        return any(not s.disposition & Disposition.attached_pic for s in self._container.streams.video)

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the metadata in the file, `cover art` included."""
        names = sorted({name.lower() for name in {**self._container.metadata, **self._stream.metadata}})
        pictures = any(s.disposition & Disposition.attached_pic for s in self._container.streams)
        return (*names, "cover art") if pictures else tuple(names)

    def _check_shape(self, rate: int, channels: int) -> None:
        if not self._limits.min_rate <= rate <= self._limits.max_rate:
            raise AudioError("bad_rate", f"A sample rate of {rate} Hz is not supported.")
        if channels > self._limits.max_channels:
            raise AudioError("bad_channels", f"{channels} channels are not supported.")

    def frames(self, rate: int, *, left_only: bool = False) -> Iterator[AudioFrame]:
        """Mono s16 frames of one second at `rate` (the last one shorter).

        `left_only` takes the first channel instead of the mix. Raises AudioError; a damaged end only sets
        `truncated`, as long as enough could be decoded.
        """
        budget = int(self._limits.max_seconds * rate)
        samples = 0
        for frame in self._resampled(rate, "stereo" if left_only else "mono"):
            samples += frame.samples
            if samples > budget:
                raise self._limits.too_long()
            yield _left(frame) if left_only else frame
        if not samples:
            raise AudioError("no_audio", "The file holds no decodable audio.")
        seconds, declared = samples / rate, self._exact_seconds
        if seconds < declared * self._limits.min_decoded:
            raise AudioError("damaged", f"Only {seconds:.1f} s of {declared:.1f} s could be decoded.")
        if seconds < 0.95 * declared - 0.5:
            self.truncated = True

    def _resampled(self, rate: int, layout: str) -> Iterator[AudioFrame]:
        resampler: AudioResampler | None = None
        shape: tuple[str, str, int] | None = None
        time_base: Fraction | None = None
        for frame in self._decoded():
            current = (frame.format.name, frame.layout.name, frame.sample_rate)
            if current != shape:  # the first frame, or the stream changed its mind
                self._check_shape(frame.sample_rate, frame.layout.nb_channels)
                if resampler is not None:
                    yield from resampler.resample(None)
                resampler = AudioResampler("s16" if layout == "mono" else "s16p", layout, rate, rate)
                shape, time_base = current, Fraction(1, frame.sample_rate)
            assert resampler is not None
            frame.pts, frame.time_base = None, time_base  # or timestamps fight the resampler
            yield from resampler.resample(frame)
        if resampler is not None:
            yield from resampler.resample(None)

    def _decoded(self) -> Iterator[AudioFrame]:
        deadline = time.monotonic() + self._limits.max_wall_seconds
        in_a_row = 0
        try:
            for packet in self._container.demux(self._stream):
                if time.monotonic() > deadline:
                    raise AudioError("timeout", "The audio took too long to convert.")
                try:
                    frames = packet.decode()
                except FFmpegError as error:  # flipped bits: skip the packet, as players do
                    self.skipped += 1
                    in_a_row += 1
                    if in_a_row > self._limits.max_undecodable:
                        raise AudioError("damaged", "Too much of the audio cannot be decoded.") from error
                    continue
                if frames:
                    in_a_row = 0
                yield from frames
        except FFmpegError:  # the demuxer met a damaged end: what came before is good
            self.truncated = True


def _has_mp3_length(data: bytes) -> bool:
    """True when the first frame carries a frame count (Xing, Info or VBRI header) instead of sound."""
    start = 0
    for _ in range(_MOST_NAMES):
        if data[start : start + 3] != b"ID3" or len(data) <= start + 10:
            break
        a, b, c, d = data[start + 6 : start + 10]
        start += 10 + (a << 21 | b << 14 | c << 7 | d)  # sizes are 4 x 7 bits
    head = data[start : start + 4096]
    return any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


def _left(stereo: AudioFrame) -> AudioFrame:
    mono = AudioFrame("s16", "mono", stereo.samples)
    mono.sample_rate = stereo.sample_rate
    mono.planes[0].update(bytes(stereo.planes[0])[: mono.planes[0].buffer_size])
    return mono
