"""What we hear while a sound passes: its waveform and its loudness. Never a reason for a send to fail."""

from __future__ import annotations

import logging
from typing import Final

from av import AudioFrame

from gateway.audio.loudness import Loudness, low_energy_ratio
from gateway.audio.waveform import BARS, Waveform, rectify

_BINS_PER_SECOND: Final = 100
_log = logging.getLogger(__name__)


class Listener:
    """Fed with mono s16 frames of `rate` Hz, of about a second, or with runs of short ones.

    Every `step`-th sample is looked at, 5,333 a second: 64 bars and a level need no more. (Not every 4th
    of 16 kHz: test tones of 4 kHz would vanish.)
    """

    def __init__(self, rate: int) -> None:
        self._step = rate * 3 // 16_000
        self._block = rate // self._step
        self._pending: list[int] = []
        self._waveform = Waveform(self._block // _BINS_PER_SECOND)
        self._loudness = Loudness()
        self.failed = False

    def hear(self, frame: AudioFrame) -> None:
        try:
            samples = memoryview(frame.planes[0])[: frame.samples * 2].cast("B").cast("h")
            self._pending += samples[:: self._step].tolist()
            if len(self._pending) >= self._block:
                self._measure()
        except Exception:
            self._give_up()

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
