"""What happened, numbered: the one source of the event streams and the webhooks. Data is sealed at rest: events hold
message bodies and linking codes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import structlog

from gateway.store.database import Database, Row, Transaction
from gateway.store.vault import Sealer, VaultError

log = structlog.get_logger("gateway.journal")

TYPES: dict[str, str] = {
    "qr": "A QR code to scan: qr_code (PNG data URI), code (its text), expires_at.",
    "pairing_code": "A code to type on the phone: code, expires_at.",
    "connected": "The session is connected: jid, lid, phone_number, push_name, platform.",
    "disconnected": "The connection is gone: the session's state, with reason and what happens next.",
    "error": "The session needs somebody: code, message, action and the session's state.",
    "status": "The session's state changed: status, reason, sentence, since, next_retry, until, action.",
    "message": "A message arrived (or was sent by the owner's phone).",
    "receipt": "A message of ours changed: id, status, stage, at, and error where it failed.",
    "warning": "Something to look at: code (no_ack, not_delivered, restricted, undecryptable, damaged), message, id.",
    "deleted": "The session was deleted; nothing follows.",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One row. `data` is what clients get; `seq` grows and is never used twice."""

    seq: int
    owner: str
    session_id: str
    type: str
    at: float
    data: dict[str, Any]


_APPEND = "INSERT INTO journal (owner, session_id, type, at, data_sealed) VALUES (?, ?, ?, ?, ?)"
_AFTER = "SELECT * FROM journal WHERE seq > ? ORDER BY seq LIMIT ?"
_AFTER_OWNER = "SELECT * FROM journal WHERE owner = ? AND seq > ? ORDER BY seq LIMIT ?"
_AFTER_SESSION = "SELECT * FROM journal WHERE session_id = ? AND seq > ? ORDER BY seq LIMIT ?"
_SEQUENCE = "SELECT seq FROM sqlite_sequence WHERE name = 'journal'"
_ONE = "SELECT * FROM journal WHERE seq = ?"
_TYPES_OF = "SELECT seq, type FROM journal WHERE seq IN (SELECT value FROM json_each(?))"
_FORGET = "DELETE FROM journal WHERE seq IN (SELECT seq FROM journal WHERE at < ? ORDER BY at LIMIT 1000)"


class Journal:
    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database, self._sealer = database, sealer

    async def append(self, tx: Transaction, *, owner: str, session_id: str, type: str, at: float, data: dict[str, Any]) -> Event:
        """Writes within the caller's transaction: an event and what it tells of are one."""
        assert type in TYPES, type
        # The number is part of what the data is sealed to, and only the database gives it.
        body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
        row = await tx.one(_SEQUENCE)
        seq = (row[0] if row else 0) + 1
        sealed = self._sealer.seal(body, f"journal/{seq}")
        written = await tx.insert(_APPEND, owner, session_id, type, at, sealed)
        assert written == seq
        return Event(seq, owner, session_id, type, at, data)

    def _event(self, row: Row) -> Event:
        """One that does not open is told as a warning in its place: its number stays, and those after it are told."""
        type_ = row["type"]
        try:
            data = json.loads(self._sealer.open(row["data_sealed"], f"journal/{row['seq']}"))
        except VaultError as error:
            log.error("journal_damaged", seq=row["seq"], type=type_, error=error.text)
            type_, data = "warning", {"session": row["session_id"], "code": "damaged", "id": str(row["seq"]), "message":
                                      f"An event of type '{type_}' was here. What the disk holds of it is damaged."}
        return Event(row["seq"], row["owner"], row["session_id"], type_, row["at"], data)

    async def after(self, seq: int, limit: int = 500, *, owner: str | None = None, session_id: str | None = None) -> list[Event]:
        """Events with a greater number, in order; of one owner or session if named."""
        if session_id is not None:
            rows = await self._database.all(_AFTER_SESSION, session_id, seq, limit)
        elif owner is not None:
            rows = await self._database.all(_AFTER_OWNER, owner, seq, limit)
        else:
            rows = await self._database.all(_AFTER, seq, limit)
        return [self._event(row) for row in rows]

    async def one(self, seq: int) -> Event | None:
        row = await self._database.one(_ONE, seq)
        return self._event(row) if row else None

    async def types_of(self, seqs: list[int]) -> dict[int, str]:
        """The types of those events that are still there."""
        return {row["seq"]: row["type"] for row in await self._database.all(_TYPES_OF, json.dumps(seqs))}

    async def last(self) -> int:
        """The last number given, also when its event is forgotten by now."""
        row = await self._database.one(_SEQUENCE)
        return int(row[0]) if row else 0

    async def forget(self, tx: Transaction, before: float) -> int:
        """At most 1000 at a time, so that nobody waits long for the writer: again until it is 0."""
        return await tx.execute(_FORGET, before)
