"""Accepting over HTTP at 200 requests a second; what the gateway adds to a send; the event loop while voice notes are encoded.

    python -m benchmarks.sending [--seconds 5] [--rate 200]

`added` compares, in one run on one machine, 202 -> acknowledged through the gateway with neonize's own send_message in a bare
process, both against the sandbox, one message at a time. Requests leave on a schedule, so a slow answer delays no other.

A file that comes with a request is looked at whole, and converted, before the 202: that is the codec's time, which the answer
tells (`Server-Timing`). The overhead is the rest. How many a second the machine can take at all is measured with eight clients
that ask again as soon as they are answered. `as shipped` sends in the shipped pace meanwhile; elsewhere the pace is off, and
every message is also encrypted, sent and acknowledged while the next ones come.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import plot
from benchmarks.measuring import PLOTS, gateway, link, main, milliseconds, percentile
from gateway.audio.pool import Transcoder
from gateway.audio.voice_note import make_voice_note
from gateway.config import Pacing
from gateway.daemon import SWITCH_INTERVAL
from tests.e2e.world import World
from tests.fire.harness import contact_of
from tests.running import Answer
from tests.sandbox.conftest import Neonize

HELLO = (Path(__file__).parents[1] / "gateway" / "examples" / "hello.mp3").read_bytes()
SESSIONS, MESSAGES, BARE, CLIENTS = 5, 60, "15559990001", 8
AS_SHIPPED = {f"WAGATEWAY_PACING_{name.upper()}": str(value).lower() for name, value in asdict(Pacing()).items()}


async def ask(it: World, sessions: list[str], kind: str, number: int, ogg: bytes) -> Answer:
    session, to = sessions[number % len(sessions)], f"+{contact_of(number % len(sessions), number % 4)}"
    if kind == "text":
        return await it.client.post("/api/v1/messages", {"session": session, "to": to, "message": f"number {number}"})
    form = aiohttp.FormData()
    form.add_field("session", session)
    form.add_field("to", to)
    form.add_field("file", HELLO if kind == "mp3" else ogg, filename="a")
    return await it.client("POST", "/api/v1/messages/audio", data=form)


async def capacity(it: World, sessions: list[str], kind: str, seconds: float, ogg: bytes) -> dict[str, Any]:
    """How many a second are accepted at most."""
    numbers, end, accepted = itertools.count(), time.perf_counter() + seconds, 0

    async def client() -> None:
        nonlocal accepted
        while time.perf_counter() < end:
            answer = await ask(it, sessions, kind, next(numbers), ogg)
            accepted += answer.status == 202

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return {"accepted_per_second": round(accepted / (time.perf_counter() - began), 1)}


async def accepting(it: World, sessions: list[str], kind: str, rate: float, seconds: float, ogg: bytes) -> dict[str, Any]:
    took: list[float] = []
    overhead: list[float] = []
    wrong: list[int] = []

    async def one(number: int) -> None:
        begun = time.perf_counter()
        answer = await ask(it, sessions, kind, number, ogg)
        took.append(time.perf_counter() - begun)
        overhead.append(took[-1] - _prepare(answer))
        if answer.status != 202:
            wrong.append(answer.status)

    began, tasks = time.perf_counter(), []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one(number)))
    await asyncio.gather(*tasks)
    return {"asked_per_second": rate, "answered_per_second": round(len(took) / (time.perf_counter() - began), 1),
            "not_202": len(wrong), **milliseconds(took), "overhead": milliseconds(overhead)}


def _prepare(answer: Answer) -> float:
    """Seconds that the look at the file took, as the gateway tells them."""
    return float(answer.headers.get("Server-Timing", "prepare;dur=0").removeprefix("prepare;dur=")) / 1000


async def through_gateway(it: World, session: str) -> list[float]:
    """From the answer 202 to the acknowledgement, as the event stream tells it."""
    took: list[float] = []
    to = f"+{contact_of(0, 0)}"
    async with it.client.stream(f"/api/v1/sessions/{session}/stream") as events:
        for number in range(MESSAGES):
            id_ = await it.send(to, f"through {number}", session=session)
            accepted = time.perf_counter()
            async for _, event, data in events:
                if event == "receipt" and data["id"] == id_ and data["status"] == "sent":
                    took.append(time.perf_counter() - accepted)
                    break
                if event == "receipt" and data["id"] == id_ and data["status"] != "pending":
                    raise AssertionError(data)
    return took


async def bare(it: World, folder: Path) -> list[float]:
    """The stock library in a process of its own, linked to the same sandbox. The question and the answer go through a pipe."""
    neonize = await Neonize.start({name: it.environment[name] for name in ("HTTPS_PROXY", "SSL_CERT_FILE", "PYTHONPATH", "NO_PROXY")})
    try:
        await neonize.open("bare", folder / "bare.db")
        code = (await neonize.event(lambda line: line.get("event") == "QR"))["data"]
        await it.whatsapp("POST", "/phones", {"number": BARE, "name": "Bare"})
        await it.whatsapp("POST", "/scan", {"qr": code, "phone": BARE})
        await neonize.happened("bare", "Connected")
        took = []
        for number in range(MESSAGES):
            begun = time.perf_counter()
            await neonize.call("bare", f"client.send_message(jid('{contact_of(0, 0)}'), 'bare {number}')")
            took.append(time.perf_counter() - begun)
        return took
    finally:
        await neonize.close()


async def loop_lag(seconds: float) -> dict[str, float]:
    """How late a timer of 2 ms is while four voice notes are being encoded at once, in a process set up as the daemon."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    transcoder, lags, encoded, end = Transcoder(), [], 0, time.perf_counter() + seconds

    async def encode() -> None:
        nonlocal encoded
        while time.perf_counter() < end:
            await transcoder.voice_note(HELLO)
            encoded += 1

    encoding = [asyncio.create_task(encode()) for _ in range(4)]
    while time.perf_counter() < end:
        due = time.perf_counter() + 0.002
        await asyncio.sleep(0.002)
        lags.append(time.perf_counter() - due)
    await asyncio.gather(*encoding)
    transcoder.close()
    return {"p50_ms": round(percentile(lags, 50) * 1000, 2), "p99_ms": round(percentile(lags, 99) * 1000, 2),
            "max_ms": round(max(lags) * 1000, 2), "encoded": encoded}


async def run(given: argparse.Namespace) -> dict[str, Any]:
    ogg = make_voice_note(HELLO).ogg
    result: dict[str, Any] = {}
    async with gateway() as it:
        sessions = await link(it, SESSIONS)
        alone, ours = await bare(it, it.folder), await through_gateway(it, sessions[0])
        result["send"] = {"bare_neonize": milliseconds(alone), "after_202": milliseconds(ours), "added_median_ms": round(
            (statistics.median(ours) - statistics.median(alone)) * 1000, 2)}
        result["accept text, all sent at once"] = await accepting(it, sessions, "text", given.rate, given.seconds, ogg)
    async with gateway(**AS_SHIPPED) as it:
        sessions = await link(it, SESSIONS)
        result["accept text"] = await accepting(it, sessions, "text", given.rate, given.seconds, ogg)
        for kind in ("native voice note", "mp3"):
            most = await capacity(it, sessions, kind, given.seconds, ogg)
            result[f"accept {kind}"] = {
                **await accepting(it, sessions, kind, round(most["accepted_per_second"] / 2), given.seconds, ogg), **most}
    result["loop_lag_while_4_encode"] = await loop_lag(8)
    plot.bars(PLOTS / "accepting.svg", "Accepting: what the gateway adds to the codec, p99 (target: 25)", "ms", {
        f"{name.removeprefix('accept ')}, {part['asked_per_second']:g}/s": part["overhead"]["p99_ms"]
        for name, part in result.items() if name.startswith("accept")}, 25)
    plot.bars(PLOTS / "sending.svg", "One text to its acknowledgement, median", "ms", {
        "bare neonize": result["send"]["bare_neonize"]["median_ms"], "gateway, after 202": result["send"]["after_202"]["median_ms"]})
    return result


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=5)


if __name__ == "__main__":
    main("sending", __doc__ or "", run, options)
