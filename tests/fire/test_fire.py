"""The short form of `python -m tests.fire`: every kind of trouble once, in about a minute."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import pytest

from tests.fire.harness import fire
from tests.fire.plan import LASTING, SLOW, STRIKES, UNTIL_RESTART, draw

pytestmark = pytest.mark.e2e
SESSIONS, SECONDS, GAP = 7, 34.0, 0.85


@pytest.mark.timeout(300)
async def test_nothing_is_lost_doubled_or_left_behind_whatever_goes_wrong(tmp_path: Path) -> None:
    """FIRE_SEED repeats a run that failed."""
    seed = int(os.environ.get("FIRE_SEED", "0")) or secrets.randbelow(1 << 31)
    plan = draw(seed, SESSIONS, SECONDS, gap=GAP, without=SLOW)
    print(f"FIRE_SEED={seed}")
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:.0f} s: {text}", flush=True)

    async with fire(tmp_path, plan, gap=0.8, say=say) as it:
        if not it.disk:
            print("the disk is not filled: that needs root, for a small disk of its own")
            it.plan = draw(seed, SESSIONS, SECONDS, gap=GAP, without=SLOW | {"disk-full"})
        await it.run()
        assert it.record.findings == []
        assert len(it.record.accepted) > 50


def test_a_seed_gives_the_same_run_with_every_kind_of_trouble() -> None:
    plan = draw(7, 20, 900, gap=3)
    assert plan == draw(7, 20, 900, gap=3) != draw(8, 20, 900, gap=3)
    assert {strike.kind for strike in plan.strikes} == set(STRIKES)
    assert {how for _, how in plan.ends.values()} <= set(LASTING) | set(UNTIL_RESTART)
    assert not {strike.session for strike in plan.strikes} & set(plan.ends)
    for seed in range(30):
        short = draw(seed, SESSIONS, SECONDS, gap=GAP, without=SLOW)
        assert {strike.kind for strike in short.strikes} == set(STRIKES) - SLOW
        assert {how for _, how in short.ends.values()} == set(LASTING)
    assert {strike.kind for strike in draw(7, 7, 60, gap=GAP, without=frozenset({"kill"})).strikes} == set(STRIKES) - {"kill"}
