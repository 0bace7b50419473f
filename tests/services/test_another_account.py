"""What waits in the outbox belongs to the account it was accepted for."""

from __future__ import annotations

import asyncio

from gateway.events import Connected, Disconnected, LoggedOut
from gateway.link.base import SendError
from tests.running import Running, until

TO = "+237612345678"


async def relink(running: Running, id_: str, number: str) -> None:
    before = len(running.links.pairings)
    assert (await running.client.post(f"/api/v1/sessions/{id_}/relink", {})).status == 200
    await until(lambda: len(running.links.pairings) > before)
    running.links.pairing(id_).scan(number)
    live, = running.gateway.sessions.live()
    await until(lambda: live.usable.is_set() and live.session.phone_number == f"+{number}")


async def test_what_was_queued_does_not_leave_from_the_phone_that_is_linked_next(running: Running) -> None:
    id_, link = await running.linked(number="15550001111")
    link.emit(Disconnected(""))
    live, = running.gateway.sessions.live()
    await until(lambda: not live.usable.is_set())
    waiting = (await running.client.post("/api/v1/messages", {"to": TO, "message": "from the first"})).body["id"]
    await relink(running, id_, "15550003333")
    own = (await running.client.post("/api/v1/messages", {"to": TO, "message": "from the second"})).body["id"]
    await running.message(own, "sent")
    old = (await running.client.get(f"/api/v1/messages/{waiting}")).body
    assert (old["status"], old["error"]["code"], old["may_have_been_delivered"]) == ("failed", "session_gone", False)
    assert [sent.message.text for sent in running.links.sent] == ["from the second"]        # type: ignore[union-attr]


async def test_what_was_being_handed_over_is_not_sent_again_by_the_next_link(running: Running) -> None:
    """The new keys know nothing of it, which does not mean that it never left."""
    id_, link = await running.linked()
    held = link.hold_next_send()
    cut = (await running.client.post("/api/v1/messages", {"to": TO, "message": "once"})).body["id"]
    await held.handed_over.wait()
    await relink(running, id_, "15550001111")
    after = (await running.client.post("/api/v1/messages", {"to": TO, "message": "later"})).body["id"]
    await running.message(after, "sent")
    old = (await running.client.get(f"/api/v1/messages/{cut}")).body
    assert (old["status"], old["may_have_been_delivered"]) == ("failed", True)
    assert [sent.message.text for sent in running.links.sent] == ["once", "later"]          # type: ignore[union-attr]


async def test_a_send_that_fails_after_the_log_out_stays_failed(running: Running) -> None:
    _, link = await running.linked()
    held = link.hold_next_send()
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await held.handed_over.wait()
    live, = running.gateway.sessions.live()
    link.emit(LoggedOut(False, "logged_out", ""))
    held.fail(SendError("session_not_connected", "the link is not open", retry=True))
    await until(lambda: live.link is None)
    assert (await running.client.get(f"/api/v1/messages/{id_}")).body["status"] == "failed"
    assert await running.gateway.store.messages.queue(live.session.id) == []


async def test_a_message_that_came_to_a_session_as_it_was_logged_out_is_refused(running: Running) -> None:
    _, link = await running.linked()
    live, = running.gateway.sessions.live()
    link.emit(LoggedOut(False, "logged_out", ""))
    await until(lambda: live.state.reason.code == "logged_out")
    answer = await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})
    assert answer.status == 409
    assert (await running.client.get("/api/v1/messages")).body["messages"] == []


async def test_requeueing_does_not_wake_what_was_settled_meanwhile(running: Running) -> None:
    """A receipt may settle an unconfirmed message between the look at it and the decision to send it again."""
    _, link = await running.linked()
    link.lose_next_send()
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await running.message(id_, "unconfirmed")
    store = running.gateway.store
    stale = await store.messages.one(id_)
    assert stale is not None
    async with store.database.transaction() as tx:
        await store.messages.advance(tx, stale, "delivered", 1.0)
    async with store.database.transaction() as tx:
        await store.messages.requeue(tx, id_, may_have_been_delivered=True)
    link.emit(Connected())
    assert (await running.client.get(f"/api/v1/messages/{id_}")).body["stage"] == "done"
    assert len(running.links.sent) == 1


async def test_a_refused_message_to_a_known_chat_waits_for_the_restriction_to_end(running: Running) -> None:
    _, link = await running.linked()
    first = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await running.message(first, "sent")
    link.fail_next_send(SendError("account_restricted", "463", retry=True))
    second = (await running.client.post("/api/v1/messages", {"to": TO, "message": "2"})).body["id"]
    async with asyncio.timeout(20):
        while (body := (await running.client.get(f"/api/v1/messages/{second}")).body).get("not_before") is None:
            await asyncio.sleep(0.01)
    assert (body["status"], body["attempts"]) == ("pending", 1)
    assert len(running.links.sent) == 1
