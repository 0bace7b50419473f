"""/api/v1/messages: sending, and what became of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal
from weakref import WeakValueDictionary

import msgspec
import phonenumbers
from starlette.responses import Response

from gateway.api.http import SMALL_BODY, Call, Endpoint, Strict
from gateway.api.shapes import MessageList, MessageShape
from gateway.errors import GatewayError, InvalidField
from gateway.jid import JID, parse_recipient
from gateway.services.drafts import Draft
from gateway.services.gateway import Gateway
from gateway.services.ledger import public
from gateway.store.database import Transaction
from gateway.store.messages import STATUSES, Message
from gateway.store.usage import Answer
from gateway.times import parse_iso

MAX_TEXT = 65_536               # characters; WhatsApp's own limit


class SendText(Strict):
    to: str
    message: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
    session: str | None = None
    reply_to: str | None = None


class SendMedia(Strict):
    to: str
    mediaType: Literal["image", "video", "document"]
    mediaUrl: str = ""
    caption: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""
    filename: Annotated[str, msgspec.Meta(max_length=255)] = ""
    session: str | None = None
    reply_to: str | None = None


class SendAudio(Strict):
    to: str
    audioUrl: str = ""
    ptt: bool = True
    profile: Literal["native", "plain16", "music"] | None = None
    session: str | None = None
    reply_to: str | None = None


class Filter(msgspec.Struct):
    session: str | None = None
    to: str | None = None
    status: str | None = None
    type: str | None = None
    direction: Literal["in", "out"] | None = None
    before: str | None = None
    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: str = ""


def shape(message: Message, **more: Any) -> MessageShape:
    return msgspec.convert({**public(message), **more}, MessageShape)


def recipient(text: str, field: str = "to") -> JID:
    """Raises InvalidField(invalid_recipient)."""
    try:
        jid = parse_recipient(text)
        if jid.phone and not phonenumbers.is_possible_number(phonenumbers.parse(jid.phone)):
            raise ValueError("not a possible phone number")
    except (ValueError, phonenumbers.NumberParseException) as error:
        raise InvalidField(field, f"{field}: {error}", "invalid_recipient") from None
    return jid


# ------------------------------------------------------------------ an Idempotency-Key

_under_way: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()


def _digest(call: Call) -> bytes:
    """Of what was asked: not of the bytes, since a multipart boundary differs from one try to the next."""
    digest = hashlib.sha256(f"{call.endpoint.method} {call.request.url.path}\n".encode())
    digest.update(msgspec.json.encode(call.body.fields, order="deterministic"))
    for name, file in sorted(call.body.files.items()):
        digest.update(f"\n{name}\n{file.filename}\n".encode() + hashlib.sha256(file.data).digest())
    return digest.digest()


@asynccontextmanager
async def _one_at_a_time(owner: str, text: str) -> AsyncIterator[None]:
    lock = _under_way.setdefault((owner, text), asyncio.Lock())
    async with lock:
        yield


async def _idempotent(call: Call, accept: Callable[[Any], Awaitable[Message]]) -> Response:
    """The same answer for a repeat, 409 for another body. The answer is kept in the transaction that accepts the message."""
    text = call.request.headers.get("idempotency-key")
    if text is None:
        return call.answer(shape(await accept(None)))
    if not 1 <= len(text) <= 255 or not text.isprintable():
        raise InvalidField("Idempotency-Key", "Idempotency-Key: 1 to 255 printable characters")
    idempotency, owner, request = call.gateway.store.idempotency, call.key.owner, _digest(call)
    async with _one_at_a_time(owner, text):
        if (kept := await idempotency.find(owner, text)) is not None:
            if kept.request != request:
                raise GatewayError("idempotency_conflict")
            return Response(kept.body, kept.status, {"Idempotent-Replayed": "true"}, "application/json")

        async def remember(tx: Transaction, message: Message) -> None:
            body = msgspec.json.encode(shape(message))
            await idempotency.keep(tx, owner, text, Answer(request, call.endpoint.status, body), call.gateway.clock())

        return call.answer(shape(await accept(remember)))


# ------------------------------------------------------------------ sending


async def _send(call: Call, to: str, session: str | None, reply_to: str | None, draft: Draft) -> Response:
    chat = recipient(to)
    live = await call.gateway.sessions.to_send(call.key, session)
    if reply_to:
        try:
            draft = msgspec.structs.replace(draft, reply_to=await call.gateway.outbox.target(call.key, live, reply_to))
        except GatewayError as error:
            raise InvalidField("reply_to", f"reply_to: {error.message}") from None

    def accept(remember: Any) -> Awaitable[Message]:
        return call.gateway.outbox.accept(call.key, live, chat, draft, remember=remember)

    return await _idempotent(call, accept)


def _with_file(call: Call, draft: Draft, url: str, field: str) -> Draft:
    """The file that came with the form, or the URL."""
    file = call.body.files.get("file")
    if bool(file) == bool(url):
        raise InvalidField(field, f"{field}: give either {field} or a part named 'file'" + (", not both" if url else ""))
    if file is None:
        if url[:5].lower() not in ("http:", "https", "data:"):
            raise InvalidField(field, f"{field}: an http, https or data: URL is needed", "fetch_bad_url")
        return msgspec.structs.replace(draft, url=url)
    limit = call.gateway.preparing.max_bytes(draft.kind)
    if len(file.data) > limit:
        raise GatewayError("too_large", f"The file is larger than {limit // 1024} KiB.", limit=limit)
    return msgspec.structs.replace(draft, data=file.data, filename=draft.filename or file.filename,
                                   mimetype=file.content_type if draft.kind == "document" else "")


async def send_text(call: Call) -> Response:
    body = call.parse(SendText)
    return await _send(call, body.to, body.session, body.reply_to, Draft("text", text=body.message))


async def send_media(call: Call) -> Response:
    body = call.parse(SendMedia)
    draft = Draft(body.mediaType, text=body.caption, filename=body.filename)
    return await _send(call, body.to, body.session, body.reply_to, _with_file(call, draft, body.mediaUrl, "mediaUrl"))


async def send_audio(call: Call) -> Response:
    body = call.parse(SendAudio)
    draft = Draft("ptt" if body.ptt else "audio", profile=body.profile or "")
    return await _send(call, body.to, body.session, body.reply_to, _with_file(call, draft, body.audioUrl, "audioUrl"))


# ------------------------------------------------------------------ looking


async def list_(call: Call) -> Response:
    f = call.query(Filter)
    if f.status is not None and f.status not in STATUSES:
        raise InvalidField("status", f"status: one of {', '.join(STATUSES)}")
    session_id = (await call.gateway.sessions.find(call.key, f.session)).session.id if f.session else None
    times = {}
    for name in ("before", "after"):
        if text := getattr(f, name):
            try:
                times[name] = parse_iso(text)
            except ValueError as error:
                raise InvalidField(name, f"{name}: {error}") from None
    if f.cursor and not f.cursor.isdigit():
        raise InvalidField("cursor", "cursor: not one that this API gave")
    kind = "ptt" if f.type == "ptt" else f.type
    rows = await call.gateway.store.messages.page(
        call.key.owner, limit=f.limit + 1, before_seq=int(f.cursor[:18]) if f.cursor else None, session_id=session_id,
        chat=str(recipient(f.to)) if f.to else None, status=f.status, kind=kind, direction=f.direction, **times)
    more = len(rows) > f.limit
    return call.answer(MessageList(messages=[shape(row) for row in rows[:f.limit]],
                                   next_cursor=str(rows[f.limit - 1].seq) if more else None))


async def find(call: Call) -> Message:
    message = await call.gateway.store.messages.one(call.path("id"))
    if message is None or message.owner != call.key.owner:
        raise GatewayError("message_not_found")
    return message


async def get(call: Call) -> Response:
    return call.answer(shape(await find(call)))


def _media_limit(gateway: Gateway) -> int:
    """The largest file there may be, as base64 in a data: URI."""
    largest = max(gateway.preparing.max_bytes(kind) for kind in ("image", "video", "document"))
    return largest * 4 // 3 + SMALL_BODY


def _audio_limit(gateway: Gateway) -> int:
    return gateway.preparing.max_bytes("ptt") * 4 // 3 + SMALL_BODY


_SENDING = ("session_not_found", "session_ambiguous", "no_session", "session_not_connected", "invalid_recipient",
            "idempotency_conflict", "rate_limited", "quota_exceeded")
_FILES = ("too_large", "unsupported", "damaged", "empty", "fetch_bad_url")
ENDPOINTS = [
    Endpoint("POST", "/api/v1/messages", send_text, "Send a text", "send", SendText, answer=MessageShape, status=202,
             errors=_SENDING, tag="messages", example={"to": "+237612345678", "message": "Hello!"}),
    Endpoint("POST", "/api/v1/messages/media", send_media, "Send an image, a video or a document", "send", SendMedia, files=True,
             answer=MessageShape, status=202, errors=(*_SENDING, *_FILES, "not_image", "not_video"), tag="messages",
             example={"to": "+237612345678", "mediaUrl": "https://example.com/a.jpg", "mediaType": "image", "caption": "Look"},
             max_body=_media_limit),
    Endpoint("POST", "/api/v1/messages/audio", send_audio, "Send a voice note (ptt) or an audio file", "send", SendAudio,
             files=True, answer=MessageShape, status=202, max_body=_audio_limit, tag="messages",
             errors=(*_SENDING, *_FILES, "not_audio", "no_audio", "protected", "too_long"),
             example={"to": "+237612345678", "audioUrl": "https://example.com/hello.mp3", "ptt": True},
             description="Any audio: MP3, M4A, WAV, FLAC, OGG, WebM, AMR, 3GP or a video's sound. A file in the request is "
                         "looked at before the answer; a URL is fetched afterwards."),
    Endpoint("GET", "/api/v1/messages", list_, "List messages, newest first", query=Filter, answer=MessageList, tag="messages",
             errors=("session_not_found",)),
    Endpoint("GET", "/api/v1/messages/{id}", get, "What became of a message", answer=MessageShape,
             errors=("message_not_found",), tag="messages"),
]
