"""What several dialects say in the same way: ids, chats, numbers, the first QR, a send that is awaited."""

from __future__ import annotations

import asyncio
import contextlib
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.http import Call, Native, envelope, json_response, retry_headers
from gateway.api.idempotency import remember
from gateway.api.messages import check_emoji, shown_name, with_bytes
from gateway.api.messages import recipient as native_recipient
from gateway.errors import TABLE, GatewayError, InvalidField
from gateway.jid import JID
from gateway.services.drafts import Draft, Target
from gateway.services.feed import SlowReader, Stopping
from gateway.services.live import LiveSession
from gateway.services.sessions import FIRST_CODE_SECONDS, Linking
from gateway.services.webhooks import check_secret, check_url
from gateway.states import Status
from gateway.store.database import Transaction
from gateway.store.messages import Message
from gateway.store.webhooks import Webhook

DEFAULT = "default"             # the session where none is named
ACK_SECONDS = 20.0              # how long an answer waits for WhatsApp's acknowledgement
REASON = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict",
          413: "Payload Too Large", 422: "Unprocessable Entity", 429: "Too Many Requests", 500: "Internal Server Error",
          501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}
_EVERYWHERE = (400, 401, 403, 404, 405, 413, 429, 500, 501, 502, 503, 504)
_SERIALIZED = re.compile(r"(?:true|false)_[^_]+_([^_]+)(?:_[^_]+)?")
_LONGEST_ID = 128
_WHITE = b" \t\r\n\v\f"


class Bearer:
    """The key as `Authorization: Bearer KEY`, errors as the native API words them."""

    name = "bearer"

    credentials = Native.credentials

    def error(self, error: GatewayError) -> Response:
        return json_response(envelope(error), error.status, retry_headers(error))


def to_hex(prefix: str, id_: str) -> str:
    """'ws_', '8b0a…-…' -> 'ws_8b0a…'."""
    return prefix + UUID(id_).hex


def from_hex(prefix: str, text: str) -> str:
    """Back again. A text of another form is returned as it is: it may be a session's own key."""
    try:
        return str(UUID(text.removeprefix(prefix))) if text.startswith(prefix) else text
    except ValueError:
        return text


def recipient(text: str | int, field: str) -> JID:
    """Raises InvalidField(invalid_recipient)."""
    return native_recipient(str(text), field)


def digits(jid: JID) -> str:
    """A person's number without `+`; anything else as the JID it is."""
    return jid.phone.removeprefix("+") if jid.phone else str(jid)


def with_content(call: Call, draft: Draft, content: str | bytes, field: str) -> Draft:
    """The draft with a file that is a URL, a data: URI, bare base64 (which several services take in one field) or the bytes
    of an upload. Raises InvalidField, too_large."""
    name = shown_name(draft.filename)
    if isinstance(content, str):
        if content[:5].lower() in ("http:", "https", "data:"):
            return msgspec.structs.replace(draft, url=content, filename=name)
        try:
            content = b64decode(content.encode("ascii").translate(None, _WHITE), validate=True)
        except ValueError:
            raise InvalidField(field, f"{field}: a URL or base64 is needed", "fetch_bad_url") from None
    if not content:
        raise InvalidField(field, f"{field}: the file is empty", "empty")
    return with_bytes(call, draft, content, name)


def header_key(header: str, *queries: str) -> Callable[[Request], str | None]:
    """Where a service has its key: a header, or one of these names in the query."""

    def find(request: Request) -> str | None:
        found = [request.headers.get(header), *(request.query_params.get(name) for name in queries)]
        return next((text.strip() for text in found if text and text.strip()), None)

    return find


async def create_with_code(call: Call, *, session_key: str | None = None, name: str = "",
                           webhook_url: str = "") -> tuple[LiveSession, Linking]:
    """A new session and its first QR, which takes a second or two. Where WhatsApp gives none, no session stays behind, since
    the caller would not know its id. Raises session_exists, session_limit, pairing_failed."""
    sessions = call.gateway.sessions
    live = await sessions.create(call.key, session_key=session_key, name=name, webhook_url=webhook_url)
    try:
        return live, await sessions.code_to_scan(live)
    except GatewayError:
        await sessions.delete(live)
        raise


async def only_session(call: Call) -> LiveSession | None:
    """Where none was named: the key's only one, or the one called DEFAULT."""
    lives = await call.gateway.sessions.of(call.key)
    if len(lives) == 1:
        return lives[0]
    return next((live for live in lives if live.session.session_key == DEFAULT), None)


def is_linked(live: LiveSession) -> bool:
    return live.session.jid is not None and live.state.status is not Status.LOGGED_OUT


def comes_back(live: LiveSession) -> bool:
    """It is not connected, and will be by itself; also in the moment after it was started."""
    reason = live.state.reason
    return live.state.status is Status.DISCONNECTED and (reason.retry or (reason.code == "stopped" and not live.session.stopped))


async def code_to_type(live: LiveSession, phone: JID) -> str:
    """A fresh pairing code for the phone of this number, as `ABCD-EFGH`. Raises already_paired, pairing_failed."""
    if is_linked(live):
        raise GatewayError("already_paired")
    await live.relink(phone.user)
    await live.wait_until(lambda: live.code is not None or live.state.status is not Status.PENDING or bool(live.state.detail),
                          FIRST_CODE_SECONDS)
    if live.code is None:
        raise GatewayError("pairing_failed", f"WhatsApp gave no code: {live.state.detail or live.state.reason.sentence}",
                           state=live.state.public())
    return live.code.code


async def unlink(live: LiveSession) -> None:
    """Logs out on WhatsApp; the session stays, and waits to be linked again."""
    await live.relink()
    await live.disconnect()


def status_of(error: GatewayError, *, invalid: int) -> int:
    """Of those that an API knows: `invalid` stands for every fault of the request that has no status of its own there. An
    Idempotency-Key is ours, and so is its conflict."""
    if error.code == "idempotency_conflict":
        return 409
    return error.status if error.status in _EVERYWHERE else invalid if error.status < 500 else 500


# ------------------------------------------------------------------ sending


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as it stood when the wait for WhatsApp was over, and what was sent."""

    message: Message
    draft: Draft
    live: LiveSession

    @property
    def whatsapp_id(self) -> str:
        """WhatsApp's, once there is one; ours until then."""
        return self.message.wa_id or self.message.id

    @property
    def ack(self) -> int:
        """whatsapp-web.js's scale: -1 error, 0 pending, 1 server, 2 device, 3 read, 4 played."""
        return {"failed": -1, "sent": 1, "delivered": 2, "read": 3, "played": 4}.get(self.message.status, 0)

    @property
    def at(self) -> float:
        return self.message.sent_at or self.message.created_at


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook that a dialect asks for: its format, and the journal's types that it tells of."""

    format: str
    url: str
    types: tuple[str, ...]
    secret: str | None = None


def hooks_of(url: str, named: Iterable[str], known: Mapping[str, tuple[str, ...]], secret: str | None = None) -> list[Hook]:
    """A receiver's events, each of which stands in `known` with the format that tells it and the types it is made of. Others are
    ignored. Raises not_supported where none is left."""
    types: dict[str, set[str]] = {}
    for name in named:
        if name in known:
            format_, *told = known[name]
            types.setdefault(format_, set()).update(told)
    if not types:
        raise GatewayError("not_supported", f"Of those events this gateway tells {', '.join(known)}.")
    return [Hook(format_, url, tuple(sorted(told)), secret) for format_, told in types.items()]


async def webhooks_of(call: Call, live: LiveSession, dialect: str) -> list[Webhook]:
    """Those of the session that speak as the dialect does."""
    return [one for one in await call.gateway.webhooks.all(call.key)
            if one.session_id == live.session.id and one.format.partition(".")[0] == dialect]


async def set_webhooks(call: Call, live: LiveSession, dialect: str, wanted: Sequence[Hook]) -> None:
    """In place of those there were. One that stays, or moves to another URL, keeps its place: bots ask for theirs whenever they
    start, and what waited for them meanwhile is delivered. Raises InvalidField before anything is changed."""
    service, left = call.gateway.webhooks, await webhooks_of(call, live, dialect)
    for hook in wanted:
        check_url(hook.url, "url")
        check_secret(hook.secret)
    fresh, kept = list(wanted), []
    for moved in (False, True):
        for hook in list(fresh):
            one = next((one for one in left if one.format == hook.format and (moved or one.url == hook.url)), None)
            if one is not None:
                kept.append((one, hook))
                left.remove(one)
                fresh.remove(hook)
    made: list[Webhook] = []
    try:
        for hook in fresh:
            new, _ = await service.create(call.key, session_id=live.session.id, url=hook.url, types=hook.types, secret=hook.secret,
                                          format=hook.format)
            made.append(new)
    except BaseException:
        for new in made:
            await service.delete(call.key, new.id)
        raise
    for one, hook in kept:
        await service.update(call.key, one.id, url=hook.url, types=hook.types)
        if hook.secret:
            await service.rotate_secret(call.key, one.id, hook.secret)
    for one in left:
        await service.delete(call.key, one.id)


async def send_and_wait(call: Call, live: LiveSession, chat: JID, draft: Draft, word: Callable[[Sent], Any]) -> Response:
    """Prepares, accepts, waits for WhatsApp's acknowledgement, at most ACK_SECONDS, and answers as `word` says it. Raises
    GatewayError for whatever made it fail; one that may have arrived all the same is answered."""
    gateway = call.gateway
    await gateway.keys.check_quota(call.key)            # before anything is fetched
    if draft.kind != "text":
        draft = (await gateway.preparing.prepare(draft)).draft
    news = gateway.feed.subscribe(session_id=live.session.id, types=("receipt",))
    try:
        accepted = await gateway.outbox.accept(
            call.key, live, chat, draft, remember=remember(call, lambda message: call.answer(word(Sent(message, draft, live)))))
        with contextlib.suppress(TimeoutError, Stopping, SlowReader):
            async with asyncio.timeout(ACK_SECONDS):
                async for event in news.events():
                    if event.data["id"] == accepted.id and event.data["status"] != "pending":
                        break
    finally:
        gateway.feed.close(news)
    message = await gateway.store.messages.one(accepted.id) or accepted
    if message.status == "failed" and not message.may_have_been_delivered:
        code = message.error_code if message.error_code in TABLE else "send_failed"
        raise GatewayError(str(code), message.error_text or "", chat=str(chat))
    return call.answer(word(Sent(message, draft, live)))


async def of_whatsapp_id(call: Call, live: LiveSession, id_: str, *directions: str) -> Message | None:
    """The session's message of WhatsApp's id, also in whatsapp-web.js's form; of several directions the first that has it."""
    store = call.gateway.store
    match = _SERIALIZED.fullmatch(id_)
    named = (match.group(1) if match else id_)[:_LONGEST_ID]

    async def find(tx: Transaction) -> Message | None:
        found = [await store.messages.of_wa_id(tx, live.session.id, named, direction) for direction in directions]
        return next(filter(None, found), None)

    return await store.database.write(find)


async def with_reply(call: Call, live: LiveSession, draft: Draft, id_: str | None, field: str = "reply_to") -> Draft:
    """The draft as an answer to a message. Raises InvalidField."""
    return msgspec.structs.replace(draft, reply_to=await _target(call, live, id_, field)) if id_ else draft


async def react_and_wait(call: Call, live: LiveSession, id_: str, emoji: str, field: str, word: Callable[[Sent], Any]) -> Response:
    """As `send_and_wait`: a reaction to a message, in the chat it is in; an empty emoji takes it away. Raises InvalidField."""
    check_emoji(emoji, "reaction")
    target = await _target(call, live, id_, field)
    return await send_and_wait(call, live, JID.stored(target.chat), Draft.reaction(target, emoji), word)


async def _target(call: Call, live: LiveSession, id_: str, field: str) -> Target:
    """A message named by our id, by WhatsApp's, or in whatsapp-web.js's form (`false_237612345678@c.us_3EB0…`)."""
    message = await of_whatsapp_id(call, live, id_, "in", "out")
    try:
        return await call.gateway.outbox.target(call.key, live, message.id if message else id_[:_LONGEST_ID])
    except GatewayError as error:
        raise InvalidField(field, f"{field}: {error.message}") from None


async def see(call: Call, live: LiveSession, ids: Sequence[str], field: str) -> None:
    """Tells of messages that arrived, by WhatsApp's ids, that they were read. Raises InvalidField before any is told of."""
    found = []
    for id_ in ids:
        message = await of_whatsapp_id(call, live, id_, "in")
        if message is None:
            raise InvalidField(field, f"{field}: there is no such message that arrived")
        found.append(message)
    for message in found:
        await call.gateway.inbox.mark_read(message, played=False)


async def show_available(call: Call, live: LiveSession, available: bool) -> None:
    """The account as online, also after it connects again, or not; a session's setting, which scope 'send' does not change."""
    call.gateway.keys.check_scope(call.key, "full")
    presence = "available" if available else "unavailable"
    await call.gateway.sessions.update(live, settings=live.session.settings | {"presence": presence})
