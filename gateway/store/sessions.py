"""Sessions: our named slots for linked devices. What WhatsApp keeps for a device is not here but in the session's sealed
file, whose data key is: wrapped, so that destroying it destroys the file's meaning."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from gateway.jid import JID
from gateway.states import REASONS, SessionState
from gateway.store.database import Database, Row, Transaction


class Taken(Exception):
    """The owner has a session of that session_key already."""


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    owner: str
    session_key: str
    name: str
    state: SessionState
    jid: JID | None
    lid: JID | None
    push_name: str
    platform: str
    settings: dict[str, Any]
    webhook_url: str
    wrapped_key: bytes | None
    generation: int
    stopped: bool
    restricted_until: float | None
    created_at: float
    last_connected_at: float | None
    last_seen_at: float | None

    @property
    def phone_number(self) -> str | None:
        """E.164 with `+`."""
        return self.jid.phone if self.jid else None


_INSERT = """INSERT INTO sessions (id, owner, session_key, name, status, reason, since, webhook_url, wrapped_key, settings,
created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_ONE = "SELECT * FROM sessions WHERE id = ?"
_NAMED = "SELECT * FROM sessions WHERE owner = ? AND (id = ? OR session_key = ?) ORDER BY id = ? DESC LIMIT 1"
_ALL = "SELECT * FROM sessions ORDER BY created_at, id"
_PAGE = """SELECT * FROM sessions WHERE owner = ? AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?"""
_COUNT = "SELECT count(*) FROM sessions WHERE owner = ?"
_STATE = "UPDATE sessions SET status = ?, reason = ?, detail = ?, since = ?, until = ? WHERE id = ?"
_DELETE = "DELETE FROM sessions WHERE id = ?"
_COUNTS = "SELECT status, count(*) FROM sessions GROUP BY status"
_COLUMNS = ("session_key", "name", "webhook_url", "wrapped_key", "generation", "stopped", "restricted_until",
            "last_connected_at", "last_seen_at", "push_name", "platform", "jid", "lid", "settings")


def _session(row: Row) -> Session:
    state = SessionState(REASONS[row["reason"]], row["since"], row["detail"], None, row["until"])
    return Session(row["id"], row["owner"], row["session_key"], row["name"], state,
                   JID.parse(row["jid"]) if row["jid"] else None, JID.parse(row["lid"]) if row["lid"] else None,
                   row["push_name"], row["platform"], json.loads(row["settings"]), row["webhook_url"], row["wrapped_key"],
                   row["generation"], bool(row["stopped"]), row["restricted_until"], row["created_at"],
                   row["last_connected_at"], row["last_seen_at"])


class Sessions:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, tx: Transaction, *, id: str, owner: str, session_key: str, name: str, state: SessionState,
                     webhook_url: str, wrapped_key: bytes, settings: dict[str, Any], at: float) -> Session:
        """Raises Taken."""
        try:
            await tx.execute(_INSERT, id, owner, session_key, name, state.status, state.reason.code, state.since, webhook_url,
                             wrapped_key, json.dumps(settings), at)
        except sqlite3.IntegrityError:
            raise Taken from None
        row = await tx.one(_ONE, id)
        assert row is not None
        return _session(row)

    async def one(self, id_: str, tx: Transaction | None = None) -> Session | None:
        row = await (tx or self._database).one(_ONE, id_)
        return _session(row) if row else None

    async def named(self, owner: str, id_or_key: str) -> Session | None:
        """By id, else by session_key, of this owner only."""
        row = await self._database.one(_NAMED, owner, id_or_key, id_or_key, id_or_key)
        return _session(row) if row else None

    async def all(self) -> list[Session]:
        return [_session(row) for row in await self._database.all(_ALL)]

    async def page(self, owner: str, after: tuple[float, str] = (0.0, ""), limit: int = 1000) -> list[Session]:
        """In order of creation; `after` is (created_at, id) of the last one seen, so inserts do not shift pages."""
        return [_session(row) for row in await self._database.all(_PAGE, owner, *after, limit)]

    async def count(self, owner: str) -> int:
        row = await self._database.one(_COUNT, owner)
        return int(row[0]) if row else 0

    async def counts(self) -> dict[str, int]:
        return {row[0]: row[1] for row in await self._database.all(_COUNTS)}

    async def set_state(self, tx: Transaction, id_: str, state: SessionState) -> None:
        await tx.execute(_STATE, state.status, state.reason.code, state.detail, state.since, state.until, id_)

    async def update(self, tx: Transaction, id_: str, **columns: Any) -> None:
        """JIDs are given as JID, settings as a dict. Raises Taken."""
        for name, value in columns.items():
            assert name in _COLUMNS, name
            if isinstance(value, JID):
                value = str(value)
            elif isinstance(value, dict):
                value = json.dumps(value)
            try:
                await tx.execute(f"UPDATE sessions SET {name} = ? WHERE id = ?", value, id_)
            except sqlite3.IntegrityError:
                raise Taken from None

    async def delete(self, tx: Transaction, id_: str) -> None:
        await tx.execute(_DELETE, id_)
