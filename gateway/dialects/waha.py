"""WAHA (WhatsApp HTTP API): sessions, their QR, sending, and what a bot shows before it answers, below `/api`."""

from __future__ import annotations

import uuid
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.contacts import ASKING, ChatState, look_up, show
from gateway.api.http import Call, Endpoint, json_response, retry_headers
from gateway.api.idempotency import once
from gateway.api.inbox import media
from gateway.api.messages import body_limit
from gateway.dialects.dialect import Dialect, Unsupported
from gateway.dialects.waha_shapes import (
    Chat,
    Code,
    Config,
    Create,
    Failure,
    ListQuery,
    Me,
    Media,
    Message,
    NumberExists,
    NumberQuery,
    Presence,
    QrQuery,
    Reaction,
    RequestCode,
    Result,
    SendCaptioned,
    SendSeen,
    SendText,
    SendVoice,
    Session,
    Update,
)
from gateway.dialects.words import (
    REASON,
    Hook,
    Sent,
    code_to_type,
    comes_back,
    header_key,
    hooks_of,
    is_linked,
    react_and_wait,
    recipient,
    see,
    send_and_wait,
    set_webhooks,
    show_available,
    status_of,
    unlink,
    with_content,
    with_reply,
)
from gateway.errors import GatewayError, InvalidField
from gateway.services import qr
from gateway.services.drafts import Draft
from gateway.services.live import LiveSession
from gateway.services.webhook_waha import ACKS
from gateway.states import Status

MOST_SEEN = 20                  # messages that one sendSeen tells of
_STATE: dict[str, ChatState] = {"typing": "composing", "recording": "recording", "paused": "paused"}
_EVENTS = {"message": ("waha", "message"), "message.any": ("waha.any", "message"), "message.reaction": ("waha.reaction", "message"),
           "message.edited": ("waha.edit", "message"), "message.revoked": ("waha.revoke", "message"),
           "message.ack": ("waha", "receipt"), "session.status": ("waha", "status", "qr")}     # of a QR only that there is one
_ACK_NAME = {0: "PENDING", **dict(ACKS.values())}


class Style:
    name = "waha"

    def credentials(self, request: Request, fields: Mapping[str, Any]) -> str | None:
        return header_key("x-api-key", "x-api-key")(request)

    def error(self, error: GatewayError) -> Response:
        status = status_of(error, invalid=422)
        message = "Unauthorized" if error.code == "unauthorized" else error.message
        return json_response(Failure(statusCode=status, message=message, error=REASON[status]), status, retry_headers(error))


# ------------------------------------------------------------------ sessions


def session_status(live: LiveSession) -> str:
    state = live.state
    if state.status is Status.CONNECTED:
        return "WORKING"
    if live.session.stopped:
        return "STOPPED"
    if state.status is Status.PENDING:
        return "SCAN_QR_CODE" if live.qr or live.code else "STARTING"
    return "STARTING" if comes_back(live) else "FAILED"


def _shape(live: LiveSession) -> Session:
    s = live.session
    return Session(name=s.session_key, status=session_status(live),
                   me=Me(id=s.jid.c_us, pushName=s.push_name) if s.jid else None)


async def _find(call: Call) -> LiveSession:
    return await call.gateway.sessions.find(call.key, call.path("session"))


async def create(call: Call) -> Response:
    body = call.parse(Create)
    hooks = _hooks(body.config)
    sessions = call.gateway.sessions
    live = await sessions.create(call.key, session_key=body.name or f"session_{uuid.uuid4().hex}", pair=False)
    try:
        await set_webhooks(call, live, "waha", hooks)                   # before the first thing happens
    except GatewayError:
        await sessions.delete(live)
        raise
    if body.start:
        await live.relink()
    else:
        await sessions.update(live, stopped=True)
    return call.answer(_shape(live))


async def update(call: Call) -> Response:
    live = await _find(call)
    await set_webhooks(call, live, "waha", _hooks(call.parse(Update).config))
    return call.answer(_shape(live))


def _hooks(config: Config | None) -> list[Hook]:
    hooks = []
    for one in config.webhooks or [] if config else []:
        if one.customHeaders:
            raise GatewayError("not_supported", "This gateway sends no headers of yours with a webhook: leave `customHeaders` out.")
        hooks += hooks_of(one.url, _EVENTS if "*" in one.events else one.events, _EVENTS, one.hmac.key if one.hmac else None)
    return hooks


async def list_(call: Call) -> Response:
    every = call.query(ListQuery).all
    shown = [_shape(live) for live in await call.gateway.sessions.of(call.key)]
    return call.answer([one for one in shown if every or one.status != "STOPPED"])


async def get(call: Call) -> Response:
    return call.answer(_shape(await _find(call)))


async def start(call: Call) -> Response:
    """Idempotent: what runs goes on."""
    live = await _find(call)
    if is_linked(live):
        await live.connect()
    elif live.state.status is not Status.PENDING:
        await live.relink()
    return call.answer(_shape(live))


async def stop(call: Call) -> Response:
    live = await _find(call)
    await live.disconnect()
    return call.answer(_shape(live))


async def restart(call: Call) -> Response:
    live = await _find(call)
    if is_linked(live):
        await live.disconnect()
        await live.connect()
    else:
        await live.relink()
    return call.answer(_shape(live))


async def logout(call: Call) -> Response:
    """Unlinks; what ran begins anew, with a QR."""
    live = await _find(call)
    if live.session.stopped:
        await unlink(live)
    else:
        await live.relink()
    return call.answer(_shape(live))


async def get_me(call: Call) -> Response:
    return call.answer(_shape(await _find(call)).me)


async def delete(call: Call) -> Response:
    """Idempotent: what is not there is deleted already."""
    try:
        live = await _find(call)
    except GatewayError as error:
        if error.code != "session_not_found":
            raise
    else:
        await call.gateway.sessions.delete(live)
    return Response(None, 200)


async def get_qr(call: Call) -> Response:
    wanted = call.query(QrQuery).format
    code = (await call.gateway.sessions.code_to_scan(await _find(call))).qr
    headers = {"Cache-Control": "no-store"}
    if wanted == "raw":
        return call.answer({"value": code}, headers=headers)
    if "application/json" in call.request.headers.get("accept", ""):
        return call.answer({"mimetype": "image/png", "data": b64encode(qr.png(code)).decode()}, headers=headers)
    return Response(qr.png(code), 200, headers, "image/png")


async def request_code(call: Call) -> Response:
    body = call.parse(RequestCode)
    if body.method:
        raise GatewayError("not_supported", "This gateway has no codes by SMS or voice: leave `method` out.")
    phone = recipient(body.phoneNumber, "phoneNumber")
    return call.answer(Code(code=await code_to_type(await _find(call), phone)), headers={"Cache-Control": "no-store"})


# ------------------------------------------------------------------ sending


async def _send(call: Call, body: SendText | SendVoice, draft: Draft) -> Response:
    chat = recipient(body.chatId, "chatId")
    if isinstance(body, SendVoice):
        if not (content := body.file.url or body.file.data):
            raise InvalidField("file.url", "file.url: a URL, or base64 in file.data, is needed")
        draft = with_content(call, draft, content, "file.url")
    live = await call.gateway.sessions.to_send(call.key, body.session)
    draft = await with_reply(call, live, draft, body.reply_to)
    return await send_and_wait(call, live, chat, draft, message_of)


def message_of(sent: Sent) -> Message:
    chat, draft = sent.message.chat.c_us, sent.draft
    serialized = f"true_{chat}_{sent.whatsapp_id}"
    return Message(
        id=serialized, timestamp=int(sent.at), from_=sent.live.session.jid.c_us if sent.live.session.jid else "", fromMe=True,
        to=chat, participant=None, body=draft.text, hasMedia=bool(draft.data),
        media=_media(draft) if draft.data else None, ack=sent.ack,
        ackName=_ACK_NAME[sent.ack], replyTo={"id": draft.reply_to.id} if draft.reply_to else None, vCards=[],
        data={"id": {"fromMe": True, "remote": chat, "id": sent.whatsapp_id, "_serialized": serialized},
              "type": "chat" if draft.kind == "text" else draft.kind, "ack": sent.ack, "t": int(sent.at)})


def _media(draft: Draft) -> Media:
    return Media(url=None, mimetype=draft.mimetype, filename=draft.filename or None, error=None)


@once
async def send_text(call: Call) -> Response:
    body = call.parse(SendText)
    if not body.text:
        raise InvalidField("text", "text: must not be empty")
    return await _send(call, body, Draft("text", text=body.text))


@once
async def send_voice(call: Call) -> Response:
    return await _send(call, call.parse(SendVoice), Draft("ptt"))


@once
async def send_image(call: Call) -> Response:
    return await _send_captioned(call, "image")


@once
async def send_video(call: Call) -> Response:
    return await _send_captioned(call, "video")


@once
async def send_file(call: Call) -> Response:
    return await _send_captioned(call, "document")


async def _send_captioned(call: Call, kind: str) -> Response:
    body = call.parse(SendCaptioned)
    return await _send(call, body, Draft(kind, text=body.caption or "", filename=body.file.filename or ""))


async def send_seen(call: Call) -> Response:
    """Of one message, or of what came last in the chat and was not seen yet."""
    body = call.parse(SendSeen)
    chat = recipient(body.chatId, "chatId")
    live = await call.gateway.sessions.to_send(call.key, body.session)
    if named := body.messageIds or ([body.messageId] if body.messageId else None):
        await see(call, live, named, "messageId")
        return call.answer({})
    last = await call.gateway.store.messages.page(call.key.owner, limit=MOST_SEEN, session_id=live.session.id, chat=str(chat),
                                                  direction="in")
    for one in last:
        if one.read_at is None and one.wa_id is not None and not one.facts.get("from_me"):
            await call.gateway.inbox.mark_read(one, played=False)
    return call.answer({})


@once
async def react(call: Call) -> Response:
    body = call.parse(Reaction)
    live = await call.gateway.sessions.to_send(call.key, body.session)
    return await react_and_wait(call, live, body.messageId, body.reaction, "messageId", message_of)


# ------------------------------------------------------------------ who is there, and what is being written


async def _show(call: Call, state: ChatState) -> Response:
    body = call.parse(Chat)
    chat = recipient(body.chatId, "chatId")
    await show(await call.gateway.sessions.to_send(call.key, body.session), chat, state, "chatId")
    return call.answer(Result(result=True))


async def start_typing(call: Call) -> Response:
    return await _show(call, "composing")


async def stop_typing(call: Call) -> Response:
    return await _show(call, "paused")


async def set_presence(call: Call) -> Response:
    live, body = await _find(call), call.parse(Presence)
    if body.presence in ("online", "offline"):
        if body.chatId:
            raise InvalidField("chatId", f"chatId: '{body.presence}' is told to all chats")
        await show_available(call, live, body.presence == "online")
    else:
        await show(live, recipient(body.chatId or "", "chatId"), _STATE[body.presence], "chatId")
    return Response(None, 201)


async def check_exists(call: Call) -> Response:
    query = call.query(NumberQuery)
    live = await call.gateway.sessions.to_send(call.key, query.session)
    ((number, known),) = await look_up(live, [query.phone], "phone")
    return call.answer(NumberExists(numberExists=True, chatId=number.c_us) if known else NumberExists(numberExists=False))


_NOT_FOUND = ("session_not_found",)
_SENDING = ("session_not_found", "session_not_connected", "invalid_recipient", "not_on_whatsapp", "send_failed",
            "idempotency_conflict")
WAHA = Dialect(
    "waha", "WAHA", ("/api",), Style(), {"X-Api-Key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}}, Failure,
    calls=(
        Endpoint("POST", "/api/sessions", create, "Create a session, and start it", "full", Create, tag="WAHA", answer=Session,
                 status=201, errors=("session_exists", "session_limit", "not_supported"), example={"name": "default", "start": True}),
        Endpoint("GET", "/api/sessions", list_, "List the sessions", query=ListQuery, tag="WAHA", answer=list[Session]),
        Endpoint("GET", "/api/sessions/{session}", get, "One session", tag="WAHA", answer=Session, errors=_NOT_FOUND),
        Endpoint("PUT", "/api/sessions/{session}", update, "Change a session's webhooks", "full", Update, tag="WAHA", answer=Session,
                 errors=(*_NOT_FOUND, "not_supported"),
                 example={"config": {"webhooks": [{"url": "https://example.com/hook", "events": ["message", "session.status"]}]}}),
        Endpoint("DELETE", "/api/sessions/{session}", delete, "Stop, log out and delete a session", "full", tag="WAHA",
                 produces=()),
        Endpoint("POST", "/api/sessions/{session}/start", start, "Start a session", "full", tag="WAHA", answer=Session,
                 status=201, errors=_NOT_FOUND),
        Endpoint("POST", "/api/sessions/{session}/stop", stop, "Stop a session; it stays linked", "full", tag="WAHA",
                 answer=Session, status=201, errors=_NOT_FOUND),
        Endpoint("POST", "/api/sessions/{session}/restart", restart, "Stop and start a session", "full", tag="WAHA", answer=Session,
                 status=201, errors=_NOT_FOUND),
        Endpoint("POST", "/api/sessions/{session}/logout", logout, "Unlink a session, which begins anew with a QR", "full",
                 tag="WAHA", answer=Session, status=201, errors=_NOT_FOUND),
        Endpoint("GET", "/api/sessions/{session}/me", get_me, "The linked account, or null", tag="WAHA", answer=Me | None,
                 errors=_NOT_FOUND),
        Endpoint("GET", "/api/{session}/auth/qr", get_qr, "The QR that waits", "full", query=QrQuery, tag="WAHA",
                 produces=("image/png", "application/json"), errors=(*_NOT_FOUND, "already_paired", "pairing_failed")),
        Endpoint("POST", "/api/{session}/auth/request-code", request_code, "A code to type on the phone", "full", RequestCode,
                 tag="WAHA", answer=Code, status=201,
                 errors=(*_NOT_FOUND, "invalid_recipient", "already_paired", "pairing_failed", "not_supported"),
                 example={"phoneNumber": "237612345678"}),
        Endpoint("POST", "/api/sendText", send_text, "Send a text", "send", SendText, tag="WAHA", answer=Message, status=201,
                 errors=_SENDING, example={"session": "default", "chatId": "237612345678@c.us", "text": "Hi there!"}),
        Endpoint("POST", "/api/sendImage", send_image, "Send an image", "send", SendCaptioned, tag="WAHA", answer=Message,
                 status=201, errors=(*_SENDING, "not_image"), max_body=body_limit("image"),
                 example={"session": "default", "chatId": "237612345678@c.us", "caption": "Look",
                          "file": {"mimetype": "image/jpeg", "url": "https://example.com/a.jpg"}}),
        Endpoint("POST", "/api/sendVideo", send_video, "Send a video", "send", SendCaptioned, tag="WAHA", answer=Message,
                 status=201, errors=(*_SENDING, "not_video"), max_body=body_limit("video"),
                 example={"session": "default", "chatId": "237612345678@c.us", "caption": "Watch",
                          "file": {"mimetype": "video/mp4", "url": "https://example.com/a.mp4"}}),
        Endpoint("POST", "/api/sendFile", send_file, "Send a document", "send", SendCaptioned, tag="WAHA", answer=Message,
                 status=201, errors=(*_SENDING, "too_large"), max_body=body_limit("document"),
                 example={"session": "default", "chatId": "237612345678@c.us", "file": {
                     "mimetype": "application/pdf", "filename": "a.pdf", "url": "https://example.com/a.pdf"}}),
        Endpoint("POST", "/api/sendVoice", send_voice, "Send a voice note; any audio is converted", "send", SendVoice,
                 tag="WAHA", answer=Message, status=201, errors=(*_SENDING, "not_audio"), max_body=body_limit("ptt"),
                 example={"session": "default", "chatId": "237612345678@c.us",
                          "file": {"mimetype": "audio/mpeg", "url": "https://example.com/hello.mp3"}}),
        Endpoint("POST", "/api/sendSeen", send_seen, "Tell that what came was read", "send", SendSeen, tag="WAHA",
                 answer=dict[str, Any], status=201,
                 errors=ASKING, example={"session": "default", "chatId": "237612345678@c.us"}),
        Endpoint("POST", "/api/reply", send_text, "Send a text as an answer; `reply_to` of sendText does the same", "send", SendText,
                 tag="WAHA", answer=Message, status=201, errors=_SENDING,
                 example={"session": "default", "chatId": "237612345678@c.us", "text": "Hi there!",
                          "reply_to": "false_237612345678@c.us_3EB0ABCDEF"}),
        Endpoint("PUT", "/api/reaction", react, "React to a message; an empty reaction takes it away", "send", Reaction, tag="WAHA",
                 answer=Message, errors=_SENDING,
                 example={"session": "default", "messageId": "false_237612345678@c.us_3EB0ABCDEF", "reaction": "👍"}),
        Endpoint("POST", "/api/startTyping", start_typing, "Show in a chat that something is being written", "send", Chat,
                 tag="WAHA", answer=Result, status=201, errors=ASKING,
                 example={"session": "default", "chatId": "237612345678@c.us"}),
        Endpoint("POST", "/api/stopTyping", stop_typing, "Show it no more", "send", Chat, tag="WAHA", answer=Result, status=201,
                 errors=ASKING, example={"session": "default", "chatId": "237612345678@c.us"}),
        Endpoint("POST", "/api/{session}/presence", set_presence, "Typing, recording or paused in a chat; online or offline to all",
                 "send", Presence, tag="WAHA", produces=(), status=201, errors=ASKING,
                 example={"chatId": "237612345678@c.us", "presence": "recording"}),
        Endpoint("GET", "/api/contacts/check-exists", check_exists, "Whether a number is on WhatsApp", "send", query=NumberQuery,
                 tag="WAHA", answer=NumberExists, errors=ASKING),
        Endpoint("GET", "/api/files/{id}", media, "The file of a message that arrived, as webhooks name it", tag="WAHA", answer=bytes,
                 produces=("*/*",), statuses=(206,), errors=("message_not_found", "not_found", "media_unavailable",
                                                             "session_not_connected", "session_gone", "too_large")),
        Endpoint("GET", "/api/checkNumberStatus", check_exists, "The same, as older clients ask it", "send", query=NumberQuery,
                 tag="WAHA", answer=NumberExists, errors=ASKING),
    ),
    unsupported=(
        Unsupported("GET", "/api/messages", "GET /api/v1/messages"),
        Unsupported("*", "/api/{session}/chats/{rest:path}", "GET /api/v1/messages"),
    ),
)
