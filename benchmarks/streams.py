"""One event to thousands of readers, and how fast the journal is read again.

    python -m benchmarks.streams [--readers 1000,5000]

The readers are plain sockets in two processes of their own. The delay of a reader is from the moment before the event is
caused (a message arrives at WhatsApp) to the moment its line is read, less what the first reader waited: what remains is
the fan-out. Total delays are told, too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import selectors
import socket
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from benchmarks import plot
from benchmarks.measuring import PLOTS, gateway, main, milliseconds
from tests.e2e.world import World
from tests.fire.harness import contact_of, phone_of

EVENTS, PROCESSES = 20, 2


def read(url: str, key: str, readers: int) -> None:
    """In a process of its own: prints, for every event, when each reader had it (monotonic seconds)."""
    at, chooser = urlsplit(url), selectors.DefaultSelector()
    request = (f"GET /api/v1/events?types=message HTTP/1.1\r\nHost: {at.netloc}\r\nAuthorization: Bearer {key}\r\n"
               "Accept: text/event-stream\r\n\r\n").encode()
    for number in range(readers):
        one = socket.create_connection((at.hostname or "", at.port or 80))
        one.sendall(request)
        one.setblocking(False)
        chooser.register(one, selectors.EVENT_READ, number)
        if number % 50 == 49:
            time.sleep(0.05)
    said, got = False, {}
    opened: set[int] = set()
    while True:
        for key_, _ in chooser.select(0.5):
            chunk = key_.fileobj.recv(65536)        # type: ignore[union-attr]
            now = time.monotonic()
            if not chunk:
                return
            if b"wagateway" in chunk:
                opened.add(key_.data)
            for line in chunk.split(b"\n"):
                if line.startswith(b"data:") and (place := line.find(b"fan-out ")) >= 0:
                    number = line[place + 8:].split(b'"')[0].decode()
                    times = got.setdefault(number, [])
                    times.append(now)
                    if len(times) == readers:
                        print(json.dumps({"event": number, "times": times}), flush=True)
        if not said and len(opened) == readers:
            said = True
            print(json.dumps({"ready": readers}), flush=True)


async def fan_out(it: World, readers: int) -> dict[str, Any]:
    assert it.process is not None
    children = [await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.streams", "--read", it.client.url, it.client.key, str(readers // PROCESSES),
        stdout=asyncio.subprocess.PIPE, limit=1 << 24) for _ in range(PROCESSES)]
    spread: list[float] = []
    total: list[float] = []
    beside: list[float] = []

    async def ask_beside() -> None:
        """What somebody else's request feels of it."""
        while True:
            asked = time.perf_counter()
            async with it.http.get(it.client.url + "/healthz") as response:
                await response.read()
            beside.append(time.perf_counter() - asked)
            await asyncio.sleep(0.005)

    try:
        for child in children:
            assert child.stdout is not None
            async with asyncio.timeout(120):
                await child.stdout.readline()
        busy = _cpu(it.process.pid)
        began = time.monotonic()
        asking = asyncio.create_task(ask_beside())
        for number in range(EVENTS):
            caused = time.monotonic()
            await it.whatsapp("POST", f"/contacts/{contact_of(0, 0)}/send", {"to": phone_of(0), "text": f"fan-out {readers}.{number}"})
            times: list[float] = []
            for child in children:
                assert child.stdout is not None
                async with asyncio.timeout(60):
                    times += json.loads(await child.stdout.readline())["times"]
            first = min(times)
            spread += [at - first for at in times]
            total += [at - caused for at in times]
            await asyncio.sleep(0.3)
        asking.cancel()
        cpu = (_cpu(it.process.pid) - busy)
        return {"fan_out": milliseconds(spread), "from_whatsapp": milliseconds(total), "request_beside": milliseconds(beside),
                "events": EVENTS,
                "cpu_ms_per_event": round(cpu * 1000 / EVENTS, 1), "cpu_us_per_frame": round(cpu * 1e6 / EVENTS / readers, 1),
                "took_seconds": round(time.monotonic() - began, 1)}
    finally:
        for child in children:
            child.kill()
            await child.wait()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def replay(it: World) -> dict[str, Any]:
    """All of the journal, by one reader that comes with number 0."""
    for number in range(400):
        await it.send(f"+{contact_of(0, 1)}", f"to be read again {number}")
    for _ in range(300):
        if not (await it.client.get("/api/v1/messages?status=pending&limit=1")).body["messages"]:
            break
        await asyncio.sleep(0.2)
    async with it.client.stream("/api/v1/events") as events:
        async for number, _, _ in events:
            head = int(number)
            break
    began, seen, size = time.perf_counter(), 0, 0
    headers = {"Authorization": f"Bearer {it.client.key}", "Last-Event-ID": "0"}
    async with it.http.get(it.client.url + "/api/v1/events", headers=headers, timeout=aiohttp.ClientTimeout(total=60)) as response:
        async for line in response.content:
            size += len(line)
            if line.startswith(b"id: "):
                seen += 1
                if int(line[4:]) >= head:
                    break
    took = time.perf_counter() - began
    return {"events": seen, "events_per_second": round(seen / took), "mb_per_second": round(size / took / 1e6, 1)}


async def run(given: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for readers in [int(part) for part in given.readers.split(",")]:
        async with gateway(WAGATEWAY_SERVER_STREAMS_PER_KEY="0") as it:
            await it.link("s0", phone_of(0))
            result[str(readers)] = await fan_out(it, readers)
            print(readers, result[str(readers)], flush=True)
    async with gateway() as it:
        await it.link("s0", phone_of(0))
        result["replay"] = await replay(it)
    plot.bars(PLOTS / "fan_out.svg", "One event to all readers: p99 after the first (target for 5000: 250)", "ms", {
        f"{readers} readers": part["fan_out"]["p99_ms"] for readers, part in result.items() if readers != "replay"}, 250)
    return result


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] == "--read":
        read(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main("streams", __doc__ or "", run, lambda parser: parser.add_argument("--readers", default="1000,5000"))
