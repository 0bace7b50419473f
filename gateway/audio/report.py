"""What the voice-note doctor says about a sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

INSTANT_PLAY_BYTES: Final = 512 * 1024  # larger voice notes show a download arrow first


@dataclass(frozen=True, slots=True)
class AudioWarning:
    """Something that will be heard or seen, and that the sender may not expect. `code` is stable."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What came in, what goes out, and what to know about it.

    `declared_seconds` is what the container claims (None when it does not); `seconds` is what was decoded.
    `rms_dbfs` and `peak_dbfs` are of the sound that is sent, -96..0, None if they could not be measured.
    `passthrough` means the Opus packets were re-used, not encoded again.
    """

    container: str
    codec: str
    sample_rate: int
    channels: int
    declared_seconds: float | None
    seconds: float
    rms_dbfs: float | None
    peak_dbfs: float | None
    passthrough: bool
    output_bytes: int
    profile: str
    warnings: tuple[AudioWarning, ...]
