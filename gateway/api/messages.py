"""/api/v1/messages: sending, and what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import phonenumbers
from starlette.responses import Response

from gateway.api.http import SMALL_BODY, Call, Endpoint, File, Line, Strict, Words
from gateway.api.idempotency import once, remember
from gateway.api.shapes import MessageList, MessageShape, Timeline, TimelineEntry
from gateway.errors import GatewayError, InvalidField
from gateway.jid import JID, parse_recipient
from gateway.media.fetch import clean_filename
from gateway.services.drafts import Draft
from gateway.services.gateway import Gateway
from gateway.services.ledger import public
from gateway.store.messages import Message
from gateway.times import iso, parse_iso

MAX_TEXT = 65_536               # characters; WhatsApp's own limit
Text = Annotated[Words, msgspec.Meta(max_length=MAX_TEXT)]
Emoji = Annotated[Line, msgspec.Meta(max_length=32)]


class SendText(Strict):
    """`to`: a phone number in E.164 or a JID. `session`: id or session_key; may be left out while only one can send.
    `reply_to`: the id of a message of that session."""

    to: str
    message: Annotated[Text, msgspec.Meta(min_length=1)]
    session: str | None = None
    reply_to: str | None = None


class SendMedia(Strict):
    """`mediaUrl`: http, https or `data:`, or a part named `file` in a form."""

    to: str
    mediaType: Literal["image", "video", "document"]
    mediaUrl: str = ""
    caption: Text = ""
    filename: Annotated[Line, msgspec.Meta(max_length=255)] = ""
    session: str | None = None
    reply_to: str | None = None


class SendAudio(Strict):
    """`audioUrl`: http, https or `data:`, or a part named `file` in a form. `ptt`: a voice note, else an audio file. `profile`:
    the voice note's encoder profile; left out: the daemon's."""

    to: str
    audioUrl: str = ""
    ptt: bool = True
    profile: Literal["native", "plain16", "music"] | None = None
    session: str | None = None
    reply_to: str | None = None


class React(Strict):
    """An empty emoji takes the reaction away."""

    emoji: Emoji


class Filter(Strict):
    """`to`: the chat. `type`: text, image, video, document, audio (voice notes too), ptt, reaction, revoke, … `before`,
    `after`: times of acceptance or arrival, ISO-8601 with their offset."""

    session: str | None = None
    to: str | None = None
    status: Literal["pending", "sent", "delivered", "read", "played", "failed", "received"] | None = None
    type: Annotated[str, msgspec.Meta(pattern=r"^[a-z]{1,20}$")] | None = None
    direction: Literal["in", "out"] | None = None
    before: str | None = None
    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}$")] | None = None


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


# ------------------------------------------------------------------ sending


async def _send(call: Call, to: str, session: str | None, reply_to: str | None, draft: Draft) -> Response:
    chat = recipient(to)
    live = await call.gateway.sessions.to_send(call.key, session)
    if reply_to:
        try:
            draft = msgspec.structs.replace(draft, reply_to=await call.gateway.outbox.target(call.key, live, reply_to))
        except GatewayError as error:
            raise InvalidField("reply_to", f"reply_to: {error.message}") from None
    return _accepted(call, await call.gateway.outbox.accept(
        call.key, live, chat, draft, remember=remember(call, partial(_accepted, call)),
        prepared_in=partial(call.timings.__setitem__, "prepare")))


def _accepted(call: Call, message: Message) -> Response:
    return call.answer(shape(message))


def check_file_url(text: str, field: str) -> str:
    """Where it leads is looked at when it is fetched. Raises InvalidField."""
    if text[:5].lower() not in ("http:", "https", "data:"):
        raise InvalidField(field, f"{field}: an http, https or data: URL is needed", "fetch_bad_url")
    return text


def shown_name(filename: str) -> str:
    """A file's name as one that can be shown."""
    return clean_filename(filename) or ""


def with_bytes(call: Call, draft: Draft, data: bytes, filename: str) -> Draft:
    """Raises too_large."""
    limit = call.gateway.preparing.max_bytes(draft.kind)
    if len(data) > limit:
        raise GatewayError("too_large", f"The file is larger than {limit // 1024} KiB.", limit=limit)
    return msgspec.structs.replace(draft, data=data, filename=filename)


def file_of(call: Call) -> File | None:
    """The one file that a form may bring. Raises InvalidField."""
    for name in call.body.files:
        if name != "file":
            raise InvalidField(name[:60], f"{name[:60]}: the part with the file must be named 'file'")
    return call.body.files.get("file")


def _with_file(call: Call, draft: Draft, url: str, field: str) -> Draft:
    """The file that came with the form, or the URL."""
    file = file_of(call)
    if bool(file) == bool(url):
        raise InvalidField(field, f"{field}: give either {field} or a part named 'file'" + (", not both" if url else ""))
    if file is None:
        return msgspec.structs.replace(draft, url=check_file_url(url, field))
    return with_bytes(call, draft, file.data, draft.filename or shown_name(file.filename))


@once
async def send_text(call: Call) -> Response:
    body = call.parse(SendText)
    return await _send(call, body.to, body.session, body.reply_to, Draft("text", text=body.message))


@once
async def send_media(call: Call) -> Response:
    body = call.parse(SendMedia)
    draft = Draft(body.mediaType, text=body.caption, filename=body.filename)
    return await _send(call, body.to, body.session, body.reply_to, _with_file(call, draft, body.mediaUrl, "mediaUrl"))


@once
async def send_audio(call: Call) -> Response:
    body = call.parse(SendAudio)
    draft = Draft("ptt" if body.ptt else "audio", profile=body.profile or "")
    return await _send(call, body.to, body.session, body.reply_to, _with_file(call, draft, body.audioUrl, "audioUrl"))


# ------------------------------------------------------------------ looking


async def list_(call: Call) -> Response:
    f = call.query(Filter)
    session_id = (await call.gateway.sessions.find(call.key, f.session)).session.id if f.session else None
    times = {}
    for name in ("before", "after"):
        if text := getattr(f, name):
            try:
                times[name] = parse_iso(text)
            except ValueError as error:
                raise InvalidField(name, f"{name}: {error}") from None
    kinds = ("audio", "ptt") if f.type == "audio" else (f.type,) if f.type else ()
    rows = await call.gateway.store.messages.page(
        call.key.owner, limit=f.limit + 1, before_seq=int(f.cursor) if f.cursor else None, session_id=session_id,
        chat=str(recipient(f.to)) if f.to else None, status=f.status, kinds=kinds, direction=f.direction, **times)
    more = len(rows) > f.limit
    return call.answer(MessageList(messages=[shape(row) for row in rows[:f.limit]],
                                   next_cursor=str(rows[f.limit - 1].seq) if more else None))


async def find(call: Call) -> Message:
    message = await call.gateway.store.messages.one(call.path("id"))
    if message is None or message.owner != call.key.owner:
        raise GatewayError("message_not_found")
    return message


async def get(call: Call) -> Response:
    message = await find(call)
    return call.answer(shape(message, text=await call.gateway.inbox.text(message)))


# ------------------------------------------------------------------ afterwards


async def _again(call: Call, message: Message, what: Callable[..., Awaitable[Message]], *more: Any) -> Response:
    """Something sent because of a message that there is, by the same session."""
    live = await call.gateway.sessions.to_send(call.key, message.session_id)
    return _accepted(call, await what(call.key, live, *more, remember=remember(call, partial(_accepted, call))))


@once
async def delete(call: Call) -> Response:
    message = await find(call)
    if message.direction == "out" and message.status == "pending":
        cancelled = await call.gateway.outbox.cancel(message)
        if cancelled is None:
            raise GatewayError("wrong_state", "The message is on its way; what becomes of it is known in a moment.",
                               stage=message.stage)
        return call.answer(shape(cancelled), 200)
    return await _again(call, message, call.gateway.outbox.revoke, message)


@once
async def resend(call: Call) -> Response:
    message = await find(call)
    return await _again(call, message, call.gateway.outbox.resend, message)


def check_emoji(text: str, field: str = "emoji") -> str:
    """Raises InvalidField."""
    if any(char.isalpha() or char.isspace() for char in text):
        raise InvalidField(field, f"{field}: an emoji, or nothing to take the reaction away")
    return text


@once
async def react(call: Call) -> Response:
    emoji = check_emoji(call.parse(React).emoji)
    message = await find(call)
    return await _again(call, message, call.gateway.outbox.react, message.id, emoji)


async def timeline(call: Call) -> Response:
    message = await find(call)
    begins, handed = ("accepted", message.handed_at) if message.direction == "out" else ("received", None)
    times = [(begins, message.created_at), ("handed_over", handed), ("read", message.read_at), ("played", message.played_at),
             ("failed", message.failed_at)]
    if message.direction == "out":              # of one that arrived these are its sender's
        times += [("sent", message.sent_at), ("delivered", message.delivered_at)]
    rank = ("accepted", "received", "handed_over", "sent", "delivered", "read", "played", "failed")
    entries = sorted(((at, rank.index(status), status) for status, at in times if at is not None), key=lambda e: (e[1], e[0]))
    return call.answer(Timeline(id=message.id, events=[TimelineEntry(status=status, at=iso(at)) for at, _, status in entries]))


def body_limit(*kinds: str) -> Callable[[Gateway], int]:
    """The largest file of these kinds, as base64, and its surroundings."""
    return lambda gateway: max(gateway.preparing.max_bytes(kind) for kind in kinds) * 4 // 3 + SMALL_BODY


_SENDING = ("session_not_found", "session_ambiguous", "no_session", "session_not_connected", "invalid_recipient",
            "idempotency_conflict", "rate_limited", "quota_exceeded")
_AFTER = ("message_not_found", "session_not_found", "session_not_connected", "idempotency_conflict", "rate_limited",
          "quota_exceeded")
_FILES = ("too_large", "unsupported", "damaged", "empty", "fetch_bad_url")
ENDPOINTS = [
    Endpoint("POST", "/api/v1/messages", send_text, "Send a text", "send", SendText, answer=MessageShape, status=202,
             errors=_SENDING, tag="messages", example={"to": "+237612345678", "message": "Hello!"}),
    Endpoint("POST", "/api/v1/messages/media", send_media, "Send an image, a video or a document", "send", SendMedia, files=True,
             answer=MessageShape, status=202, errors=(*_SENDING, *_FILES, "not_image", "not_video"), tag="messages",
             example={"to": "+237612345678", "mediaUrl": "https://example.com/a.jpg", "mediaType": "image", "caption": "Look"},
             max_body=body_limit("image", "video", "document")),
    Endpoint("POST", "/api/v1/messages/audio", send_audio, "Send a voice note (ptt) or an audio file", "send", SendAudio,
             files=True, answer=MessageShape, status=202, max_body=body_limit("ptt"), tag="messages",
             errors=(*_SENDING, *_FILES, "not_audio", "no_audio", "protected", "too_long"),
             example={"to": "+237612345678", "audioUrl": "https://example.com/hello.mp3", "ptt": True},
             description="Any audio: MP3, M4A, WAV, FLAC, OGG, WebM, AMR, 3GP or a video's sound. A file in the request is "
                         "looked at before the answer; a URL is fetched afterwards."),
    Endpoint("GET", "/api/v1/messages", list_, "List messages, newest first", query=Filter, answer=MessageList, tag="messages",
             errors=("session_not_found",)),
    Endpoint("GET", "/api/v1/messages/{id}", get, "What became of a message, and its text", answer=MessageShape,
             errors=("message_not_found",), tag="messages"),
    Endpoint("DELETE", "/api/v1/messages/{id}", delete, "Cancel a queued message, or take a sent one back", "send",
             answer=MessageShape, status=202, errors=(*_AFTER, "wrong_state"), tag="messages", statuses=(200,),
             description="200 with the cancelled message (failed, `cancelled`) while it has not left; afterwards 202 with the "
                         "revoke that is sent to everyone who got it."),
    Endpoint("GET", "/api/v1/messages/{id}/events", timeline, "What happened to a message, and when", answer=Timeline,
             errors=("message_not_found",), tag="messages"),
    Endpoint("POST", "/api/v1/messages/{id}/resend", resend, "Send a failed message again, as a new one", "send",
             answer=MessageShape, status=202, errors=(*_AFTER, "wrong_state", "media_unavailable"), tag="messages",
             description="Mind `may_have_been_delivered` of the failed one."),
    Endpoint("POST", "/api/v1/messages/{id}/reaction", react, "React to a message", "send", React, answer=MessageShape,
             status=202, errors=_AFTER, tag="messages", example={"emoji": "👍"}),
]
