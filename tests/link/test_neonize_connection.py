"""What the real core tells when WhatsApp refuses, drops, replaces or bans, and that closing always works."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.events import (
    ChatPresence,
    Connected,
    ConnectFailed,
    Disconnected,
    KeepAliveRestored,
    KeepAliveTimeout,
    LinkEvent,
    LoggedOut,
    LoginRefused,
    MessageArrived,
    Receipt,
    StreamError,
    StreamReplaced,
    TemporaryBan,
)
from gateway.jid import JID, USER
from gateway.link.base import SessionFile
from gateway.messages import Document, Text
from tests.link.contract import Inbox
from tests.link.real import OWNER, PEER, RealStage, real_stage, started

TO = JID(PEER, USER)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path) as stage:
        yield stage


def count(inbox: Inbox, kind: type[LinkEvent]) -> int:
    return sum(isinstance(event, kind) for event in inbox.events)


async def twice_connected(inbox: Inbox) -> None:
    await inbox.first(Connected, lambda _: count(inbox, Connected) >= 2)


async def test_a_cut_connection_comes_back_by_itself(stage: RealStage) -> None:
    link, inbox = await stage.connected()
    await stage.break_device("drop")
    await inbox.first(Disconnected)
    await twice_connected(inbox)
    assert (await link.send(TO, Text("back"), os.urandom(32))).id


async def test_a_login_refused_for_now_is_tried_again(stage: RealStage) -> None:
    _, inbox = await stage.connected()
    await stage.fault("login", reason=503, times=1)
    await stage.break_device("drop")
    await twice_connected(inbox)
    assert count(inbox, Disconnected) >= 2


async def test_a_reconnection_that_the_core_does_not_repeat_is_told_all_the_same(tmp_path: Path) -> None:
    """After stream error 515 it dials once, in silence."""
    async with real_stage(tmp_path, patience={"look": 0.1}) as stage:
        link, inbox = await stage.connected()
        await stage.break_device("reconnect")
        await twice_connected(inbox)
        assert count(inbox, ConnectFailed) == 0
        await stage.fault("connect", mode="refuse", times=1)
        await stage.break_device("reconnect")
        failed = await inbox.first(ConnectFailed)
        assert "does not dial again" in failed.detail
        await link.close()
        again, _ = await stage.opened()
        assert (await again.send(TO, Text("back"), os.urandom(32))).id


async def test_when_the_core_does_not_come_back_in_good_time_it_is_told(tmp_path: Path) -> None:
    async with real_stage(tmp_path, patience={"look": 0.1, "reconnect": 2.0}) as stage:
        link, inbox = await stage.connected()
        await stage.break_device("drop")
        await twice_connected(inbox)
        await asyncio.sleep(2.5)
        assert count(inbox, ConnectFailed) == 0
        await stage.fault("login", reason=503)
        await stage.break_device("drop")
        failed = await inbox.first(ConnectFailed)
        assert failed.detail == "WhatsApp's core has not connected for 2 s"
        assert count(inbox, Disconnected) >= 2
        await link.close()


@pytest.mark.parametrize(("action", "kind"), [("replace", StreamReplaced), ("logout", LoggedOut), ("stream-error", StreamError)])
async def test_what_ends_a_connection_is_told(stage: RealStage, action: str, kind: type[LinkEvent]) -> None:
    link, inbox = await stage.connected()
    await stage.break_device(action)
    event = await inbox.first(kind)
    if isinstance(event, LoggedOut):
        assert (event.on_connect, event.reason) == (False, "logged_out")
    await asyncio.wait_for(link.close(), 10)


REFUSALS: list[tuple[dict[str, Any], LinkEvent]] = [
    ({"reason": 402, "code": 101, "expire": 3600}, TemporaryBan(101, 3600.0, "sent to too many people")),
    ({"reason": 402, "code": 199, "expire": 3600}, TemporaryBan(0, 0.0, "for a reason this version does not know")),
    ({"reason": 405}, LoginRefused("client_outdated")),
    ({"reason": 409}, LoginRefused("bad_user_agent", "bad_user_agent")),
    ({"reason": 418}, LoginRefused("connect_failure", "for a reason this version does not know")),
    ({"reason": 401}, LoggedOut(True, "logged_out")),           # these two take the device away
    ({"reason": 403}, LoggedOut(True, "main_device_gone")),
]


async def test_a_login_refused_for_good_is_told_with_its_reason(stage: RealStage) -> None:
    await stage.pair()
    for fault, expected in REFUSALS:
        if fault["reason"] == 403:
            await stage.pair()
        await stage.fault("login", times=1, **fault)
        inbox = Inbox()
        link = stage.links.link(stage.file, inbox)
        await link.open()
        assert await inbox.first(type(expected)) == expected
        await asyncio.wait_for(link.close(), 10)


async def test_a_first_dial_that_fails_is_told_and_may_be_repeated(stage: RealStage) -> None:
    await stage.pair()
    await stage.fault("connect", mode="refuse", times=1)
    inbox = Inbox()
    link = stage.links.link(stage.file, inbox)
    await link.open()
    failed = await inbox.first(ConnectFailed)
    assert failed.detail
    await link.open()
    await inbox.first(Connected)
    await link.close()


async def test_closing_during_a_dial_that_hangs_is_bounded_and_harms_nobody(tmp_path: Path) -> None:
    async with real_stage(tmp_path, patience={"close": 1.0}) as stage:
        await stage.pair()
        await stage.fault("connect", mode="mute", times=1)
        inbox = Inbox()
        link = stage.links.link(stage.file, inbox)
        await link.open()
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await link.close()
        assert time.monotonic() - began < 8
        other, _ = await stage.connected(stage.session("s2"), phone="15550003333")
        assert (await other.send(TO, Text("alive"), os.urandom(32))).id
        assert inbox.events == []


async def test_a_receipt_the_core_cannot_encode_ends_the_session_and_opening_again_works(stage: RealStage) -> None:
    """The core's own fault: a receipt type it has no name for leaves a required field unset, and it returns."""
    link, inbox = await stage.connected()
    sent = await link.send(TO, Text("hi"), os.urandom(32))
    device = stage.sandbox.world.people.device(OWNER)
    assert device is not None
    assert device.connection is not None
    from gateway.sandbox.node import Node

    peer = stage.sandbox.world.people.person(PEER)
    assert peer is not None
    device.connection.send(Node("receipt", {"from": peer.lid, "id": sent.id, "type": "server-error", "t": 1_700_000_000}))
    failed = await inbox.first(ConnectFailed)
    assert "required field" in failed.detail
    await link.open()
    await twice_connected(inbox)
    said = await stage.say("still there")
    await inbox.first(MessageArrived, lambda m: m.message.key.id == said)
    await link.close()


async def test_nonsense_from_the_server_is_survived(stage: RealStage) -> None:
    link, inbox = await stage.connected()
    await stage.break_device("malformed")
    said = await stage.say("after all that")
    await inbox.first(MessageArrived, lambda m: m.message.key.id == said)
    assert (await link.send(TO, Text("fine"), os.urandom(32))).id


async def test_typing_and_receipts_of_others_are_told_in_order(stage: RealStage) -> None:
    link, inbox = await stage.connected()
    sent = await link.send(TO, Text("hi"), os.urandom(32))
    await stage.control.post(f"/contacts/{PEER}/typing", state="recording")
    assert (await inbox.first(ChatPresence)).state == "recording"
    for kind in ("read", "played"):
        await stage.control.post(f"/contacts/{PEER}/receipt", id=sent.id, type=kind)
    await inbox.first(Receipt, lambda receipt: receipt.type == "played")
    told = [event.type for event in inbox.events if isinstance(event, Receipt)]
    assert told == ["delivered", "read", "played"]
    await link.close()


async def test_messages_that_waited_are_delivered_at_the_next_opening(stage: RealStage) -> None:
    link, _ = await stage.connected()
    await link.close()
    waited = [await stage.say(f"number {number}") for number in range(5)]
    _, inbox = await stage.opened()
    for id_ in waited:
        await inbox.first(MessageArrived, lambda m, id_=id_: m.message.key.id == id_)  # type: ignore[misc]
    texts = [event.message.text for event in inbox.events if isinstance(event, MessageArrived)]
    assert texts == [f"number {number}" for number in range(5)]


async def test_a_file_that_does_not_open_with_its_key_is_told_as_damaged(stage: RealStage) -> None:
    await stage.pair()
    inbox = Inbox()
    wrong = SessionFile("s1", stage.file.path, bytes(32))
    before = stage.file.path.read_bytes()
    link = stage.links.link(wrong, inbox)
    await link.open()
    assert (await inbox.first(ConnectFailed)).detail.startswith("store_damaged: ")
    await link.close()
    assert stage.file.path.read_bytes() == before
    await stage.opened()


async def test_a_file_whose_pages_are_damaged_is_told_as_such(stage: RealStage) -> None:
    """Its first page opens: it is the core that fails, with an I/O error, which would else be tried again for ever."""
    await stage.pair()
    damaged = bytearray(stage.file.path.read_bytes())
    damaged[5000:5600] = bytes(600)
    stage.file.path.write_bytes(damaged)
    inbox = Inbox()
    link = stage.links.link(stage.file, inbox)
    await link.open()
    assert (await inbox.first(ConnectFailed)).detail.startswith("store_damaged: ")
    await link.close()
    assert stage.file.path.read_bytes() == damaged


async def test_opening_and_closing_leaves_nothing_behind(stage: RealStage) -> None:
    """The core never closes its SQLite connections (two an opening, each a database and a log); we do, a second later."""
    await stage.pair()
    counts = "(len(os.listdir('/proc/self/fd')), __import__('threading').active_count(), len(os.listdir('/proc/self/task')))"
    before: tuple[int, ...] = ()
    for opening in range(8):
        link, _ = await stage.opened()
        await link.close()
        if opening == 1:
            await asyncio.sleep(2.5)
            before = await stage.remote.evaluate(counts)
    after: tuple[int, ...] = ()
    for _ in range(100):
        after = await stage.remote.evaluate(counts)
        fds, python_threads, threads = (now - then for then, now in zip(before, after, strict=True))
        if fds <= 0 and python_threads <= 2 and threads <= 4:           # workers not needed before; Go keeps threads for reuse
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError((before, after))
    link, inbox = await stage.opened()                                  # and what was closed for the core is whole
    said = await stage.say("still there?")
    await inbox.first(MessageArrived, lambda m: m.message.key.id == said)
    assert (await link.send(TO, Text("yes"), os.urandom(32))).id
    await link.close()


async def test_the_proxy_setting_carries_the_pairing_the_session_and_its_files(tmp_path: Path) -> None:
    async with real_stage(tmp_path) as stage:
        direct = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), "") | {"NEONIZE_BOT_TAG": "off"}
        async with started(stage.sandbox, direct, proxy=stage.sandbox.proxy_url) as links:
            stage.remote = stage.links = links
            link, _ = await stage.connected()
            sent = await link.send(TO, Document(b"x" * 999, "application/pdf", "a.pdf"), os.urandom(32))
            assert await stage.control.get_bytes(f"/messages/{sent.id}/media") == b"x" * 999


@pytest.mark.long
@pytest.mark.timeout(200)
async def test_a_server_that_falls_silent_is_told_and_so_is_its_return(stage: RealStage) -> None:
    _, inbox = await stage.connected()
    await stage.break_device("mute")
    assert (await inbox.first(KeepAliveTimeout, seconds=60)).errors == 1
    await stage.break_device("unmute")
    await inbox.first(KeepAliveRestored, seconds=90)
