"""Accepting: when it returns, the message is committed, and nothing but its own fate can lose it."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

import msgspec

from gateway.errors import GatewayError, InvalidField
from gateway.jid import JID
from gateway.services.drafts import Draft, Target
from gateway.services.keys import Keys
from gateway.services.ledger import Ledger
from gateway.services.live import LiveSession
from gateway.services.preparing import Prepared, Preparing, with_fetched
from gateway.services.receiving import Arrival
from gateway.store.database import Transaction
from gateway.store.keys import Key
from gateway.store.messages import Message
from gateway.store.store import Store

Remember = Callable[[Transaction, Message], Awaitable[None]]


class Outbox:
    def __init__(self, store: Store, ledger: Ledger, preparing: Preparing, keys: Keys, clock: Callable[[], float]) -> None:
        self._store, self._ledger, self._preparing, self._keys, self._clock = store, ledger, preparing, keys, clock
        self._stopping = False

    def stop(self) -> None:
        """Refuses from now on: what is not committed is answered with `stopping`."""
        self._stopping = True

    async def accept(self, key: Key, live: LiveSession, chat: JID, draft: Draft, *,
                     remember: Remember | None = None) -> Message:
        """Commits the message and returns it. A file that came with the request is looked at first, so that what is no audio
        is refused here and nothing is queued; a URL is fetched later, and the message tells how that went.

        `remember` joins the transaction (an Idempotency-Key's answer). Raises GatewayError."""
        if self._stopping:
            raise GatewayError("stopping")
        await self._keys.check_quota(key)
        if draft.kind == "text" and not draft.text:
            raise InvalidField("message", "The text is empty.")
        if draft.url[:5].lower() == "data:":
            fetched = await self._preparing.fetch(draft.url, self._preparing.max_bytes(draft.kind))
            draft = with_fetched(draft, fetched)
        prepared = Prepared(draft, {}) if draft.url else await self._preparing.prepare(_ready(draft))
        id_, now = str(uuid.uuid4()), self._clock()
        async with self._store.database.transaction() as tx:
            message = await self._ledger.accept(tx, id=id_, owner=key.owner, session_id=live.session.id, kind=draft.kind,
                                                chat=chat, facts=prepared.facts, payload=prepared.draft.encode(), at=now)
            if remember is not None:
                await remember(tx, message)
        if live.sender is not None:
            live.sender.wake()
        return message

    async def target(self, key: Key, live: LiveSession, id_: str) -> Target:
        """The message that is answered or reacted to, by our id. Raises message_not_found."""
        message = await self._store.messages.one(id_)
        if message is None or message.owner != key.owner or message.session_id != live.session.id or message.wa_id is None:
            raise GatewayError("message_not_found")
        payload = await self._store.messages.payload(id_)
        text = ""
        if payload is not None:
            text = (msgspec.msgpack.decode(payload, type=Arrival).text if message.direction == "in"
                    else Draft.decode(payload).text)
        sender = message.sender_lid if message.chat.server == "lid" and message.sender_lid else message.sender
        return Target(str(message.chat), message.wa_id, str(sender) if sender else "", text[:500])


def _ready(draft: Draft) -> Draft:
    """Kinds without a file need no preparation."""
    return msgspec.structs.replace(draft, ready=True) if draft.kind in ("text", "reaction", "revoke") else draft
