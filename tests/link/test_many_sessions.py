"""Many sessions in one process, and the core under openings, stops and calls at once."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.events import Connected, Disconnected
from gateway.jid import JID, USER
from gateway.messages import PTT, Text
from tests.link.contract import Inbox
from tests.link.real import PEER, RealStage, real_stage, started
from tests.link.remote import RemoteLink, RemoteLinks

TO = JID(PEER, USER)
COSTS = ("(int(open('/proc/self/statm').read().split()[1]) * 4 // 1024, len(os.listdir('/proc/self/task')), "
         "len(os.listdir('/proc/self/fd')))")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path) as stage:
        yield stage


async def linked(stage: RealStage, number: int) -> list[tuple[RemoteLink, Inbox]]:
    """Pairs one after the other, then opens them all at once."""
    files = [stage.session(f"s{one}") for one in range(number)]
    for one, file in enumerate(files):
        await stage.pair(file, phone=f"1555100{one + 1:04}")
    began = time.monotonic()
    live = await asyncio.gather(*(stage.opened(file) for file in files))
    print(f"{number} sessions opened at once: all connected after {time.monotonic() - began:.2f} s")
    return live


async def test_sessions_opened_at_once_all_connect_and_send_at_once(stage: RealStage) -> None:
    live = await linked(stage, 8)
    await asyncio.gather(*(link.send(TO, Text("hi"), os.urandom(32)) for link, _ in live))
    await asyncio.gather(*(link.close() for link, _ in live))
    assert stage.remote.process.returncode is None


async def test_openings_and_stops_under_calls_do_not_abort_the_process(stage: RealStage) -> None:
    """Unguarded, this is `fatal error: concurrent map read and map write` within a second."""
    live = await linked(stage, 3)
    (busy, _), *others = live
    over = False

    async def call() -> None:
        while not over:
            await busy.is_on_whatsapp([PEER])

    calling = [asyncio.create_task(call()) for _ in range(4)]
    for _ in range(5):
        await asyncio.gather(*(link.close() for link, _ in others))
        others = await asyncio.gather(*(stage.opened(stage.session(f"s{one}")) for one in (1, 2)))
    over = True
    await asyncio.gather(*calling)
    assert stage.remote.process.returncode is None


async def test_a_program_ends_with_sessions_open_and_a_send_in_flight(stage: RealStage) -> None:
    live = await linked(stage, 2)
    await stage.fault("ack", mode="hold")
    sending = asyncio.ensure_future(live[0][0].send(TO, Text("in flight"), os.urandom(32)))
    await stage.control.get("/messages", to=PEER, wait=20)
    async with asyncio.timeout(10):
        assert await stage.remote.leave() == 0
    with pytest.raises(ConnectionError):
        await sending


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_fifty_sessions_live_in_one_process(stage: RealStage) -> None:
    print("before, MB, threads, descriptors:", await stage.remote.evaluate(COSTS))
    began = time.monotonic()
    live = await linked(stage, 50)
    print(f"50 paired and connected in {time.monotonic() - began:.1f} s; MB, threads, descriptors:",
          await stage.remote.evaluate(COSTS))
    for round_ in range(3):
        began = time.monotonic()
        await asyncio.gather(*(link.send(TO, Text(f"round {round_}"), os.urandom(32)) for link, _ in live))
        print(f"50 texts at once: {time.monotonic() - began:.2f} s")
    ogg = b"OggS" + os.urandom(15_000)
    began = time.monotonic()
    await asyncio.gather(*(link.send(TO, PTT(ogg, 5, bytes(64)), os.urandom(32)) for link, _ in live))
    print(f"50 voice notes at once: {time.monotonic() - began:.2f} s; now", await stage.remote.evaluate(COSTS))
    await stage.control.post("/cut")
    began = time.monotonic()
    for _, inbox in live:
        await inbox.first(Disconnected)
        await inbox.first(Connected, lambda _, inbox=inbox: sum(isinstance(e, Connected) for e in inbox.events) > 1)  # type: ignore[misc]
    print(f"all cut, all back after {time.monotonic() - began:.2f} s")
    await stage.remote.kill()
    async with started(stage.sandbox) as again:
        began = time.monotonic()
        live = await asyncio.gather(*(stage.opened(stage.session(f"s{one}"), again) for one in range(50)))
        print(f"killed and started anew, all back after {time.monotonic() - began:.2f} s;", await again.evaluate(COSTS))
        await closed(again, live)


async def closed(links: RemoteLinks, live: list[tuple[RemoteLink, Inbox]]) -> None:
    began = time.monotonic()
    await asyncio.gather(*(link.close() for link, _ in live))
    print(f"all closed in {time.monotonic() - began:.2f} s; then", await links.evaluate(COSTS))
    assert links.process.returncode is None
