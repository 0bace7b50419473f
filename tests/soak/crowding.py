"""How many threads the daemon has while others want its processors: `python -m tests.soak.crowding [--minutes 5] [--json FILE]`.

Each call of the core has a thread while it lasts, and Go's runtime makes one when more calls out of Go wait at the same time than
ever before, and keeps it; what is looked at is whether their number comes to rest. Ten sessions talk and nothing else happens: first
alone, then beside twice as many busy programs as there are processors, which go before it, then alone again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.machine import machine
from tests.soak.life import soak

EVERY_SECONDS = 2.0
SEED = 20261121
FIRST = ("nice", "-n", "-10") if os.geteuid() == 0 else ()     # the others go before the daemon, where that is allowed


async def measure(minutes: float, folder: Path) -> dict[str, Any]:
    busy = 2 * (os.cpu_count() or 1)
    phases: dict[str, list[float]] = {"alone": [], "crowded, first half": [], "crowded, second half": [], "alone again": []}
    async with soak(folder, seed=SEED, sessions=10, seconds=minutes * 240, gap=1.0, calm=True) as it:
        running = asyncio.create_task(it.run())
        while not it.samples:
            await asyncio.sleep(0.1)
        programs: list[asyncio.subprocess.Process] = []
        try:
            for name, seen in phases.items():
                crowded = name.startswith("crowded")
                if crowded and not programs:
                    programs = [await asyncio.create_subprocess_exec(*FIRST, sys.executable, "-c", "while True: pass")
                                for _ in range(busy)]
                elif not crowded:
                    await stop(programs)
                for _ in range(round(minutes * (30 if crowded else 15) / EVERY_SECONDS)):
                    await asyncio.sleep(EVERY_SECONDS)
                    seen.append(it.look(kinds=False)["threads"])
        finally:
            await stop(programs)
            it.stop.set()
            await running
    return {"busy_programs": busy, "minutes": minutes, "trouble": it.trouble,
            "threads": {name: {"most": max(seen), "last": seen[-1]} for name, seen in phases.items()}}


async def stop(programs: list[asyncio.subprocess.Process]) -> None:
    for program in programs:
        program.kill()
        await program.wait()
    programs.clear()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.crowding", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(measure(given.minutes, Path(folder)))
    command = f"python -m tests.soak.crowding --minutes {given.minutes:g}"
    result = {"what": "crowding", "command": command, "machine": machine(), **result}
    print(json.dumps(result, indent=1))
    if given.json is not None:
        given.json.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
