"""Why a sound could not be turned into something WhatsApp plays."""

from __future__ import annotations

from typing import Final

CODES: Final[dict[str, str]] = {
    "empty": "The file has no bytes.",
    "too_large": "The file, or what it would become, is larger than the limit.",
    "not_audio": "The bytes are not an audio or video file we know.",
    "no_audio": "The file is fine but holds no sound.",
    "protected": "The sound is encrypted (DRM).",
    "bad_rate": "The sample rate is outside the limits.",
    "bad_channels": "There are more channels than the limit.",
    "too_complex": "The file holds more streams than the limit.",
    "too_long": "The sound is longer than the limit.",
    "damaged": "Too much of the sound cannot be decoded.",
    "timeout": "Converting took longer than the limit.",
    "unsupported": "The sound is of a kind we cannot convert.",
}


class AudioError(Exception):
    """`code` is one of `CODES` and stable (callers branch on it); `text` is a sentence for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
