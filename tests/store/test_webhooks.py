from __future__ import annotations

import pytest

from gateway.store.store import Store
from gateway.store.vault import VaultError
from gateway.store.webhooks import NEVER, Delivery, Webhook


async def make(store: Store, id_: str = "w", owner: str = "o", session_id: str | None = None, **named) -> Webhook:
    async with store.database.transaction() as tx:
        return await store.webhooks.create(tx, **{"id": id_, "owner": owner, "session_id": session_id, "format": "native",
                                                  "url": "https://example.com/a", "types": ("message",), "secret": "top secret",
                                                  "position": 0, "at": 1000.0, **named})


async def deliver(store: Store, webhook: Webhook, *chats: str, at: float = 1000.0) -> list[Delivery]:
    """One delivery a chat name, oldest first."""
    first = len(await store.webhooks.page(webhook.owner, limit=1000))
    async with store.database.transaction() as tx:
        for n, chat in enumerate(chats, first + 1):
            await store.webhooks.make(tx, webhook, id=f"{webhook.id}-{n}", journal_seq=n, chat=chat, at=at)
    return (await store.webhooks.page(webhook.owner, limit=len(chats)))[::-1]


async def tried(store: Store, delivery: Delivery, status: str, next_at: float = 0, **named) -> None:
    async with store.database.transaction() as tx:
        await store.webhooks.tried(tx, delivery, **{"status": status, "at": 1001.0, "next_at": next_at, "last_status": 500,
                                                    "last_error": "HTTP 500", **named})


async def due(store: Store, at: float = 1000.0, limit: int = 20) -> list[str]:
    return [d.id for d in await store.webhooks.due("w", at, 1e15, limit)]


async def test_a_webhook_comes_back_as_it_was_made_and_its_secret_is_sealed(store):
    webhook = await make(store)
    assert await store.webhooks.one("w") == webhook
    assert await store.webhooks.one("v") is None
    assert await store.webhooks.secret("w") == "top secret"
    assert await store.webhooks.secret("v") is None
    row = await store.database.one("SELECT secret_sealed FROM webhooks")
    assert b"top secret" not in row[0]


async def test_a_secret_is_replaced_and_opens_in_its_own_place_only(store):
    await make(store)
    await make(store, "v")
    async with store.database.transaction() as tx:
        await store.webhooks.set_secret(tx, "w", "another")
    assert await store.webhooks.secret("w") == "another"
    async with store.database.transaction() as tx:
        await tx.execute("UPDATE webhooks SET secret_sealed = (SELECT secret_sealed FROM webhooks WHERE id = 'w')")
    with pytest.raises(VaultError):
        await store.webhooks.secret("v")


async def test_webhooks_are_listed_by_owner_and_session(store):
    a, b, c = await make(store, "a"), await make(store, "b", session_id="s"), await make(store, "c", "p")
    assert await store.webhooks.all() == [a, b, c]
    assert await store.webhooks.all("o") == [a, b]
    assert await store.webhooks.all("o", "s") == [b]
    assert await store.webhooks.count("o") == 2
    async with store.database.transaction() as tx:
        await store.webhooks.update(tx, "a", url="https://example.com/b", types=())
        await store.webhooks.delete_of_session(tx, "s")
    (changed,) = await store.webhooks.all("o")
    assert (changed.url, changed.types, changed.position) == ("https://example.com/b", (), 0)


async def test_the_position_only_moves_forward(store):
    await make(store)
    async with store.database.transaction() as tx:
        await store.webhooks.advance(tx, "w", 7)
        await store.webhooks.advance(tx, "w", 5)
    assert (await store.webhooks.one("w")).position == 7


async def test_an_event_becomes_one_delivery_however_often_it_is_made(store):
    webhook = await make(store)
    async with store.database.transaction() as tx:
        await store.webhooks.make(tx, webhook, id="d1", journal_seq=1, chat="a", at=1000.0)
        await store.webhooks.make(tx, webhook, id="d2", journal_seq=1, chat="a", at=1000.0)
        await store.webhooks.make(tx, webhook, id="d1", journal_seq=2, chat="a", at=1000.0)
    assert [d.id for d in await store.webhooks.page("o")] == ["d1"]


async def test_only_the_first_of_every_chat_is_due(store):
    webhook = await make(store)
    d = await deliver(store, webhook, "a", "a", "b", "a", "c")
    assert await due(store) == ["w-1", "w-3", "w-5"]
    assert await due(store, limit=2) == ["w-1", "w-3"]
    assert await due(store, 999.9) == []
    await tried(store, d[0], "delivered")
    assert await due(store) == ["w-2", "w-3", "w-5"]
    await tried(store, d[2], "waiting", 1005.0)
    assert await due(store) == ["w-2", "w-5"]
    assert await store.webhooks.next_due("w", 1000.0) == 1005.0
    assert await store.webhooks.next_due("w") == 1000.0
    assert await store.webhooks.next_due("w", 1005.0) is None


async def test_a_parked_delivery_keeps_its_place_until_it_is_set_aside(store):
    webhook = await make(store)
    d = await deliver(store, webhook, "a", "a", "b")
    await tried(store, d[0], "parked", 1600.0)
    assert await due(store) == ["w-3"]
    assert await due(store, 1600.0) == ["w-1", "w-3"]
    assert (await store.webhooks.first("w")).id == "w-1"
    assert (await store.webhooks.first("w", [d[0].seq])).id == "w-3"        # w-2 is behind w-1
    await tried(store, d[0], "parked", NEVER)
    assert await due(store) == ["w-2", "w-3"]
    assert (await store.webhooks.first("w")).id == "w-2"
    assert (await store.webhooks.delivery("o", "w-1")).attempts == 2


async def test_another_delivery_is_one_of_another_chat_if_there_is_one(store):
    webhook = await make(store)
    d = await deliver(store, webhook, "a", "a", "b", "c")

    async def other(first, *without, same_chat=False):
        found = await store.webhooks.other(first, without, same_chat=same_chat)
        return found.id if found else None

    assert await other(d[0]) == "w-3"
    assert await other(d[0], d[2].seq) == "w-4"
    assert await other(d[0], d[2].seq, d[3].seq) is None
    assert await other(d[0], d[2].seq, d[3].seq, same_chat=True) is None        # w-1 is the first of its chat
    await tried(store, d[0], "parked", 1600.0)
    assert await other(d[0], same_chat=True) == "w-3"
    assert await other(d[0], d[2].seq, d[3].seq, same_chat=True) == "w-2"
    assert await other(d[0], d[2].seq, d[3].seq) is None


async def test_a_try_that_does_not_count_leaves_the_attempts(store):
    webhook = await make(store)
    (d,) = await deliver(store, webhook, "a")
    await tried(store, d, "waiting", 1000.0, counted=False)
    d = await store.webhooks.delivery("o", d.id)
    assert (d.attempts, d.last_status, d.last_error, d.delivered_at) == (0, 500, "HTTP 500", None)
    await tried(store, d, "delivered", last_status=200, last_error=None)
    d = await store.webhooks.delivery("o", d.id)
    assert (d.attempts, d.status, d.last_status, d.last_error, d.delivered_at) == (1, "delivered", 200, None, 1001.0)


async def test_released_deliveries_are_those_that_kept_their_place(store):
    webhook = await make(store)
    kept, aside, waiting = await deliver(store, webhook, "a", "b", "c")
    await tried(store, kept, "parked", 1600.0)
    await tried(store, aside, "parked", NEVER)
    async with store.database.transaction() as tx:
        await store.webhooks.release(tx, "w", 1100.0, 5)
    kept, aside, waiting = [await store.webhooks.delivery("o", d.id) for d in (kept, aside, waiting)]
    assert (kept.status, kept.attempts, kept.next_at) == ("waiting", 5, 1100.0)
    assert (aside.status, aside.next_at) == ("parked", NEVER)
    assert (waiting.attempts, waiting.next_at) == (0, 1000.0)


async def test_replays_are_of_one_of_a_status_or_of_a_webhook_and_never_of_another_owner(store):
    ours, theirs = await make(store), await make(store, "x", "p")
    d = await deliver(store, ours, "a", "b", "c")
    (t,) = await deliver(store, theirs, "a")
    for delivery in (d[0], d[1], t):
        await tried(store, delivery, "parked", NEVER)
    await tried(store, d[2], "delivered")

    async def replay(**named):
        async with store.database.transaction() as tx:
            return await store.webhooks.replay(tx, owner="o", at=2000.0, **named)

    assert await replay(id=t.id) == 0
    assert await replay(status="parked", webhook_id="x") == 0
    assert await replay(id=d[2].id) == 1
    assert await replay(status="parked") == 2
    assert await replay(status="parked") == 0
    assert await due(store, 2000.0) == ["w-1", "w-2", "w-3"]
    assert (await store.webhooks.delivery("p", t.id)).status == "parked"
    assert (await store.webhooks.delivery("o", d[0].id)).attempts == 0


async def test_deliveries_are_paged_newest_first_and_stay_in_place_while_more_are_made(store):
    webhook, other = await make(store), await make(store, "v")
    await deliver(store, webhook, *"abcde")
    await deliver(store, other, "a")
    first = await store.webhooks.page("o", limit=3)
    assert [d.id for d in first] == ["v-6", "w-5", "w-4"]
    await deliver(store, webhook, "z")
    assert [d.id for d in await store.webhooks.page("o", limit=9, before_seq=first[-1].seq)] == ["w-3", "w-2", "w-1"]
    assert [d.id for d in await store.webhooks.page("o", webhook_id="v")] == ["v-6"]
    assert await store.webhooks.page("o", status="parked") == []
    assert await store.webhooks.page("p") == []
    assert await store.webhooks.delivery("p", "w-1") is None


async def test_counts_are_of_what_is_not_delivered(store):
    a, b, c = await deliver(store, await make(store), "a", "b", "c")
    await tried(store, a, "delivered")
    await tried(store, b, "parked", NEVER)
    assert await store.webhooks.counts("o") == {"w": {"waiting": 1, "parked": 1}}
    assert await store.webhooks.counts("p") == {}
    assert c.status == "waiting"


async def test_deleting_a_webhook_deletes_its_deliveries(store):
    await deliver(store, await make(store), "a", "b")
    async with store.database.transaction() as tx:
        await store.webhooks.delete(tx, "w")
    assert await store.database.all("SELECT * FROM deliveries") == []


async def test_forgetting_leaves_what_still_waits(store):
    webhook = await make(store)
    done, aside, kept, waiting = await deliver(store, webhook, *"abcd")
    await tried(store, done, "delivered")
    await tried(store, aside, "parked", NEVER)
    await tried(store, kept, "parked", 1600.0)
    (fresh,) = await deliver(store, webhook, "e", at=3000.0)
    await tried(store, fresh, "delivered")
    async with store.database.transaction() as tx:
        assert await store.webhooks.forget(tx, 2000.0) == 2
    assert [d.id for d in await store.webhooks.page("o")] == [fresh.id, waiting.id, kept.id]


@pytest.mark.parametrize(("sql", "index"), [("_DUE", "deliveries_line"), ("_FIRST", "deliveries_order")])
async def test_a_long_line_is_looked_at_by_index(store, sql, index):
    from gateway.store import webhooks
    values = {"_DUE": ("w", 0.0, 600.0, 1), "_FIRST": ("w", "[]")}[sql]
    plan = await store.database.all(f"EXPLAIN QUERY PLAN {getattr(webhooks, sql)}", *values)
    assert any(index in row["detail"] for row in plan), [row["detail"] for row in plan]
