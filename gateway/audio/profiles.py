"""How a voice note is encoded, by name.

`native` is what WhatsApp's own recorders make: 16 kHz mono SILK wideband (Opus configuration 9), three
20 ms frames in a packet. Some phones are reported to refuse 48 kHz voice notes or single-frame packets;
nobody reported one that refuses this. It is also the cheapest.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Profile:
    """`rate` in Hz, `bit_rate` in bit/s, `complexity` 0..10 (libopus), `frames_per_packet` of 20 ms each."""

    name: str
    rate: int
    bit_rate: int
    complexity: int
    application: str  # libopus: "voip" or "audio"
    frames_per_packet: int
    vendor: bytes = b"WhatsApp"  # the OpusTags vendor string; phones write this one

    @property
    def is_voice(self) -> bool:
        return self.application == "voip"


NATIVE: Final = Profile("native", 16_000, 24_000, 6, "voip", 3)
PLAIN16: Final = Profile("plain16", 16_000, 24_000, 6, "voip", 1)
MUSIC: Final = Profile("music", 48_000, 64_000, 10, "audio", 3)

PROFILES: Final = MappingProxyType({profile.name: profile for profile in (NATIVE, PLAIN16, MUSIC)})
