"""The picture of a voice note: 64 bars of 0..100, streamed in constant memory.

WhatsApp Web draws a file from the mean absolute amplitude of 64 equal slices, scaled to the loudest;
so do we, with two repairs: a DC offset is not loudness, and near-silence is not stretched to full height.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BARS: Final = 64
SILENCE: Final = 0.001  # -60 dBFS of full scale: below this the loudest bar is not stretched to 100
_MAX_BINS: Final = 4096


def rectify(samples: Sequence[float]) -> Sequence[float]:
    """|x - mean| of a block of about a second: long enough for the mean to be the DC offset."""
    rectified = list(map(abs, samples))
    total = sum(samples)
    if abs(total) <= 0.01 * sum(rectified):  # nothing the eye could see: spare the slower pass
        return rectified
    offset = total / len(rectified)
    return [x - offset if x > offset else offset - x for x in samples]


class Waveform:
    """Sums of |x| in time bins; when all are full, neighbours are added and the bins double.

    The length is not known in advance, so bins start at `bin_samples` and the 64 slices are cut at the end,
    by cumulative sums that run straight inside a bin.
    """

    def __init__(self, bin_samples: int, full_scale: float = 32768.0) -> None:
        self._width = bin_samples
        self._floor = SILENCE * full_scale
        self._bins: list[float] = []
        self._partial = 0.0
        self._filled = 0

    @property
    def bins(self) -> Sequence[float]:
        return self._bins

    def add(self, rectified: Sequence[float]) -> None:
        position, width = 0, self._width
        if self._filled:
            position = width - self._filled
            head = rectified[:position]
            self._partial += sum(head)
            self._filled += len(head)
            if self._filled < width:
                return
            self._bins.append(self._partial)
        whole = position + (len(rectified) - position) // width * width
        self._bins += [sum(rectified[i : i + width]) for i in range(position, whole, width)]
        tail = rectified[whole:]
        self._partial, self._filled = sum(tail), len(tail)
        while len(self._bins) >= _MAX_BINS:
            self._double()

    def _double(self) -> None:
        bins = self._bins
        if len(bins) % 2:
            self._partial += bins.pop()
            self._filled += self._width
        self._bins = [left + right for left, right in zip(bins[::2], bins[1::2], strict=True)]
        self._width *= 2

    def bars(self, count: int = BARS) -> bytes:
        """`count` values of 0..100, one byte each."""
        total = len(self._bins) * self._width + self._filled
        if not total:
            return bytes(count)
        edges, sums = [0], [0.0]
        for value in self._bins:
            edges.append(edges[-1] + self._width)
            sums.append(sums[-1] + value)
        if self._filled:
            edges.append(total)
            sums.append(sums[-1] + self._partial)
        slices, previous, j = [], 0.0, 0
        for k in range(1, count + 1):
            at = total * k / count
            while j < len(edges) - 2 and edges[j + 1] < at:
                j += 1
            share = min(1.0, (at - edges[j]) / (edges[j + 1] - edges[j]))
            cumulative = sums[j] + (sums[j + 1] - sums[j]) * share
            slices.append((cumulative - previous) * count / total)
            previous = cumulative
        # 1e-6: the loudest bar is 100, not 99 by a rounding error
        scale = 100.0 / max(self._floor, *slices)
        return bytes(max(0, min(100, int(value * scale + 1e-6))) for value in slices)
