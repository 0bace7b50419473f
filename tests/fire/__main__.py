"""`python -m tests.fire --sessions 20 --minutes 15 [--seed N] [--json FILE]`: the long form. Exits with 1 when something is wrong."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.fire.harness import fire
from tests.fire.plan import draw
from tests.machine import machine


async def run(sessions: int, minutes: float, seed: int, gap: float, strike_gap: float, folder: Path) -> dict[str, object]:
    began = time.time()
    plan = draw(seed, sessions, minutes * 60, gap=strike_gap)

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    say(f"seed {seed}: {sessions} sessions, {minutes:g} minutes, {len(plan.strikes)} strikes")
    async with fire(folder, plan, gap=gap, say=say) as it:
        if not it.disk:
            say("no disk of its own (needs root): the disk is not filled")
            plan = it.plan = draw(seed, sessions, minutes * 60, gap=strike_gap, without=frozenset({"disk-full"}))
        await it.run()
        record, receiver = it.record, it.receiver
        return {"what": "fire", "machine": machine(), "seed": seed, "sessions": sessions, "minutes": minutes, "began": began,
                "took_seconds": round(time.time() - began), "accepted": len(record.accepted), "written": len(record.written),
                "answers": record.answers, "struck": record.struck, "starts": record.starts,
                "failed_starts": record.failed_starts, "lost_to_kills": record.lost_to_kills,
                "told_unreadable": record.told_unreadable, "not_repeated": record.not_repeated,
                "left_at_whatsapp": record.left_at_whatsapp,
                "receipts_lost": sorted(record.receipts_lost),
                "hit": record.hit, "ready_seconds": record.ready_seconds, "baseline": record.baseline,
                "final": record.final, "samples": record.samples, "events": it.readers[0].seen[-1],
                "deliveries": len(receiver.taken), "ends": {how: sum(h == how for _, h in plan.ends.values())
                                                            for _, how in plan.ends.values()},
                "comings": [reader.comings for reader in it.readers], "findings": record.findings,
                "plan": [asdict(strike) for strike in plan.strikes]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fire", description=__doc__)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--gap", type=float, default=2.0, help="seconds between a session's messages, on average")
    parser.add_argument("--strike-gap", type=float, default=3.0, help="seconds between troubles, on average")
    parser.add_argument("--json", type=Path, default=None, help="where the result goes")
    parser.add_argument("--folder", type=Path, default=None, help="kept afterwards; else a temporary one")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else secrets.randbelow(1 << 31)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        result = asyncio.run(run(given.sessions, given.minutes, seed, given.gap, given.strike_gap, folder))
    findings = result["findings"]
    assert isinstance(findings, list)
    print(json.dumps({name: value for name, value in result.items() if name not in ("plan", "samples")}, indent=1))
    print(f"{len(findings)} findings" if findings else "nothing is missing")
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
