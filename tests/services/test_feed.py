"""The feed: stored first, told second; every reader gets its own events once, in order, or is let go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.services import feed as module
from gateway.services.feed import Feed, Revoked, SlowReader, Stopping, Subscription
from gateway.store.journal import Event
from gateway.store.store import Store


@pytest.fixture
async def feed(store: Store) -> Feed:
    feed = Feed(store.journal)
    await feed.start()
    return feed


async def tell(store: Store, feed: Feed, number: int, *, owner: str = "o", session: str = "s", type: str = "message") -> None:
    async with store.database.transaction() as tx:
        await feed.tell(tx, owner=owner, session_id=session, type=type, at=float(number), data={"n": number})


async def drain(subscription: Subscription) -> None:
    async for _ in subscription.events():
        pass


async def write_and_fail(store: Store, feed: Feed) -> None:
    async with store.database.transaction() as tx:
        await feed.tell(tx, owner="o", session_id="s", type="message", at=1.0, data={"n": 1})
        raise RuntimeError


async def take(subscription: Subscription, count: int) -> list[Any]:
    got: list[Any] = []
    async with asyncio.timeout(5):
        async for event in subscription.events():
            got.append(event.data["n"])
            if len(got) == count:
                return got
    return got


async def test_nothing_is_told_that_was_not_committed(store: Store, feed: Feed) -> None:
    subscription = feed.subscribe()
    with pytest.raises(RuntimeError):
        await write_and_fail(store, feed)
    await tell(store, feed, 2)
    assert await take(subscription, 1) == [2]


async def test_a_reader_that_resumes_while_events_come_gets_each_once(store: Store, feed: Feed) -> None:
    for number in range(600):                           # more than one page of the journal
        await tell(store, feed, number)
    subscription = feed.subscribe(after=0)

    async def more() -> None:
        for number in range(600, 650):
            await tell(store, feed, number)

    writing = asyncio.create_task(more())
    assert await take(subscription, 650) == list(range(650))
    await writing


async def test_readers_get_what_is_theirs(store: Store, feed: Feed) -> None:
    mine, session, typed = feed.subscribe(owner="a"), feed.subscribe(session_id="a1"), feed.subscribe(types=("qr",), after=0)
    for number, (owner, its_session, type_) in enumerate((("a", "a1", "message"), ("b", "b1", "qr"), ("a", "a2", "qr"))):
        await tell(store, feed, number, owner=owner, session=its_session, type=type_)
    assert await take(mine, 2) == [0, 2]
    assert await take(session, 1) == [0]
    assert await take(typed, 2) == [1, 2]


async def test_one_that_lags_is_let_go_after_what_it_had_room_for(store: Store, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE", 5)
    slow, fast = feed.subscribe(), feed.subscribe()
    reading = asyncio.create_task(take(fast, 8))
    for number in range(8):
        await tell(store, feed, number)
        await asyncio.sleep(0)
    assert await reading == list(range(8))
    assert await take(slow, 5) == list(range(5))
    with pytest.raises(SlowReader):
        await drain(slow)


async def test_every_reader_gets_its_end_and_new_ones_at_once(store: Store, feed: Feed) -> None:
    keyed, other = feed.subscribe(key_id="k1"), feed.subscribe(key_id="k2", session_id="s")
    feed.end_key("k1")
    with pytest.raises(Revoked):
        await take(keyed, 1)
    feed.end_session("s", Stopping())
    with pytest.raises(Stopping):
        await take(other, 1)
    feed.stop()
    with pytest.raises(Stopping):
        await take(feed.subscribe(), 1)
    for subscription in (keyed, other):
        feed.close(subscription)
    assert feed.readers == 1


async def test_the_head_survives_a_restart_of_the_feed(store: Store, feed: Feed) -> None:
    await tell(store, feed, 1)
    again = Feed(store.journal)
    await again.start()
    assert again.head == feed.head > 0


async def test_a_reader_that_is_ended_while_it_reads_the_past_gets_no_more_of_it(store: Store, feed: Feed) -> None:
    for n in range(5):
        await tell(store, feed, n)
    reader = feed.subscribe(owner="o", after=0, key_id="k")
    events = reader.events()
    await anext(events)
    feed.end_key("k")
    with pytest.raises(Revoked):
        await anext(events)


async def test_many_readers_are_woken_in_turns_with_everybody_else(store: Store, feed: Feed) -> None:
    got: list[int] = []

    async def read(subscription: Subscription) -> None:
        async for event in subscription.events():
            got.append(event.data["n"])

    count = 3 * module.AT_ONCE + 1
    readers = [asyncio.create_task(read(feed.subscribe())) for _ in range(count)]
    await asyncio.sleep(0)
    await tell(store, feed, 1)
    heard = []
    while len(got) < count:
        await asyncio.sleep(0)                          # a turn of ours
        heard.append(len(got))
    assert max(after - before for before, after in zip([0, *heard], heard, strict=False)) <= module.AT_ONCE
    await tell(store, feed, 2)
    await tell(store, feed, 3)                          # while some have not heard of the second yet
    async with asyncio.timeout(5):
        while len(got) < 3 * count:
            await asyncio.sleep(0)
    assert sorted(got) == [1] * count + [2] * count + [3] * count
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)


async def test_a_listener_that_fails_makes_no_commit_look_undone(store: Store, feed: Feed) -> None:
    """Whoever was told so would send the message once more."""
    heard: list[int] = []

    def fail(event: Event) -> None:
        raise ValueError("nobody thought of this")

    feed.listen(fail)
    feed.listen(lambda event: heard.append(event.seq))
    await tell(store, feed, 1)
    await store.database.write(lambda tx: feed.tell(tx, owner="o", session_id="s", type="message", at=1.0, data={"n": 2}))
    assert heard == [1, 2]
