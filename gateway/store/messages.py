"""Messages: the outbox and what arrived. Bodies are sealed; what may be listed without them (sizes, seconds) is in `facts`.

A sent message goes queued -> preparing -> waiting -> sending -> done, or through unconfirmed. `sending` is written, with
the secret of the attempt, before WhatsApp's core is called: after a crash it tells which sends may be on their way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gateway.jid import JID
from gateway.store.database import Database, Row, Transaction
from gateway.store.vault import Sealer

STATUSES = ("pending", "sent", "delivered", "read", "played", "failed", "received")
STAGES = ("queued", "preparing", "waiting", "sending", "unconfirmed", "done")
_RANK = {"pending": 0, "failed": 0, "sent": 1, "delivered": 2, "read": 3, "played": 4}
_TIME_OF = {"sent": "sent_at", "delivered": "delivered_at", "read": "read_at", "played": "played_at", "failed": "failed_at"}


@dataclass(frozen=True, slots=True)
class Message:
    seq: int
    id: str
    owner: str
    session_id: str
    direction: Literal["out", "in"]
    kind: str
    chat: JID
    sender: JID | None
    sender_lid: JID | None
    status: str
    stage: str
    wa_id: str | None
    facts: dict[str, Any]
    attempts: int
    not_before: float | None
    error_code: str | None
    error_text: str | None
    may_have_been_delivered: bool
    created_at: float
    handed_at: float | None
    sent_at: float | None
    delivered_at: float | None
    read_at: float | None
    played_at: float | None
    failed_at: float | None


_LISTED = """seq, id, owner, session_id, direction, kind, chat, sender, sender_lid, status, stage, wa_id, facts, attempts,
not_before, error_code, error_text, may_have_been_delivered, created_at, handed_at, sent_at, delivered_at, read_at,
played_at, failed_at"""
_ACCEPT = """INSERT INTO messages (id, owner, session_id, direction, kind, chat, status, stage, facts, payload_sealed,
created_at) VALUES (?, ?, ?, 'out', ?, ?, 'pending', 'queued', ?, ?, ?)"""
_ARRIVE = """INSERT INTO messages (id, owner, session_id, direction, kind, chat, sender, sender_lid, status, stage, wa_id,
facts, payload_sealed, created_at, sent_at) VALUES (?, ?, ?, 'in', ?, ?, ?, ?, 'received', 'done', ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING"""
_ONE = f"SELECT {_LISTED} FROM messages WHERE id = ?"
_PAYLOAD = "SELECT payload_sealed FROM messages WHERE id = ?"
_SECRET = "SELECT secret_sealed FROM messages WHERE id = ?"
_QUEUE = f"SELECT {_LISTED} FROM messages WHERE session_id = ? AND direction = 'out' AND stage <> 'done' ORDER BY seq LIMIT ?"
_EXCHANGED = "(direction = 'in' OR sent_at IS NOT NULL)"
_HEADS = f"""SELECT {_LISTED} FROM messages m WHERE seq IN (SELECT min(seq) FROM messages
WHERE session_id = ? AND direction = 'out' AND stage <> 'done' GROUP BY chat) AND (? OR stage = 'unconfirmed' OR chat LIKE '%@g.us'
OR EXISTS (SELECT 1 FROM messages k WHERE k.owner = m.owner AND k.session_id = m.session_id AND k.chat = m.chat AND {_EXCHANGED}))
ORDER BY seq LIMIT ?"""
_SENDING = f"SELECT {_LISTED} FROM messages WHERE session_id = ? AND direction = 'out' AND stage = 'sending' ORDER BY seq"
_TRAFFIC = """SELECT s.value AS session_id,
(SELECT count(*) FROM messages WHERE session_id = s.value AND direction = 'out' AND stage <> 'done') AS queued,
(SELECT count(*) FROM messages WHERE session_id = s.value AND direction = 'out' AND handed_at > ? AND handed_at <= ?
 AND sent_at IS NOT NULL) AS sent FROM json_each(?) s"""
_OF_WA_ID = f"SELECT {_LISTED} FROM messages WHERE session_id = ? AND wa_id = ? AND direction = ?"
_SENT_BETWEEN = """SELECT count(*) AS n, min(handed_at) AS first FROM messages
WHERE session_id = ? AND direction = 'out' AND handed_at > ? AND handed_at <= ? AND sent_at IS NOT NULL"""
_KNOWN_CHAT = f"SELECT 1 FROM messages WHERE owner = ? AND session_id = ? AND chat = ? AND {_EXCHANGED} LIMIT 1"
_KEEP_EARLY = """INSERT INTO early_receipts (session_id, wa_id, status, at) SELECT ?, ?, ?, ? WHERE EXISTS (
SELECT 1 FROM messages WHERE session_id = ? AND direction = 'out' AND stage = 'sending') ON CONFLICT DO NOTHING"""
_LATE = f"""SELECT {_LISTED} FROM messages WHERE direction = 'out' AND status = 'sent' AND late_told = 0
AND sent_at < ? AND kind NOT IN ('reaction', 'revoke') LIMIT 100"""
_OVERDUE = f"""SELECT {_LISTED} FROM messages WHERE direction = 'out' AND stage <> 'done'
AND stage IN ('queued', 'preparing', 'waiting') AND created_at < ? ORDER BY created_at, seq LIMIT 100"""
_FORGET = """DELETE FROM messages WHERE seq IN (SELECT seq FROM messages WHERE created_at < ? AND stage = 'done'
ORDER BY created_at LIMIT 1000)"""


def _jid(text: str) -> JID | None:
    return JID.stored(text) if text else None


def _message(row: Row) -> Message:
    return Message(row["seq"], row["id"], row["owner"], row["session_id"], row["direction"], row["kind"],
                   JID.stored(row["chat"]), _jid(row["sender"]), _jid(row["sender_lid"]), row["status"], row["stage"],
                   row["wa_id"], json.loads(row["facts"]), row["attempts"], row["not_before"], row["error_code"],
                   row["error_text"], bool(row["may_have_been_delivered"]), row["created_at"], row["handed_at"],
                   row["sent_at"], row["delivered_at"], row["read_at"], row["played_at"], row["failed_at"])


class Messages:
    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database, self._sealer = database, sealer

    # ------------------------------------------------------------------ the outbox

    async def accept(self, tx: Transaction, *, id: str, owner: str, session_id: str, kind: str, chat: JID,
                     facts: dict[str, Any], payload: bytes, at: float) -> Message:
        await tx.insert(_ACCEPT, id, owner, session_id, kind, str(chat), json.dumps(facts),
                        self._sealer.seal(payload, f"payload/{id}"), at)
        message = await self.one(id, tx)
        assert message is not None
        return message

    async def payload(self, id_: str) -> bytes | None:
        row = await self._database.one(_PAYLOAD, id_)
        return self._sealer.open(row[0], f"payload/{id_}") if row and row[0] is not None else None

    async def set_payload(self, tx: Transaction, id_: str, payload: bytes | None) -> None:
        sealed = self._sealer.seal(payload, f"payload/{id_}") if payload is not None else None
        await tx.execute("UPDATE messages SET payload_sealed = ? WHERE id = ?", sealed, id_)

    async def queue(self, session_id: str, limit: int = 100) -> list[Message]:
        """Not yet settled, in the order accepted."""
        return [_message(row) for row in await self._database.all(_QUEUE, session_id, limit)]

    async def heads(self, session_id: str, limit: int = 200, *, new_chats: bool = True) -> list[Message]:
        """The earliest unsettled message of every chat: only they may go next, since a chat's order is kept. Without `new_chats`
        those of groups and of chats in which anything was exchanged before, and the unconfirmed ones."""
        return [_message(row) for row in await self._database.all(_HEADS, session_id, new_chats, limit)]

    async def handed_over(self, session_id: str) -> list[Message]:
        """Those of stage `sending`: after a restart, what the last process was about."""
        return [_message(row) for row in await self._database.all(_SENDING, session_id)]

    async def traffic(self, session_ids: Sequence[str], after: float, until: float) -> dict[str, tuple[int, int]]:
        """Of each of the sessions: how many messages wait, and how many were sent between these times."""
        rows = await self._database.all(_TRAFFIC, after, until, json.dumps(list(session_ids)))
        return {row["session_id"]: (row["queued"], row["sent"]) for row in rows}

    async def set_stage(self, tx: Transaction, id_: str, stage: str, *, not_before: float | None = None) -> None:
        """Of one that is not settled: a cancelled message stays cancelled."""
        assert stage in STAGES, stage
        await tx.execute("UPDATE messages SET stage = ?, not_before = ? WHERE id = ? AND stage <> 'done'", stage, not_before, id_)

    async def set_facts(self, tx: Transaction, id_: str, facts: dict[str, Any]) -> None:
        await tx.execute("UPDATE messages SET facts = ? WHERE id = ?", json.dumps(facts), id_)

    async def hand_over(self, tx: Transaction, id_: str, secret: bytes, at: float) -> bool:
        """Before the core is called: from now on the message may be on its way. False when it is settled already (it
        expired, its session was deleted): then it must not be sent."""
        return await tx.execute("UPDATE messages SET stage = 'sending', secret_sealed = ?, handed_at = ?, "
                                "attempts = attempts + 1, not_before = NULL WHERE id = ? AND stage <> 'done'",
                                self._sealer.seal(secret, f"secret/{id_}"), at, id_) == 1

    async def secret(self, id_: str) -> bytes | None:
        row = await self._database.one(_SECRET, id_)
        return self._sealer.open(row[0], f"secret/{id_}") if row and row[0] is not None else None

    async def unconfirmed(self, tx: Transaction, id_: str, wa_id: str) -> None:
        """Of one that is settled (its session was logged out meanwhile) only the id is noted, for receipts to find it."""
        await tx.execute("UPDATE messages SET wa_id = ?, stage = CASE stage WHEN 'done' THEN 'done' ELSE 'unconfirmed' END "
                         "WHERE id = ?", wa_id, id_)

    async def advance(self, tx: Transaction, message: Message, status: str, at: float, wa_id: str | None = None) -> bool:
        """Forward only: pending -> sent -> delivered -> read -> played. A receipt also proves the steps before it, and turns
        a failed message that may have been delivered into a delivered one. False when nothing changed."""
        if _RANK[status] <= _RANK[message.status] or (message.status == "failed" and not message.may_have_been_delivered):
            return False
        times = [name for name in ("sent", "delivered", "read", "played") if _RANK[name] <= _RANK[status]]
        if status == "played":
            times.remove("read")            # a voice note is played without a read receipt
        sets = ", ".join(f"{_TIME_OF[name]} = coalesce({_TIME_OF[name]}, ?)" for name in times)
        await tx.execute(f"UPDATE messages SET status = ?, stage = 'done', error_code = NULL, error_text = NULL, "
                         f"failed_at = NULL, secret_sealed = NULL, wa_id = coalesce(?, wa_id), {sets} WHERE id = ?",
                         status, wa_id, *[at] * len(times), message.id)
        return True

    async def fail(self, tx: Transaction, id_: str, code: str, text: str, at: float, *, may_have_been_delivered: bool) -> bool:
        """False when it was settled already."""
        return await tx.execute(
            "UPDATE messages SET status = 'failed', stage = 'done', error_code = ?, error_text = ?, failed_at = ?, "
            "may_have_been_delivered = ?, secret_sealed = NULL WHERE id = ? AND stage <> 'done'",
            code, text, at, may_have_been_delivered, id_) == 1

    async def cancel(self, tx: Transaction, id_: str, code: str, text: str, at: float) -> bool:
        """One that has not been handed over. False when it is too late for that."""
        return await tx.execute(
            "UPDATE messages SET status = 'failed', stage = 'done', error_code = ?, error_text = ?, failed_at = ? "
            "WHERE id = ? AND stage IN ('queued', 'preparing', 'waiting')", code, text, at, id_) == 1

    async def requeue(self, tx: Transaction, id_: str, *, not_before: float | None = None,
                      may_have_been_delivered: bool = False) -> None:
        """Of one that is not settled: what failed meanwhile stays so."""
        await tx.execute("UPDATE messages SET stage = 'queued', wa_id = NULL, secret_sealed = NULL, not_before = ?, "
                         "may_have_been_delivered = may_have_been_delivered OR ? WHERE id = ? AND stage <> 'done'",
                         not_before, may_have_been_delivered, id_)

    async def keep_early_receipt(self, tx: Transaction, session_id: str, wa_id: str, status: str, at: float) -> None:
        """Of a message whose id is not known yet; only while one is being handed over."""
        await tx.execute(_KEEP_EARLY, session_id, wa_id, status, at, session_id)

    async def take_early_receipts(self, tx: Transaction, session_id: str, wa_id: str) -> list[tuple[str, float]]:
        """(status, time) of those that came before the id was known."""
        rows = await tx.all("SELECT status, at FROM early_receipts WHERE session_id = ? AND wa_id = ?", session_id, wa_id)
        if rows:
            await tx.execute("DELETE FROM early_receipts WHERE session_id = ? AND wa_id = ?", session_id, wa_id)
        return sorted(((row["status"], row["at"]) for row in rows), key=lambda receipt: _RANK[receipt[0]])

    async def sent_between(self, session_id: str, after: float, until: float) -> tuple[int, float | None]:
        """How many were handed over then and taken, and when the first of them was. `until` is now: what is later was sent
        before the clock was set back, and would count until the clock is there again."""
        row = await self._database.one(_SENT_BETWEEN, session_id, after, until)
        assert row is not None
        return row["n"], row["first"]

    async def knows_chat(self, owner: str, session_id: str, chat: JID) -> bool:
        """Whether anything was exchanged with this chat before."""
        return await self._database.one(_KNOWN_CHAT, owner, session_id, str(chat)) is not None

    async def late(self, sent_before: float) -> list[Message]:
        return [_message(row) for row in await self._database.all(_LATE, sent_before)]

    async def told_late(self, tx: Transaction, id_: str) -> None:
        await tx.execute("UPDATE messages SET late_told = 1 WHERE id = ?", id_)

    async def overdue(self, accepted_before: float) -> list[Message]:
        """Accepted earlier than that and not handed over yet; at most 100, the oldest first."""
        return [_message(row) for row in await self._database.all(_OVERDUE, accepted_before)]

    # ------------------------------------------------------------------ what arrived

    async def arrive(self, tx: Transaction, *, id: str, owner: str, session_id: str, kind: str, chat: JID, sender: JID,
                     sender_lid: JID | None, wa_id: str, facts: dict[str, Any], payload: bytes, at: float,
                     sent_at: float) -> bool:
        """False when the message was here already: WhatsApp delivers at least once."""
        return await tx.execute(_ARRIVE, id, owner, session_id, kind, str(chat), str(sender),
                                str(sender_lid) if sender_lid else "", wa_id, json.dumps(facts),
                                self._sealer.seal(payload, f"payload/{id}"), at, sent_at) == 1

    async def mark_read(self, tx: Transaction, id_: str, at: float, *, played: bool) -> None:
        """That we told its sender so."""
        await tx.execute("UPDATE messages SET read_at = coalesce(read_at, ?), played_at = coalesce(played_at, ?) WHERE id = ?",
                         at, at if played else None, id_)

    # ------------------------------------------------------------------ looking

    async def one(self, id_: str, tx: Transaction | None = None) -> Message | None:
        row = await (tx or self._database).one(_ONE, id_)
        return _message(row) if row else None

    async def of_wa_id(self, tx: Transaction, session_id: str, wa_id: str, direction: str = "out") -> Message | None:
        row = await tx.one(_OF_WA_ID, session_id, wa_id, direction)
        return _message(row) if row else None

    async def page(self, owner: str, *, limit: int = 50, before_seq: int | None = None, session_id: str | None = None,
                   chat: str | None = None, status: str | None = None, kinds: Sequence[str] = (),
                   direction: str | None = None, before: float | None = None, after: float | None = None) -> list[Message]:
        """Newest first; `before_seq` is the last number seen, so inserts do not shift pages."""
        conditions, values = ["owner = ?"], [owner]
        for sql, value in (("seq < ?", before_seq), ("session_id = ?", session_id), ("chat = ?", chat), ("status = ?", status),
                           ("direction = ?", direction), ("created_at < ?", before),
                           ("created_at > ?", after)):
            if value is not None:
                conditions.append(sql)
                values.append(value)                        # type: ignore[arg-type]
        if kinds:
            conditions.append(f"kind IN ({', '.join('?' * len(kinds))})")
            values += kinds
        sql = f"SELECT {_LISTED} FROM messages WHERE {' AND '.join(conditions)} ORDER BY seq DESC LIMIT ?"
        return [_message(row) for row in await self._database.all(sql, *values, limit)]

    async def count(self, session_id: str) -> int:
        row = await self._database.one("SELECT count(*) FROM messages WHERE session_id = ? AND direction = 'out' "
                                       "AND sent_at IS NOT NULL", session_id)
        return int(row[0]) if row else 0

    async def forget(self, tx: Transaction, before: float) -> int:
        """Settled ones, at most 1000 at a time: again until it is 0."""
        await tx.execute("DELETE FROM early_receipts WHERE at < ?", before)
        return await tx.execute(_FORGET, before)
