"""Sounds and files for the tests, made by PyAV itself: no ffmpeg binary, no recordings."""

from __future__ import annotations

import io
import math
import random
import struct
from array import array
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

RATE = 16_000


def tone(seconds: float, hertz: float = 440.0, amplitude: float = 0.5, rate: int = RATE) -> array[int]:
    step = 2 * math.pi * hertz / rate
    return array("h", (int(32767 * amplitude * math.sin(step * i)) for i in range(int(seconds * rate))))


def silence(seconds: float, rate: int = RATE) -> array[int]:
    return array("h", bytes(2 * int(seconds * rate)))


def speech(seconds: float, rate: int = RATE) -> array[int]:
    """Something with pitch, formants, syllables and pauses: what a SILK encoder and a waveform can bite on."""
    noise = random.Random(7)
    samples = array("h")
    phase = 0.0
    for i in range(int(seconds * rate)):
        t = i / rate
        syllable = max(0.0, math.sin(2 * math.pi * 3.1 * t)) * (0.35 + 0.65 * math.sin(2 * math.pi * 0.23 * t + 0.5) ** 2)
        if t % 2.5 > 1.9:  # a breath
            syllable = 0.0
        phase += 2 * math.pi * (115 + 20 * math.sin(2 * math.pi * 0.7 * t)) / rate
        voiced = sum(math.sin(phase * k) / k for k in (1, 2, 3, 5, 8))
        samples.append(int(7000 * syllable * voiced + noise.gauss(0, 25)))
    return samples


def frames(samples: array[int], rate: int, layout: str, size: int = 1024) -> Iterator[av.AudioFrame]:
    """Interleaved s16 samples as frames."""
    channels = av.AudioLayout(layout).nb_channels
    data = samples.tobytes()
    for start in range(0, len(data), size * channels * 2):
        chunk = data[start : start + size * channels * 2]
        frame = av.AudioFrame("s16", layout, len(chunk) // channels // 2)
        frame.planes[0].update(chunk.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate = rate
        frame.pts, frame.time_base = start // channels // 2, Fraction(1, rate)
        yield frame


def encoded(
    samples: array[int],
    container: str,
    codec: str,
    *,
    rate: int = RATE,
    layout: str = "mono",
    source_layout: str = "mono",
    bit_rate: int | None = None,
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    sample_format: str | None = None,
    picture: bool = False,
    mux: dict[str, str] | None = None,
) -> bytes:
    """`samples` (s16, RATE, `source_layout`) in a file of the given kind."""
    out = io.BytesIO()
    with av.open(out, "w", format=container, container_options=mux or {}) as file:
        if picture:
            moving = file.add_stream("libx264", rate=10)
            moving.width, moving.height, moving.pix_fmt = 64, 48, "yuv420p"
        stream = file.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.layout = layout
        if sample_format:
            stream.codec_context.format = sample_format
        if bit_rate:
            stream.codec_context.bit_rate = bit_rate
        file.metadata.update(metadata or {})
        wanted = stream.codec_context.format.name
        resampler = av.AudioResampler(wanted, layout, rate)
        if picture:
            for index in range(int(len(samples) / RATE * 10)):
                image = av.VideoFrame(64, 48, "yuv420p")
                for plane in image.planes:
                    plane.update(bytes((index * 7 & 255,)) * plane.buffer_size)
                image.pts = index
                file.mux(moving.encode(image))
            file.mux(moving.encode(None))
        for frame in (*frames(samples, RATE, source_layout), None):
            for converted in resampler.resample(frame):
                converted.pts = None
                file.mux(stream.encode(converted))
        file.mux(stream.encode(None))
    return out.getvalue()


def wav(data: bytes, *, rate: int = RATE, channels: int = 1, bits: int = 16, kind: int = 1, claim: int | None = None) -> bytes:
    """A RIFF header around `data`, true or not. `claim` is the size the data chunk states."""
    align = channels * bits // 8
    fmt = struct.pack("<HHIIHH", kind, channels, rate, rate * align & 0xFFFFFFFF, align & 0xFFFF, bits)
    size = len(data) if claim is None else claim
    riff = struct.pack("<4sI4s4sI", b"RIFF", (36 + size) & 0xFFFFFFFF, b"WAVE", b"fmt ", len(fmt))
    return riff + fmt + struct.pack("<4sI", b"data", size) + data


def interleaved(left: array[int], right: array[int]) -> array[int]:
    both = array("h", bytes(4 * len(left)))
    both[::2], both[1::2] = left, right
    return both


def decoded(data: bytes, rate: int = 48_000) -> bytes:
    """The sound of a file as mono s16, by FFmpeg with nothing of ours between."""
    pcm = bytearray()
    resampler = av.AudioResampler("s16", "mono", rate)
    with av.open(io.BytesIO(data)) as file:
        for frame in (*file.decode(audio=0), None):
            for converted in resampler.resample(frame):
                pcm += bytes(converted.planes[0])[: converted.samples * 2]
    return bytes(pcm)


KINDS: dict[str, dict[str, Any]] = {
    "mp3": {"container": "mp3", "codec": "libmp3lame", "rate": 44_100, "layout": "stereo", "bit_rate": 64_000},
    "mp3 without a length": {
        "container": "mp3", "codec": "libmp3lame", "rate": 22_050, "options": {"q": "5"}, "mux": {"write_xing": "0"},
    },
    "aac": {"container": "adts", "codec": "aac", "rate": 44_100},
    "m4a": {"container": "ipod", "codec": "aac", "rate": 48_000, "layout": "stereo"},
    "m4a, index last": {"container": "mp4", "codec": "aac", "rate": 44_100},
    "m4a, fragmented": {"container": "mp4", "codec": "aac", "rate": 44_100, "mux": {"movflags": "frag_keyframe+empty_moov"}},
    "m4a, alac": {"container": "ipod", "codec": "alac", "rate": 44_100},
    "wav": {"container": "wav", "codec": "pcm_s16le", "rate": 16_000},
    "wav, 8 bit 8 kHz": {"container": "wav", "codec": "pcm_u8", "rate": 8_000},
    "wav, float 96 kHz": {"container": "wav", "codec": "pcm_f32le", "rate": 96_000, "layout": "stereo"},
    "wav, 24 bit 8 channels": {"container": "wav", "codec": "pcm_s24le", "rate": 48_000, "layout": "7.1"},
    "flac": {"container": "flac", "codec": "flac", "rate": 44_100},
    "ogg vorbis": {"container": "ogg", "codec": "vorbis", "rate": 44_100, "layout": "stereo", "options": {"strict": "-2"}},
    "ogg opus 48 kHz": {"container": "ogg", "codec": "libopus", "rate": 48_000, "layout": "stereo"},
    "ogg opus voice": {
        "container": "ogg", "codec": "libopus", "rate": 16_000, "options": {"application": "voip"}, "bit_rate": 24_000,
    },
    "webm opus": {"container": "webm", "codec": "libopus", "rate": 48_000},
    "webm opus, live": {"container": "webm", "codec": "libopus", "rate": 48_000, "mux": {"live": "1"}},
    "amr": {"container": "amr", "codec": "libopencore_amrnb", "rate": 8_000, "bit_rate": 12_200},
    "3gp": {"container": "3gp", "codec": "libopencore_amrnb", "rate": 8_000, "bit_rate": 12_200},
    "wma": {"container": "asf", "codec": "wmav2", "rate": 44_100, "layout": "stereo", "bit_rate": 64_000},
    "aiff": {"container": "aiff", "codec": "pcm_s16be", "rate": 22_050},
    "mp4 video": {"container": "mp4", "codec": "aac", "rate": 44_100, "picture": True},
    "matroska aac": {"container": "matroska", "codec": "aac", "rate": 44_100},
    "mpeg-ts": {"container": "mpegts", "codec": "aac", "rate": 44_100},
}  # fmt: skip
