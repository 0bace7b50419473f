"""Webhooks and their deliveries. A delivery is one journal event for one webhook; it is made once, from the journal, in the
journal's order, so a receiver that was down loses nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gateway.store.database import Database, Row, Transaction
from gateway.store.vault import Sealer


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
    next_at: float
    last_status: int | None
    last_error: str | None
    created_at: float
    delivered_at: float | None


_INSERT = """INSERT INTO webhooks (id, owner, session_id, url, format, types, secret_sealed, position, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_DELIVER = """INSERT INTO deliveries (id, webhook_id, journal_seq, chat, status, next_at, created_at)
VALUES (?, ?, ?, ?, 'waiting', ?, ?) ON CONFLICT DO NOTHING"""
# The first waiting delivery of every chat: a chat's order is kept, a failing chat does not hold up the others.
_DUE = """SELECT * FROM deliveries d WHERE webhook_id = ? AND status = 'waiting' AND next_at <= ? AND NOT EXISTS (
  SELECT 1 FROM deliveries e WHERE e.webhook_id = d.webhook_id AND e.status = 'waiting' AND e.chat = d.chat AND e.seq < d.seq)
ORDER BY seq LIMIT ?"""
_NEXT = """SELECT min(next_at) FROM deliveries d WHERE webhook_id = ? AND status = 'waiting' AND NOT EXISTS (
  SELECT 1 FROM deliveries e WHERE e.webhook_id = d.webhook_id AND e.status = 'waiting' AND e.chat = d.chat AND e.seq < d.seq)"""
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

    async def secret(self, id_: str) -> str:
        row = await self._database.one("SELECT secret_sealed FROM webhooks WHERE id = ?", id_)
        assert row is not None
        return self._sealer.open(row[0], f"webhook/{id_}").decode()

    async def all(self, owner: str | None = None, session_id: str | None = None) -> list[Webhook]:
        rows = await self._database.all("SELECT * FROM webhooks WHERE owner = coalesce(?, owner) AND (? IS NULL OR "
                                        "session_id = ?) ORDER BY created_at, id", owner, session_id, session_id)
        return [_webhook(row) for row in rows]

    async def one(self, id_: str) -> Webhook | None:
        row = await self._database.one("SELECT * FROM webhooks WHERE id = ?", id_)
        return _webhook(row) if row else None

    async def update(self, tx: Transaction, id_: str, *, url: str, types: tuple[str, ...]) -> None:
        await tx.execute("UPDATE webhooks SET url = ?, types = ? WHERE id = ?", url, json.dumps(types), id_)

    async def delete(self, tx: Transaction, id_: str) -> None:
        await tx.execute("DELETE FROM webhooks WHERE id = ?", id_)

    async def delete_of_session(self, tx: Transaction, session_id: str) -> None:
        await tx.execute("DELETE FROM webhooks WHERE session_id = ?", session_id)

    # ------------------------------------------------------------------ deliveries

    async def make(self, tx: Transaction, webhook: Webhook, *, id: str, journal_seq: int, chat: str, at: float) -> None:
        await tx.execute(_DELIVER, id, webhook.id, journal_seq, chat, at, at)

    async def advance(self, tx: Transaction, webhook_id: str, position: int) -> None:
        await tx.execute("UPDATE webhooks SET position = max(position, ?) WHERE id = ?", position, webhook_id)

    async def due(self, webhook_id: str, at: float, limit: int = 20) -> list[Delivery]:
        return [_delivery(row) for row in await self._database.all(_DUE, webhook_id, at, limit)]

    async def next_due(self, webhook_id: str) -> float | None:
        row = await self._database.one(_NEXT, webhook_id)
        return row[0] if row else None

    async def tried(self, tx: Transaction, delivery: Delivery, *, status: str, at: float, next_at: float,
                    last_status: int | None, last_error: str | None) -> None:
        await tx.execute("UPDATE deliveries SET status = ?, attempts = attempts + 1, next_at = ?, last_status = ?, "
                         "last_error = ?, delivered_at = ? WHERE seq = ?", status, next_at, last_status, last_error,
                         at if status == "delivered" else None, delivery.seq)

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

    async def backlog(self) -> dict[str, Any]:
        row = await self._database.one("SELECT sum(status = 'waiting') AS waiting, sum(status = 'parked') AS parked "
                                       "FROM deliveries")
        assert row is not None
        return {"waiting": row["waiting"] or 0, "parked": row["parked"] or 0}

    async def forget(self, tx: Transaction, before: float) -> int:
        return await tx.execute("DELETE FROM deliveries WHERE created_at < ? AND status <> 'waiting'", before)
