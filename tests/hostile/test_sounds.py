"""Hostile sounds cost little memory and little time, each of them, in one process that reads them all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.audio.limits import AudioLimits

LONG = ("ten hours, not told", "half an hour of silence", "an hour of silence")     # within the limits, so they are read for long
NEEDED_MB, GROWN_MB = 100, 20


def measured(damaged: int, *without: str) -> None:
    run = subprocess.run([sys.executable, "-m", "tests.hostile.sounds", str(damaged), *without], capture_output=True, text=True,
                         timeout=1000, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, cwd=Path(__file__).parents[2])
    assert run.returncode == 0, run.stderr[-3000:]
    *files, total = (json.loads(line) for line in run.stdout.splitlines())
    print(max(files, key=lambda file: file["needed_mb"]), max(files, key=lambda file: file["seconds"]), total, sep="\n")
    assert len(files) > 40
    for file in files:
        slowest = AudioLimits().max_wall_seconds + 5 if file["name"] in LONG else 5
        assert file["needed_mb"] <= NEEDED_MB + 5 * file["bytes"] / 1e6 and file["seconds"] < slowest, file
    assert total["slowest_seconds"] < 10 and total["grown_mb"] < GROWN_MB, total


def test_each_sound_costs_little() -> None:
    measured(200, *LONG)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_each_sound_costs_little_the_long_ones_too_and_thousands_of_damaged_ones() -> None:
    measured(5_000)
