"""A disk that is full for a while: nothing WhatsApp told is lost, nothing is sent twice, and sessions go on by themselves."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.events import Connected, Disconnected, LoggedOut, Receipt
from gateway.jid import JID
from gateway.services import storing
from gateway.store.database import Transaction
from tests.link.fake_link import FakeLinks
from tests.running import Running, run_gateway, until

TO = "+237612345678"
FRIEND = JID.parse("237612345678@s.whatsapp.net")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "PAUSES", (0.02,))
    monkeypatch.setattr("gateway.services.sending.RETRY_SECONDS", (0.02,))
    monkeypatch.setattr("gateway.services.standing.DIAL_SECONDS", (0.02,))


@asynccontextmanager
async def full_disk(running: Running) -> AsyncIterator[None]:
    """For the connection that writes, every page is one too many."""
    database = running.gateway.store.database
    async with database._lock:
        await database._writer.execute("PRAGMA query_only = ON")        # SQLITE_READONLY: as storage_unavailable as SQLITE_FULL
    try:
        yield
    finally:
        async with database._lock:
            await database._writer.execute("PRAGMA query_only = OFF")


async def state_of(running: Running) -> str:
    return str((await running.client.get("/api/v1/sessions")).body["sessions"][0]["status"])


async def test_a_receipt_that_cannot_be_stored_is_stored_when_there_is_room(running: Running) -> None:
    _, link = await running.linked()
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await running.message(id_, "sent")
    async with full_disk(running):
        link.emit(Receipt("delivered", FRIEND, FRIEND, (running.links.sent[-1].id,), int(time.time())))
        link.emit(Disconnected(""))
        link.emit(Connected())
        await asyncio.sleep(0.1)
    await running.message(id_, "delivered")
    live, = running.gateway.sessions.live()
    await until(live.usable.is_set)
    again = (await running.client.post("/api/v1/messages", {"to": TO, "message": "2"})).body["id"]
    await running.message(again, "sent")
    assert len(running.links.links) == 1


async def test_an_acknowledgement_that_cannot_be_stored_is_not_forgotten(running: Running) -> None:
    _, link = await running.linked()
    held = link.hold_next_send()
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await held.handed_over.wait()
    async with full_disk(running):
        held.confirm()
        await asyncio.sleep(0.1)
    assert (await running.message(id_, "sent"))["whatsapp_id"] == running.links.sent[-1].id
    assert len(running.links.sent) == 1


async def test_the_outbox_goes_on_when_there_is_room_again(running: Running) -> None:
    _, link = await running.linked()
    held = link.hold_next_send()
    first = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    second = (await running.client.post("/api/v1/messages", {"to": "+15550002222", "message": "2"})).body["id"]
    await held.handed_over.wait()
    held.confirm()
    await running.message(first, "sent")
    async with full_disk(running):
        live, = running.gateway.sessions.live()
        assert live.sender is not None
        live.sender.wake()
        await asyncio.sleep(0.1)
    await running.message(second, "sent")
    third = (await running.client.post("/api/v1/messages", {"to": TO, "message": "3"})).body["id"]
    await running.message(third, "sent")
    assert len(running.links.sent) == 3


async def test_preparing_while_the_disk_is_full_fails_no_message(running: Running) -> None:
    _, link = await running.linked()
    link.emit(Disconnected(""))
    live, = running.gateway.sessions.live()
    await until(lambda: not live.usable.is_set())
    id_ = (await running.client.post("/api/v1/messages/audio", {"to": TO, "audioUrl": "http://127.0.0.1:9/a.mp3"})).body["id"]
    async with full_disk(running):
        assert live.sender is not None
        live.sender.connected()
        await asyncio.sleep(0.1)
        assert (await running.client.get(f"/api/v1/messages/{id_}")).body["status"] == "pending"
    assert (await running.message(id_, "failed"))["error"]["code"] == "fetch_failed"


async def test_a_link_made_on_a_full_disk_is_kept(running: Running) -> None:
    made = (await running.client.post("/api/v1/sessions", {"session_key": "a"})).body
    await until(lambda: running.links.pairings)
    pairing = running.links.pairing(made["id"])
    pairing.show_qr()
    live, = running.gateway.sessions.live()
    await until(lambda: live.qr is not None)
    async with full_disk(running):
        pairing.scan()
        await asyncio.sleep(0.1)
    await until(live.usable.is_set)
    assert live.session.phone_number == "+15550001111"
    assert await state_of(running) == "connected"


async def test_a_lost_connection_on_a_full_disk_is_shown_and_comes_back(running: Running) -> None:
    id_, link = await running.linked()
    async with full_disk(running):
        link.emit(Disconnected(""))
        await asyncio.sleep(0.05)
        assert await state_of(running) == "disconnected"
    link.emit(Connected())
    live, = running.gateway.sessions.live()
    await until(live.usable.is_set)
    events = await running.gateway.store.journal.after(0, session_id=id_)
    assert [e.data["reason"] for e in events if e.type == "status"][-2:] == ["connection_lost", "connected"]


async def test_a_log_out_on_a_full_disk_still_ends_the_session(running: Running) -> None:
    _, link = await running.linked()
    async with full_disk(running):
        link.emit(LoggedOut(False, "logged_out", ""))
        await asyncio.sleep(0.1)
    live, = running.gateway.sessions.live()
    await until(lambda: live.state.reason.code == "logged_out")
    await until(lambda: live.link is None)
    assert await state_of(running) == "logged_out"


async def test_a_deletion_that_the_disk_refused_can_be_asked_for_again(running: Running) -> None:
    id_, _ = await running.linked()
    async with full_disk(running):
        refused = await running.client.delete(f"/api/v1/sessions/{id_}")
        assert (refused.status, refused.body["error"]["code"]) == (503, "storage_unavailable")
        assert (await running.client.get(f"/api/v1/sessions/{id_}")).body["status"] != "connected"
    assert (await running.client.delete(f"/api/v1/sessions/{id_}")).status == 200
    assert (await running.client.get("/api/v1/sessions")).body["sessions"] == []


async def test_an_event_in_hand_when_the_daemon_stops_is_stored(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    _, link = await running.linked()
    message = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await running.message(message, "sent")
    messages, begun = running.gateway.store.messages, asyncio.Event()
    find = type(messages).of_wa_id

    async def slow(self: object, *arguments: object) -> object:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()                # in the middle of the transaction, until it is cut off
        return await find(self, *arguments)             # type: ignore[arg-type]

    monkeypatch.setattr(type(messages), "of_wa_id", slow)
    link.emit(Receipt("read", FRIEND, FRIEND, (running.links.sent[-1].id,), int(time.time())))
    await begun.wait()
    await asyncio.wait_for(running.gateway.sessions.stop(0), 5)
    assert (await running.message(message, "read"))["read_at"]


async def test_missing_acknowledgements_are_shown_while_the_disk_is_full_and_over_when_there_is_room(
        running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    _, link = await running.linked()
    live, = running.gateway.sessions.live()
    held = link.hold_next_send()
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await held.handed_over.wait()
    async with full_disk(running):
        await until(lambda: live.state.reason.code == "acks_missing")
        held.confirm()
        await asyncio.sleep(0.1)
    await running.message(id_, "sent")
    await until(lambda: live.state.reason.code == "connected")
    said = capsys.readouterr().out
    assert "state_not_told" in said and "Traceback" not in said


async def test_a_stopped_session_whose_deletion_the_disk_refused_is_not_connected(running: Running) -> None:
    id_, _ = await running.linked()
    await running.client.post(f"/api/v1/sessions/{id_}/disconnect", {})
    live, = running.gateway.sessions.live()
    for command in ("DELETE", "POST"):
        async with full_disk(running):
            refused = await running.client(command, f"/api/v1/sessions/{id_}" + ("/relink" if command == "POST" else ""), {})
            assert refused.body["error"]["code"] == "storage_unavailable"
        await asyncio.sleep(0.05)
        assert (live.state.reason.code, live._task, len(running.links.links)) == ("stopped", None, 1), command


async def test_a_deletion_that_cannot_be_finished_at_the_start_stops_nobody(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links = FakeLinks()
    async with run_gateway(tmp_path / "s", links=links) as running:
        id_, _ = await running.linked("deleted")
        await running.linked("other", "15550002222")
        async with running.gateway.store.database.transaction() as tx:
            await running.gateway.store.sessions.update(tx, id_, wrapped_key=None)

    async def full(*_: object) -> None:
        raise GatewayError("storage_unavailable")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.store.webhooks.Webhooks.delete_of_session", full)
        async with run_gateway(tmp_path / "s", links=links) as running:
            live, = running.gateway.sessions.live()
            await until(live.usable.is_set)
            assert live.session.session_key == "other"
            assert [row.session.session_key for row in await running.gateway.sessions.of(running.key)] == []
    async with run_gateway(tmp_path / "s", links=links) as running:
        assert [s.session_key for s in await running.gateway.store.sessions.all()] == ["other"]


async def test_a_session_whose_webhook_the_disk_refused_does_not_say_that_it_is_being_linked(
        running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise GatewayError("storage_unavailable")

    monkeypatch.setattr("gateway.services.webhooks.WebhookService.set_session_url", full)
    answer = await running.client.post("/api/v1/sessions", {"session_key": "a", "webhook_url": "http://127.0.0.1:9/"})
    assert answer.body["error"]["code"] == "storage_unavailable"
    assert await state_of(running) == "qr_expired"


async def test_a_warning_that_cannot_be_stored_is_stored_when_there_is_room(running: Running) -> None:
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    id_, link = await running.linked()
    live, = running.gateway.sessions.live()
    held = link.hold_next_send()
    await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})
    await held.handed_over.wait()
    async with full_disk(running):
        await until(lambda: live.state.reason.code == "acks_missing")
        await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        while "no_ack" not in [e.data.get("code") for e in await running.gateway.store.journal.after(0, session_id=id_)]:
            await asyncio.sleep(0.01)
    held.confirm()
    await until(lambda: live.state.reason.code == "connected")
    gc.collect()
    assert complaints == []


async def test_a_deletion_that_has_destroyed_the_key_goes_to_its_end(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for again it would find no session, and what waits to be sent would wait for ever."""
    id_, link = await running.linked()
    live, = running.gateway.sessions.live()
    link.emit(Disconnected(""))
    await until(lambda: not live.usable.is_set())
    message = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    delete, refused = running.gateway.store.sessions.delete, 0

    async def full(self: object, tx: Transaction, session_id: str) -> None:
        nonlocal refused
        refused += 1
        if refused < 3:
            raise GatewayError("storage_unavailable")
        await delete(tx, session_id)

    monkeypatch.setattr("gateway.store.sessions.Sessions.delete", full)
    assert (await running.client.delete(f"/api/v1/sessions/{id_}")).status == 200
    assert (await running.client.get("/api/v1/sessions")).body["sessions"] == []
    assert (await running.client.get(f"/api/v1/messages/{message}")).body["error"]["code"] == "session_gone"
