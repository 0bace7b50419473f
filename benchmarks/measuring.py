"""What the benchmarks of the running gateway share: a world to measure in, percentiles, and where results go."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.e2e.world import World, world
from tests.fire.harness import phone_of
from tests.machine import machine

ROOT = Path(__file__).parents[1]
PLOTS, RESULTS = ROOT / "docs" / "plots", ROOT / "docs" / "runs"


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def milliseconds(values: Sequence[float]) -> dict[str, float]:
    """Of seconds."""
    return {"n": len(values), "median_ms": round(statistics.median(values) * 1000, 2),
            "p50_ms": round(percentile(values, 50) * 1000, 2), "p99_ms": round(percentile(values, 99) * 1000, 2),
            "max_ms": round(max(values) * 1000, 2)}


@asynccontextmanager
async def gateway(**settings: str) -> AsyncIterator[World]:
    """The sandbox and a daemon, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        async with world(Path(folder), WAGATEWAY_LOG_LEVEL="warning", **settings) as it:
            await it.start()
            yield it
            await it.stop()


async def link(it: World, count: int) -> list[str]:
    """So many sessions, four of them linking at a time."""
    gate = asyncio.Semaphore(4)

    async def one(session: int) -> str:
        async with gate:
            return await it.link(f"s{session}", phone_of(session))

    return list(await asyncio.gather(*(one(session) for session in range(count))))


def main(name: str, about: str, run: Callable[[argparse.Namespace], Awaitable[dict[str, Any]]],
         options: Callable[[argparse.ArgumentParser], None] = lambda parser: None) -> None:
    """Runs it, prints the result and keeps it for the documentation."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    options(parser)
    given = parser.parse_args()
    began = time.time()
    result = asyncio.run(run(given))              # type: ignore[arg-type]
    result = {"what": name, "command": f"python -m benchmarks.{name}", "machine": machine(),
              "took_seconds": round(time.time() - began), **result}
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
