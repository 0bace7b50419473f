"""How loud a sound is, measured while it streams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

QUIETEST: Final = -96.0  # dBFS; what digital silence is reported as (JSON has no minus infinity)


def dbfs(amplitude: float) -> float:
    """Decibels relative to full scale, for an amplitude of 0..1."""
    return max(QUIETEST, 20 * math.log10(amplitude)) if amplitude > 0 else QUIETEST


class Loudness:
    """RMS and peak of rectified blocks. A full-scale sine is -3.0 dBFS RMS and 0 dBFS peak."""

    def __init__(self, full_scale: float = 32768.0) -> None:
        self._full_scale = full_scale
        self._energy = 0.0
        self._peak = 0.0
        self._count = 0
        self._clipped = 0

    def add(self, rectified: Sequence[float]) -> None:
        if not rectified:
            return
        sample = rectified[::3]  # ample for a level (and not 4: tones of 2 and 4 kHz would be measured at one phase)
        self._energy += math.hypot(*sample) ** 2 / len(sample) * len(rectified)  # a sum of squares, at C speed
        self._count += len(rectified)
        loudest = max(rectified)
        self._peak = max(self._peak, loudest)
        limit = 0.999 * self._full_scale
        if loudest >= limit:
            self._clipped += sum(value >= limit for value in rectified)

    @property
    def rms_dbfs(self) -> float:
        return dbfs(math.sqrt(self._energy / self._count) / self._full_scale) if self._count else QUIETEST

    @property
    def peak_dbfs(self) -> float:
        return dbfs(min(1.0, self._peak / self._full_scale))

    @property
    def clipped(self) -> float:
        """The share of samples at full scale, 0..1."""
        return self._clipped / self._count if self._count else 0.0


def low_energy_ratio(bins: Sequence[float], per_second: int) -> float:
    """The share of bins below half the mean of their second. Speech pauses: 0.2 and more; music hardly does.

    Lu, Zhang, Jiang: Content analysis for audio classification and segmentation (2002), with amplitude for energy.
    """
    low = total = 0
    for start in range(0, len(bins) - per_second + 1, per_second):
        second = bins[start : start + per_second]
        half = sum(second) / len(second) / 2
        low += sum(value < half for value in second)
        total += len(second)
    return low / total if total else 1.0
