from __future__ import annotations

import sqlite3

import pytest

from gateway.jid import JID
from gateway.store.usage import Answer, Totals, day_of

DAY = 86_400.0
MIDNIGHT = 1_767_225_600.0          # 2026-01-01


async def count(store, owner: str, column: str, at: float, times: int = 1) -> None:
    async with store.database.transaction() as tx:
        for _ in range(times):
            await store.usage.count(tx, owner, column, at)


def test_a_day_is_utcs():
    assert day_of(MIDNIGHT) == "2026-01-01"
    assert day_of(MIDNIGHT - 0.001) == "2025-12-31"


async def test_counts_add_up_by_owner_and_day(store):
    await count(store, "a", "accepted", MIDNIGHT, 3)
    await count(store, "a", "sent", MIDNIGHT, 2)
    await count(store, "a", "delivered", MIDNIGHT + DAY)
    await count(store, "a", "failed", MIDNIGHT + DAY)
    await count(store, "a", "accepted", MIDNIGHT - 1)
    await count(store, "b", "accepted", MIDNIGHT)
    assert await store.usage.totals("a", "2026-01-01") == Totals(3, 2, 1, 1)
    assert await store.usage.totals("a", "2025-12-31") == Totals(4, 2, 1, 1)
    assert await store.usage.totals("a", "2026-01-02") == Totals(0, 0, 1, 1)
    assert await store.usage.totals("nobody", "2025-01-01") == Totals(0, 0, 0, 0)


async def test_a_column_that_is_none_is_refused(store):
    with pytest.raises(AssertionError):
        await count(store, "a", "owner = 'x' --", MIDNIGHT)


async def test_accepted_messages_are_counted_from_the_outbox_itself(store):
    for n in range(3):
        async with store.database.transaction() as tx:
            await store.messages.accept(tx, id=f"m{n}", owner="a", session_id="s", kind="text", chat=JID("4915112345678", "lid"),
                                        facts={}, payload=b"", at=100.0 + n)
    assert await store.usage.accepted_between("a", 100.0, 102.0) == (2, 101.0)
    assert await store.usage.accepted_between("a", 0.0, 200.0) == (3, 100.0)
    assert await store.usage.accepted_between("a", 102.0, 200.0) == (0, None)
    assert await store.usage.accepted_between("b", 0.0, 200.0) == (0, None)


# ------------------------------------------------------------------ answers to repeats


async def keep(store, owner="a", key="k", body=b'{"id": 1}', at=1000.0):
    async with store.database.transaction() as tx:
        await store.idempotency.keep(tx, owner, key, Answer(b"r" * 32, 202, body), at)


async def test_an_answer_is_found_by_its_owner_and_key_only(store):
    await keep(store)
    assert await store.idempotency.find("a", "k") == Answer(b"r" * 32, 202, b'{"id": 1}')
    assert await store.idempotency.find("b", "k") is None
    assert await store.idempotency.find("a", "K") is None


async def test_the_second_of_two_answers_fails_with_its_transaction(store):
    await keep(store)
    with pytest.raises(sqlite3.IntegrityError):        # noqa: PT012
        async with store.database.transaction() as tx:
            await tx.execute("INSERT INTO meta VALUES ('x', x'00')")
            await store.idempotency.keep(tx, "a", "k", Answer(b"q" * 32, 202, b"other"), 1001.0)
    assert (await store.idempotency.find("a", "k")).body == b'{"id": 1}'
    assert await store.database.one("SELECT 1 FROM meta WHERE name = 'x'") is None


async def test_answers_are_sealed_and_forgotten(store):
    await keep(store, body=b"a telling answer")
    await keep(store, key="later", at=2000.0)
    row = await store.database.one("SELECT answer FROM idempotency WHERE key = 'k'")
    assert b"telling" not in row[0]
    async with store.database.transaction() as tx:
        assert await store.idempotency.forget(tx, 1500.0) == 1
    assert await store.idempotency.find("a", "k") is None
    assert await store.idempotency.find("a", "later") is not None


# ------------------------------------------------------------------ files


async def test_a_file_is_kept_sealed_replaced_and_forgotten_when_its_time_is_over(store):
    async with store.database.transaction() as tx:
        await store.media.keep(tx, "m", b"first " * 100, 1000.0)
        await store.media.keep(tx, "m", b"second " * 100, 2000.0)
    assert await store.media.find("m") == b"second " * 100
    assert await store.media.find("other") is None
    row = await store.database.one("SELECT body_sealed FROM media")
    assert b"second" not in row[0]
    async with store.database.transaction() as tx:
        assert await store.media.forget(tx, 2000.0) == 0
        assert await store.media.forget(tx, 2000.1) == 1
    assert await store.media.find("m") is None
