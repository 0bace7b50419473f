"""What can be done with a message that arrived: get its file, mark it as read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

import msgspec
import structlog

from gateway.errors import GatewayError
from gateway.jid import JID
from gateway.media.fetch import clean_filename, media_type
from gateway.messages import MessageKey
from gateway.services.drafts import Draft
from gateway.services.live import LiveSession
from gateway.services.receiving import Arrival
from gateway.services.sessions import Sessions
from gateway.store.messages import Message
from gateway.store.store import Store

log = structlog.get_logger("gateway.inbox")

# Kinds of outgoing messages whose words are all there is of them; of the others the payload may be a large file.
_WORDS_ONLY = ("text", "reaction")


@dataclass(frozen=True, slots=True)
class MediaFile:
    """`mimetype`: bare and lower-case, as its sender called it. `filename`: one safe path component, or ''."""

    data: bytes
    mimetype: str
    filename: str


class Inbox:
    """`retention_seconds` 0: downloaded files are not kept."""

    def __init__(self, store: Store, sessions: Sessions, *, retention_seconds: float, max_bytes: int,
                 clock: Callable[[], float]) -> None:
        self._store, self._sessions, self._clock = store, sessions, clock
        self._retention_seconds, self._max_bytes = retention_seconds, max_bytes
        self._downloading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def text(self, message: Message) -> str | None:
        """The words of a message, opened for their owner; None where there are none (any more)."""
        if message.direction == "out" and message.kind not in _WORDS_ONLY and message.sent_at is None:
            return None                             # the file is with them still: too much to open for a caption
        payload = await self._store.messages.payload(message.id)
        if payload is None:
            return None
        return (Draft.decode(payload).text if message.direction == "out" else _arrival(payload).text) or None

    async def file(self, id_: str) -> bytes:
        """Of a message by our id. Raises what `media` raises, message_not_found."""
        message = await self._store.messages.one(id_)
        if message is None:
            raise GatewayError("message_not_found")
        return (await self.media(message)).data

    async def media(self, message: Message) -> MediaFile:
        """Downloaded when somebody asks for the first time, sealed in the store from then on for the retention time.
        Raises not_found, media_unavailable, session_not_connected, too_large."""
        payload = await self._store.messages.payload(message.id)
        if message.direction == "out":
            raise GatewayError("media_unavailable", "A file that was sent is not kept.")
        arrival = _arrival(payload) if payload is not None else Arrival()
        ref = arrival.media_ref()
        if ref is None:
            raise GatewayError("not_found", "The message has no file.")
        lock = self._downloading.setdefault(message.id, asyncio.Lock())
        async with lock:                            # who asks twice at once gets one download
            data = await self._store.media.find(message.id)
            if data is None:
                if ref.file_length > self._max_bytes:
                    raise GatewayError("too_large", f"The file is larger than {self._max_bytes >> 20} MiB.")
                data = await self._session(message).ask(lambda link: link.download(ref))
                if self._retention_seconds:
                    await self._keep(message.id, data)
        return MediaFile(data, media_type(ref.mimetype) or "application/octet-stream", clean_filename(arrival.filename) or "")

    async def _keep(self, id_: str, data: bytes) -> None:
        """A full disk is no reason to refuse what is there."""
        try:
            async with self._store.database.transaction() as tx:
                await self._store.media.keep(tx, id_, data, self._clock() + self._retention_seconds)
        except GatewayError as error:
            log.warning("media_not_kept", message=id_, error=error.message)

    async def mark_read(self, message: Message, *, played: bool) -> Message:
        """Tells the sender. Raises wrong_state, session_not_connected, send_failed."""
        if message.direction != "in" or message.facts.get("from_me") or message.wa_id is None:
            raise GatewayError("wrong_state", "Only a message that somebody sent to us can be marked as read.")
        payload = await self._store.messages.payload(message.id)
        arrival = _arrival(payload) if payload is not None else Arrival()
        chat = JID.stored(arrival.chat) if arrival.chat else message.chat
        sender = JID.stored(arrival.sender) if arrival.sender else message.sender
        key = MessageKey(chat, sender, message.wa_id)
        await self._session(message).ask(lambda link: link.mark_read([key], played))
        async with self._store.database.transaction() as tx:
            await self._store.messages.mark_read(tx, message.id, self._clock(), played=played)
            marked = await self._store.messages.one(message.id, tx)
        assert marked is not None
        return marked

    def _session(self, message: Message) -> LiveSession:
        live = next((live for live in self._sessions.live() if live.session.id == message.session_id), None)
        if live is None:
            raise GatewayError("session_gone", "The session that got the message was deleted.")
        return live


def _arrival(payload: bytes) -> Arrival:
    return msgspec.msgpack.decode(payload, type=Arrival)
