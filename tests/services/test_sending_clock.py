"""A clock that was set back: what it wrote before lies in the future, and nothing waits until then."""

from __future__ import annotations

import time

from gateway.events import Connected, Disconnected
from tests.running import Running, until

TO = "+237612345678"
DAY = 86_400.0


async def test_a_retry_of_another_time_is_due(running: Running) -> None:
    _, link = await running.linked()
    live, = running.gateway.sessions.live()
    link.emit(Disconnected(""))
    await until(lambda: not live.usable.is_set())
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    async with running.gateway.store.database.transaction() as tx:
        await tx.execute("UPDATE messages SET not_before = ?", time.time() + DAY)
    link.emit(Connected())
    await running.message(id_, "sent", 5)


async def test_a_restriction_is_waited_for_however_long_it_is(running: Running) -> None:
    _, link = await running.linked()
    live, = running.gateway.sessions.live()
    await live._standing.update(restricted_until=time.time() + DAY)
    link.emit(Disconnected(""))
    await until(lambda: not live.usable.is_set())
    await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})
    async with running.gateway.store.database.transaction() as tx:
        await tx.execute("UPDATE messages SET not_before = ?", live.restricted_until)
    link.emit(Connected())
    await until(live.usable.is_set)
    assert live.sender is not None
    pause = await live.sender._step()
    assert pause is not None and DAY - 60 < pause <= DAY
    assert running.links.sent == []


async def test_a_restriction_of_another_time_is_over(running: Running) -> None:
    await running.linked()
    live, = running.gateway.sessions.live()
    await live._standing.update(restricted_until=time.time() + 400 * DAY)
    assert live.restricted_until is None
    assert (await running.client.get("/api/v1/sessions/main")).body["restricted_until"] is None
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await running.message(id_, "sent", 5)


async def test_a_send_that_nobody_confirmed_is_settled(running: Running) -> None:
    _, link = await running.linked()
    link.lose_next_send()
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await running.message(id_, "unconfirmed")
    live, = running.gateway.sessions.live()
    async with running.gateway.store.database.transaction() as tx:
        await tx.execute("UPDATE messages SET handed_at = handed_at + ?", DAY)
    assert live.sender is not None
    live.sender._settle_from = time.time() + DAY
    live.sender.wake()
    assert (await running.message(id_, "failed", 5))["error"]["code"] == "send_unconfirmed"
