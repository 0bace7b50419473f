"""Every change of a message of ours: the row, its journal event and the owner's counts, in one transaction."""

from __future__ import annotations

from typing import Any

from gateway.errors import TABLE
from gateway.jid import JID
from gateway.services.feed import Feed
from gateway.store.database import Transaction
from gateway.store.messages import Message, Messages
from gateway.store.usage import Usage
from gateway.times import iso


class Ledger:
    def __init__(self, messages: Messages, usage: Usage, feed: Feed) -> None:
        self.messages, self._usage, self._feed = messages, usage, feed

    async def accept(self, tx: Transaction, *, id: str, owner: str, session_id: str, kind: str, chat: JID,
                     facts: dict[str, Any], payload: bytes, at: float) -> Message:
        message = await self.messages.accept(tx, id=id, owner=owner, session_id=session_id, kind=kind, chat=chat, facts=facts,
                                             payload=payload, at=at)
        await self._usage.count(tx, owner, "accepted", at)
        await self._tell(tx, message, at)
        return message

    async def hand_over(self, tx: Transaction, message: Message, secret: bytes, at: float) -> bool:
        """False when the message was settled (cancelled) meanwhile: it must not be sent."""
        return await self.messages.hand_over(tx, message.id, secret, at)

    async def advance(self, tx: Transaction, message: Message, status: str, at: float, wa_id: str | None = None) -> bool:
        """On an acknowledgement or a receipt. Forward only; False when it said nothing new."""
        if not await self.messages.advance(tx, message, status, at, wa_id):
            return False
        before = message.status
        if before in ("pending", "failed"):
            await self._usage.count(tx, message.owner, "sent", at)
        if before in ("pending", "failed", "sent") and status != "sent":
            await self._usage.count(tx, message.owner, "delivered", at)
        await self._tell(tx, await self._again(tx, message), at)
        return True

    async def sent(self, tx: Transaction, message: Message, wa_id: str, at: float) -> None:
        """WhatsApp acknowledged it under this id. Receipts that overtook the acknowledgement count now."""
        await self.advance(tx, message, "sent", at, wa_id)
        await self._catch_up(tx, message, wa_id)

    async def unconfirmed(self, tx: Transaction, message: Message, wa_id: str, at: float) -> None:
        """It was handed to the wire under this id, and nobody said what became of it, unless a receipt did."""
        await self.messages.unconfirmed(tx, message.id, wa_id)
        await self._tell(tx, await self._again(tx, message), at)
        await self._catch_up(tx, message, wa_id)

    async def _catch_up(self, tx: Transaction, message: Message, wa_id: str) -> None:
        for status, at in await self.messages.take_early_receipts(tx, message.session_id, wa_id):
            await self.advance(tx, await self._again(tx, message), status, at, wa_id)

    async def fail(self, tx: Transaction, message: Message, code: str, text: str, at: float, *,
                   may_have_been_delivered: bool = False) -> None:
        may = may_have_been_delivered or message.may_have_been_delivered
        if await self.messages.fail(tx, message.id, code, text, at, may_have_been_delivered=may):
            await self._usage.count(tx, message.owner, "failed", at)
            await self._tell(tx, await self._again(tx, message), at)

    async def cancel(self, tx: Transaction, message: Message, at: float) -> Message | None:
        """Before it is handed over; None when it is too late."""
        code = "cancelled"
        if not await self.messages.cancel(tx, message.id, code, TABLE[code].sentence, at):
            return None
        await self._usage.count(tx, message.owner, "failed", at)
        cancelled = await self._again(tx, message)
        await self._tell(tx, cancelled, at)
        return cancelled

    async def requeue(self, tx: Transaction, message: Message, at: float, *, not_before: float | None = None,
                      may_have_been_delivered: bool = False) -> None:
        await self.messages.requeue(tx, message.id, not_before=not_before, may_have_been_delivered=may_have_been_delivered)
        if message.stage == "unconfirmed":
            await self._tell(tx, await self._again(tx, message), at)

    async def warn(self, tx: Transaction, message: Message, code: str, text: str, at: float) -> None:
        await self._feed.tell(tx, owner=message.owner, session_id=message.session_id, type="warning", at=at,
                              data={"code": code, "message": text, "id": message.id, "to": str(message.chat)})

    async def _again(self, tx: Transaction, message: Message) -> Message:
        row = await self.messages.one(message.id, tx)
        assert row is not None
        return row

    async def _tell(self, tx: Transaction, message: Message, at: float) -> None:
        await self._feed.tell(tx, owner=message.owner, session_id=message.session_id, type="receipt", at=at,
                              data={**public(message), "at": iso(at)})


def public(message: Message) -> dict[str, Any]:
    """A message as the API, the streams and the webhooks show it. Never its body."""
    out: dict[str, Any] = {
        "id": message.id,
        "session": message.session_id,
        "direction": message.direction,
        "type": "audio" if message.kind == "ptt" else message.kind,
        "ptt": message.kind == "ptt",
        "status": message.status,
        "stage": message.stage,
        "to": str(message.chat),
        "toPhone": message.chat.phone,
        "whatsapp_id": message.wa_id,
        "created_at": iso(message.created_at),
        "sent_at": iso(message.sent_at),
        "delivered_at": iso(message.delivered_at),
        "read_at": iso(message.read_at),
        "played_at": iso(message.played_at),
        "failed_at": iso(message.failed_at),
        "attempts": message.attempts,
        "not_before": iso(message.not_before),
        "error": {"code": message.error_code, "message": message.error_text} if message.error_code else None,
        "may_have_been_delivered": message.may_have_been_delivered,
        **message.facts,
    }
    if message.direction == "in":
        out["from"] = str(message.sender)
        out["from_lid"] = str(message.sender_lid) if message.sender_lid else None
        out["chat"] = out.pop("to")
        del out["toPhone"]
    return out
