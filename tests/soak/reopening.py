"""What the core keeps each time a session is opened in one process: `python -m tests.soak.reopening [--times 200] [--json FILE]`.

One linked session is opened and closed again and again, with nothing else going on. Of the core's SQLite pool nothing is ever
closed, so descriptors and memory grow; here is by how much, for whoever reckons what a year of restarting links costs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from gateway.services.memory import ARENAS
from tests.link.real import real_stage
from tests.machine import machine
from tests.soak import costs
from tests.soak.judge import slope

WARM = 20                       # openings that are not counted: pools and arenas are filled


async def measure(times: int, folder: Path) -> dict[str, Any]:
    async with real_stage(folder, environment={"MALLOC_ARENA_MAX": str(ARENAS)}) as stage:      # as the daemon has it
        await stage.pair()
        pid = stage.remote.process.pid
        samples: list[costs.Sample] = []
        for number in range(times + WARM):
            link, _ = await stage.opened()
            await link.close()
            await stage.remote.evaluate(f"objects.pop({link.number}) and None")     # the daemon does not keep it either
            samples.append({"opening": number, **costs.quick(pid), **costs.memory(pid)})
            await asyncio.sleep(0.05)
    warm = samples[WARM:]
    return {"times": times, "per_opening": {
        name: round(slope([(sample["opening"], sample[name]) for sample in warm]), 4)
        for name in ("rss_mb", "go_mb", "private_mb", "files_mb", "threads", "fds", "session_fds", "other_fds")},
        "first": warm[0], "last": warm[-1], "samples": samples[::max(1, len(samples) // 100)]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.reopening", description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(measure(given.times, Path(folder)))
    result = {"what": "reopening", "command": f"python -m tests.soak.reopening --times {given.times}", "machine": machine(),
              "took_seconds": round(time.time() - began), **result}
    print(json.dumps({name: value for name, value in result.items() if name != "samples"}, indent=1))
    if given.json is not None:
        given.json.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
