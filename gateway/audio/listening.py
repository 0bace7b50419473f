"""What we hear while a sound passes: its waveform and its loudness. Never a reason for a send to fail."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from av import AudioFrame

from gateway.audio.loudness import Loudness, low_energy_ratio
from gateway.audio.waveform import BARS, Waveform, rectify

_LOOKED_AT: Final = 3_200
_BINS_PER_SECOND: Final = 100
_log = logging.getLogger(__name__)


def glimpse(frame: AudioFrame) -> list[int]:
    """3,200 samples a second of a mono s16 frame: 64 bars and a level need no more.

    (Not 4,000: test tones of 4 kHz would look like a DC offset, and vanish.)
    """
    samples = memoryview(frame.planes[0])[: frame.samples * 2].cast("B").cast("h")
    return samples[:: frame.sample_rate // _LOOKED_AT].tolist()


class Listener:
    """Measures glimpses of a sound, a second at a time."""

    def __init__(self) -> None:
        self._pending: list[int] = []
        self._waveform = Waveform(_LOOKED_AT // _BINS_PER_SECOND)
        self._loudness = Loudness()
        self.failed = False

    def hear(self, frame: AudioFrame) -> None:
        try:
            self._take(glimpse(frame))
        except Exception:
            self._give_up()

    def hear_glimpses(self, samples: Sequence[int]) -> None:
        """Takes what `glimpse` took from frames elsewhere."""
        try:
            self._take(samples)
        except Exception:
            self._give_up()

    def _take(self, samples: Sequence[int]) -> None:
        self._pending += samples
        if len(self._pending) >= _LOOKED_AT:
            self._measure()

    def finish(self) -> None:
        """To be called once, after the last frame."""
        try:
            self._measure()
        except Exception:
            self._give_up()

    def _measure(self) -> None:
        rectified = rectify(self._pending)
        self._pending = []
        self._waveform.add(rectified)
        self._loudness.add(rectified)

    def _give_up(self) -> None:
        if not self.failed:
            _log.exception("the waveform could not be computed; the voice note is sent with a flat one")
        self.failed = True

    @property
    def waveform(self) -> bytes:
        """64 values of 0..100; flat when it could not be computed."""
        try:
            return bytes(BARS) if self.failed else self._waveform.bars()
        except Exception:
            self._give_up()
            return bytes(BARS)

    @property
    def loudness(self) -> Loudness | None:
        return None if self.failed else self._loudness

    @property
    def low_energy_ratio(self) -> float:
        """1.0 when it could not be measured."""
        return 1.0 if self.failed else low_energy_ratio(self._waveform.bins, _BINS_PER_SECOND)
