"""One session's life, where HTTP does not show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.events import Connected, ConnectFailed, TemporaryBan
from gateway.link.base import SessionFile
from gateway.services.standing import Surroundings
from tests.link.fake_link import FakeLinks
from tests.running import FAST, Running, run_gateway, until


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


async def test_a_restart_does_not_dial_into_a_ban(tmp_path: Path) -> None:
    links = FakeLinks()
    async with run_gateway(tmp_path / "s", FAST, links) as running:
        _, link = await running.linked()
        link.emit(TemporaryBan(101, 3600.0, ""))
        live, = running.gateway.sessions.live()
        await until(lambda: live.state.status.value == "banned")
    async with run_gateway(tmp_path / "s", FAST, links) as running:
        live, = running.gateway.sessions.live()
        await until(lambda: live.state.next_retry is not None)
        assert live.state.status.value == "banned"
        assert live.state.next_retry == live.state.until
        assert len(links.links) == 1


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
