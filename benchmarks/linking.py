"""How long after the scan a session is connected.

    python -m benchmarks.linking [--rounds 12]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from benchmarks import plot
from benchmarks.measuring import PLOTS, gateway, main, milliseconds
from tests.fire.harness import phone_of


async def run(given: argparse.Namespace) -> dict[str, Any]:
    codes: list[float] = []
    connected: list[float] = []
    async with gateway() as it:
        for round_ in range(given.rounds):
            phone = phone_of(round_)
            await it.whatsapp("POST", "/phones", {"number": phone})
            asked = time.perf_counter()
            made = (await it.client.post("/api/v1/sessions", {"session_key": f"s{round_}"})).body
            scanned = 0.0
            async with asyncio.timeout(60), it.client.stream(f"/api/v1/sessions/{made['id']}/stream") as events:
                async for _, event, data in events:
                    if event == "qr" and not scanned:
                        scanned = time.perf_counter()
                        codes.append(scanned - asked)
                        await it.whatsapp("POST", "/scan", {"qr": data["code"], "phone": phone})
                    elif event == "connected":
                        connected.append(time.perf_counter() - scanned)
                        break
            await asyncio.sleep(1.0)                # the next pairing process gets ready meanwhile
    plot.bars(PLOTS / "linking.svg", "From the scan to connected, each round (target: median below 1000)", "ms",
              {str(i + 1): round(seconds * 1000) for i, seconds in enumerate(connected)}, 1000)
    return {"scan_to_connected": milliseconds(connected), "asked_to_first_code": milliseconds(codes)}


if __name__ == "__main__":
    main("linking", __doc__ or "", run, lambda parser: parser.add_argument("--rounds", type=int, default=12))
