"""When the next message may leave."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from gateway.config import Pacing
from gateway.services.pacing import HOUR, Pace

NOW = datetime(2026, 6, 15, 12, 0).timestamp()
FREE = Pacing(messages_per_hour=0, min_gap_seconds=0, quiet_hours="")


def pace(**own: object) -> Pace:
    return Pace.of(FREE, own)


def test_without_limits_it_may_leave_now() -> None:
    assert pace().next_at(NOW, NOW, 1000, NOW, random.Random(1)) == NOW


def test_a_gap_is_kept_with_half_as_much_again_at_random() -> None:
    chance = random.Random(1)
    at = [pace(min_gap_seconds=2.0).next_at(NOW, NOW - 1, 0, None, chance) - (NOW - 1) for _ in range(500)]
    assert 2 <= min(at) < 2.1
    assert 2.9 < max(at) < 3
    assert pace(min_gap_seconds=2.0).next_at(NOW, NOW - 60, 0, None, chance) == NOW
    assert pace(min_gap_seconds=2.0).next_at(NOW, None, 0, None, chance) == NOW


def test_a_full_hour_waits_until_its_first_message_is_an_hour_old() -> None:
    limited = pace(messages_per_hour=40)
    assert limited.next_at(NOW, None, 39, NOW - 1800, random.Random(1)) == NOW
    assert limited.next_at(NOW, None, 40, NOW - 1800, random.Random(1)) == NOW - 1800 + HOUR


@pytest.mark.parametrize(("quiet", "clock", "leaves"), [
    ("22:00-07:00", "21:59", "21:59"), ("22:00-07:00", "22:00", "07:00"), ("22:00-07:00", "03:00", "07:00"),
    ("22:00-07:00", "07:00", "07:00"), ("12:30-13:30", "13:00", "13:30"), ("12:30-13:30", "12:00", "12:00"),
    ("09:00-09:00", "09:00", "09:00"),
])
def test_nothing_leaves_in_quiet_hours(quiet: str, clock: str, leaves: str) -> None:
    hour, minute = map(int, clock.split(":"))
    now = datetime(2026, 6, 15, hour, minute).timestamp()
    at = pace(quiet_hours=quiet).next_at(now, None, 0, None, random.Random(1))
    assert datetime.fromtimestamp(at).strftime("%H:%M") == leaves
    assert 0 <= at - now < 24 * HOUR


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_the_night_in_which_the_clocks_change_ends_at_seven_all_the_same() -> None:
    """On 29 March 2026 the clocks go from 2 to 3: from 22:00 to 07:00 it is eight hours."""
    now = datetime(2026, 3, 28, 22, 0).timestamp()
    at = pace(quiet_hours="22:00-07:00").next_at(now, None, 0, None, random.Random(1))
    assert (datetime.fromtimestamp(at).strftime("%H:%M"), at - now) == ("07:00", 8 * HOUR)


def test_a_sessions_own_settings_stand_before_the_daemons() -> None:
    assert Pace.of(Pacing(), {"messages_per_hour": 5, "presence": "available"}).messages_per_hour == 5
    assert Pace.of(Pacing(), {}).messages_per_hour == 40


def test_a_clock_that_is_set_back_does_not_stop_a_session() -> None:
    assert pace(min_gap_seconds=30.0).next_at(NOW, NOW + 86_400, 0, None, random.Random(1)) == NOW
