"""Every parser of ours, fed with what nobody meant: it reads it or says why not, at once, and keeps nothing of it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.parsers import PARSERS

FEW, MANY = 1_500, 100_000
SLOWEST_MS, GROWTH_KB = 250, 4_000          # of one input, of some kilobytes; of all of them together


def fuzzed(name: str, count: int, seed: int) -> None:
    run = subprocess.run([sys.executable, "-m", "tests.hostile.parsers", name, str(count), str(seed)], capture_output=True, text=True,
                         timeout=900, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, cwd=Path(__file__).parents[2])
    assert run.returncode == 0, f"seed {seed}: {run.stderr[-3000:]}"
    said = json.loads(run.stdout)
    print(name, said)
    assert said["slowest_ms"] < SLOWEST_MS and said["grown_kb"] < GROWTH_KB, said
    assert said["outcomes"]["read"] > count / 50, "the changes leave something to read"


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_reads_or_refuses(name: str) -> None:
    fuzzed(name, FEW, 1)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_reads_or_refuses_a_hundred_thousand_times(name: str) -> None:
    """HOSTILE_SEED repeats a run that failed."""
    fuzzed(name, MANY, int(os.environ.get("HOSTILE_SEED", "0")) or secrets.randbelow(1 << 31))
