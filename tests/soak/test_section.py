"""What the report says of a soak is what the run says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import soak_section
from tests.soak.judge import judge
from tests.soak.test_soak import life

OPENING = {"command": "python -m tests.soak.reopening --times 9", "times": 9, "machine": {"commit": "abc"}, "per_opening": {
    "fds": 0.01, "threads": 0.0, "rss_mb": 0.125, "private_mb": 0.1, "go_mb": 0.02}}


def run(**leak: float) -> dict[str, Any]:
    samples = life(**leak)
    trends, findings = judge(samples)
    return {"command": "python -m tests.soak", "seed": 7, "sessions": 10,
            "ran_minutes": 120.0, "planned_minutes": 120.0, "complete": True,
            "done": {"sent text": 9000, "sent mp3": 1000, "inbound text": 4000, "pairing": 300}, "pairings": {"deleted": 300},
            "visitors": {"readers": 7}, "cpu_seconds": {"daemon": 700.0, "sandbox": 20.0}, "findings": findings, "trends": trends,
            "samples": samples}


def test_a_flat_run_is_told_as_it_was(tmp_path: Path) -> None:
    text = soak_section.section(run(), OPENING, OPENING | {"per_opening": OPENING["per_opening"] | {"fds": 3.2}}, "a machine")   # type: ignore[operator]
    assert "**Findings: none.**" in text and "Cut short" not in text and "**grows**" not in text
    assert "10 sessions sent 10000 messages with receipts (at 20 a day each that is 50 days) and got 4000" in text
    assert "300 pairings were abandoned (300 deleted at the first code)" in text
    assert "(10 % of one core" in text
    assert "| before | 3.20 |" in text and "| now | 0.01 |" in text and "about 125 MB" in text
    soak_section.draw(run(), tmp_path / "soak.svg")
    assert (tmp_path / "soak.svg").read_text().count("<polyline") == 4


def test_growth_and_an_early_end_are_not_hidden() -> None:
    cut = run(mb_per_hour=20.0) | {"complete": False, "ran_minutes": 60.0}
    text = soak_section.section(cut, None, None, "a machine")
    assert "**Cut short:** it ran for 60 of 120 minutes" in text
    assert "**Findings: 1.**" in text and "rss_mb grew from" in text and "**grows**" in text


def test_no_run_is_told_too() -> None:
    assert "No soak was run" in soak_section.section(None, None, None, "")


def test_threads_are_told_from_the_start_to_the_end() -> None:
    flat = run()
    for sample in flat["samples"]:
        sample["threads"] = 27.0 if sample["at"] < 300 else 33.0
    text = soak_section.section(flat, None, None, "a machine")
    assert "was 27 at the start, 33 after the warm-up and 33 at the end" in text
    assert "So 49 of this run's 65 cuts lie in its warm-up" in text
