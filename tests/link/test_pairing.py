"""Linking in a child process: codes, endings, and that nothing of an attempt stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.events import Connected, Paired, PairingCode, PairingEnded, PairingEvent, QrCode
from gateway.link.base import Pairing, SessionFile
from gateway.link.pairing import Child, NeonizePairing
from tests.link.contract import PATIENCE, Inbox
from tests.link.real import OWNER, RealStage, Refused, real_stage, scanned, started

LEFT = "(len(os.listdir('/proc/self/fd')), __import__('threading').active_count())"
MEMORY = "int(open('/proc/self/statm').read().split()[1]) * 4096"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path) as stage:
        yield stage


async def ending(pairing: Pairing) -> list[PairingEvent]:
    async with asyncio.timeout(PATIENCE):
        return [event async for event in pairing.events()]


def children(pid: int) -> list[int]:
    """The process's own children, zombies too."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):        # that thread has just ended
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


async def first_code(pairing: Pairing) -> tuple[AsyncIterator[PairingEvent], QrCode]:
    events = pairing.events()
    async with asyncio.timeout(PATIENCE):
        event = await anext(aiter(events))
    assert isinstance(event, QrCode), event
    return events, event


async def scan_to_connected(stage: RealStage, name: str, phone: str) -> float:
    scanned_at = 0.0

    async def scan(code: str) -> None:
        nonlocal scanned_at
        scanned_at = time.monotonic()
        await stage.scan(code, phone)

    told = await scanned(stage.links.pair(stage.session(name)), scan)
    assert [type(event) for event in told] == [QrCode, Paired]
    await stage.opened(stage.session(name))
    return time.monotonic() - scanned_at


async def test_a_scan_becomes_a_live_session_with_one_login_and_one_set_of_prekeys(stage: RealStage) -> None:
    await scan_to_connected(stage, "s1", OWNER)
    [device] = (await stage.control.get("/state"))["devices"]
    assert device["logins"] == 1, "the pairing process does not log in"
    assert device["prekeys"] <= 812, "prekeys are uploaded once"


@pytest.mark.long
async def test_a_scan_is_a_live_session_within_a_second(stage: RealStage) -> None:
    took = [await scan_to_connected(stage, f"s{one}", f"1555000111{one}") for one in range(1, 6)]
    print("scan to connected, s:", [f"{one:.2f}" for one in took])
    assert min(took) < 1.0


async def test_the_first_code_says_when_it_expires_and_comes_soon(stage: RealStage) -> None:
    began = time.monotonic()
    pairing = stage.links.pair(stage.file)
    _, code = await first_code(pairing)
    assert time.monotonic() - began < 5
    assert 55 < code.expires_at - time.time() <= 60
    await pairing.close()


async def test_a_pairing_code_links_as_well_as_a_scan(stage: RealStage) -> None:
    pairing = stage.links.pair(stage.file, OWNER)
    told: list[PairingEvent] = []
    async with asyncio.timeout(PATIENCE):
        async for event in pairing.events():
            told.append(event)
            if isinstance(event, PairingCode):
                assert len(event.code) == 9
                assert 150 < event.expires_at - time.time() <= 160
                await stage.control.post("/enter-code", code=event.code, phone=OWNER, wait=10)
    assert [type(event) for event in told] == [QrCode, PairingCode, Paired]
    await stage.opened()


ENDINGS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "pairing", "mode": "passkey-at-start"}, "passkey_required"),
    ({"kind": "pairing", "mode": "outdated"}, "client_outdated"),
    ({"kind": "pairing", "mode": "no-multidevice"}, "pair_error"),
    ({"kind": "connect", "mode": "refuse"}, "no_network_pairing"),
]


async def test_an_attempt_that_cannot_succeed_ends_with_its_reason(stage: RealStage) -> None:
    for fault, reason in ENDINGS:
        await stage.fault(times=1, **fault)
        told = await ending(stage.links.pair(stage.file))
        assert isinstance(told[-1], PairingEnded), told
        assert told[-1].reason == reason
        assert [event for event in told if isinstance(event, Paired)] == []
        assert children(stage.remote.process.pid) == []


async def test_an_account_that_is_asked_for_a_passkey_ends_the_attempt(stage: RealStage) -> None:
    await stage.fault("pairing", mode="passkey", times=1)
    pairing = stage.links.pair(stage.file)
    events, code = await first_code(pairing)
    with pytest.raises(Refused, match="passkey"):
        await stage.scan(code.code)
    async with asyncio.timeout(PATIENCE):
        assert [event async for event in events] == [PairingEnded("passkey_required", "passkey-request")]
    assert not stage.file.path.exists() or await stage.links.link(stage.file, lambda _: None).account() is None


async def test_whatsapp_may_give_no_pairing_code(stage: RealStage) -> None:
    await stage.fault("pairing", mode="code-refused", code=429)
    told = await ending(stage.links.pair(stage.file, OWNER))
    assert isinstance(told[-1], PairingEnded)
    assert told[-1].reason == "pair_error"
    assert "429" in told[-1].detail


async def test_a_connection_lost_while_a_code_waits_is_no_expiry(stage: RealStage) -> None:
    pairing = stage.links.pair(stage.file)
    events, _ = await first_code(pairing)
    await stage.control.post("/cut")
    async with asyncio.timeout(PATIENCE):
        rest = [event async for event in events]
    assert [(event.reason, event.detail) for event in rest if isinstance(event, PairingEnded)] == [
        ("no_network_pairing", "the connection was lost while a code waited")]


async def test_an_account_the_network_does_not_reach_ends_the_attempt(tmp_path: Path) -> None:
    async with real_stage(tmp_path, proxy="http://127.0.0.1:9") as stage:
        [ended] = await ending(stage.links.pair(stage.file))
        assert isinstance(ended, PairingEnded)
        assert ended.reason == "no_network_pairing"


async def test_a_file_that_cannot_be_made_ends_the_attempt(stage: RealStage) -> None:
    stage.file.path.mkdir()
    (stage.file.path / "in the way").touch()
    [ended] = await ending(stage.links.pair(stage.file))
    assert isinstance(ended, PairingEnded)
    assert ended.reason == "core_failed"


async def test_a_child_that_dies_ends_the_attempt(stage: RealStage) -> None:
    pairing = stage.links.pair(stage.file)
    events, _ = await first_code(pairing)
    [child] = children(stage.remote.process.pid)
    os.kill(child, 9)
    async with asyncio.timeout(PATIENCE):
        rest = [event async for event in events]
    assert isinstance(rest[-1], PairingEnded)
    assert rest[-1].reason == "core_failed"


async def test_the_child_dies_with_the_daemon(stage: RealStage) -> None:
    await first_code(stage.links.pair(stage.file))
    [child] = children(stage.remote.process.pid)
    await stage.remote.kill()
    async with asyncio.timeout(5):
        while Path(f"/proc/{child}").exists() and "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
            await asyncio.sleep(0.02)


async def test_the_data_key_is_in_no_argument_and_no_environment(stage: RealStage) -> None:
    pairing = stage.links.pair(stage.file)
    await first_code(pairing)
    [child] = children(stage.remote.process.pid)
    shown = Path(f"/proc/{child}/cmdline").read_bytes() + Path(f"/proc/{child}/environ").read_bytes()
    import base64

    for form in (stage.file.data_key, base64.b64encode(stage.file.data_key), stage.file.data_key.hex().encode()):
        assert form not in shown
    assert b"NEONIZE_BOT_TAG=off" in shown.split(b"\0")
    await pairing.close()


async def abandon(stage: RealStage, times: int) -> None:
    for _ in range(times):
        pairing = stage.links.pair(stage.file)
        await first_code(pairing)
        await pairing.close()
        assert children(stage.remote.process.pid) == []


async def left(stage: RealStage, before: object) -> None:
    """As many descriptors and threads as before; asyncio's own thread that waited for the child may be on its way out."""
    async with asyncio.timeout(5):
        while (now := await stage.remote.evaluate(LEFT)) != before:
            await asyncio.sleep(0.05)
    assert now == before


async def test_abandoned_attempts_leave_nothing_behind(stage: RealStage) -> None:
    await abandon(stage, 1)
    before = await stage.remote.evaluate(LEFT)
    await abandon(stage, 4)
    await left(stage, before)
    assert (await stage.control.get("/state"))["devices"] == []
    assert isinstance((await stage.pair())[-1], Paired)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_two_hundred_abandoned_attempts_leave_nothing_behind(stage: RealStage) -> None:
    await abandon(stage, 10)
    before, memory = await stage.remote.evaluate(LEFT), await stage.remote.evaluate(MEMORY)
    await abandon(stage, 200)
    await left(stage, before)
    grown = await stage.remote.evaluate(MEMORY) - memory
    print(f"200 abandoned attempts: {before} -> the same, memory {grown / 1024:+.0f} KiB")
    assert grown < 4 * 1024 * 1024


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_codes_nobody_scans_run_out_after_160_seconds(stage: RealStage) -> None:
    began = time.monotonic()
    async with asyncio.timeout(200):
        told = [event async for event in stage.links.pair(stage.file).events()]
    assert [type(event) for event in told] == [QrCode] * 6 + [PairingEnded]
    assert isinstance(told[-1], PairingEnded)
    assert told[-1].reason == "qr_expired"
    assert 155 < time.monotonic() - began < 170


async def test_a_second_attempt_replaces_whatever_the_first_left(stage: RealStage) -> None:
    link, _ = await stage.connected()
    await link.close()
    assert isinstance((await stage.pair(phone="15550004444"))[-1], Paired)
    inbox = Inbox()
    again = stage.links.link(stage.file, inbox)
    await again.open()
    await inbox.first(Connected)
    account = await again.account()
    assert account is not None
    assert account.jid.user == "15550004444"


async def test_a_spare_process_waits_and_goes_with_the_links(stage: RealStage) -> None:
    async with started(stage.sandbox, spare=True) as links:
        told = await scanned(links.pair(stage.file), stage.scan)
        assert isinstance(told[-1], Paired)
        [spare] = children(links.process.pid)
        began = time.monotonic()
        pairing = links.pair(stage.session("s2"))
        await first_code(pairing)
        print(f"first code with a spare after {time.monotonic() - began:.3f} s")
        assert spare in children(links.process.pid)
        await pairing.close()
        await links.close()
        assert children(links.process.pid) == []


def test_the_event_loop_is_given_no_pipe() -> None:
    """uvloop closes the descriptor of a pipe that it was given twice: first itself, then through the file object. In a process
    with threads the number may be another file's by then. With hundreds of sessions linking, that closed databases under
    whoever used them ("bad file descriptor", "disk I/O error", pages that did not authenticate). Sockets are detached."""
    package = Path(__file__).parents[2] / "gateway"
    users = [path.name for path in package.rglob("*.py") if "sandbox" not in path.parts
             and any(name in path.read_text("utf-8") for name in ("connect_read_pipe", "connect_write_pipe"))]
    assert users == []


class SaidChild:
    """A pairing process of which only the words are there."""

    def __init__(self) -> None:
        self.said = asyncio.StreamReader()

    def says(self, **words: str) -> None:
        self.said.feed_data(json.dumps(words).encode() + b"\n")

    async def take(self) -> SaidChild:
        return self

    async def order(self, **_: object) -> None:
        pass

    async def end(self, **_: object) -> None:
        pass


async def test_a_clock_that_jumps_ends_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = 1_800_000_000.0
    monkeypatch.setattr("gateway.link.pairing.time", SimpleNamespace(time=lambda: wall, monotonic=time.monotonic))
    child = SaidChild()
    pairing = NeonizePairing(SimpleNamespace(start_over=lambda file: None), child, SessionFile("s", tmp_path / "s.db", bytes(32)),  # type: ignore[arg-type]
                             None, device_name="", proxy=None)
    events = aiter(pairing.events())
    child.says(said="qr", code="1")
    assert await anext(events) == QrCode("1", wall + 60)
    wall += 3600
    asyncio.get_running_loop().call_later(0.05, lambda: child.says(said="qr", code="2"))
    assert await anext(events) == QrCode("2", wall + 20)
    await pairing.close()


async def test_a_child_that_cannot_be_listened_to_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    before = children(os.getpid())
    monkeypatch.setattr("gateway.link.pairing.asyncio.open_connection", fail)
    with pytest.raises(OSError, match="Too many"):
        await Child.start()
    left = set(children(os.getpid())) - set(before)
    for child in left:
        os.kill(child, 9)
    assert left == set()
