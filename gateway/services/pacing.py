"""When a session may send its next message: WhatsApp restricts accounts that send much or like a machine."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gateway.config import Pacing, parse_quiet_hours

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Pace:
    """A session's pacing: the settings with what its own settings say. Seconds; 0 messages an hour: no limit."""

    messages_per_hour: int
    min_gap_seconds: float
    recording_presence: bool
    quiet_hours: str

    @classmethod
    def of(cls, settings: Pacing, own: dict[str, Any]) -> Pace:
        base = cls(settings.messages_per_hour, settings.min_gap_seconds, settings.recording_presence, settings.quiet_hours)
        return replace(base, **{name: value for name, value in own.items() if name in cls.__dataclass_fields__})

    def next_at(self, now: float, last: float | None, sent_in_hour: int, first_in_hour: float | None,
                chance: random.Random) -> float:
        """The earliest time for the next message. `last`: when the last one was handed over; later than now where
        the clock was set back meanwhile."""
        at = now
        if last is not None and last <= now and self.min_gap_seconds:
            at = max(at, last + self.min_gap_seconds * (1 + chance.random() / 2))
        if self.messages_per_hour and sent_in_hour >= self.messages_per_hour and first_in_hour is not None:
            at = max(at, first_in_hour + HOUR)
        return self._after_quiet_hours(at)

    def _after_quiet_hours(self, at: float) -> float:
        quiet = parse_quiet_hours(self.quiet_hours)
        if quiet is None:
            return at
        begin, end = quiet
        local = datetime.fromtimestamp(at)          # without its offset, so that a change of the clocks is counted right
        minute = local.hour * 60 + local.minute
        inside = begin <= minute < end if begin <= end else minute >= begin or minute < end
        if not inside:
            return at
        wake = local.replace(hour=end // 60, minute=end % 60, second=0, microsecond=0)
        return (wake if minute < end else wake + timedelta(days=1)).timestamp()
