"""The soak's short form: that the harness lives a life of every kind, and that the judge sees what grows."""

from __future__ import annotations

import asyncio
import json
import math
import random
from pathlib import Path

import pytest

from tests.soak.judge import BOUNDS, Bound, judge, slope, trend
from tests.soak.life import soak
from tests.soak.plan import ENDS, RATES, WARM_UP, Happening, draw

HOURS = 2


def life(*, mb_per_hour: float = 0.0, fds_per_hour: float = 0.0, threads_per_hour: float = 0.0, openings: float = 0.0,
         ) -> list[dict[str, float]]:
    """Two hours of samples with noise, a warm-up, and now and then a peak."""
    chance = random.Random(1)
    samples = []
    for second in range(0, HOURS * 3600, 6):
        hours, peak = second / 3600, 30.0 if chance.random() < 0.02 else 0.0
        samples.append({
            "at": float(second), "openings": 10 + openings * hours / HOURS, "children": float(chance.randrange(1, 4)),
            "rss_mb": 170 - 40 * math.exp(-second / 200) + chance.gauss(0, 1.5) + mb_per_hour * hours + peak,
            "threads": 30 + chance.randrange(3) + threads_per_hour * hours,
            "other_fds": 40 + chance.randrange(8) + fds_per_hour * hours, "session_fds": 40 + chance.randrange(3),
            "fds": 80 + chance.randrange(8) + fds_per_hour * hours,
            "db_mb": 8.0, "wal_mb": 4.0})
    return samples


def test_a_flat_life_has_no_findings_though_it_warms_up_and_has_peaks() -> None:
    trends, findings = judge(life())
    assert findings == []
    assert abs(trends["rss_mb"]["slope_per_hour"]) < 0.5


@pytest.mark.parametrize(("leak", "series"), [
    ({"mb_per_hour": 8.0}, "rss_mb"), ({"fds_per_hour": 12.0}, "other_fds"), ({"threads_per_hour": 4.0}, "threads")])
def test_a_leak_is_found(leak: dict[str, float], series: str) -> None:
    _, findings = judge(life(**leak))
    assert any(finding.startswith(f"{series} grew from ") for finding in findings), findings


def test_what_the_core_keeps_of_an_opening_is_allowed_for_as_often_as_it_opened() -> None:
    assert judge(life(mb_per_hour=8.0, openings=100.0))[1] == []
    assert judge(life(mb_per_hour=16.0, openings=100.0))[1] != []


def test_what_shrinks_is_no_finding() -> None:
    assert judge(life(mb_per_hour=-20.0))[1] == []


def test_too_little_is_not_judged() -> None:
    assert judge([]) == ({}, [])
    assert judge(life()[:5]) == ({}, [])


def test_the_slope_is_that_of_most_pairs() -> None:
    points = [(float(x), 2.0 * x + (500.0 if x % 10 == 0 else 0.0)) for x in range(100)]
    assert slope(points) == pytest.approx(2.0)
    assert trend(points, Bound("x", 1.0), 0.0).is_finding
    assert slope([(1.0, 5.0)]) == 0.0


def test_a_seed_gives_the_same_plan_with_every_kind_and_the_pairings_that_were_asked_for() -> None:
    plan = draw(7, 10, 7200)
    assert plan == draw(7, 10, 7200) != draw(8, 10, 7200)
    assert {it.kind for it in plan} == {*RATES, "pairing"}
    cuts = [it.at for it in plan if it.kind == "cut"]
    assert sum(at < 7200 * WARM_UP for at in cuts) >= 45                # what comes with them has come when it is over
    assert sum(at >= 7200 * WARM_UP for at in cuts) == pytest.approx(RATES["cut"] * 2 * (1 - WARM_UP), abs=1)
    assert {it.how for it in plan if it.kind == "pairing"} == set(ENDS)
    assert sum(it.kind == "pairing" for it in plan) == 300
    assert max(it.at for it in plan) < 7200


@pytest.mark.e2e
@pytest.mark.timeout(180)
async def test_a_short_life_has_everything_in_it_and_its_result_can_be_written(tmp_path: Path) -> None:
    """It is ended early, as by a signal, once all has happened."""
    async with soak(tmp_path, seed=5, sessions=2, seconds=100, gap=0.8) as it:
        it.plan = [Happening(1, "pairing", how="deleted"), Happening(2, "pairing", how="left-a-while", seconds=3),
                   Happening(3, "pairing", how="code"), Happening(1, "reader", 0, seconds=3), Happening(4, "drop", 0),
                   Happening(5, "reconnect", 1, seconds=2), Happening(6, "looker", 0), Happening(7, "relink", 0)]

        async def end_it() -> None:
            while sum(it.done[name] for name in RATES) < 5 or it.done["pairing"] < 3:
                await asyncio.sleep(0.2)
            it.stop.set()

        ending = asyncio.create_task(end_it())
        await it.run()
        assert ending.done(), it.done
        result = json.loads(json.dumps(it.result("the test")))
    assert it.trouble == []
    assert result["ended"] and not result["complete"] and result["codes_shown"] >= 3
    assert result["pairings"] == {"deleted": 1, "left-a-while": 1, "code": 1}
    assert result["final"]["openings"] == 2 + 1 + 1
    assert result["answers"]["202"] > 3 and any(name.startswith("inbound") for name in result["done"])
    assert len(result["samples"]) >= 10 and {"rss_mb", "threads", "db_mb", "openings"} <= set(result["samples"][-1])
    assert {bound.series for bound in BOUNDS} <= set(result["trends"]) | {"fds", "session_fds", "other_fds"}   # which take root
