"""Evolution API (v2): instances, their QR, and sending of text, media and voice notes."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.http import Call, Endpoint, Shape, json_response, retry_headers
from gateway.api.idempotency import once
from gateway.api.messages import Text, body_limit
from gateway.dialects.dialect import Dialect, Loose, Unsupported
from gateway.dialects.words import (
    REASON,
    Sent,
    comes_back,
    header_key,
    is_linked,
    recipient,
    send_and_wait,
    status_of,
    unlink,
    with_content,
    with_reply,
)
from gateway.errors import GatewayError, InvalidField
from gateway.services import qr
from gateway.services.drafts import Draft
from gateway.services.live import LiveSession
from gateway.services.sessions import FIRST_CODE_SECONDS
from gateway.states import Status
from gateway.times import iso

_STATUS = {"pending": "PENDING", "failed": "ERROR", "sent": "SERVER_ACK", "delivered": "DELIVERY_ACK", "read": "READ",
           "played": "PLAYED"}


class Webhook(Loose):
    url: str = ""
    enabled: bool = True


class Create(Loose):
    instanceName: str
    qrcode: bool = False
    number: str | int | None = None
    integration: str | None = None
    webhook: Webhook | str | None = None


class ConnectQuery(msgspec.Struct):
    number: str | None = None


class FetchQuery(msgspec.Struct):
    instanceName: str = ""
    instanceId: str = ""


class QuotedKey(Loose):
    id: str = ""


class Quoted(Loose):
    key: QuotedKey


class SendText(Loose):
    number: str | int
    text: Text
    quoted: Quoted | None = None


class SendMedia(Loose):
    number: str | int
    mediatype: Literal["image", "video", "document", "audio"]
    media: str = ""
    mimetype: str = ""
    caption: Text = ""
    fileName: str = ""
    quoted: Quoted | None = None


class SendAudio(Loose):
    number: str | int
    audio: str = ""
    quoted: Quoted | None = None


class Qr(Shape):
    pairingCode: str | None
    code: str
    base64: str
    count: int


class Instance(Shape):
    instanceName: str
    instanceId: str
    integration: str
    webhookWaBusiness: str | None
    accessTokenWaBusiness: str
    status: str


class Created(Shape):
    """`hash` is the key that the instance answers to: the caller's own."""

    instance: Instance
    hash: str
    webhook: dict[str, Any]
    websocket: dict[str, bool]
    rabbitmq: dict[str, bool]
    nats: dict[str, bool]
    sqs: dict[str, bool]
    settings: dict[str, Any]
    qrcode: Qr | None = None


class Row(Shape):
    """An instance, as far as the gateway has what Evolution's database has of it."""

    id: str
    name: str
    connectionStatus: str
    ownerJid: str | None
    profileName: str | None
    number: str | None
    token: str
    createdAt: str
    updatedAt: str
    profilePicUrl: str | None = None
    integration: str = "WHATSAPP-BAILEYS"
    businessId: str | None = None
    clientName: str = "wagateway"
    disconnectionReasonCode: int | None = None
    disconnectionObject: str | None = None
    disconnectionAt: str | None = None


class NameState(Shape):
    instanceName: str
    state: str


class State(Shape):
    instance: NameState


class Connection(Shape):
    """The QR of an instance that is not linked, else its state."""

    pairingCode: str | msgspec.UnsetType | None = msgspec.UNSET
    code: str | msgspec.UnsetType = msgspec.UNSET
    base64: str | msgspec.UnsetType = msgspec.UNSET
    count: int | msgspec.UnsetType = msgspec.UNSET
    instance: NameState | msgspec.UnsetType = msgspec.UNSET


class Deleted(Shape):
    status: str
    error: bool
    response: dict[str, str]


class Key(Shape):
    remoteJid: str
    fromMe: bool
    id: str


class Message(Shape):
    key: Key
    pushName: str
    status: str
    message: dict[str, Any]
    contextInfo: dict[str, Any] | None
    messageType: str
    messageTimestamp: int
    instanceId: str
    source: str


class FailureText(Shape):
    message: Any


class Failure(Shape):
    status: int
    error: str
    response: FailureText


class Style:
    name = "evolution"

    def credentials(self, request: Request, fields: Mapping[str, Any]) -> str | None:
        return header_key("apikey")(request)

    def error(self, error: GatewayError) -> Response:
        status = 403 if error.code in ("session_exists", "session_limit") else status_of(error, invalid=400)
        message: Any = [error.message]
        if error.code == "unauthorized":
            message = "Unauthorized"
        elif error.code == "not_on_whatsapp" and (chat := error.details.get("chat")):
            message = [{"jid": chat, "exists": False, "number": chat.partition("@")[0]}]
        return json_response(Failure(status=status, error=REASON[status], response=FailureText(message=message)), status,
                             retry_headers(error))


# ------------------------------------------------------------------ instances


def instance_state(live: LiveSession) -> str:
    state = live.state
    if state.status is Status.CONNECTED:
        return "open"
    if state.status is Status.PENDING or comes_back(live):
        return "connecting"
    return "close"


async def _find(call: Call) -> LiveSession:
    name = call.path("instance")
    try:
        return await call.gateway.sessions.find(call.key, name)
    except GatewayError as error:
        if error.code != "session_not_found":
            raise
        raise GatewayError("session_not_found", f'The "{name}" instance does not exist') from None


async def _qr(call: Call, live: LiveSession, number: str | int | None) -> Qr:
    """The code that waits; with a number, the pairing code for it as well."""
    phone = recipient(number, "number") if number else None
    if phone is not None and live.code is None:
        await live.relink(phone.user)
    linking = await call.gateway.sessions.code_to_scan(live)
    if phone is not None:
        await live.wait_until(lambda: live.code is not None or live.state.status is not Status.PENDING, FIRST_CODE_SECONDS)
    return Qr(pairingCode=live.code.code.replace("-", "") if live.code else None, code=linking.qr,
              base64=qr.png_data_uri(linking.qr), count=1)


async def create(call: Call) -> Response:
    body = call.parse(Create)
    if body.integration not in (None, "", "WHATSAPP-BAILEYS"):
        raise GatewayError("not_supported", f"The integration {body.integration[:40]!r} is not offered: this gateway links "
                           "WhatsApp devices (WHATSAPP-BAILEYS).")
    if body.webhook and (isinstance(body.webhook, str) or (body.webhook.url and body.webhook.enabled)):
        raise GatewayError("not_supported", "This gateway sends no webhooks in Evolution API's form. Use POST /api/v1/webhooks.")
    sessions = call.gateway.sessions
    live = await sessions.create(call.key, session_key=body.instanceName, pair=False)
    try:
        code = await _qr(call, live, body.number) if body.qrcode else None
    except GatewayError:
        await sessions.delete(live)
        raise
    return call.answer(Created(
        instance=Instance(instanceName=live.session.session_key, instanceId=live.session.id, integration="WHATSAPP-BAILEYS",
                          webhookWaBusiness=None, accessTokenWaBusiness="", status=instance_state(live)),
        hash=call.style.credentials(call.request, {}) or "", webhook={}, websocket={"enabled": False},
        rabbitmq={"enabled": False}, nats={"enabled": False}, sqs={"enabled": False},
        settings={"rejectCall": False, "msgCall": "", "groupsIgnore": False, "alwaysOnline": False, "readMessages": False,
                  "readStatus": False, "syncFullHistory": False, "wavoipToken": ""}, qrcode=code))


def _state(live: LiveSession) -> State:
    return State(instance=NameState(instanceName=live.session.session_key, state=instance_state(live)))


async def fetch(call: Call) -> Response:
    wanted = call.query(FetchQuery)
    lives = [live for live in await call.gateway.sessions.of(call.key)
             if wanted.instanceName in ("", live.session.session_key) and wanted.instanceId in ("", live.session.id)]
    if not lives and (name := wanted.instanceName or wanted.instanceId):
        raise GatewayError("session_not_found", f'Instance "{name[:80]}" not found')
    return call.answer([_row(call, live) for live in lives])


def _row(call: Call, live: LiveSession) -> Row:
    s = live.session
    return Row(id=s.id, name=s.session_key, connectionStatus=instance_state(live),
               ownerJid=str(s.jid.non_ad()) if s.jid else None, profileName=s.push_name or None,
               number=s.jid.user if s.jid else None, token=call.style.credentials(call.request, {}) or "",
               createdAt=iso(s.created_at), updatedAt=iso(live.state.since))


async def restart(call: Call) -> Response:
    live = await _find(call)
    if instance_state(live) == "close":
        raise GatewayError("bad_request", f'The "{live.session.session_key}" instance is not connected')
    await live.disconnect()
    return await connect(call)


async def logout(call: Call) -> Response:
    live = await _find(call)
    if instance_state(live) == "close":
        raise GatewayError("bad_request", f'The "{live.session.session_key}" instance is not connected')
    await unlink(live)
    return call.answer(Deleted(status="SUCCESS", error=False, response={"message": "Instance logged out"}))


async def connect(call: Call) -> Response:
    live = await _find(call)
    if is_linked(live):
        if instance_state(live) == "close":
            await live.connect()
        return call.answer(Connection(instance=_state(live).instance))
    code = await _qr(call, live, call.query(ConnectQuery).number)
    return call.answer(Connection(**msgspec.structs.asdict(code)), headers={"Cache-Control": "no-store"})


async def connection_state(call: Call) -> Response:
    return call.answer(_state(await _find(call)))


async def delete(call: Call) -> Response:
    await call.gateway.sessions.delete(await _find(call))
    return call.answer(Deleted(status="SUCCESS", error=False, response={"message": "Instance deleted"}))


# ------------------------------------------------------------------ sending


async def _send(call: Call, number: str | int, quoted: Quoted | None, draft: Draft, content: str = "",
                field: str = "") -> Response:
    chat = recipient(number, "number")
    if draft.kind != "text":
        file = call.body.files.get("file")
        if file is None and not content:
            raise InvalidField(field, f"{field}: a URL, base64 or an uploaded file is needed")
        if file is not None and not draft.filename:
            draft = msgspec.structs.replace(draft, filename=file.filename)
        draft = with_content(call, draft, file.data if file else content, field)
    await _find(call)
    live = await call.gateway.sessions.to_send(call.key, call.path("instance"))
    draft = await with_reply(call, live, draft, quoted.key.id if quoted else None, "quoted.key.id")
    return await send_and_wait(call, live, chat, draft, message_of)


def message_of(sent: Sent) -> Message:
    draft, own = sent.draft, sent.live.session
    kind, content = _content(draft)
    context = {"stanzaId": draft.reply_to.id, "participant": draft.reply_to.sender} if draft.reply_to else None
    return Message(
        key=Key(remoteJid=str(sent.message.chat), fromMe=True, id=sent.whatsapp_id), pushName=own.push_name,
        status=_STATUS[sent.message.status], message={kind: content}, contextInfo=context, messageType=kind,
        messageTimestamp=int(sent.at), instanceId=own.id, source="web")


def _content(draft: Draft) -> tuple[str, Any]:
    """As WhatsApp's protobuf names it: its kind and its fields."""
    if draft.kind == "text":
        return "conversation", draft.text
    file: dict[str, Any] = {"mimetype": draft.mimetype, "fileLength": str(len(draft.data)),
                            "fileSha256": b64encode(hashlib.sha256(draft.data).digest()).decode()}
    if draft.kind in ("ptt", "audio"):
        file |= {"seconds": draft.seconds, "ptt": draft.kind == "ptt"}
        if draft.waveform:
            file["waveform"] = b64encode(draft.waveform).decode()
        return "audioMessage", file
    if draft.kind == "document":
        return "documentMessage", file | {"fileName": draft.filename, "caption": draft.text}
    file |= {"caption": draft.text, "width": draft.width, "height": draft.height}
    return f"{draft.kind}Message", file | ({"seconds": draft.seconds} if draft.kind == "video" else {})


@once
async def send_text(call: Call) -> Response:
    body = call.parse(SendText)
    if not body.text:
        raise InvalidField("text", "text: must not be empty")
    return await _send(call, body.number, body.quoted, Draft("text", text=body.text))


@once
async def send_media(call: Call) -> Response:
    body = call.parse(SendMedia)
    draft = Draft(body.mediatype, text="" if body.mediatype == "audio" else body.caption, filename=body.fileName)
    return await _send(call, body.number, body.quoted, draft, body.media, "media")


@once
async def send_audio(call: Call) -> Response:
    body = call.parse(SendAudio)
    return await _send(call, body.number, body.quoted, Draft("ptt"), body.audio, "audio")


_NOT_FOUND = ("session_not_found",)
_SENDING = ("session_not_found", "session_not_connected", "invalid_recipient", "not_on_whatsapp", "send_failed",
            "idempotency_conflict")
EVOLUTION = Dialect(
    "evolution", "Evolution API", ("/instance", "/message"), Style(),
    {"apikey": {"type": "apiKey", "in": "header", "name": "apikey"}}, Failure,
    calls=(
        Endpoint("POST", "/instance/create", create, "Create an instance", "full", Create, tag="Evolution API", answer=Created,
                 status=201, errors=("session_exists", "session_limit", "pairing_failed", "not_supported"),
                 example={"instanceName": "main", "qrcode": True, "integration": "WHATSAPP-BAILEYS"}),
        Endpoint("GET", "/instance/fetchInstances", fetch, "List the instances", query=FetchQuery, tag="Evolution API",
                 answer=list[Row], errors=_NOT_FOUND),
        Endpoint("GET", "/instance/connect/{instance}", connect, "The QR that waits, or the state once it is linked", "full",
                 query=ConnectQuery, tag="Evolution API", answer=Connection, errors=(*_NOT_FOUND, "pairing_failed")),
        Endpoint("GET", "/instance/connectionState/{instance}", connection_state, "open, connecting or close",
                 tag="Evolution API", answer=State, errors=_NOT_FOUND),
        Endpoint("POST", "/instance/restart/{instance}", restart, "Disconnect and connect", "full", tag="Evolution API",
                 answer=Connection, errors=(*_NOT_FOUND, "bad_request", "pairing_failed")),
        Endpoint("DELETE", "/instance/logout/{instance}", logout, "Log out; the instance stays, and its next connect wants a scan",
                 "full", tag="Evolution API", answer=Deleted, errors=(*_NOT_FOUND, "bad_request")),
        Endpoint("DELETE", "/instance/delete/{instance}", delete, "Log out and delete an instance", "full", tag="Evolution API",
                 answer=Deleted, errors=_NOT_FOUND),
        Endpoint("POST", "/message/sendText/{instance}", send_text, "Send a text", "send", SendText, tag="Evolution API",
                 answer=Message, status=201, errors=_SENDING, example={"number": "237612345678", "text": "Hello!"}),
        Endpoint("POST", "/message/sendMedia/{instance}", send_media, "Send an image, a video, a document or an audio file",
                 "send", SendMedia, tag="Evolution API", answer=Message, status=201, files=True,
                 errors=(*_SENDING, "not_image", "not_video", "too_large"), max_body=body_limit("image", "video", "document"),
                 example={"number": "237612345678", "mediatype": "image", "media": "https://example.com/a.jpg"}),
        Endpoint("POST", "/message/sendWhatsAppAudio/{instance}", send_audio, "Send a voice note; any audio is converted",
                 "send", SendAudio, tag="Evolution API", answer=Message, status=201, files=True,
                 errors=(*_SENDING, "not_audio", "too_large"), max_body=body_limit("ptt"),
                 example={"number": "237612345678", "audio": "https://example.com/hello.mp3"}),
    ),
    unsupported=(
        Unsupported("POST", "/instance/setPresence/{instance}", "PATCH /api/v1/sessions/{id} with `settings.presence`"),
        Unsupported("POST", "/message/sendReaction/{instance}", "POST /api/v1/messages/{id}/reaction"),
        Unsupported("*", "/message/{kind}/{instance}", "POST /api/v1/messages, /api/v1/messages/media or /api/v1/messages/audio"),
        Unsupported("*", "/webhook/{call}/{instance}", "the webhooks of the native API at /api/v1/webhooks"),
        Unsupported("*", "/chat/{rest:path}", "the messages of the native API at /api/v1/messages"),
    ),
)
