"""wuzapi: one session a token, below `/session` and `/chat`. Field names are taken in any case, as Go reads JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.contacts import MOST_NUMBERS, ChatState, look_up, show
from gateway.api.http import Call, Endpoint, Shape, convert, json_response, retry_headers
from gateway.api.idempotency import once
from gateway.api.messages import Emoji, Text, body_limit
from gateway.dialects.dialect import MOST_LISTED, Dialect, Loose, Unsupported
from gateway.dialects.words import (
    DEFAULT,
    Sent,
    code_to_type,
    header_key,
    hooks_of,
    is_linked,
    only_session,
    react_and_wait,
    recipient,
    see,
    send_and_wait,
    set_webhooks,
    show_available,
    webhooks_of,
    with_content,
    with_reply,
)
from gateway.errors import GatewayError, InvalidField
from gateway.services import qr
from gateway.services.drafts import Draft
from gateway.services.live import LiveSession
from gateway.states import Status
from gateway.times import iso

_EVENTS = {"Message": ("wuzapi", "message"), "ReadReceipt": ("wuzapi", "receipt")}
CONNECT_SECONDS = 10.0          # how long `"Immediate": false` waits
_STATUS_OF = {400: 400, 401: 401, 403: 403, 405: 405, 413: 413, 415: 400, 422: 400, 429: 429, 501: 501}

T = TypeVar("T")


class Connect(Loose, rename="pascal"):
    subscribe: list[str] | None = None
    immediate: bool = False


class Context(Loose, rename="pascal"):
    stanza_id: str = ""
    participant: str = ""


class Message(Loose, rename="pascal"):
    phone: str | int = ""
    context_info: Context | None = None


class SendText(Message):
    body: Text = ""


class SendAudio(Message):
    audio: str = ""


class SendImage(Message):
    image: str = ""
    caption: Text = ""


class SendDocument(Message):
    document: str = ""
    file_name: str = ""
    caption: Text = ""


class SendVideo(Message):
    video: str = ""
    caption: Text = ""


class SetWebhook(Loose, rename="pascal"):
    """`events`: none named: all. Older clients say `WebhookURL`."""

    webhook: str = ""
    webhook_url: str = msgspec.field(default="", name="WebhookURL")
    events: Annotated[list[str], msgspec.Meta(max_length=MOST_LISTED)] = msgspec.field(default_factory=list)
    active: bool = True


class PairPhone(Loose, rename="pascal"):
    phone: str | int = ""


class React(Loose, rename="pascal"):
    """`id`: with `me:` before it where the message is our own. `body`: an emoji, or `remove`."""

    phone: str | int = ""
    body: Emoji = ""
    id: str = ""


class MarkRead(Loose, rename="pascal"):
    id: Annotated[list[str], msgspec.Meta(max_length=MOST_LISTED)] = msgspec.field(default_factory=list)
    chat: str = ""


class ChatPresence(Loose, rename="pascal"):
    phone: str | int = ""
    state: Literal["composing", "paused", ""] = ""
    media: str = ""


class CheckUser(Loose, rename="pascal"):
    phone: Annotated[list[str | int], msgspec.Meta(max_length=MOST_NUMBERS)] = msgspec.field(default_factory=list)


class Presence(Loose, rename="pascal"):
    type: Literal["available", "unavailable"]


_NAMES = {f.encode_name.lower(): f.encode_name for kind in (
              Connect, Context, SendText, SendAudio, SendImage, SendDocument, SendVideo, PairPhone, React, MarkRead, ChatPresence,
              CheckUser, Presence, SetWebhook)
          for f in msgspec.structs.fields(kind)}


class Answer(Shape):
    code: int
    data: dict[str, Any]
    success: bool


class Failure(Shape):
    code: int
    error: str
    success: bool


class Style:
    name = "wuzapi"

    def credentials(self, request: Request, fields: Mapping[str, Any]) -> str | None:
        return header_key("token", "token")(request)

    def error(self, error: GatewayError) -> Response:
        status = 409 if error.code == "idempotency_conflict" else _STATUS_OF.get(error.status, 500)
        text = "Unauthorized" if error.code == "unauthorized" else error.message
        return json_response(Failure(code=status, error=text, success=False), status, retry_headers(error))


def _good(data: dict[str, Any]) -> Answer:
    return Answer(code=200, data=data, success=True)


def _parse(call: Call, kind: type[T]) -> T:
    return convert(_named(call.body.fields), kind, strict=True)


def _named(value: Any, levels: int = 2) -> Any:
    """An object's names as they are declared, in whatever case they came; those of the objects in it too."""
    if not levels or not isinstance(value, dict):
        return value
    return {_NAMES.get(name.lower(), name): _named(inner, levels - 1) for name, inner in value.items()}


# ------------------------------------------------------------------ the session


async def _find(call: Call) -> LiveSession:
    live = await only_session(call)
    if live is None:
        raise GatewayError("no_session", "No session")
    return live


async def connect(call: Call) -> Response:
    body = _parse(call, Connect)
    live = await only_session(call)
    if live is not None and (live.link is not None or live.state.status is Status.PENDING):
        raise GatewayError("already_paired", "Already Connected")
    before = live.state if live is not None else None
    if live is None:
        live = await call.gateway.sessions.create(call.key, session_key=DEFAULT)
    elif is_linked(live):
        await live.connect()
    else:
        await live.relink()
    if not body.immediate:
        await live.wait_until(lambda: live.state is not before and (live.qr is not None or live.state.is_terminal or (
            live.state.status is Status.CONNECTED or bool(live.state.detail))), CONNECT_SECONDS)
        if live.qr is None and live.state.status is not Status.CONNECTED:
            raise GatewayError("pairing_failed", "Failed to Connect")
    return call.answer(_good({"details": "Connected!", "events": ",".join(body.subscribe or ["All"]),
                              "jid": str(live.session.jid) if live.session.jid else "", "webhook": live.session.webhook_url}))


async def status(call: Call) -> Response:
    live = await _find(call)
    logged_in = live.state.status is Status.CONNECTED
    return call.answer(_good({"Connected": logged_in or live.qr is not None or live.code is not None, "LoggedIn": logged_in}))


async def get_qr(call: Call) -> Response:
    live = await _find(call)
    if is_linked(live):
        raise GatewayError("already_paired", "Already Loggedin")
    linking = await call.gateway.sessions.code_to_scan(live)
    return call.answer(_good({"QRCode": qr.png_data_uri(linking.qr)}))


async def pair_phone(call: Call) -> Response:
    live, body = await _find(call), _parse(call, PairPhone)
    _need(Phone=body.phone)
    phone = recipient(body.phone, "Phone")
    if is_linked(live):
        raise GatewayError("bad_request", "Already paired")
    return call.answer(_good({"LinkingCode": await code_to_type(live, phone)}))


async def disconnect(call: Call) -> Response:
    live = await _find(call)
    if live.state.status is not Status.CONNECTED:
        raise GatewayError("session_not_connected", "Cannot disconnect because it is not logged in")
    await live.disconnect()
    return call.answer(_good({"Details": "Disconnected"}))


async def logout(call: Call) -> Response:
    """Unlinks and forgets: the next `/session/connect` makes a session to be scanned."""
    live = await _find(call)
    if not live.usable.is_set():
        raise GatewayError("session_not_connected", "Could not disconnect as it was not connected")
    await call.gateway.sessions.delete(live)
    return call.answer(_good({"Details": "Logged out"}))


# ------------------------------------------------------------------ webhooks


async def set_webhook(call: Call) -> Response:
    """Of the session, in place of what there was; what is not active is switched off."""
    body, live = _parse(call, SetWebhook), await _find(call)
    url = (body.webhook or body.webhook_url) if body.active else ""
    named = [event for event in body.events if event != "All"] or _EVENTS
    await set_webhooks(call, live, "wuzapi", hooks_of(url, named, _EVENTS) if url else [])
    return call.answer(_good({"webhook": url, "events": body.events, "active": body.active}))


async def get_webhook(call: Call) -> Response:
    there = await webhooks_of(call, await _find(call), "wuzapi")
    types = {type_ for one in there for type_ in one.types}
    return call.answer(_good({"webhook": there[0].url if there else "",
                              "subscribe": [name for name, (_, type_) in _EVENTS.items() if type_ in types]}))


async def delete_webhook(call: Call) -> Response:
    await set_webhooks(call, await _find(call), "wuzapi", [])
    return call.answer(_good({"Details": "Webhook and events deleted successfully"}))


# ------------------------------------------------------------------ sending


def _need(**fields: Any) -> None:
    for name, value in fields.items():
        if not value:
            raise InvalidField(name, f"Missing {name} in Payload")


async def _to_send(call: Call) -> LiveSession:
    return await call.gateway.sessions.to_send(call.key, (await _find(call)).session.id)


async def _send(call: Call, message: Message, draft: Draft, name: str, content: str) -> Response:
    _need(Phone=message.phone, **{name: content})
    chat = recipient(message.phone, "Phone")
    if draft.kind != "text":
        draft = with_content(call, draft, content, name)
    live = await _to_send(call)
    stanza = message.context_info.stanza_id if message.context_info else None
    draft = await with_reply(call, live, draft, stanza, "ContextInfo.StanzaId")
    return await send_and_wait(call, live, chat, draft, message_of)


def message_of(sent: Sent) -> Answer:
    return _good({"Details": "Sent" if sent.message.sent_at else "Pending", "Id": sent.whatsapp_id, "Timestamp": iso(sent.at)})


@once
async def send_text(call: Call) -> Response:
    body = _parse(call, SendText)
    return await _send(call, body, Draft("text", text=body.body), "Body", body.body)


@once
async def send_audio(call: Call) -> Response:
    body = _parse(call, SendAudio)
    return await _send(call, body, Draft("ptt"), "Audio", body.audio)


@once
async def send_document(call: Call) -> Response:
    body = _parse(call, SendDocument)
    _need(FileName=body.file_name)
    return await _send(call, body, Draft("document", text=body.caption, filename=body.file_name), "Document", body.document)


@once
async def send_video(call: Call) -> Response:
    body = _parse(call, SendVideo)
    return await _send(call, body, Draft("video", text=body.caption), "Video", body.video)


@once
async def send_image(call: Call) -> Response:
    body = _parse(call, SendImage)
    return await _send(call, body, Draft("image", text=body.caption), "Image", body.image)


@once
async def react(call: Call) -> Response:
    body = _parse(call, React)
    _need(Phone=body.phone, Body=body.body, Id=body.id)
    emoji = "" if body.body == "remove" else body.body
    return await react_and_wait(call, await _to_send(call), body.id.removeprefix("me:"), emoji, "Id", message_of)


# ------------------------------------------------------------------ who is there, and what is being written


async def mark_read(call: Call) -> Response:
    body = _parse(call, MarkRead)
    _need(Chat=body.chat, Id=body.id)
    await see(call, await _to_send(call), body.id, "Id")
    return call.answer(_good({"Details": "Message(s) marked as read"}))


async def chat_presence(call: Call) -> Response:
    body = _parse(call, ChatPresence)
    _need(Phone=body.phone, State=body.state)
    state: ChatState = "paused" if body.state == "paused" else "recording" if body.media == "audio" else "composing"
    await show(await _to_send(call), recipient(body.phone, "Phone"), state, "Phone")
    return call.answer(_good({"Details": "Chat presence set successfuly"}))


async def presence(call: Call) -> Response:
    body = _parse(call, Presence)
    await show_available(call, await _find(call), body.type == "available")
    return call.answer(_good({"Details": "Presence set successfuly"}))


async def check_users(call: Call) -> Response:
    body = _parse(call, CheckUser)
    _need(Phone=body.phone)
    found = await look_up(await _to_send(call), body.phone, "Phone")
    return call.answer(_good({"Users": [
        {"IsInWhatsapp": known is not None, "JID": str(number), "Query": str(asked), "VerifiedName": ""}
        for asked, (number, known) in zip(body.phone, found, strict=True)]}))


_ASKING = ("no_session", "session_not_connected", "invalid_recipient", "send_failed")
_SENDING = ("no_session", "session_not_connected", "invalid_recipient", "not_on_whatsapp", "send_failed", "idempotency_conflict")
WUZAPI = Dialect(
    "wuzapi", "wuzapi", ("/session", "/chat", "/user"), Style(),
    {"Token": {"type": "apiKey", "in": "header", "name": "Token"}}, Failure,
    calls=(
        Endpoint("POST", "/session/connect", connect, "Connect; a QR waits where nothing is linked yet", "full", Connect,
                 tag="wuzapi", answer=Answer, errors=("already_paired", "pairing_failed", "session_limit"),
                 example={"Subscribe": ["Message"], "Immediate": True}),
        Endpoint("GET", "/session/status", status, "Whether it is connected and logged in", tag="wuzapi", answer=Answer,
                 errors=("no_session",)),
        Endpoint("GET", "/session/qr", get_qr, "The QR that waits", "full", tag="wuzapi", answer=Answer,
                 errors=("no_session", "already_paired", "pairing_failed")),
        Endpoint("POST", "/session/pairphone", pair_phone, "A code to type on the phone", "full", PairPhone, tag="wuzapi",
                 answer=Answer, errors=("no_session", "invalid_recipient", "already_paired", "pairing_failed"),
                 example={"Phone": "237612345678"}),
        Endpoint("POST", "/session/disconnect", disconnect, "Disconnect; it stays linked", "full", tag="wuzapi", answer=Answer,
                 errors=("no_session", "session_not_connected")),
        Endpoint("POST", "/session/logout", logout, "Unlink the session and forget it", "full", tag="wuzapi", answer=Answer,
                 errors=("no_session", "session_not_connected")),
        Endpoint("POST", "/chat/send/text", send_text, "Send a text", "send", SendText, tag="wuzapi", answer=Answer,
                 errors=_SENDING, example={"Phone": "237612345678", "Body": "Hello!"}),
        Endpoint("POST", "/chat/send/audio", send_audio, "Send a voice note; any audio is converted", "send", SendAudio,
                 tag="wuzapi", answer=Answer, errors=(*_SENDING, "not_audio"), max_body=body_limit("ptt"),
                 example={"Phone": "237612345678", "Audio": "data:audio/ogg;base64,T2dnUw=="}),
        Endpoint("POST", "/chat/send/image", send_image, "Send an image", "send", SendImage, tag="wuzapi", answer=Answer,
                 errors=(*_SENDING, "not_image"), max_body=body_limit("image"),
                 example={"Phone": "237612345678", "Caption": "Look", "Image": "data:image/png;base64,iVBORw0KGgo="}),
        Endpoint("POST", "/chat/send/video", send_video, "Send a video", "send", SendVideo, tag="wuzapi", answer=Answer,
                 errors=(*_SENDING, "not_video"), max_body=body_limit("video"),
                 example={"Phone": "237612345678", "Caption": "Watch", "Video": "data:video/mp4;base64,AAAAIGZ0eXA="}),
        Endpoint("POST", "/chat/send/document", send_document, "Send a document", "send", SendDocument, tag="wuzapi",
                 answer=Answer, errors=(*_SENDING, "too_large"), max_body=body_limit("document"),
                 example={"Phone": "237612345678", "FileName": "a.pdf", "Document": "data:application/pdf;base64,JVBERi0="}),
        Endpoint("POST", "/chat/react", react, "React to a message; `remove` takes it away", "send", React, tag="wuzapi",
                 answer=Answer, errors=_SENDING, example={"Phone": "237612345678", "Body": "👍", "Id": "me:3EB0ABCDEF"}),
        Endpoint("POST", "/chat/markread", mark_read, "Tell that what came was read", "send", MarkRead, tag="wuzapi", answer=Answer,
                 errors=_ASKING, example={"Id": ["3EB0ABCDEF"], "Chat": "237612345678@s.whatsapp.net"}),
        Endpoint("POST", "/chat/presence", chat_presence, "Show in a chat that something is being written or recorded", "send",
                 ChatPresence, tag="wuzapi", answer=Answer, errors=_ASKING,
                 example={"Phone": "237612345678", "State": "composing", "Media": "audio"}),
        Endpoint("POST", "/webhook", set_webhook, "Have events posted in wuzapi's words", "full", SetWebhook, tag="wuzapi",
                 answer=Answer, errors=("no_session", "not_supported"),
                 example={"Webhook": "https://example.com/hook", "Events": ["Message"]}),
        Endpoint("PUT", "/webhook", set_webhook, "Change that, or with `active` false switch it off", "full", SetWebhook, tag="wuzapi",
                 answer=Answer, errors=("no_session", "not_supported"),
                 example={"Webhook": "https://example.com/hook", "Events": ["Message"], "Active": True}),
        Endpoint("GET", "/webhook", get_webhook, "Where events go", tag="wuzapi", answer=Answer, errors=("no_session",)),
        Endpoint("DELETE", "/webhook", delete_webhook, "Have no events posted any more", "full", tag="wuzapi", answer=Answer,
                 errors=("no_session",)),
        Endpoint("POST", "/user/presence", presence, "Be shown as online, or not", "full", Presence, tag="wuzapi", answer=Answer,
                 errors=("no_session",), example={"Type": "available"}),
        Endpoint("POST", "/user/check", check_users, "Which numbers are on WhatsApp", "send", CheckUser, tag="wuzapi",
                 answer=Answer, errors=_ASKING, example={"Phone": ["237612345678"]}),
    ),
    unsupported=(
        Unsupported("*", "/chat/send/{kind}", "POST /api/v1/messages/media"),
        Unsupported("*", "/user/{rest:path}", "POST /user/check"),
        Unsupported("*", "/admin/users", "the keys of the native API at /api/v1/keys"),
    ),
)
