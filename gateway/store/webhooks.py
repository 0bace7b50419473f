"""Webhooks and their deliveries. A delivery is one journal event for one webhook; it is made once, from the journal, in the
journal's order, so a receiver that was down loses nothing."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from gateway.store.database import Database, Row, Transaction
from gateway.store.vault import Sealer

NEVER = 1e15        # `next_at` of a delivery that is not tried again by itself
TOO_OLD = "The event is older than the journal keeps."


@dataclass(frozen=True, slots=True)
class Webhook:
    id: str
    owner: str
    session_id: str | None          # None: all sessions of the owner
    url: str
    format: str                     # native, or the dialect whose words it gets
    types: tuple[str, ...]          # empty: all
    position: int
    created_at: float


@dataclass(frozen=True, slots=True)
class Delivery:
    seq: int
    id: str
    webhook_id: str
    journal_seq: int
    chat: str
    status: str                     # waiting, delivered, parked
    attempts: int
    next_at: float                  # NEVER: set aside; a parked delivery with a time keeps its place in line
    last_status: int | None
    last_error: str | None
    created_at: float
    delivered_at: float | None


_INSERT = """INSERT INTO webhooks (id, owner, session_id, url, format, types, secret_sealed, position, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_DELIVER = """INSERT INTO deliveries (id, webhook_id, journal_seq, chat, status, next_at, created_at)
VALUES (?, ?, ?, ?, 'waiting', ?, ?) ON CONFLICT DO NOTHING"""
# In line: not delivered and not set aside. The first in line of every chat may go: a chat's order is kept, and one that
# is held up does not hold up the others.
_IN_LINE = "webhook_id = ? AND status <> 'delivered' AND next_at < 1e15"
_HEADS = f"""FROM deliveries d WHERE {_IN_LINE} AND NOT EXISTS (
  SELECT 1 FROM deliveries e WHERE e.webhook_id = d.webhook_id AND e.chat = d.chat AND e.seq < d.seq
  AND e.status <> 'delivered' AND e.next_at < 1e15)"""
_DUE = f"SELECT * {_HEADS} AND (next_at <= ? OR next_at > ?) ORDER BY seq LIMIT ?"
_NEXT = f"SELECT min(next_at) {_HEADS} AND next_at > ?"
_FIRST = f"SELECT * {_HEADS} AND seq NOT IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT 1"
_OTHER = """SELECT * FROM deliveries d WHERE webhook_id = ? AND status = 'waiting' AND seq <> ?
AND seq NOT IN (SELECT value FROM json_each(?)) AND (chat <> ? OR ?) AND NOT EXISTS (
  SELECT 1 FROM deliveries e WHERE e.webhook_id = d.webhook_id AND e.chat = d.chat AND e.seq < d.seq AND e.status = 'waiting')
ORDER BY chat = ?, seq LIMIT 1"""
_SET_ASIDE = """UPDATE deliveries SET status = 'parked', next_at = 1e15, last_status = NULL, last_error = ? WHERE seq IN (
SELECT seq FROM deliveries WHERE status <> 'delivered' AND next_at < 1e15 AND created_at < ?
AND journal_seq NOT IN (SELECT seq FROM journal) LIMIT 1000)"""
_PAGE = """SELECT d.* FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id
WHERE w.owner = ? AND d.seq < ? {more} ORDER BY d.seq DESC LIMIT ?"""


def _webhook(row: Row) -> Webhook:
    return Webhook(row["id"], row["owner"], row["session_id"], row["url"], row["format"], tuple(json.loads(row["types"])),
                   row["position"], row["created_at"])


def _delivery(row: Row) -> Delivery:
    return Delivery(**{name: row[name] for name in Delivery.__dataclass_fields__})


class Webhooks:
    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database, self._sealer = database, sealer

    async def create(self, tx: Transaction, *, id: str, owner: str, session_id: str | None, url: str, format: str,
                     types: tuple[str, ...], secret: str, position: int, at: float) -> Webhook:
        await tx.execute(_INSERT, id, owner, session_id, url, format, json.dumps(types),
                         self._sealer.seal(secret.encode(), f"webhook/{id}"), position, at)
        return Webhook(id, owner, session_id, url, format, types, position, at)

    async def secret(self, id_: str) -> str | None:
        row = await self._database.one("SELECT secret_sealed FROM webhooks WHERE id = ?", id_)
        return self._sealer.open(row[0], f"webhook/{id_}").decode() if row else None

    async def all(self, owner: str | None = None, session_id: str | None = None) -> list[Webhook]:
        rows = await self._database.all("SELECT * FROM webhooks WHERE owner = coalesce(?, owner) AND (? IS NULL OR "
                                        "session_id = ?) ORDER BY created_at, id", owner, session_id, session_id)
        return [_webhook(row) for row in rows]

    async def one(self, id_: str) -> Webhook | None:
        row = await self._database.one("SELECT * FROM webhooks WHERE id = ?", id_)
        return _webhook(row) if row else None

    async def update(self, tx: Transaction, id_: str, *, url: str, types: tuple[str, ...]) -> None:
        await tx.execute("UPDATE webhooks SET url = ?, types = ? WHERE id = ?", url, json.dumps(types), id_)

    async def set_secret(self, tx: Transaction, id_: str, secret: str) -> None:
        await tx.execute("UPDATE webhooks SET secret_sealed = ? WHERE id = ?",
                         self._sealer.seal(secret.encode(), f"webhook/{id_}"), id_)

    async def count(self, owner: str) -> int:
        row = await self._database.one("SELECT count(*) FROM webhooks WHERE owner = ?", owner)
        return int(row[0]) if row else 0

    async def delete(self, tx: Transaction, id_: str) -> None:
        await tx.execute("DELETE FROM webhooks WHERE id = ?", id_)

    async def delete_of_session(self, tx: Transaction, session_id: str) -> None:
        await tx.execute("DELETE FROM webhooks WHERE session_id = ?", session_id)

    # ------------------------------------------------------------------ deliveries

    async def make(self, tx: Transaction, webhook: Webhook, *, id: str, journal_seq: int, chat: str, at: float) -> None:
        await tx.execute(_DELIVER, id, webhook.id, journal_seq, chat, at, at)

    async def advance(self, tx: Transaction, webhook_id: str, position: int) -> None:
        await tx.execute("UPDATE webhooks SET position = max(position, ?) WHERE id = ?", position, webhook_id)

    async def due(self, webhook_id: str, at: float, longest: float, limit: int = 20) -> list[Delivery]:
        """The first in line of every chat whose time has come. Nobody waits for more than `longest` seconds: a time that lies
        further ahead was set by a clock that was set back since."""
        return [_delivery(row) for row in await self._database.all(_DUE, webhook_id, at, at + longest, limit)]

    async def next_due(self, webhook_id: str, after: float = 0) -> float | None:
        """When the next of those that are not due yet will be."""
        row = await self._database.one(_NEXT, webhook_id, after)
        return row[0] if row else None

    async def first(self, webhook_id: str, without: Collection[int] = ()) -> Delivery | None:
        """The oldest in line of those that are the first of their chat; not one of `without`, nor one behind it."""
        row = await self._database.one(_FIRST, webhook_id, json.dumps(list(without)))
        return _delivery(row) if row else None

    async def other(self, first: Delivery, without: Collection[int] = (), *, same_chat: bool) -> Delivery | None:
        """Another one, best of another chat, to see whether it is only `first` that the receiver does not take. With
        `same_chat` also one behind `first`, if that is parked."""
        row = await self._database.one(_OTHER, first.webhook_id, first.seq, json.dumps(list(without)), first.chat, same_chat,
                                       first.chat)
        return _delivery(row) if row else None

    async def tried(self, tx: Transaction, delivery: Delivery, *, status: str, at: float, next_at: float,
                    last_status: int | None, last_error: str | None, counted: bool = True) -> None:
        await tx.execute("UPDATE deliveries SET status = ?, attempts = attempts + ?, next_at = ?, last_status = ?, "
                         "last_error = ?, delivered_at = ? WHERE seq = ?", status, counted, next_at, last_status, last_error,
                         at if status == "delivered" else None, delivery.seq)

    async def release(self, tx: Transaction, webhook_id: str, at: float, attempts: int) -> None:
        """Parked ones that kept their place go again, with `attempts` behind them."""
        await tx.execute("UPDATE deliveries SET status = 'waiting', attempts = ?, next_at = ? WHERE webhook_id = ? "
                         "AND status = 'parked' AND next_at < 1e15", attempts, at, webhook_id)

    async def page(self, owner: str, *, before_seq: int | None = None, limit: int = 50, status: str | None = None,
                   webhook_id: str | None = None) -> list[Delivery]:
        more, values = "", []
        for sql, value in (("AND d.status = ?", status), ("AND d.webhook_id = ?", webhook_id)):
            if value is not None:
                more += f" {sql}"
                values.append(value)
        rows = await self._database.all(_PAGE.format(more=more), owner, before_seq or 1 << 62, *values, limit)
        return [_delivery(row) for row in rows]

    async def delivery(self, owner: str, id_: str) -> Delivery | None:
        row = await self._database.one("SELECT d.* FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id "
                                       "WHERE w.owner = ? AND d.id = ?", owner, id_)
        return _delivery(row) if row else None

    async def replay(self, tx: Transaction, *, owner: str, at: float, id: str | None = None,
                     status: str | None = None, webhook_id: str | None = None) -> int:
        """Deliveries wait again from the first attempt; those of one id, status or webhook. The number of them."""
        return await tx.execute(
            "UPDATE deliveries SET status = 'waiting', attempts = 0, next_at = ? WHERE webhook_id IN (SELECT id FROM webhooks "
            "WHERE owner = ?) AND id = coalesce(?, id) AND status = coalesce(?, status) AND webhook_id = coalesce(?, webhook_id)",
            at, owner, id, status, webhook_id)

    async def counts(self, owner: str) -> dict[str, dict[str, int]]:
        """By webhook and status, of what is not delivered."""
        counts: dict[str, dict[str, int]] = {}
        for row in await self._database.all("SELECT d.webhook_id, d.status, count(*) AS n FROM deliveries d JOIN webhooks w "
                                            "ON w.id = d.webhook_id WHERE w.owner = ? AND d.status <> 'delivered' "
                                            "GROUP BY d.webhook_id, d.status", owner):
            counts.setdefault(row["webhook_id"], {})[row["status"]] = row["n"]
        return counts

    async def set_aside(self, tx: Transaction, before: float) -> int:
        """Those of that time whose event is forgotten, at most 1000 at a time: again until it is 0."""
        return await tx.execute(_SET_ASIDE, TOO_OLD, before)

    async def forget(self, tx: Transaction, before: float) -> int:
        """Those that wait for nothing any more, at most 1000 at a time: again until it is 0."""
        return await tx.execute("DELETE FROM deliveries WHERE seq IN (SELECT seq FROM deliveries WHERE created_at < ? "
                                "AND (status = 'delivered' OR next_at >= 1e15) ORDER BY seq LIMIT 1000)", before)
