"""What the installed FFmpeg can do, for who looks for the reason why a sound was refused."""

from __future__ import annotations

from typing import Literal

import av
from av.codec import Codec

# What people send: music files, recordings of phones and browsers, the sound of videos.
WANTED = ("mp3", "aac", "flac", "vorbis", "opus", "amrnb", "amrwb", "pcm_s16le", "alac", "wmav2")
PYAV_VERSION: str = av.__version__


def can_encode() -> bool:
    """Whether voice notes can be made at all."""
    return _has("libopus", "w")


def missing_decoders() -> list[str]:
    return [name for name in WANTED if not _has(name, "r")]


def _has(name: str, mode: Literal["r", "w"]) -> bool:
    try:
        Codec(name, mode)
    except Exception:           # PyAV has its own class for each of FFmpeg's reasons
        return False
    return True
