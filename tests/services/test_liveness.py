"""A restart is asked for where it helps, and only there."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.errors import GatewayError
from gateway.services.liveness import Liveness
from tests.running import Running


async def test_a_connected_link_without_its_thread_is_found_at_the_second_look(running: Running) -> None:
    """At the first one its end may be on its way still."""
    id_, _ = await running.linked()
    threads = {id_}
    gateway = running.gateway
    liveness = Liveness(gateway.store, gateway.sessions, time.time, lambda: threads)
    assert [await liveness.check(), await liveness.check()] == ["", ""]
    threads.clear()
    assert await liveness.check() == ""
    assert "no thread: 1" in await liveness.check()
    threads.add(id_)
    assert await liveness.check() == ""
    assert liveness.status() == "1 of 1 sessions connected"


async def test_a_store_that_refuses_is_told_but_a_restart_would_not_mend_it(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(store: object, now: float) -> None:
        raise GatewayError("storage_unavailable", "The gateway's store cannot be written: database or disk is full.")

    gateway = running.gateway
    liveness = Liveness(gateway.store, gateway.sessions, time.time)
    monkeypatch.setattr(type(gateway.store), "probe", full)
    assert await liveness.check() == ""
    assert liveness.status() == "0 of 0 sessions connected; The gateway's store cannot be written: database or disk is full."
    monkeypatch.undo()
    assert await liveness.check() == ""
    assert liveness.status() == "0 of 0 sessions connected"


async def test_a_store_that_hangs_is_a_check_that_does_not_end(running: Running) -> None:
    gateway = running.gateway
    liveness = Liveness(gateway.store, gateway.sessions, time.time)
    async with gateway.store.database.transaction():         # somebody holds the writer
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(liveness.check(), 0.2)
    assert await liveness.check() == ""
