"""Commands that meet: stopping, deleting, linking, each at the worst moment."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gateway.errors import GatewayError, InvalidField
from gateway.events import Connected, Disconnected
from gateway.jid import JID
from gateway.link.base import SendError
from gateway.services.drafts import Draft
from tests.running import Running, run_gateway, until

TO = "+237612345678"


async def test_nothing_begins_while_the_daemon_stops(running: Running) -> None:
    id_, _ = await running.linked()
    other = (await running.client.post("/api/v1/sessions", {"session_key": "other"})).body["id"]
    await until(lambda: len(running.links.pairings) == 2)
    await running.gateway.sessions.stop(0)
    for path in (f"{id_}/relink", f"{id_}/connect", f"{other}/relink"):
        answer = await running.client.post(f"/api/v1/sessions/{path}", {})
        assert (answer.status, answer.body["error"]["code"]) == (503, "stopping"), path
    assert (await running.client.delete(f"/api/v1/sessions/{id_}")).body["error"]["code"] == "stopping"
    assert len(running.links.pairings) == 2
    assert len(running.links.links) == 1


async def test_two_relinks_at_once_leave_one_attempt(running: Running) -> None:
    id_, _ = await running.linked()
    answers = await asyncio.gather(*(running.client.post(f"/api/v1/sessions/{id_}/relink", {}) for _ in range(3)))
    assert [answer.status for answer in answers] == [200, 200, 200]
    await until(lambda: sum(not pairing.closed for pairing in running.links.pairings) == 1)
    running.links.pairings[-1].scan("15550009999")
    live, = running.gateway.sessions.live()
    await until(live.usable.is_set)
    assert live.session.phone_number == "+15550009999"


async def test_a_session_is_deleted_once_and_told_once(running: Running) -> None:
    id_, _ = await running.linked()
    answers = await asyncio.gather(*(running.client.delete(f"/api/v1/sessions/{id_}") for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [200, 404, 404]
    events = await running.gateway.store.journal.after(0, session_id=id_)
    assert [event.type for event in events].count("deleted") == 1


async def test_a_session_that_is_being_deleted_is_not_linked_again(running: Running) -> None:
    made = (await running.client.post("/api/v1/sessions", {"session_key": "a"})).body
    await until(lambda: running.links.pairings)
    deleted, relinked = await asyncio.gather(running.client.delete(f"/api/v1/sessions/{made['id']}"),
                                             running.client.post(f"/api/v1/sessions/{made['id']}/relink", {}))
    assert deleted.status == 200
    assert relinked.status in (200, 404, 503)
    await until(lambda: all(pairing.closed for pairing in running.links.pairings))
    assert running.gateway.sessions.live() == []


async def test_a_message_that_meets_the_deletion_is_settled_or_refused(running: Running) -> None:
    id_, link = await running.linked()
    link.emit(Disconnected(""))
    live, = running.gateway.sessions.live()
    await until(lambda: not live.usable.is_set())
    sends = [running.client.post("/api/v1/messages", {"to": TO, "message": str(n), "session": id_}) for n in range(6)]
    deleted, *answers = await asyncio.gather(running.client.delete(f"/api/v1/sessions/{id_}"), *sends)
    assert deleted.status == 200
    assert {answer.status for answer in answers} <= {202, 404, 409}
    assert await running.gateway.store.messages.queue(id_) == []


async def test_a_deletion_that_a_crash_cut_off_settles_what_waited(tmp_path: Path) -> None:
    async with run_gateway(tmp_path / "s") as running:
        id_, link = await running.linked()
        link.emit(Disconnected(""))
        await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})
        async with running.gateway.store.database.transaction() as tx:
            await running.gateway.store.sessions.update(tx, id_, wrapped_key=None)
    async with run_gateway(tmp_path / "s") as running:
        assert running.gateway.sessions.live() == []
        assert await running.gateway.store.messages.queue(id_) == []


async def test_a_session_that_cannot_be_made_leaves_nothing_behind(running: Running) -> None:
    """Callers that do not look at the URL themselves would take the name for ever."""
    with pytest.raises(InvalidField):
        await running.gateway.sessions.create(running.key, session_key="a", webhook_url="ftp://example.com/")
    assert (await running.client.post("/api/v1/sessions", {"session_key": "a"})).status == 201


async def test_an_acknowledgement_does_not_call_a_lost_connection_connected(running: Running) -> None:
    _, link = await running.linked()
    live, = running.gateway.sessions.live()
    held = link.hold_next_send()
    await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})
    await held.handed_over.wait()
    await until(lambda: live.state.reason.code == "acks_missing")
    await live._standing._setting.acquire()                       # so that both changes wait in line
    link.emit(Disconnected(""))
    await asyncio.sleep(0.05)
    held.confirm()
    await asyncio.sleep(0.05)
    live._standing._setting.release()
    await until(lambda: live.state.reason.code == "connection_lost")
    await asyncio.sleep(0.05)
    assert live.state.reason.code == "connection_lost"
    assert not live.usable.is_set()


async def test_a_send_that_is_never_acknowledged_makes_the_session_dial_again(running: Running) -> None:
    """Otherwise a quiet session would be called disconnected until somebody sends something."""
    _, link = await running.linked()
    live, = running.gateway.sessions.live()
    held = link.hold_next_send()
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await held.handed_over.wait()
    await until(lambda: live.state.reason.code == "acks_missing")
    held.fail(SendError("send_unconfirmed", "no acknowledgement", certain=False))
    await running.message(id_, "unconfirmed")
    await until(lambda: len(running.links.links) == 2 and live.usable.is_set())
    assert len(running.links.sent) == 1


async def test_a_restriction_belongs_to_the_account_and_not_to_the_session(tmp_path: Path) -> None:
    async with run_gateway(tmp_path / "s") as running:
        id_, link = await running.linked()
        link.fail_next_send(SendError("account_restricted", "463", retry=True))
        await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})
        live, = running.gateway.sessions.live()
        await until(lambda: live.restricted_until is not None)
        await running.client.post(f"/api/v1/sessions/{id_}/relink", {})
        assert live.restricted_until is None


async def test_large_files_are_not_all_made_ready_long_before_their_turn(running: Running,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """A session may send forty messages an hour: what is prepared lies in memory until then."""
    monkeypatch.setattr("gateway.services.sending.AHEAD_BYTES", 1500)
    id_, _ = await running.linked()
    await running.client.patch(f"/api/v1/sessions/{id_}", {"settings": {"min_gap_seconds": 1000}})
    first = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await running.message(first, "sent")
    for _ in range(5):
        answer = await running.client.post("/api/v1/messages/media", {
            "to": TO, "mediaType": "document", "mediaUrl": "data:application/octet-stream," + "x" * 1000})
        assert answer.status == 202, answer.body
    live, = running.gateway.sessions.live()
    sender = live.sender
    assert sender is not None
    await until(lambda: len(sender._preparing) == 2)
    await running.message(answer.body["id"], "queued")
    sender.wake()
    await asyncio.sleep(0.05)
    assert len(sender._preparing) == 2


async def test_a_session_that_is_made_while_the_daemon_stops_begins_nothing(running: Running) -> None:
    async with running.gateway.store.database._lock:            # so that it waits for its row
        making = asyncio.create_task(running.gateway.sessions.create(running.key, session_key="late"))
        await asyncio.sleep(0.05)
        await running.gateway.sessions.stop(0)
    with pytest.raises(GatewayError, match="stopping"):
        await making
    assert running.links.pairings == []


async def test_new_chats_that_a_restriction_holds_up_do_not_hold_up_the_known_ones(running: Running) -> None:
    """However many they are."""
    id_, link = await running.linked()
    live, = running.gateway.sessions.live()
    first = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await running.message(first, "sent")
    await live._standing.update(restricted_until=time.time() + 3600)
    link.emit(Disconnected(""))
    await until(lambda: not live.usable.is_set())
    store = running.gateway.store
    async with store.database.transaction() as tx:
        for number in range(250):
            await store.messages.accept(tx, id=f"new{number}", owner=running.key.owner, session_id=id_, kind="text",
                                        chat=JID(f"23769{number:07d}", "s.whatsapp.net"), facts={}, at=time.time(),
                                        payload=Draft("text", text="x", ready=True).encode())
    known = (await running.client.post("/api/v1/messages", {"to": TO, "message": "2"})).body["id"]
    link.emit(Connected())
    await running.message(known, "sent", 5)
    assert len(running.links.sent) == 2
    assert live.sender is not None
    pause = await live.sender._step()
    assert pause is not None and 3500 < pause <= 3600
