"""Accepting: when it returns, the message is committed, and nothing but its own fate can lose it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from gateway.errors import GatewayError, InvalidField
from gateway.jid import JID
from gateway.services.drafts import Draft, Target
from gateway.services.keys import Keys
from gateway.services.ledger import Ledger
from gateway.services.live import LiveSession
from gateway.services.preparing import Prepared, Preparing, facts_of, with_fetched
from gateway.services.receiving import Arrival
from gateway.states import Status
from gateway.store.database import Transaction
from gateway.store.keys import Key
from gateway.store.messages import Message
from gateway.store.store import Store

Remember = Callable[[Transaction, Message], Awaitable[None]]
_WITHOUT_FILE = ("text", "reaction", "revoke")


class Outbox:
    def __init__(self, store: Store, ledger: Ledger, preparing: Preparing, keys: Keys, clock: Callable[[], float]) -> None:
        self._store, self._ledger, self._preparing, self._keys, self._clock = store, ledger, preparing, keys, clock
        self._stopping = False

    def stop(self) -> None:
        """Refuses from now on: what is not committed is answered with `stopping`."""
        self._stopping = True

    async def accept(self, key: Key, live: LiveSession, chat: JID, draft: Draft, *, remember: Remember | None = None,
                     facts: dict[str, Any] | None = None,
                     prepared_in: Callable[[float], None] = lambda seconds: None) -> Message:
        """Commits the message and returns it. A file that came with the request is looked at first, so that what is no audio
        is refused here and nothing is queued; a URL is fetched later, and the message tells how that went.

        `remember` joins the transaction (an Idempotency-Key's answer); `facts` are told with the message's own; `prepared_in` is
        told how long the look at the file took, its turn awaited. Raises GatewayError."""
        if self._stopping:
            raise GatewayError("stopping")
        await self._keys.check_quota(key)
        if draft.kind == "text" and not draft.text:
            raise InvalidField("message", "The text is empty.")
        if draft.url[:5].lower() == "data:":
            fetched = await self._preparing.fetch(draft.url, self._preparing.max_bytes(draft.kind))
            draft = with_fetched(draft, fetched)
        began = time.perf_counter()
        prepared = Prepared(draft, facts_of(draft)) if draft.url else await self._preparing.prepare(_ready(draft))
        if draft.data:
            prepared_in(time.perf_counter() - began)
        id_, now = str(uuid.uuid4()), self._clock()

        async def accept(tx: Transaction) -> Message:
            if self._stopping:
                raise GatewayError("stopping")
            await self._keys.check_quota(key, tx)   # again: of many at once, only as many as there is room for
            session = await self._store.sessions.one(live.session.id, tx)       # as it is now, after the file was looked at
            if session is None or session.wrapped_key is None:
                raise GatewayError("session_not_found")
            if session.jid is None or session.state.status is Status.LOGGED_OUT:
                raise GatewayError("session_not_connected", session=session.id)
            message = await self._ledger.accept(
                tx, id=id_, owner=key.owner, session_id=live.session.id, kind=draft.kind, chat=chat,
                facts={**prepared.facts, **(facts or {})}, payload=prepared.draft.encode(), at=now)
            if remember is not None:
                await remember(tx, message)
            return message

        message = await self._store.database.write(accept)
        if live.sender is not None:
            live.sender.wake()
        return message

    async def react(self, key: Key, live: LiveSession, id_: str, emoji: str, *, remember: Remember | None = None) -> Message:
        """An empty emoji takes the reaction away. Raises message_not_found."""
        target = await self.target(key, live, id_)
        return await self.accept(key, live, JID.stored(target.chat), Draft.reaction(target, emoji), remember=remember)

    async def revoke(self, key: Key, live: LiveSession, message: Message, *, remember: Remember | None = None) -> Message:
        """Takes a message of ours back for everyone. Raises wrong_state."""
        if message.direction != "out" or message.wa_id is None or message.status not in ("sent", "delivered", "read", "played"):
            raise GatewayError("wrong_state", "Only a message that was sent from here can be revoked.", status=message.status)
        if message.kind in ("reaction", "revoke"):
            raise GatewayError("wrong_state", f"A {message.kind} cannot be revoked.")
        draft = Draft("revoke", target=Target(str(message.chat), message.wa_id))
        return await self.accept(key, live, message.chat, draft, remember=remember)

    async def cancel(self, message: Message) -> Message | None:
        """Before it leaves; None when it is too late for that."""
        return await self._store.database.write(lambda tx: self._ledger.cancel(tx, message, self._clock()))

    async def resend(self, key: Key, live: LiveSession, message: Message, *, remember: Remember | None = None) -> Message:
        """A failed message once more, as a new one. Raises wrong_state, media_unavailable."""
        if message.direction != "out" or message.status != "failed":
            raise GatewayError("wrong_state", "Only a message that failed can be sent again.", status=message.status)
        payload = await self._store.messages.payload(message.id)
        if payload is None:
            raise GatewayError("media_unavailable", "The message's content is not kept any more.")
        return await self.accept(key, live, message.chat, Draft.decode(payload), remember=remember,
                                 facts={"resend_of": message.id})

    async def target(self, key: Key, live: LiveSession, id_: str) -> Target:
        """The message that is answered or reacted to, by our id. Raises message_not_found."""
        message = await self._store.messages.one(id_)
        if message is None or message.owner != key.owner or message.session_id != live.session.id or message.wa_id is None:
            raise GatewayError("message_not_found")
        payload = await self._store.messages.payload(id_)
        text, sender = "", message.sender_lid if message.chat.server == "lid" and message.sender_lid else message.sender
        if payload is not None and message.direction == "in":
            arrival = msgspec.msgpack.decode(payload, type=Arrival)
            text, sender = arrival.text, JID.stored(arrival.sender) if arrival.sender else sender
        elif payload is not None:
            text = Draft.decode(payload).text
        own = message.direction == "out" or message.facts.get("from_me")
        return Target(str(message.chat), message.wa_id, str(sender) if sender and not own else "", text[:500])


def _ready(draft: Draft) -> Draft:
    """Kinds without a file need no preparation."""
    return msgspec.structs.replace(draft, ready=True) if draft.kind in _WITHOUT_FILE else draft
