from __future__ import annotations

import pytest
import structlog

from gateway.store.journal import TYPES, Journal


async def append(store, count: int = 1, *, owner: str = "o", session: str = "s", at: float = 1000.0, **data):
    events = []
    for n in range(count):
        async with store.database.transaction() as tx:
            events.append(await store.journal.append(tx, owner=owner, session_id=session, type="message", at=at + n,
                                                     data={"n": n, **data}))
    return events


async def test_numbers_grow_by_one_and_events_come_back_as_they_went_in(store):
    events = await append(store, 3, text="Grüße 👋")
    assert [event.seq for event in events] == [1, 2, 3]
    assert await store.journal.after(0) == events
    assert await store.journal.one(2) == events[1]
    assert await store.journal.one(4) is None
    assert await store.journal.last() == 3


async def test_reading_goes_on_after_a_number_in_pages_and_within_an_owner_or_a_session(store):
    await append(store, 2, owner="a", session="s1")
    await append(store, 2, owner="b", session="s2")
    await append(store, 1, owner="a", session="s3")

    async def seqs(*args, **named):
        return [event.seq for event in await store.journal.after(*args, **named)]

    assert await seqs(0, 2) == [1, 2]
    assert await seqs(2, 2) == [3, 4]
    assert await seqs(0, owner="a") == [1, 2, 5]
    assert await seqs(1, 1, owner="a") == [2]
    assert await seqs(0, session_id="s2") == [3, 4]
    assert await seqs(5) == []


async def test_the_number_of_an_event_that_was_rolled_back_goes_to_the_next_one(store):
    await append(store)
    with pytest.raises(ZeroDivisionError):        # noqa: PT012
        async with store.database.transaction() as tx:
            await store.journal.append(tx, owner="o", session_id="s", type="message", at=1, data={})
            raise ZeroDivisionError
    (event,) = await append(store)
    assert event.seq == 2
    assert (await store.journal.one(2)) == event


async def test_several_events_of_one_transaction_have_their_own_numbers(store):
    async with store.database.transaction() as tx:
        for n in range(3):
            await store.journal.append(tx, owner="o", session_id="s", type="status", at=1, data={"n": n})
    assert [(event.seq, event.data["n"]) for event in await store.journal.after(0)] == [(1, 0), (2, 1), (3, 2)]


async def test_a_number_is_never_used_twice_even_when_everything_is_forgotten(store):
    await append(store, 3)
    async with store.database.transaction() as tx:
        assert await store.journal.forget(tx, 5000) == 3
    assert await store.journal.last() == 3
    (event,) = await append(store)
    assert event.seq == 4


async def test_forgetting_takes_what_is_older_a_thousand_at_a_time(store):
    async with store.database.transaction() as tx:
        for n in range(1200):
            await store.journal.append(tx, owner="o", session_id="s", type="status", at=float(n), data={})
    counts = []
    while not counts or counts[-1]:
        async with store.database.transaction() as tx:
            counts.append(await store.journal.forget(tx, 1100.0))
    assert counts == [1000, 100, 0]
    assert [event.at for event in await store.journal.after(0, 1)] == [1100.0]


async def test_the_disk_holds_no_event_in_the_clear(store):
    await append(store, text="a very secret sentence")
    row = await store.database.one("SELECT data_sealed FROM journal")
    assert b"secret" not in row[0]
    for file in store.database.path.parent.glob("gateway.db*"):
        assert b"very secret" not in file.read_bytes()


async def test_an_event_moved_to_another_number_is_not_opened(store):
    first, _, third = await append(store, 3)
    async with store.database.transaction() as tx:
        await tx.execute("UPDATE journal SET data_sealed = (SELECT data_sealed FROM journal WHERE seq = 1) WHERE seq = 2")
    damaged = await store.journal.one(2)
    assert (damaged.type, damaged.data["code"]) == ("warning", "damaged")
    assert await store.journal.after(0) == [first, damaged, third]


async def test_a_damaged_event_is_told_in_its_place_and_hides_no_other(store):
    first, second, third = await append(store, 3, text="very secret")
    async with store.database.transaction() as tx:
        await tx.execute("UPDATE journal SET data_sealed = substr(data_sealed, 1, 20) WHERE seq = 2")
    with structlog.testing.capture_logs() as lines:
        told = await store.journal.after(0, session_id="s")
    assert [told[0], told[2]] == [first, third]
    assert (told[1].seq, told[1].type, told[1].at, told[1].data["session"]) == (2, "warning", second.at, "s")
    assert "'message'" in told[1].data["message"]
    assert [(line["event"], line["seq"]) for line in lines] == [("journal_damaged", 2)]


async def test_a_type_nobody_documented_is_refused(store):
    assert "message" in TYPES
    with pytest.raises(AssertionError, match="gossip"):
        async with store.database.transaction() as tx:
            await Journal.append(store.journal, tx, owner="o", session_id="s", type="gossip", at=1, data={})


async def test_types_are_told_by_number(store):
    await append(store, 2)
    assert await store.journal.types_of([1, 2, 7]) == {1: "message", 2: "message"}
    assert await store.journal.types_of([]) == {}
