"""`python -m tests.soak --minutes 120 [--seed N] [--json FILE]`: months of a gateway's life in two hours, and whether it grows.

The result is written every minute and when the run is ended early (SIGTERM): what there is then counts for the time it ran.
Exits with 1 when there are findings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.life import Soak, soak

MEMORY_DISK = Path("/dev/shm")


def write(it: Soak, file: Path, command: str) -> dict[str, object]:
    result = it.result(command)
    new = file.with_name(file.name + ".new")
    new.write_text(json.dumps(result) + "\n")
    new.replace(file)
    return result


async def run(given: argparse.Namespace, seed: int, folder: Path) -> dict[str, object]:
    command = f"python -m tests.soak --minutes {given.minutes:g} --sessions {given.sessions} --gap {given.gap:g} --seed {seed}"

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    async with soak(folder, seed=seed, sessions=given.sessions, seconds=given.minutes * 60, gap=given.gap, say=say) as it:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, it.stop.set)
        running = asyncio.create_task(it.run())
        while not (await asyncio.wait({running}, timeout=60))[0]:
            write(it, given.json, command)
            if it.samples:
                say(json.dumps({name: it.samples[-1].get(name) for name in (
                    "rss_mb", "threads", "fds", "session_fds", "children", "db_mb", "openings")} | {"pairings": it.done["pairing"]}))
        await running
        return write(it, given.json, command)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--gap", type=float, default=6.0, help="seconds between a session's messages, on average")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--json", type=Path, default=Path("soak.json"), help="where the result goes")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else secrets.randbelow(1 << 31)
    given.json = given.json.absolute()
    given.json.parent.mkdir(parents=True, exist_ok=True)
    # In memory, where there is room: hours of commits would wear and disturb the disk, and are not what is looked at.
    place = MEMORY_DISK if os.access(MEMORY_DISK, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="soak-", dir=place) as folder:
        result = asyncio.run(run(given, seed, Path(folder)))
    findings = result["findings"]
    assert isinstance(findings, list)
    print(json.dumps({name: value for name, value in result.items() if name != "samples"}, indent=1))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
