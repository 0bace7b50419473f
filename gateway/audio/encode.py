"""PCM in, Opus packets out: libopus inside PyAV's wheel."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
from av import AudioCodecContext, AudioFrame

from gateway.audio.profiles import Profile


class OpusEncoder:
    """20 ms packets of a mono s16 stream at the profile's rate."""

    def __init__(self, profile: Profile) -> None:
        context = av.CodecContext.create("libopus", "w")
        assert isinstance(context, AudioCodecContext)
        context.sample_rate = profile.rate
        context.format = "s16"
        context.layout = "mono"
        context.bit_rate = profile.bit_rate
        context.time_base = Fraction(1, profile.rate)
        context.thread_count = 1
        context.options = {
            "application": profile.application,
            "frame_duration": "20",
            "vbr": "on",
            "compression_level": str(profile.complexity),
        }
        context.open()
        self._context = context
        self.samples = 0  # taken so far, at the profile's rate

    @property
    def pre_skip(self) -> int:
        """48 kHz samples a decoder drops at the start, from the encoder's OpusHead."""
        return int(struct.unpack_from("<H", self._context.extradata or b"", 10)[0])

    def encode(self, frame: AudioFrame) -> list[bytes]:
        frame.pts = self.samples
        frame.time_base = self._context.time_base
        self.samples += frame.samples
        return [bytes(packet) for packet in self._context.encode(frame)]

    def finish(self) -> list[bytes]:
        return [bytes(packet) for packet in self._context.encode(None)]
