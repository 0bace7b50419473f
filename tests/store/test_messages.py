from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.jid import JID
from gateway.store.messages import Message
from gateway.store.store import Store

ANNA, BEN = JID("4915112345678", "s.whatsapp.net"), JID("237612345678", "s.whatsapp.net")
ANNA_LID, GROUP = JID("99887766554433", "lid"), JID("120363025246125486", "g.us")


async def accept(store: Store, id_: str = "m1", *, at: float = 1000.0, chat: JID = ANNA, **named) -> Message:
    async with store.database.transaction() as tx:
        return await store.messages.accept(tx, **{"id": id_, "owner": "o", "session_id": "s", "kind": "text", "chat": chat,
                                                  "facts": {"seconds": 3}, "payload": b"hello", "at": at, **named})


async def arrive(store: Store, id_: str = "in1", wa_id: str = "W1", *, chat: JID = ANNA, sender: JID = ANNA, **named) -> bool:
    async with store.database.transaction() as tx:
        return await store.messages.arrive(tx, **{
            "id": id_, "owner": "o", "session_id": "s", "kind": "text", "chat": chat, "sender": sender, "sender_lid": ANNA_LID,
            "wa_id": wa_id, "facts": {"push_name": "Anna"}, "payload": b"hi", "at": 1000.0, "sent_at": 990.0, **named})


async def advance(store: Store, id_: str, status: str, at: float, wa_id: str | None = None) -> bool:
    async with store.database.transaction() as tx:
        message = await store.messages.one(id_, tx)
        assert message is not None
        return await store.messages.advance(tx, message, status, at, wa_id)


async def get(store: Store, id_: str = "m1") -> Message:
    message = await store.messages.one(id_)
    assert message is not None
    return message


# ------------------------------------------------------------------ the outbox


async def test_an_accepted_message_is_queued_and_its_payload_sealed(store):
    message = await accept(store)
    assert (message.status, message.stage, message.direction, message.attempts) == ("pending", "queued", "out", 0)
    assert (message.chat, message.facts, message.created_at) == (ANNA, {"seconds": 3}, 1000.0)
    assert await get(store) == message
    assert await store.messages.payload("m1") == b"hello"
    row = await store.database.one("SELECT payload_sealed FROM messages")
    assert b"hello" not in row[0]
    assert await store.messages.one("nothing") is None
    assert await store.messages.payload("nothing") is None


async def test_a_payload_can_be_replaced_and_taken_away(store):
    await accept(store)
    async with store.database.transaction() as tx:
        await store.messages.set_payload(tx, "m1", b"prepared")
        await store.messages.set_facts(tx, "m1", {"size": 8})
    assert await store.messages.payload("m1") == b"prepared"
    assert (await get(store)).facts == {"size": 8}
    async with store.database.transaction() as tx:
        await store.messages.set_payload(tx, "m1", None)
    assert await store.messages.payload("m1") is None


async def test_the_queue_is_in_the_order_accepted_and_has_only_what_is_not_settled(store):
    for n in range(5):
        await accept(store, f"m{n}", session_id="s" if n != 3 else "t")
    await advance(store, "m1", "sent", 1001)
    async with store.database.transaction() as tx:
        await store.messages.fail(tx, "m2", "expired", "Too late.", 1002, may_have_been_delivered=False)
        await store.messages.set_stage(tx, "m4", "waiting", not_before=1500.0)
    assert [m.id for m in await store.messages.queue("s")] == ["m0", "m4"]
    assert [m.id for m in await store.messages.queue("s", 1)] == ["m0"]
    assert (await get(store, "m4")).not_before == 1500.0


async def test_handing_over_is_written_down_with_its_secret_and_taken_back_by_requeue(store):
    await accept(store)
    async with store.database.transaction() as tx:
        assert await store.messages.hand_over(tx, "m1", b"s" * 32, 1010.0)
    message = await get(store)
    assert (message.stage, message.attempts, message.handed_at, message.not_before) == ("sending", 1, 1010.0, None)
    assert await store.messages.secret("m1") == b"s" * 32
    async with store.database.transaction() as tx:
        await store.messages.unconfirmed(tx, "m1", "W9")
    assert ((await get(store)).stage, (await get(store)).wa_id) == ("unconfirmed", "W9")
    async with store.database.transaction() as tx:
        await store.messages.requeue(tx, "m1", not_before=1020.0, may_have_been_delivered=True)
    message = await get(store)
    assert (message.stage, message.wa_id, message.not_before, message.may_have_been_delivered) == ("queued", None, 1020.0, True)
    assert await store.messages.secret("m1") is None
    async with store.database.transaction() as tx:
        await store.messages.requeue(tx, "m1")                      # once possible, always possible
    assert (await get(store)).may_have_been_delivered


async def test_a_message_that_is_settled_is_not_handed_over(store):
    """It expired, or its session was deleted, while the sender was about to send it."""
    await accept(store)
    async with store.database.transaction() as tx:
        await store.messages.fail(tx, "m1", "expired", "Too late.", 1002, may_have_been_delivered=False)
        assert not await store.messages.hand_over(tx, "m1", b"s" * 32, 1010.0)
    assert (await get(store)).stage == "done"


# ------------------------------------------------------------------ forward only


async def test_receipts_prove_the_steps_before_them(store):
    await accept(store)
    assert await advance(store, "m1", "delivered", 1005.0, "W1")
    message = await get(store)
    assert (message.status, message.stage, message.wa_id) == ("delivered", "done", "W1")
    assert (message.sent_at, message.delivered_at, message.read_at) == (1005.0, 1005.0, None)
    assert await advance(store, "m1", "read", 1010.0)
    assert (await get(store)).delivered_at == 1005.0


async def test_a_voice_note_is_played_without_having_been_read(store):
    await accept(store, kind="ptt")
    await advance(store, "m1", "sent", 1001.0)
    assert await advance(store, "m1", "played", 1010.0)
    message = await get(store)
    assert (message.status, message.played_at, message.read_at, message.delivered_at) == ("played", 1010.0, None, 1010.0)


STEPS = ("sent", "delivered", "read", "played")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=8))
async def test_whatever_order_receipts_come_in_the_status_is_the_furthest_one(store, steps):
    id_ = f"m{await store.messages.count('s')}-{id(steps)}"
    await accept(store, id_)
    furthest = -1
    for n, step in enumerate(steps):
        moved = await advance(store, id_, step, 2000.0 + n)
        assert moved == (STEPS.index(step) > furthest)
        furthest = max(furthest, STEPS.index(step))
        message = await get(store, id_)
        assert message.status == STEPS[furthest]
        assert message.sent_at is not None
    async with store.database.transaction() as tx:
        await tx.execute("DELETE FROM messages WHERE id = ?", id_)


async def test_a_failure_stands_unless_the_message_may_have_been_delivered(store):
    for id_, may in (("sure", False), ("perhaps", True)):
        await accept(store, id_)
        async with store.database.transaction() as tx:
            await store.messages.fail(tx, id_, "send_unconfirmed", "Nobody knows.", 1100.0, may_have_been_delivered=may)
        message = await get(store, id_)
        assert (message.status, message.error_code, message.failed_at) == ("failed", "send_unconfirmed", 1100.0)
    assert not await advance(store, "sure", "delivered", 1200.0)
    assert (await get(store, "sure")).status == "failed"
    assert await advance(store, "perhaps", "delivered", 1200.0)
    message = await get(store, "perhaps")
    assert (message.status, message.error_code, message.error_text, message.failed_at) == ("delivered", None, None, None)


# ------------------------------------------------------------------ pace, late and overdue ones


async def test_what_was_handed_over_and_taken_is_counted_for_the_pace(store):
    for n in range(3):
        await accept(store, f"m{n}")
        async with store.database.transaction() as tx:
            await store.messages.hand_over(tx, f"m{n}", b"s", 1000.0 + n)
    await advance(store, "m1", "sent", 1001.5)
    await advance(store, "m2", "sent", 1002.5)
    assert await store.messages.sent_between("s", 999.0, 1002.0) == (2, 1001.0)
    assert await store.messages.sent_between("s", 1001.0, 1002.0) == (1, 1002.0)
    assert await store.messages.sent_between("s", 999.0, 1001.5) == (1, 1001.0)
    assert await store.messages.sent_between("other", 0.0, 1002.0) == (0, None)
    assert await store.messages.traffic(["s", "other"], 1001.0, 1002.0) == {"s": (1, 1), "other": (0, 0)}      # m0 waits
    assert await store.messages.count("s") == 2


async def test_a_chat_is_known_once_something_was_exchanged(store):
    await accept(store)
    assert not await store.messages.knows_chat("o", "s", ANNA)
    await advance(store, "m1", "sent", 1001.0)
    assert await store.messages.knows_chat("o", "s", ANNA)
    assert not await store.messages.knows_chat("o", "t", ANNA)
    assert not await store.messages.knows_chat("o", "s", BEN)
    await arrive(store, chat=BEN, sender=BEN)
    assert await store.messages.knows_chat("o", "s", BEN)


async def test_late_ones_are_those_sent_long_ago_that_nobody_got_and_are_told_once(store):
    for id_, kind in (("late", "text"), ("fresh", "text"), ("got", "text"), ("reaction", "reaction"), ("queued", "text")):
        await accept(store, id_, kind=kind)
    for id_ in ("late", "got", "reaction"):
        await advance(store, id_, "sent", 1000.0)
    await advance(store, "fresh", "sent", 2000.0)
    await advance(store, "got", "delivered", 1001.0)
    assert [m.id for m in await store.messages.late(1500.0)] == ["late"]
    async with store.database.transaction() as tx:
        await store.messages.told_late(tx, "late")
    assert await store.messages.late(1500.0) == []


async def test_overdue_are_those_not_handed_over(store):
    for n, stage in enumerate(("queued", "preparing", "waiting", "sending", "unconfirmed", "done")):
        await accept(store, stage, at=1000.0 + n)
        async with store.database.transaction() as tx:
            await store.messages.set_stage(tx, stage, stage)
    assert [m.id for m in await store.messages.overdue(5000.0)] == ["queued", "preparing", "waiting"]
    assert [m.id for m in await store.messages.overdue(1001.0)] == ["queued"]


# ------------------------------------------------------------------ what arrived


async def test_a_message_delivered_twice_arrives_once(store):
    assert await arrive(store, "first")
    assert not await arrive(store, "second")
    assert await store.messages.one("second") is None
    message = await get(store, "first")
    assert (message.status, message.stage, message.sender, message.sender_lid) == ("received", "done", ANNA, ANNA_LID)
    assert (message.wa_id, message.sent_at, message.facts) == ("W1", 990.0, {"push_name": "Anna"})
    assert await store.messages.payload("first") == b"hi"


@pytest.mark.parametrize("other", [{"chat": GROUP}, {"sender": BEN}, {"wa_id": "W2"}, {"session_id": "t"}])
async def test_a_message_is_another_one_in_another_chat_of_another_sender_id_or_session(store, other):
    assert await arrive(store, "first")
    assert await arrive(store, "second", **other)


async def test_an_arrival_without_a_lid_has_none(store):
    await arrive(store, sender_lid=None)
    assert (await get(store, "in1")).sender_lid is None


async def test_a_sent_message_may_have_the_id_of_one_that_arrived(store):
    await arrive(store, wa_id="W1")
    await accept(store)
    await advance(store, "m1", "sent", 1001.0, "W1")
    async with store.database.transaction() as tx:
        assert (await store.messages.of_wa_id(tx, "s", "W1")).id == "m1"
        assert (await store.messages.of_wa_id(tx, "s", "W1", "in")).id == "in1"
        assert await store.messages.of_wa_id(tx, "t", "W1") is None


# ------------------------------------------------------------------ looking


async def pages(store, between=None, **named) -> list[str]:
    seen, before = [], None
    while page := await store.messages.page("o", limit=3, before_seq=before, **named):
        seen += [m.id for m in page]
        before = page[-1].seq
        if between is not None:
            await between(len(seen))
    return seen


async def test_pages_show_everything_once_newest_first_while_more_is_accepted(store):
    for n in range(8):
        await accept(store, f"m{n}")
    await accept(store, "not mine", owner="p")

    async def more(n: int) -> None:
        await accept(store, f"new{n}")

    assert await pages(store, more) == [f"m{n}" for n in range(7, -1, -1)]


async def test_filters_narrow_the_pages(store):
    await accept(store, "a", chat=ANNA, at=1000.0)
    await accept(store, "b", chat=BEN, at=2000.0, kind="ptt")
    await accept(store, "c", chat=BEN, at=3000.0, session_id="t")
    await arrive(store, "d", chat=BEN, sender=BEN, at=4000.0)
    await advance(store, "b", "sent", 2001.0)
    assert await pages(store, chat=str(BEN)) == ["d", "c", "b"]
    assert await pages(store, chat=str(BEN), session_id="s") == ["d", "b"]
    assert await pages(store, status="sent") == ["b"]
    assert await pages(store, kinds=["ptt", "video"]) == ["b"]
    assert await pages(store, direction="in") == ["d"]
    assert await pages(store, after=1000.0, before=3000.0) == ["b"]
    assert await pages(store, status="played") == []


async def test_forgetting_leaves_what_is_not_settled(store):
    for n, id_ in enumerate(("old", "queued", "new")):
        await accept(store, id_, at=1000.0 + n * 1000)
    await advance(store, "old", "sent", 1001.0)
    await advance(store, "new", "sent", 3001.0)
    async with store.database.transaction() as tx:
        assert await store.messages.forget(tx, 2500.0) == 1
        assert await store.messages.forget(tx, 2500.0) == 0
    assert await pages(store) == ["new", "queued"]
