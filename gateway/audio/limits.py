"""What one upload may cost us. Each limit is here because some file of a few kilobytes needs it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.audio.errors import AudioError


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """Bounds for one conversion; every one of them ends in an `AudioError`.

    `max_seconds` counts decoded sound while it streams: a 72 KB FLAC can hold ten hours. The rate bounds
    are there for the resampler: a WAV that says 1 Hz would be blown up 16,000 times.
    """

    max_bytes: int = 64 << 20
    max_seconds: float = 30 * 60
    max_output_bytes: int = 16 << 20  # WhatsApp's own cap for audio
    min_rate: int = 4_000
    max_rate: int = 384_000
    max_channels: int = 32
    max_streams: int = 64
    max_wall_seconds: float = 60.0
    max_undecodable: int = 400  # packets in a row
    min_decoded: float = 0.5  # of the declared length, or the upload was cut

    def check_bytes(self, data: bytes) -> None:
        """Raises AudioError `empty` or `too_large`."""
        if not data:
            raise AudioError("empty", "The file is empty.")
        if len(data) > self.max_bytes:
            raise AudioError("too_large", f"The file is larger than {self.max_bytes / (1 << 20):g} MiB.")

    def too_long(self) -> AudioError:
        return AudioError("too_long", f"The audio is longer than {self.max_seconds / 60:g} minutes.")
