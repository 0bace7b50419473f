"""What WhatsApp tells a session: stored first, told second. A receipt moves a message of ours; an arrival becomes a row and
a journal event in one transaction."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Any

import msgspec

from gateway.events import MessageArrived, Receipt, Undecryptable
from gateway.jid import JID
from gateway.messages import MediaRef, Received
from gateway.services.feed import Feed
from gateway.services.ledger import Ledger, public
from gateway.store.database import Database, Transaction
from gateway.store.messages import Messages
from gateway.store.sessions import Session
from gateway.times import iso

_STATUS_OF = {"delivered": "delivered", "read": "read", "played": "played"}


class Arrival(msgspec.Struct, omit_defaults=True):
    """The sealed part of a message that arrived."""

    text: str = ""
    media: dict[str, Any] | None = None
    filename: str = ""
    chat: str = ""                      # the message's key as WhatsApp gave it: receipts go to these addresses, while the
    sender: str = ""                    # row lists the message under the phone number

    def media_ref(self) -> MediaRef | None:
        return MediaRef(**self.media) if self.media else None


class Receiving:
    def __init__(self, database: Database, messages: Messages, ledger: Ledger, feed: Feed) -> None:
        self._database, self._messages, self._ledger, self._feed = database, messages, ledger, feed

    async def handle_receipt(self, session: Session, receipt: Receipt, now: float) -> None:
        """A receipt of several ids is one transaction. Receipts for messages sent elsewhere are not ours to tell."""
        status = _STATUS_OF.get(receipt.type)
        if status is None:
            return
        at = _believable(receipt.timestamp, now)

        async def advance(tx: Transaction) -> None:
            for wa_id in receipt.ids:
                message = await self._messages.of_wa_id(tx, session.id, wa_id)
                if message is not None:
                    await self._ledger.advance(tx, message, status, at)
                else:
                    await self._messages.keep_early_receipt(tx, session.id, wa_id, status, at)

        await self._database.write(advance)

    async def handle_message(self, session: Session, arrived: MessageArrived, now: float) -> None:
        received = arrived.message
        if received.kind == "unknown":
            return
        await self._database.write(lambda tx: self._store(tx, session, received, now))

    async def _store(self, tx: Transaction, session: Session, received: Received, now: float) -> None:
        sender = received.pn or received.lid or received.key.sender or received.key.chat
        at = _believable(received.timestamp, now)
        chat = received.key.chat
        listed = chat
        if chat.server == "lid" and received.pn is not None and not received.from_me:
            listed = received.pn.non_ad()           # a person's chat is under the phone number where that is known
        id_ = str(uuid.uuid4())
        body = Arrival(received.text, asdict(received.media) if received.media else None, received.filename, str(chat),
                       str(received.key.sender) if received.key.sender else "")
        new = await self._messages.arrive(
            tx, id=id_, owner=session.owner, session_id=session.id, kind=received.kind, chat=listed, sender=sender,
            sender_lid=received.lid, wa_id=received.key.id, facts=facts_of(received, at),
            payload=msgspec.msgpack.encode(body), at=now, sent_at=at)
        if not new:
            return
        message = await self._messages.one(id_, tx)
        assert message is not None
        await self._feed.tell(tx, owner=session.owner, session_id=session.id, type="message", at=now,
                              data={**public(message), "text": received.text, "filename": received.filename or None})

    async def handle_undecryptable(self, session: Session, event: Undecryptable, now: float) -> None:
        await self._database.write(lambda tx: self._feed.tell(
            tx, owner=session.owner, session_id=session.id, type="warning", at=now, data={
                "code": "undecryptable", "id": event.id, "from": str(event.sender),
                "message": "A message could not be decrypted; its sender was asked to send it again."}))


def _believable(timestamp: int, now: float) -> float:
    """A time that somebody else wrote: one that is not, or lies ahead, is now."""
    return float(timestamp) if 0 < timestamp <= now + 300 else now


def facts_of(received: Received, at: float) -> dict[str, Any]:
    """What may be listed of an arrival without its content."""
    facts: dict[str, Any] = {"from_me": received.from_me, "push_name": received.push_name, "timestamp": iso(at)}
    if received.media:
        facts |= {"mimetype": received.media.mimetype, "size": received.media.file_length}
    if received.seconds:
        facts["seconds"] = received.seconds
    if received.waveform:
        facts["waveform"] = list(received.waveform)
    if received.width:
        facts |= {"width": received.width, "height": received.height}
    if received.target_id:
        facts["target_whatsapp_id"] = received.target_id
    if received.quoted_id:
        facts["quoted_whatsapp_id"] = received.quoted_id
    if isinstance(received.key.sender, JID) and received.key.chat.is_group:
        facts["group"] = str(received.key.chat)
    return facts
