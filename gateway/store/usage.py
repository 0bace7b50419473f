"""Counts of a key's owner, by UTC day, and the answers kept for repeated requests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.store.database import Database, Transaction
from gateway.store.vault import Sealer

_COUNT = """INSERT INTO usage (owner, day, {column}) VALUES (?, ?, 1)
ON CONFLICT (owner, day) DO UPDATE SET {column} = {column} + 1"""
_SUM = """SELECT coalesce(sum(accepted), 0) AS accepted, coalesce(sum(sent), 0) AS sent,
coalesce(sum(delivered), 0) AS delivered, coalesce(sum(failed), 0) AS failed FROM usage WHERE owner = ? AND day BETWEEN ? AND ?"""
_ACCEPTED = """SELECT count(*) AS n, min(created_at) AS first FROM messages
WHERE owner = ? AND direction = 'out' AND created_at > ? AND created_at <= ?"""


def day_of(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class Totals:
    accepted: int
    sent: int
    delivered: int
    failed: int


class Usage:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, tx: Transaction, owner: str, column: str, at: float) -> None:
        assert column in ("accepted", "sent", "delivered", "failed")
        await tx.execute(_COUNT.format(column=column), owner, day_of(at))

    async def totals(self, owner: str, first_day: str, last_day: str = "9999-12-31", tx: Transaction | None = None) -> Totals:
        row = await (tx or self._database).one(_SUM, owner, first_day, last_day)
        assert row is not None
        return Totals(row["accepted"], row["sent"], row["delivered"], row["failed"])

    async def accepted_between(self, owner: str, after: float, until: float,
                               tx: Transaction | None = None) -> tuple[int, float | None]:
        """How many messages were accepted then and when the first of them was. `until` is now, as of `Messages.sent_between`."""
        row = await (tx or self._database).one(_ACCEPTED, owner, after, until)
        assert row is not None
        return row["n"], row["first"]


@dataclass(frozen=True, slots=True)
class Answer:
    request: bytes                  # SHA-256
    status: int
    body: bytes


class Idempotency:
    """What a repeated request is answered: exactly what the first one was."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database, self._sealer = database, sealer

    async def find(self, owner: str, key: str) -> Answer | None:
        row = await self._database.one("SELECT * FROM idempotency WHERE owner = ? AND key = ?", owner, key)
        if row is None:
            return None
        return Answer(row["request"], row["status"], self._sealer.open(row["answer"], f"answer/{owner}/{key}"))

    async def keep(self, tx: Transaction, owner: str, key: str, answer: Answer, at: float) -> None:
        """Raises sqlite3.IntegrityError where another request with this key came first."""
        sealed = self._sealer.seal(answer.body, f"answer/{owner}/{key}")
        await tx.execute("INSERT INTO idempotency (owner, key, request, status, answer, created_at) VALUES (?, ?, ?, ?, ?, ?)",
                         owner, key, answer.request, answer.status, sealed, at)

    async def replace(self, tx: Transaction, owner: str, key: str, answer: Answer) -> None:
        """What is known by now, instead of what was kept."""
        sealed = self._sealer.seal(answer.body, f"answer/{owner}/{key}")
        await tx.execute("UPDATE idempotency SET status = ?, answer = ? WHERE owner = ? AND key = ? AND request = ?",
                         answer.status, sealed, owner, key, answer.request)

    async def forget(self, tx: Transaction, before: float) -> int:
        return await tx.execute("DELETE FROM idempotency WHERE created_at < ?", before)
