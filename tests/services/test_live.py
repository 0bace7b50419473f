"""One session's life, where HTTP does not show it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.events import Connected, ConnectFailed, LoginRefused, MessageArrived, TemporaryBan
from gateway.jid import JID
from gateway.link.base import SessionFile
from gateway.messages import MessageKey, Received
from gateway.services import storing
from gateway.services.receiving import Receiving
from gateway.services.standing import Surroundings
from gateway.store.sessions import Session
from tests.link.fake_link import FakeLink, FakeLinks, FakePairing
from tests.running import FAST, Running, run_gateway, until

FRIEND = JID.parse("237612345678@s.whatsapp.net")


async def test_a_crash_right_after_the_phone_accepted_does_not_lose_the_link(tmp_path: Path) -> None:
    """The keys are in the file before our row says so."""
    links = FakeLinks()
    async with run_gateway(tmp_path / "s", FAST, links) as running:
        made = (await running.client.post("/api/v1/sessions", {"session_key": "a"})).body
        await until(lambda: links.pairings)
        links.pairing(made["id"]).show_qr()
        path = links.pairing(made["id"]).file.path
    path.touch()
    links.link_account(SessionFile(made["id"], path, bytes(32)))
    async with run_gateway(tmp_path / "s", FAST, links) as running:
        live, = running.gateway.sessions.live()
        await until(live.usable.is_set)
        assert live.session.phone_number == "+15550001111"


async def test_a_code_that_waited_at_a_restart_is_told_as_expired(tmp_path: Path) -> None:
    links = FakeLinks()
    async with run_gateway(tmp_path / "s", FAST, links) as running:
        await running.client.post("/api/v1/sessions", {"session_key": "a"})
    async with run_gateway(tmp_path / "s", FAST, links) as running:
        live, = running.gateway.sessions.live()
        assert live.state.reason.code == "qr_expired"


async def test_a_file_that_does_not_open_ends_the_session_and_not_the_daemon(running: Running) -> None:
    id_, link = await running.linked()
    link.emit(ConnectFailed("store_damaged: the file is damaged"))
    live, = running.gateway.sessions.live()
    await until(lambda: live.state.reason.code == "store_damaged")
    assert live.state.detail == "the file is damaged"
    assert (await running.client.get("/healthz")).status == 200


async def ban(running: Running) -> None:
    """A linked session, for an hour."""
    _, link = await running.linked()
    link.emit(TemporaryBan(101, 3600.0, ""))
    live, = running.gateway.sessions.live()
    await until(lambda: live.state.status.value == "banned")


async def test_a_restart_does_not_dial_into_a_ban(tmp_path: Path) -> None:
    links = FakeLinks()
    async with run_gateway(tmp_path / "s", FAST, links) as running:
        await ban(running)
    async with run_gateway(tmp_path / "s", FAST, links) as running:
        live, = running.gateway.sessions.live()
        await until(lambda: live.state.next_retry is not None)
        assert live.state.status.value == "banned"
        assert live.state.next_retry == live.state.until
        assert len(links.links) == 1


async def test_a_ban_of_a_future_that_a_clock_took_back_lasts_as_long_as_it_was_to(tmp_path: Path) -> None:
    links = FakeLinks()
    async with run_gateway(tmp_path / "s", FAST, links) as running:
        await ban(running)
        async with running.gateway.store.database.transaction() as tx:
            await tx.execute("UPDATE sessions SET since = since + 1e9, until = until + 1e9")
    async with run_gateway(tmp_path / "s", FAST, links) as running:
        live, = running.gateway.sessions.live()
        await until(lambda: live.state.next_retry is not None)
        assert live.state.status.value == "banned"
        assert 3500 < (live.state.next_retry or 0) - time.time() < 3700


async def test_dials_in_vain_are_further_and_further_apart_until_one_connects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []
    monkeypatch.setattr(Surroundings, "pause", lambda self, count: tries.append(count) or 0.0)
    links = FakeLinks()
    async with run_gateway(tmp_path / "s", FAST, links) as running:
        id_, _ = await running.linked()
        links.on_open = [ConnectFailed("no route")]
        links.live(id_).emit(ConnectFailed("gone"))
        await until(lambda: len(tries) >= 4)
        links.on_open = [Connected()]
        live, = running.gateway.sessions.live()
        await until(live.usable.is_set)
        count = len(tries)
        links.live(id_).emit(ConnectFailed("gone again"))
        await until(lambda: len(tries) > count and live.usable.is_set())
    assert tries[:4] == [0, 1, 2, 3]
    assert tries[count:] == [0]


def arrival(id_: str) -> MessageArrived:
    return MessageArrived(Received(MessageKey(FRIEND, FRIEND, id_), int(time.time()), "text", False, FRIEND, None, "Ama", "x"))


async def arrived(running: Running) -> list[str]:
    return [m.wa_id or "" for m in await running.gateway.store.messages.page(running.key.owner, direction="in")][::-1]


async def test_an_event_that_cannot_be_handled_costs_neither_the_session_nor_the_others(
        running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Receiving.handle_message

    async def stumble(self: Receiving, session: Session, event: MessageArrived, now: float) -> None:
        if event.message.key.id == "BAD":
            raise ValueError("nobody thought of this")
        await store(self, session, event, now)

    monkeypatch.setattr(Receiving, "handle_message", stumble)
    _, link = await running.linked()
    live, = running.gateway.sessions.live()
    link.emit(arrival("BAD"))
    link.emit(arrival("A1"))
    async with asyncio.timeout(5):
        while await arrived(running) != ["A1"]:
            await asyncio.sleep(0.005)
    assert live.state.status.value == "connected"
    for id_ in ("BAD", "A2"):
        link.emit(arrival(id_))
    await running.gateway.sessions.stop(0)
    assert await arrived(running) == ["A1", "A2"]


async def test_a_link_that_fails_to_close_loses_nothing_that_had_arrived(
        running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    _, link = await running.linked()

    async def fail() -> None:
        link.emit(arrival("A1"))
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(link, "close", fail)
    await running.gateway.sessions.stop(0)
    assert await arrived(running) == ["A1"]


async def test_a_send_under_way_ends_before_a_disconnection_that_was_asked_for(running: Running) -> None:
    """Cut off, nobody could tell whether it arrived."""
    id_, link = await running.linked()
    held = link.hold_next_send()
    message = (await running.client.post("/api/v1/messages", {"to": "+237612345678", "message": "1"})).body["id"]
    await held.handed_over.wait()
    disconnecting = asyncio.create_task(running.client.post(f"/api/v1/sessions/{id_}/disconnect", {}))
    live, = running.gateway.sessions.live()
    await until(lambda: live.session.stopped)
    held.confirm()
    assert (await disconnecting).status == 200
    assert (await running.client.get(f"/api/v1/messages/{message}")).body["status"] == "sent"


async def test_a_session_that_is_being_linked_keeps_its_file_and_its_code(running: Running) -> None:
    """It was linked when somebody asked for a new key, and is not when the turn comes."""
    id_, _ = await running.linked()
    await running.client.post(f"/api/v1/sessions/{id_}/relink", {})
    await until(lambda: len(running.links.pairings) == 2)
    with pytest.raises(GatewayError, match="not linked"):
        async with running.gateway.sessions.file_at_rest(id_):
            raise AssertionError("its file is the pairing's")
    live, = running.gateway.sessions.live()
    assert (live.state.status.value, running.links.pairings[-1].closed) == ("pending", 0)


async def test_a_session_whose_row_cannot_be_read_after_a_rest_is_held_again(
        running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "PAUSES", (0.01,))
    id_, _ = await running.linked()
    live, = running.gateway.sessions.live()
    refresh, refused = live._standing.refresh, 0

    async def unreadable() -> None:
        nonlocal refused
        refused += 1
        if refused == 1:
            raise GatewayError("storage_unavailable")
        await refresh()

    async with running.gateway.sessions.file_at_rest(id_):
        monkeypatch.setattr(live._standing, "refresh", unreadable)
    await until(lambda: len(running.links.links) == 2 and live.usable.is_set())


async def test_a_clock_that_jumps_while_whatsapp_is_out_of_reach_does_not_give_the_linking_up(
        running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Surroundings, "pause", lambda self, tries: 0.0)
    await running.client.post("/api/v1/sessions", {"session_key": "a"})
    live, = running.gateway.sessions.live()
    await until(lambda: len(running.links.pairings) == 1)
    live._pairer._around = replace(live._pairer._around, clock=lambda: time.time() + 86_400)
    running.links.pairings[0].end("no_network_pairing", "no route")
    await until(lambda: len(running.links.pairings) == 2 or live.state.is_terminal)
    assert live.state.status.value == "pending"


def slow_to_close(one: FakeLink | FakePairing, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """(set when its close has begun, to be set for its end)."""
    closing, closed = asyncio.Event(), asyncio.Event()

    async def close() -> None:
        closing.set()
        await closed.wait()

    monkeypatch.setattr(one, "close", close)
    return closing, closed


async def test_a_session_is_not_opened_again_before_its_last_link_has_closed(
        running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The phone's owner presses Connect in the very moment in which the link comes to its end."""
    id_, link = await running.linked()
    live, = running.gateway.sessions.live()
    closing, closed = slow_to_close(link, monkeypatch)
    link.emit(LoginRefused("client_outdated"))
    await closing.wait()
    asked = asyncio.create_task(running.client.post(f"/api/v1/sessions/{id_}/connect"))
    await until(lambda: live._switching.locked())
    assert not (await asyncio.wait({asked}, timeout=0.2))[0]
    assert len(running.links.links) == 1
    closed.set()
    assert (await asked).status == 200
    await until(live.usable.is_set)
    assert len(running.links.links) == 2


async def test_an_attempt_to_link_is_not_followed_by_the_next_before_it_has_closed(
        running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    made = (await running.client.post("/api/v1/sessions", {"session_key": "a"})).body
    await until(lambda: running.links.pairings)
    first = running.links.pairing(made["id"])
    closing, closed = slow_to_close(first, monkeypatch)
    first.end("qr_expired")
    await closing.wait()
    asked = asyncio.create_task(running.client.post(f"/api/v1/sessions/{made['id']}/relink"))
    assert not (await asyncio.wait({asked}, timeout=0.2))[0]
    assert len(running.links.pairings) == 1
    closed.set()
    assert (await asked).status == 200
    await until(lambda: len(running.links.pairings) == 2)
