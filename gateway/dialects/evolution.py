"""Evolution API (v2): instances, their QR, sending, and what a bot shows before it answers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import mimetypes
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.contacts import ASKING, look_up, show
from gateway.api.http import Call, Endpoint, json_response, retry_headers
from gateway.api.idempotency import once
from gateway.api.messages import body_limit
from gateway.dialects.dialect import Dialect, Unsupported
from gateway.dialects.evolution_shapes import (
    ChatPresence,
    Connection,
    ConnectQuery,
    Create,
    Created,
    Deleted,
    Failure,
    FailureText,
    FetchQuery,
    GetMedia,
    Instance,
    Key,
    MediaContent,
    Message,
    NameState,
    Numbers,
    OnWhatsApp,
    Presence,
    Qr,
    Quoted,
    ReadMessages,
    Row,
    Seen,
    SendAudio,
    SendMedia,
    SendReaction,
    SendText,
    SetWebhook,
    State,
    Told,
    Webhook,
    WebhookRow,
)
from gateway.dialects.words import (
    REASON,
    Hook,
    Sent,
    comes_back,
    header_key,
    hooks_of,
    is_linked,
    of_whatsapp_id,
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
from gateway.services.sessions import FIRST_CODE_SECONDS
from gateway.services.webhook_evolution import ACKS
from gateway.states import Status
from gateway.times import iso

_EVENTS = {"MESSAGES_UPSERT": "message", "MESSAGES_UPDATE": "receipt", "CONNECTION_UPDATE": "status", "QRCODE_UPDATED": "qr"}
SHOWN_SECONDS = 20.0            # how long one call shows that something is being written

_STATUS = {"pending": "PENDING", **ACKS}


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
    hooks = _hooks(Webhook(url=body.webhook) if isinstance(body.webhook, str) else body.webhook)
    sessions = call.gateway.sessions
    live = await sessions.create(call.key, session_key=body.instanceName, pair=False)
    try:
        await set_webhooks(call, live, "evolution", hooks)              # before the first thing happens
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


def _hooks(asked: Webhook | None) -> list[Hook]:
    if asked is None or not asked.enabled or not asked.url:
        return []
    for name, value in (("byEvents", asked.byEvents or asked.webhookByEvents), ("headers", asked.headers)):
        if value:
            raise GatewayError("not_supported", f"This gateway does not offer `{name}` of a webhook: leave it out.")
    named = asked.events or [event for event in _EVENTS if event != "QRCODE_UPDATED"]       # that one has to be asked for
    format_ = "evolution.base64" if asked.base64 or asked.webhookBase64 else "evolution"
    return hooks_of(asked.url, named, {name: (format_, type_) for name, type_ in _EVENTS.items()})


async def set_webhook(call: Call) -> Response:
    body, live = call.parse(SetWebhook), await _find(call)
    await set_webhooks(call, live, "evolution", _hooks(body.webhook))
    return call.answer(await _webhook(call, live))


async def find_webhook(call: Call) -> Response:
    return call.answer(await _webhook(call, await _find(call)))


async def _webhook(call: Call, live: LiveSession) -> WebhookRow | None:
    for one in await webhooks_of(call, live, "evolution"):
        events = [name for name, type_ in _EVENTS.items() if type_ in one.types]
        return WebhookRow(id=one.id, url=one.url, enabled=True, events=events, webhookByEvents=False,
                          webhookBase64=one.format == "evolution.base64", headers=None, createdAt=iso(one.created_at),
                          updatedAt=iso(one.created_at), instanceId=live.session.id)
    return None


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


async def _to_send(call: Call) -> LiveSession:
    return await call.gateway.sessions.to_send(call.key, (await _find(call)).session.id)


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
    live = await _to_send(call)
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
    if draft.kind == "reaction" and (target := draft.target):
        key: dict[str, Any] = {"remoteJid": target.chat, "fromMe": not target.sender, "id": target.id}
        return "reactionMessage", {"key": key, "text": draft.text}
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


@once
async def send_reaction(call: Call) -> Response:
    body = call.parse(SendReaction)
    return await react_and_wait(call, await _to_send(call), body.key.id, body.reaction, "key.id", message_of)


# ------------------------------------------------------------------ who is there, and what is being written


async def read_messages(call: Call) -> Response:
    body = call.parse(ReadMessages)
    await see(call, await _to_send(call), [message.id for message in body.readMessages], "readMessages.id")
    return call.answer(Seen(message="Read messages", read="success"))


async def get_media(call: Call) -> Response:
    """The file of a message that arrived, which bots hand to whatever hears or sees for them."""
    body, live = call.parse(GetMedia), await _find(call)
    if body.convertToMp4:
        raise GatewayError("not_supported", "This gateway does not offer `convertToMp4`: leave it out.")
    message = await of_whatsapp_id(call, live, body.message.key.id, "in")
    if message is None:
        raise GatewayError("message_not_found")
    file = await call.gateway.inbox.media(message)
    kind = "audio" if message.kind == "ptt" else message.kind
    name = file.filename or f"{message.wa_id}{mimetypes.guess_extension(file.mimetype) or ''}"
    size = {"fileLength": str(len(file.data)), "height": message.facts.get("height"), "width": message.facts.get("width")}
    return call.answer(MediaContent(
        mediaType=f"{kind}Message", fileName=name, caption=await call.gateway.inbox.text(message), size=size, mimetype=file.mimetype,
        base64=await asyncio.to_thread(lambda: b64encode(file.data).decode())))


async def whatsapp_numbers(call: Call) -> Response:
    body = call.parse(Numbers)
    found = await look_up(await _to_send(call), body.numbers, "numbers")
    return call.answer([OnWhatsApp(jid=str(number), exists=known is not None, number=str(asked))
                        for asked, (number, known) in zip(body.numbers, found, strict=True)])


async def send_presence(call: Call) -> Response:
    body = call.parse(ChatPresence)
    live, chat = await _to_send(call), recipient(body.number, "number")
    match body.presence:
        case "available" | "unavailable" as presence:
            await show_available(call, live, presence == "available")
        case "paused" as state:
            await show(live, chat, state, "number")
        case state:
            await show(live, chat, state, "number")
            await asyncio.sleep(min(body.delay / 1000, SHOWN_SECONDS))
            with contextlib.suppress(GatewayError):             # it was shown, and goes away by itself
                await show(live, chat, "paused", "number")
    return call.answer(Told(presence=body.presence))


async def set_presence(call: Call) -> Response:
    body = call.parse(Presence)
    await show_available(call, await _find(call), body.presence == "available")
    return call.answer(Told(presence=body.presence))


_NOT_FOUND = ("session_not_found",)
_SENDING = ("session_not_found", "session_not_connected", "invalid_recipient", "not_on_whatsapp", "send_failed",
            "idempotency_conflict")
EVOLUTION = Dialect(
    "evolution", "Evolution API",
    ("/instance", "/message", "/webhook", "/chat/whatsappNumbers", "/chat/sendPresence", "/chat/markMessageAsRead",
     "/chat/getBase64FromMediaMessage"), Style(),
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
        Endpoint("POST", "/message/sendReaction/{instance}", send_reaction, "React to a message; an empty reaction takes it away",
                 "send", SendReaction, tag="Evolution API", answer=Message, status=201, errors=_SENDING,
                 example={"key": {"remoteJid": "237612345678@s.whatsapp.net", "fromMe": False, "id": "3EB0ABCDEF"},
                          "reaction": "👍"}),
        Endpoint("POST", "/chat/whatsappNumbers/{instance}", whatsapp_numbers, "Which numbers are on WhatsApp", "send", Numbers,
                 tag="Evolution API", answer=list[OnWhatsApp], errors=ASKING, example={"numbers": ["237612345678"]}),
        Endpoint("POST", "/chat/sendPresence/{instance}", send_presence, "Show in a chat that something is being written or recorded",
                 "send", ChatPresence, tag="Evolution API", answer=Told, status=201, errors=ASKING,
                 example={"number": "237612345678", "presence": "composing", "delay": 1200}),
        Endpoint("POST", "/chat/markMessageAsRead/{instance}", read_messages, "Tell that what came was read", "send", ReadMessages,
                 tag="Evolution API", answer=Seen, status=201, errors=ASKING,
                 example={"readMessages": [{"remoteJid": "237612345678@s.whatsapp.net", "fromMe": False, "id": "3EB0ABCDEF"}]}),
        Endpoint("POST", "/chat/getBase64FromMediaMessage/{instance}", get_media, "The file of a message that arrived", body=GetMedia,
                 tag="Evolution API", answer=MediaContent, status=201,
                 errors=(*_NOT_FOUND, "message_not_found", "not_found", "media_unavailable", "session_not_connected", "too_large",
                         "not_supported"),
                 example={"message": {"key": {"id": "3EB0ABCDEF"}}, "convertToMp4": False}),
        Endpoint("POST", "/webhook/set/{instance}", set_webhook, "Have events posted in Evolution API's words", "full", SetWebhook,
                 tag="Evolution API", answer=WebhookRow | None, status=201, errors=(*_NOT_FOUND, "not_supported"),
                 example={"webhook": {"enabled": True, "url": "https://example.com/hook", "events": ["MESSAGES_UPSERT"]}}),
        Endpoint("GET", "/webhook/find/{instance}", find_webhook, "The webhook there is, or null", tag="Evolution API",
                 answer=WebhookRow | None, errors=_NOT_FOUND),
        Endpoint("POST", "/instance/setPresence/{instance}", set_presence, "Be shown as online, or not", "full", Presence,
                 tag="Evolution API", answer=Told, status=201, errors=_NOT_FOUND, example={"presence": "available"}),
    ),
    unsupported=(
        Unsupported("*", "/message/{kind}/{instance}", "POST /api/v1/messages, /api/v1/messages/media or /api/v1/messages/audio"),
        Unsupported("*", "/chat/{rest:path}", "the messages of the native API at /api/v1/messages"),
    ),
)
