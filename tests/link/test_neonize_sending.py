"""Sends through the real core: what each failure says about the message's fate, and what a crash leaves to be found."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.events import Connected, ConnectFailed, Disconnected, LinkEvent, LoggedOut
from gateway.jid import JID, USER
from gateway.link.base import LinkError, SendError, SessionFile
from gateway.link.neonize_link import NeonizeLink, Patience
from gateway.link.threads import in_thread
from gateway.messages import (
    Audio,
    Document,
    Image,
    MessageKey,
    Outgoing,
    Quoted,
    Reaction,
    Revoke,
    Text,
    Video,
)
from tests.link.contract import Inbox
from tests.link.real import PEER, RealStage, real_stage, started

TO = JID(PEER, USER)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path) as stage:
        yield stage


async def on_the_wire(stage: RealStage, number: str = PEER) -> str:
    """The id of the first message to that number, as it stood on its stanza."""
    found = await stage.control.get("/messages", to=number, wait=20)
    return str(found[0]["id"])


async def raised(call: Awaitable[object]) -> str | None:
    try:
        await call
    except LinkError as error:
        return error.text
    return None


async def failure(stage: RealStage, sending: asyncio.Future[object]) -> SendError:
    with pytest.raises(SendError) as failed:
        await sending
    return failed.value


async def test_a_crash_between_hand_over_and_acknowledgement_leaves_the_id_to_be_found(stage: RealStage) -> None:
    link, _ = await stage.connected()
    await stage.fault("ack", mode="hold", times=1)
    secret, never = os.urandom(32), os.urandom(32)
    sending = asyncio.ensure_future(link.send(TO, Text("in flight"), secret))
    wire = await on_the_wire(stage)
    await stage.remote.kill()
    with pytest.raises(ConnectionError):
        await sending
    async with started(stage.sandbox) as again:
        closed = again.link(stage.file, lambda _: None)
        assert await closed.find_sent(secret) == wire
        assert await closed.find_sent(never) is None


async def test_every_kind_arrives_as_what_it_is(stage: RealStage) -> None:
    link, _ = await stage.connected()
    first = await link.send(TO, Text("first"), os.urandom(32))
    ours = MessageKey(TO, None, first.id)
    jpeg = b"\xff\xd8\xff\xe0" + os.urandom(2000)
    cases: list[tuple[Outgoing, str, dict[str, object]]] = [
        (Text("answer", Quoted(ours, "first")), "text", {"text": "answer", "quoted_id": first.id}),
        (Audio(os.urandom(3000), "audio/mpeg", 4), "audio", {"ptt": False, "seconds": 4, "mimetype": "audio/mpeg"}),
        (Image(jpeg, "image/jpeg", 40, 30, jpeg[:500], "look"), "image",
         {"caption": "look", "width": 40, "height": 30, "thumbnail_size": 500}),
        (Video(os.urandom(4000), "video/mp4", 3, 64, 48, jpeg[:300]), "video", {"seconds": 3, "width": 64}),
        (Video(os.urandom(4000), "video/mp4", 3, 64, 48, jpeg[:300], gif=True), "gif", {"seconds": 3}),
        (Document(os.urandom(500), "application/pdf", "a.pdf", "read"), "document", {"filename": "a.pdf", "caption": "read"}),
        (Reaction(ours, "👍"), "reaction", {"reaction": "👍", "target": first.id}),
        (Revoke(ours), "revoke", {"target": first.id}),
    ]
    for message, kind, facts in cases:
        secret = os.urandom(32)
        sent = await link.send(TO, message, secret)
        record = await stage.control.get(f"/messages/{sent.id}")
        assert record["kind"] == kind
        assert {name: record[name] for name in facts} == facts
        assert (record["bot_node"], record["copies"], record["failures"]) == (False, 1, [])
        assert await link.find_sent(secret) == sent.id, kind


async def test_a_refusal_is_certain(stage: RealStage) -> None:
    link, _ = await stage.connected()
    for code, told, retry in ((463, "account_restricted", False), (400, "send_failed", False), (503, "send_failed", True)):
        await stage.fault("ack", mode="error", code=code, times=1)
        error = await failure(stage, asyncio.ensure_future(link.send(TO, Text("x"), os.urandom(32))))
        assert (error.code, error.certain, error.retry) == (told, True, retry)


async def test_the_refusal_of_a_second_copy_says_nothing_of_the_first(stage: RealStage) -> None:
    link, _ = await stage.connected()
    await stage.fault("ack", mode="hold", times=1)
    sending = asyncio.ensure_future(link.send(TO, Text("once"), os.urandom(32)))
    id_ = await on_the_wire(stage)
    await stage.fault("ack", mode="error", code=479, times=1)
    await stage.break_device("drop")
    failed = await failure(stage, sending)
    assert (failed.code, failed.certain, failed.retry) == ("send_unconfirmed", False, False)
    record = await stage.control.get(f"/messages/{id_}")
    assert (record["copies"], record["decrypted"]) == (2, True)


async def test_nobody_there_is_certain_and_leaves_no_trace(stage: RealStage) -> None:
    link, _ = await stage.connected()
    secret = os.urandom(32)
    error = await failure(stage, asyncio.ensure_future(link.send(JID("15550000000", USER), Text("x"), secret)))
    assert (error.code, error.certain) == ("not_on_whatsapp", True)
    assert await link.find_sent(secret) is None


async def test_a_failed_upload_sends_nothing(stage: RealStage) -> None:
    link, _ = await stage.connected()
    secret = os.urandom(32)
    for status, retry in ((500, True), (413, False)):
        await stage.fault("upload", status=status, times=1)
        error = await failure(stage, asyncio.ensure_future(link.send(TO, Document(b"x" * 99, "a/b", "c"), secret)))
        assert (error.code, error.certain, error.retry) == ("upload_failed", True, retry)
        assert await link.find_sent(secret) is None
    assert (await link.send(TO, Document(b"x" * 99, "a/b", "c"), secret)).id


async def test_without_a_connection_a_send_fails_at_once_and_may_be_repeated(stage: RealStage) -> None:
    link, inbox = await stage.connected()
    await link.send(TO, Text("known"), os.urandom(32))
    await stage.fault("connect", mode="refuse")
    await stage.break_device("drop")
    await inbox.first(Disconnected)
    error = await failure(stage, asyncio.ensure_future(link.send(TO, Text("x"), os.urandom(32))))
    assert (error.code, error.certain, error.retry) == ("send_failed", True, True)


async def test_a_connection_lost_with_a_send_in_flight_repeats_the_same_message(stage: RealStage) -> None:
    link, _ = await stage.connected()
    await stage.fault("ack", mode="hold", times=1)
    sending = asyncio.ensure_future(link.send(TO, Text("twice on the wire"), os.urandom(32)))
    wire = await on_the_wire(stage)
    await stage.break_device("drop")
    sent = await asyncio.wait_for(sending, 20)
    assert sent.id == wire
    assert (await stage.control.get(f"/messages/{wire}"))["copies"] == 2


async def test_a_close_with_a_send_in_flight_is_uncertain_and_quick(stage: RealStage) -> None:
    link, _ = await stage.connected()
    await stage.fault("ack", mode="hold", times=1)
    secret = os.urandom(32)
    sending = asyncio.ensure_future(link.send(TO, Text("x"), secret))
    wire = await on_the_wire(stage)
    began = time.monotonic()
    await link.close()
    error = await failure(stage, sending)
    assert time.monotonic() - began < 5
    assert (error.code, error.certain) == ("send_unconfirmed", False)
    assert await link.find_sent(secret) == wire


async def test_a_missing_acknowledgement_is_given_up_in_time_and_hinders_nobody_else(tmp_path: Path) -> None:
    async with real_stage(tmp_path, patience={"ack": 5.0}) as stage:
        first, _ = await stage.connected()
        second, _ = await stage.connected(stage.session("s2"), phone="15550003333")
        await stage.fault("ack", device="15550001111", mode="hold")
        secret = os.urandom(32)
        stuck = asyncio.ensure_future(first.send(TO, Text("stuck"), secret))
        wire = await on_the_wire(stage)
        waiting = [asyncio.ensure_future(first.send(TO, Text("behind"), os.urandom(32))) for _ in range(20)]
        began = time.monotonic()
        for number in range(5):
            await second.send(TO, Text(f"free {number}"), os.urandom(32))
        assert time.monotonic() - began < 4
        error = await failure(stage, stuck)
        assert (error.code, error.certain) == ("send_unconfirmed", False)
        for behind in waiting:
            error = await failure(stage, behind)
            assert (error.code, error.certain, error.retry) == ("send_failed", True, True)
        await first.close()             # the core lets go of the message it still waits for
        assert await first.find_sent(secret) == wire
        assert len(await stage.control.get("/messages", **{"from": "15550001111"})) == 1


async def test_presence_and_receipts_reach_whatsapp(stage: RealStage) -> None:
    link, _ = await stage.connected()
    async with asyncio.timeout(10):
        while await raised(link.set_presence(False)) == "can't send presence without PushName set":
            await asyncio.sleep(0.02)           # WhatsApp tells the push name a moment after the login
    await link.set_presence(True)
    states = await stage.control.get("/events", kind="presence", count=2, wait=10)
    assert [event["state"] for event in states] == ["unavailable", "available"]
    await link.send(TO, Text("hi"), os.urandom(32))
    for state in ("recording", "composing", "paused"):
        await link.chat_presence(TO, state)  # type: ignore[arg-type]
    states = await stage.control.get("/events", kind="chat_state", count=3, wait=10)
    assert [(event["state"], event["media"]) for event in states] == [
        ("composing", "audio"), ("composing", ""), ("paused", "")]
    await link.mark_read([MessageKey(TO, TO, "A"), MessageKey(TO, TO, "B")])
    await link.mark_read([MessageKey(TO, TO, "C")], played=True)
    receipts = (await stage.control.get("/events", kind="receipt", count=3, wait=10))
    assert {(event["type"], tuple(event["ids"])) for event in receipts} >= {("read", ("A", "B")), ("played", ("C",))}


async def test_once_logged_out_nothing_is_said_about_what_was_sent(stage: RealStage) -> None:
    link, inbox = await stage.connected()
    secret = os.urandom(32)
    await link.send(TO, Text("hi"), secret)
    await stage.break_device("logout")
    await inbox.first(LoggedOut)
    async with asyncio.timeout(10):
        while (told := await raised(link.find_sent(secret))) is None:
            await asyncio.sleep(0.02)           # the core deletes the device after telling
    assert "no device is linked" in told
    error = await failure(stage, asyncio.ensure_future(link.send(TO, Text("x"), os.urandom(32))))
    assert (error.code, error.certain) == ("session_gone", True)
    await link.close()


async def test_connected_sessions_come_back_after_a_crash(stage: RealStage) -> None:
    await stage.connected()
    await stage.remote.kill()
    async with started(stage.sandbox) as again:
        inbox = Inbox()
        link = again.link(stage.file, inbox)
        await link.open()
        await inbox.first(Connected)
        assert (await link.send(TO, Text("back"), os.urandom(32))).id


async def test_a_send_that_got_no_thread_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    link = NeonizeLink(None, None, SessionFile("s", Path("s.db"), bytes(32)), lambda event: None, Patience(ack=1.0))  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr("gateway.link.neonize_link.in_thread", none)
        with pytest.raises(RuntimeError):
            await link._hand_over(b"1" * 32, lambda: b"")
    assert await link._hand_over(b"2" * 32, lambda: b"sent") == b"sent"


async def test_a_look_that_got_no_thread_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[LinkEvent] = []
    link = NeonizeLink(None, None, SessionFile("s", Path("s.db"), bytes(32)), told.append, Patience(look=0.01))     # type: ignore[arg-type]
    link._session, link._connected, looks = SimpleNamespace(call=lambda function: False), True, 0   # type: ignore[assignment]

    def none_at_first(call: Callable[[], bool], name: str) -> asyncio.Future[bool]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("can't start new thread")
        return in_thread(call, name)

    monkeypatch.setattr("gateway.link.neonize_link.in_thread", none_at_first)
    async with asyncio.timeout(5):
        await link._watch(link._session)                                # type: ignore[arg-type]
    assert looks == 3
    assert told == [ConnectFailed("the connection is gone, and WhatsApp's core does not dial again")]
