"""A cold start with many sessions, and what each of them costs.

    python -m benchmarks.sessions [--counts 1,50,200]

The sessions are linked once; then the daemon is stopped and started with all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from benchmarks import plot
from benchmarks.measuring import PLOTS, gateway, link, main
from tests.fire.harness import measure


async def run(given: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {}
    connected: dict[str, list[tuple[float, float]]] = {}
    for count in [int(part) for part in given.counts.split(",")]:
        async with gateway() as it:
            assert it.process is not None
            empty = measure(it.process.pid)
            began = time.perf_counter()
            await link(it, count)
            linked = time.perf_counter() - began
            await it.stop()
            began, online, curve = time.perf_counter(), 0, []
            await it.start()
            listening = time.perf_counter() - began
            while online < count:
                rows = (await it.client.get("/api/v1/sessions?limit=500")).body["sessions"]
                online = sum(row["status"] == "connected" for row in rows)
                curve.append((round(time.perf_counter() - began, 2), float(online)))
                assert time.perf_counter() - began < 180, f"{online} of {count}"
                await asyncio.sleep(0.1)
            took = time.perf_counter() - began
            await asyncio.sleep(3)
            costs = measure(it.process.pid)
            connected[f"{count} sessions"] = curve
            result[str(count)] = {
                "linking_all_seconds": round(linked, 1), "listening_after_seconds": round(listening, 2),
                "all_connected_after_seconds": round(took, 2), "empty": empty, **costs,
                "per_session": {name: round((costs[name] - empty[name]) / count, 2) for name in costs}}
            print(count, result[str(count)], flush=True)
    plot.lines(PLOTS / "cold_start.svg", "A cold start: sessions connected (target: 200 within 20 s)", "seconds after the start",
               "connected", connected)
    plot.bars(PLOTS / "memory.svg", "Resident memory of the daemon (target: below 400)", "MB",
              {f"{count} sessions": part["rss_mb"] for count, part in result.items()}, 400)
    return {"counts": result}


if __name__ == "__main__":
    main("sessions", __doc__ or "", run, lambda parser: parser.add_argument("--counts", default="1,50,200"))
