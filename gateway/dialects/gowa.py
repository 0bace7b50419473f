"""GOWA (go-whatsapp-web-multidevice): devices, their QR, sending, and what a bot shows before it answers. Its paths are other
dialects' too, so it has none at the root; it knows base paths itself."""

from __future__ import annotations

import uuid
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.contacts import look_up, show
from gateway.api.http import Call, Endpoint, json_response, retry_headers
from gateway.api.idempotency import once, remember
from gateway.api.inbox import media
from gateway.api.messages import body_limit
from gateway.dialects.dialect import Dialect, Unsupported
from gateway.dialects.gowa_shapes import (
    Answer,
    Chat,
    ChatPresence,
    Create,
    DeviceQuery,
    Hooked,
    Message,
    PhoneQuery,
    Presence,
    Reaction,
    SendAudio,
    SendFile,
    SendImage,
    SendText,
    SendVideo,
)
from gateway.dialects.words import (
    DEFAULT,
    Hook,
    Sent,
    code_to_type,
    comes_back,
    digits,
    hooks_of,
    is_linked,
    of_whatsapp_id,
    only_session,
    react_and_wait,
    recipient,
    see,
    send_and_wait,
    set_webhooks,
    show_available,
    status_of,
    unlink,
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

_EVENTS = {"message": ("gowa", "message"), "message.ack": ("gowa", "receipt"), "message.reaction": ("gowa.reaction", "message"),
           "message.edited": ("gowa.edit", "message"), "message.revoked": ("gowa.revoke", "message")}
_CODES = {"unauthorized": (401, "AUTHENTICATION_ERROR"), "session_not_found": (404, "DEVICE_NOT_FOUND"),
          "no_session": (400, "DEVICE_ID_REQUIRED"), "session_ambiguous": (400, "DEVICE_ID_REQUIRED"),
          "invalid_recipient": (400, "INVALID_JID"), "not_on_whatsapp": (400, "INVALID_JID"),
          "already_paired": (400, "ALREADY_LOGGED_IN"), "session_not_connected": (409, "INVALID_WA_CLI")}
_CODE = {400: "VALIDATION_ERROR", 403: "FORBIDDEN", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 409: "CONFLICT",
         413: "PAYLOAD_TOO_LARGE", 429: "TOO_MANY_REQUESTS", 501: "NOT_SUPPORTED"}


class Style:
    name = "gowa"

    def credentials(self, request: Request, fields: Mapping[str, Any]) -> str | None:
        """The password of HTTP's basic authentication; whatever the user is called. A browser adds what it remembers to whatever
        any page asks for, and here a GET logs out: what another site began (Fetch Metadata, W3C) has no credentials."""
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return None
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        try:
            user, _, password = b64decode(text, validate=True).decode().partition(":") if scheme.lower() == "basic" else ("", "", "")
        except ValueError:
            return None
        return password or user or None

    def error(self, error: GatewayError) -> Response:
        status, code = _CODES.get(error.code, (0, ""))
        if not status:
            status = status_of(error, invalid=400)
            code = _CODE.get(status, "INTERNAL_SERVER_ERROR")
        headers = retry_headers(error) | ({"WWW-Authenticate": "Basic"} if status == 401 else {})
        return json_response(Answer(status=status, code=code, message=error.message, results=None), status, headers)


def _good(call: Call, message: str, results: Any = None, headers: Mapping[str, str] | None = None) -> Response:
    return call.answer(Answer(status=200, code="SUCCESS", message=message, results=results), headers=headers)


# ------------------------------------------------------------------ devices


async def _named(call: Call) -> LiveSession | None:
    """By the header or the query; else the key's only one."""
    header = unquote(call.request.headers.get("x-device-id", ""))
    if named := (header or call.request.query_params.get("device_id", "")).strip():
        return await call.gateway.sessions.find(call.key, named)
    return await only_session(call)


async def _find(call: Call) -> LiveSession:
    """Of a path that names it, or as `_named`."""
    if "device_id" in call.request.path_params:
        return await call.gateway.sessions.find(call.key, call.path("device_id"))
    if (live := await _named(call)) is None:
        raise GatewayError("no_session", "device_id is required via X-Device-Id header or device_id query")
    return live


async def _to_send(call: Call) -> LiveSession:
    return await call.gateway.sessions.to_send(call.key, (await _find(call)).session.id)


def device_state(live: LiveSession) -> str:
    if live.state.status is Status.CONNECTED:
        return "logged_in"
    return "connecting" if live.state.status is Status.PENDING or comes_back(live) else "disconnected"


def _device(live: LiveSession) -> dict[str, Any]:
    s = live.session
    return {"id": s.session_key, "phone_number": digits(s.jid.non_ad()) if s.jid else "", "display_name": s.push_name,
            "state": device_state(live), "jid": str(s.jid.non_ad()) if s.jid else "", "created_at": iso(s.created_at)}


async def list_(call: Call) -> Response:
    return _good(call, "List devices", [_device(live) for live in await call.gateway.sessions.of(call.key)])


async def create(call: Call) -> Response:
    """A slot, which its login links."""
    body = call.parse(Create)
    hooks = _hooks(body)
    live = await call.gateway.sessions.create(call.key, session_key=body.device_id or str(uuid.uuid4()), pair=False)
    try:
        await set_webhooks(call, live, "gowa", hooks)
    except GatewayError:
        await call.gateway.sessions.delete(live)
        raise
    return _good(call, "Device added", {**_device(live), **(await _hooked(call, live) if hooks else {})})


def _hooks(asked: Hooked) -> list[Hook]:
    if not asked.webhook_url:
        return []
    _refuse({"webhook_insecure_skip_verify": asked.webhook_insecure_skip_verify})
    named = [name.strip().lower() for name in asked.webhook_events.split(",") if name.strip()]
    return hooks_of(asked.webhook_url, named or _EVENTS, _EVENTS, asked.webhook_secret or None)


async def _hooked(call: Call, live: LiveSession) -> dict[str, Any]:
    """The secret is shown to nobody again."""
    there = await webhooks_of(call, live, "gowa")
    told = {(one.format, type_) for one in there for type_ in one.types}
    return {"webhook_url": there[0].url if there else "", "webhook_secret": "", "webhook_insecure_skip_verify": False,
            "webhook_events": ",".join(name for name, what in _EVENTS.items() if what in told)}


async def get_webhook(call: Call) -> Response:
    live = await _find(call)
    return _good(call, "Device webhook retrieved", {"device_id": live.session.session_key, **await _hooked(call, live)})


async def set_webhook(call: Call) -> Response:
    body, live = call.parse(Hooked), await _find(call)
    if body.webhook_url is None:
        raise InvalidField("webhook_url", "webhook_url is required")
    await set_webhooks(call, live, "gowa", _hooks(body))
    return _good(call, "Device webhook updated", {"device_id": live.session.session_key, **await _hooked(call, live)})


async def get(call: Call) -> Response:
    return _good(call, "Device info", _device(await _find(call)))


async def delete(call: Call) -> Response:
    await call.gateway.sessions.delete(await _find(call))
    return _good(call, "Device removed")


async def devices(call: Call) -> Response:
    found = [_device(live) for live in await call.gateway.sessions.of(call.key)]
    return _good(call, "Fetch device success", [
        {"name": one["display_name"], "device": one["id"], "jid": one["jid"]} for one in found])


async def status(call: Call) -> Response:
    live = await _find(call)
    return _good(call, "Connection status retrieved", {
        "is_connected": live.state.status is Status.CONNECTED, "is_logged_in": is_linked(live),
        "device_id": live.session.session_key, "jid": _device(live)["jid"]})


async def login(call: Call) -> Response:
    live = await _find(call) if "device_id" in call.request.path_params else await _named(call)
    if live is None:
        live = await call.gateway.sessions.create(call.key, session_key=DEFAULT)
    linking = await call.gateway.sessions.code_to_scan(live)
    base = (call.gateway.settings.server.public_url or str(call.request.base_url)).rstrip("/")
    return _good(call, "Login success", {
        "device_id": live.session.session_key, "qr_duration": max(1, round(linking.expires_at - call.gateway.clock())),
        "qr_link": f"{base}/gowa/statics/images/qrcode/{live.session.id}.png"}, {"Cache-Control": "no-store"})


async def picture(call: Call) -> Response:
    """What `qr_link` leads to: the code that waits by then."""
    live = await call.gateway.sessions.find(call.key, call.path("file").removesuffix(".png"))
    if live.qr is None:
        raise GatewayError("not_found", "No QR waits; GET /app/login asks for one.")
    return Response(qr.png(live.qr.code), 200, {"Cache-Control": "no-store"}, "image/png")


async def login_with_code(call: Call) -> Response:
    phone = recipient(call.query(PhoneQuery).phone, "phone")
    live = await _find(call)
    code = await code_to_type(live, phone)
    return _good(call, "Login with code success", {"device_id": live.session.session_key, "pair_code": code},
                 {"Cache-Control": "no-store"})


async def logout(call: Call) -> Response:
    live = await _find(call)
    if is_linked(live):
        await unlink(live)
    return _good(call, "Success logout", {"device_id": live.session.session_key})


async def reconnect(call: Call) -> Response:
    live = await _find(call)
    if not is_linked(live):
        raise GatewayError("session_not_connected", "The device is not logged in.")
    await live.disconnect()
    await live.connect()
    return _good(call, "Reconnect success", {"device_id": live.session.session_key})


# ------------------------------------------------------------------ sending


def message_of(call: Call, what: str) -> Callable[[Sent], Answer]:
    def word(sent: Sent) -> Answer:
        text = f"{what} {sent.message.chat} (server timestamp: {iso(sent.at)})"
        if sent.message.sent_at is None:
            text = f"Accepted for {sent.message.chat}; WhatsApp has not taken it yet"
        return Answer(status=200, code="SUCCESS", message=text, results={"message_id": sent.whatsapp_id, "status": text})

    return word


def _refuse(asked: Mapping[str, Any]) -> None:
    """What the gateway would silently not do."""
    for name, value in asked.items():
        if value:
            raise GatewayError("not_supported", f"This gateway does not offer `{name}`: leave it out.")


async def _send(call: Call, body: Message, draft: Draft, what: str, part: str = "", url: str = "") -> Response:
    _refuse({"duration": body.duration, "view_once": getattr(body, "view_once", False), "mentions": getattr(body, "mentions", None)})
    chat = recipient(body.phone, "phone")
    if part:
        file = call.body.files.get(part)
        if file is None and not url:
            raise InvalidField(part, f"{part}: a file or {part}_url is needed")
        if file is not None:
            draft = msgspec.structs.replace(draft, filename=file.filename)
        draft = with_content(call, draft, file.data if file else url, f"{part}_url")
    live = await _to_send(call)
    draft = await with_reply(call, live, draft, body.reply_message_id, "reply_message_id")
    return await send_and_wait(call, live, chat, draft, message_of(call, what))


@once
async def send_text(call: Call) -> Response:
    body = call.parse(SendText)
    if not body.message:
        raise InvalidField("message", "message: cannot be blank.")
    return await _send(call, body, Draft("text", text=body.message), "Message sent to")


@once
async def send_audio(call: Call) -> Response:
    body = call.parse(SendAudio)
    return await _send(call, body, Draft("ptt" if body.ptt else "audio"), "Send audio success", "audio", body.audio_url)


@once
async def send_image(call: Call) -> Response:
    body = call.parse(SendImage)
    return await _send(call, body, Draft("image", text=body.caption), "Message sent to", "image", body.image_url)


@once
async def send_video(call: Call) -> Response:
    body = call.parse(SendVideo)
    return await _send(call, body, Draft("video", text=body.caption), "Video sent to", "video", body.video_url)


@once
async def send_file(call: Call) -> Response:
    body = call.parse(SendFile)
    return await _send(call, body, Draft("document", text=body.caption), "Document sent to", "file", body.file_url)


@once
async def react(call: Call) -> Response:
    body = call.parse(Reaction)
    return await react_and_wait(call, await _to_send(call), call.path("message_id"), body.emoji, "message_id",
                                message_of(call, "Reaction sent to"))


@once
async def revoke(call: Call) -> Response:
    """For everyone."""
    live, id_ = await _to_send(call), call.path("message_id")
    message = await of_whatsapp_id(call, live, id_, "out")
    if message is None:
        raise GatewayError("message_not_found")
    text = f"Revoke success {message.chat}"
    answer = Answer(status=200, code="SUCCESS", message=text, results={"message_id": id_, "status": text})
    await call.gateway.outbox.revoke(call.key, live, message, remember=remember(call, lambda accepted: call.answer(answer)))
    return call.answer(answer)


# ------------------------------------------------------------------ who is there, and what is being written


def _done(call: Call, id_: str, text: str) -> Response:
    return _good(call, text, {"message_id": id_, "status": text})


async def read(call: Call) -> Response:
    id_ = call.path("message_id")
    call.parse(Chat)
    await see(call, await _to_send(call), [id_], "message_id")
    return _done(call, id_, f"Mark as read success {id_}")


async def chat_presence(call: Call) -> Response:
    body = call.parse(ChatPresence)
    chat = recipient(body.phone, "phone")
    await show(await _to_send(call), chat, "composing" if body.action == "start" else "paused", "phone")
    return _done(call, f"chat-presence-{body.action}", f"Send chat presence {body.action} typing success {chat}")


async def presence(call: Call) -> Response:
    kind = call.parse(Presence).type
    await show_available(call, await _find(call), kind == "available")
    return _done(call, "presence", f"Send presence success {kind}")


async def check(call: Call) -> Response:
    phone = call.query(PhoneQuery).phone
    ((_, known),) = await look_up(await _to_send(call), [phone], "phone")
    return _good(call, "Success check user", {"is_on_whatsapp": known is not None})


_NAMING = ("session_not_found", "no_session", "session_ambiguous")
_LOGIN = (*_NAMING, "already_paired", "pairing_failed")
_ASKING = (*_NAMING, "session_not_connected", "invalid_recipient", "send_failed")
_SENDING = (*_ASKING, "not_on_whatsapp", "not_supported", "idempotency_conflict")


def _call(method: str, path: str, handler: Callable[[Call], Awaitable[Response]], summary: str, scope: str, **more: Any) -> Endpoint:
    """Each answers in the same envelope, and each takes `device_id` in the query where its path has none."""
    query = {} if "{device_id}" in path else {"query": DeviceQuery}
    return Endpoint(method, path, handler, summary, scope, tag="GOWA", **{"answer": Answer, **query, **more})


_PHONE = {"phone": "237612345678@s.whatsapp.net"}
GOWA = Dialect(
    "gowa", "GOWA", (), Style(),
    {"basic": {"type": "http", "scheme": "basic", "description": "Any user; the password is an API key."}},
    Answer, forms=True,
    calls=(
        _call("GET", "/app/login", login, "A QR to scan; makes the first device where there is none", "full",
              errors=(*_LOGIN, "session_limit")),
        _call("GET", "/app/login-with-code", login_with_code, "A code to type on the phone", "full", query=PhoneQuery,
              errors=(*_LOGIN, "invalid_recipient")),
        _call("GET", "/app/logout", logout, "Log out; the device's slot stays", "full", errors=_NAMING),
        _call("GET", "/app/reconnect", reconnect, "Disconnect and connect", "full", errors=(*_NAMING, "session_not_connected")),
        _call("GET", "/app/devices", devices, "The devices and who is logged in", "read"),
        _call("GET", "/app/status", status, "Whether it is connected and logged in", "read", errors=_NAMING),
        _call("GET", "/devices", list_, "List the devices", "read"),
        _call("POST", "/devices", create, "Add a device, which its login links", "full", body=Create, example={"device_id": "main"},
              errors=("session_exists", "session_limit", "not_supported")),
        _call("GET", "/devices/{device_id}", get, "One device", "read", errors=_NAMING),
        _call("DELETE", "/devices/{device_id}", delete, "Log out and remove a device", "full", errors=_NAMING),
        _call("GET", "/devices/{device_id}/login", login, "A QR to scan", "full", errors=_LOGIN),
        _call("POST", "/devices/{device_id}/login/code", login_with_code, "A code to type on the phone", "full", query=PhoneQuery,
              errors=(*_LOGIN, "invalid_recipient")),
        _call("POST", "/devices/{device_id}/logout", logout, "Log out; the slot stays", "full", errors=_NAMING),
        _call("POST", "/devices/{device_id}/reconnect", reconnect, "Disconnect and connect", "full",
              errors=(*_NAMING, "session_not_connected")),
        _call("GET", "/devices/{device_id}/status", status, "Whether it is connected and logged in", "read", errors=_NAMING),
        _call("GET", "/devices/{device_id}/webhook", get_webhook, "Where its events go", "read", errors=_NAMING),
        _call("PATCH", "/devices/{device_id}/webhook", set_webhook, "Have its events posted, or with an empty URL no more", "full",
              body=Hooked, errors=(*_NAMING, "not_supported"),
              example={"webhook_url": "https://example.com/hook", "webhook_events": "message,message.ack"}),
        _call("GET", "/statics/media/{id}", media, "The file of a message that arrived, as webhooks name it", "read", answer=bytes,
              produces=("*/*",), statuses=(206,), errors=("message_not_found", "not_found", "media_unavailable",
                                                          "session_not_connected", "session_gone", "too_large")),
        _call("GET", "/statics/images/qrcode/{file}", picture, "The picture that `qr_link` leads to", "full", answer=bytes,
              produces=("image/png",), errors=("session_not_found", "not_found")),
        _call("GET", "/user/check", check, "Whether a number is on WhatsApp", "send", query=PhoneQuery, errors=_ASKING),
        _call("POST", "/send/message", send_text, "Send a text", "send", body=SendText, errors=_SENDING,
              example={**_PHONE, "message": "Hello!"}),
        _call("POST", "/send/audio", send_audio, "Send an audio file, or with `ptt` a voice note", "send", body=SendAudio,
              errors=(*_SENDING, "not_audio"), max_body=body_limit("ptt"),
              example={**_PHONE, "audio_url": "https://example.com/hello.mp3", "ptt": True}),
        _call("POST", "/send/image", send_image, "Send an image", "send", body=SendImage, errors=(*_SENDING, "not_image"),
              max_body=body_limit("image"), example={**_PHONE, "caption": "Look", "image_url": "https://example.com/a.jpg"}),
        _call("POST", "/send/video", send_video, "Send a video", "send", body=SendVideo, errors=(*_SENDING, "not_video"),
              max_body=body_limit("video"), example={**_PHONE, "caption": "Watch", "video_url": "https://example.com/a.mp4"}),
        _call("POST", "/send/file", send_file, "Send a document", "send", body=SendFile, errors=(*_SENDING, "too_large"),
              max_body=body_limit("document"), example={**_PHONE, "file_url": "https://example.com/a.pdf"}),
        _call("POST", "/send/presence", presence, "Be shown as online, or not", "full", body=Presence, errors=_NAMING,
              example={"type": "available"}),
        _call("POST", "/send/chat-presence", chat_presence, "Show in a chat that something is being written", "send",
              body=ChatPresence, errors=_ASKING, example={**_PHONE, "action": "start"}),
        _call("POST", "/message/{message_id}/reaction", react, "React to a message; an empty emoji takes it away", "send",
              body=Reaction, errors=_SENDING, example={**_PHONE, "emoji": "🙏"}),
        _call("POST", "/message/{message_id}/revoke", revoke, "Take a message of yours back for everyone", "send", body=Chat,
              errors=(*_SENDING, "message_not_found", "wrong_state"), example=_PHONE),
        _call("POST", "/message/{message_id}/read", read, "Tell that a message was read", "send", body=Chat, errors=_ASKING,
              example=_PHONE),
    ),
    unsupported=(
        Unsupported("*", "/send/{kind}", "POST /api/v1/messages or /api/v1/messages/media"),
        Unsupported("GET", "/message/{message_id}/download", "GET /api/v1/messages/{id}/media"),
        Unsupported("*", "/message/{message_id}/{what}", "the messages of the native API at /api/v1/messages"),
        Unsupported("*", "/chats", "GET /api/v1/messages"),
        Unsupported("*", "/chat/{rest:path}", "GET /api/v1/messages"),
    ),
)
