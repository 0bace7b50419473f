"""Wawp: `POST /v2/send/voice`, answered with the message in whatsapp-web.js's form once WhatsApp has taken it."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.http import Call, Endpoint, Shape, convert, json_response, retry_headers
from gateway.api.idempotency import once
from gateway.api.messages import body_limit, check_file_url
from gateway.dialects.dialect import Dialect, Loose, Unsupported
from gateway.dialects.words import REASON, Sent, recipient, send_and_wait, status_of, with_reply
from gateway.errors import GatewayError, InvalidField
from gateway.services.drafts import Draft


class File(Loose):
    url: str
    filename: str = ""
    mimetype: str = ""


class SendVoice(Loose):
    instance_id: str
    chatId: str | int
    file: File
    convert: bool = True
    reply_to: str | None = None


class Failure(Shape):
    status: int
    message: str
    error: str


class Style:
    name = "wawp"

    def credentials(self, request: Request, fields: Mapping[str, Any]) -> str | None:
        for found in (request.headers.get("access-token"), request.query_params.get("access_token"), fields.get("access_token")):
            if isinstance(found, str) and found.strip():
                return found.strip()
        return None

    def error(self, error: GatewayError) -> Response:
        status = status_of(error, invalid=400)
        message = ("access_token is missing or not valid." if error.code == "unauthorized" else error.message)
        return json_response(Failure(status=status, message=message, error=REASON[status]), status, retry_headers(error))


def fields_of(call: Call) -> dict[str, Any]:
    """The body's fields over the query's, `file[url]` and its like as the object they stand for, `convert` as a boolean."""
    flat = {**call.request.query_params, **call.body.fields}
    file = dict(flat["file"]) if isinstance(flat.get("file"), dict) else {}
    for name in ("url", "filename", "mimetype"):
        if (value := flat.pop(f"file[{name}]", None)) is not None:
            file[name] = value
    if file:
        flat["file"] = file
    if isinstance(text := flat.get("convert"), str):
        if text.strip().lower() not in ("true", "false", "1", "0", ""):
            raise InvalidField("convert", "convert: true or false")
        flat["convert"] = text.strip().lower() not in ("false", "0")
    return {name: value for name, value in flat.items() if value is not None and value != ""}


@once
async def send_voice(call: Call) -> Response:
    body = convert(fields_of(call), SendVoice, strict=True)
    chat = recipient(body.chatId, "chatId")
    url = check_file_url(body.file.url, "file[url]")
    live = await call.gateway.sessions.to_send(call.key, body.instance_id)
    draft = await with_reply(call, live, Draft("ptt", url=url), body.reply_to)
    if not body.convert:
        await call.gateway.keys.check_quota(call.key)       # before anything is fetched
        fetched = await call.gateway.preparing.fetch(url, call.gateway.preparing.max_bytes("ptt"))
        if fetched.data[:4] != b"OggS" or fetched.data[28:36] != b"OpusHead":      # RFC 7845, 3 and 5.1
            raise GatewayError("bad_request", "The file is not OGG/Opus, and convert is false.")
        draft = msgspec.structs.replace(draft, url="", data=fetched.data)
    return await send_and_wait(call, live, chat, draft, whatsapp_web_message)


def whatsapp_web_message(sent: Sent) -> dict[str, Any]:
    """As whatsapp-web.js shows a message: our part of `_data`, and its own summary of it."""
    message, draft = sent.message, sent.draft
    chat, own = message.chat.c_us, sent.live.session.jid.c_us if sent.live.session.jid else ""
    id_ = {"fromMe": True, "remote": chat, "id": sent.whatsapp_id, "_serialized": f"true_{chat}_{sent.whatsapp_id}"}
    at, quoted = int(sent.at), draft.reply_to
    data = {"id": id_, "viewed": False, "body": "", "type": message.kind, "t": at, "from": own, "to": chat, "ack": sent.ack,
            "invis": False, "star": False, "isForwarded": False, "mimetype": draft.mimetype, "size": len(draft.data),
            "filehash": b64encode(hashlib.sha256(draft.data).digest()).decode(), "duration": str(draft.seconds),
            "waveform": list(draft.waveform), "mentionedJidList": [], "groupMentions": [], "links": []}
    if quoted:
        data["quotedStanzaID"] = quoted.id
    return {"_data": data, "id": id_, "ack": sent.ack, "hasMedia": True, "body": "", "type": message.kind, "timestamp": at,
            "from": own, "to": chat, "deviceType": "web", "isForwarded": False, "forwardingScore": 0, "isStatus": False,
            "isStarred": False, "broadcast": False, "fromMe": True, "hasQuotedMsg": bool(quoted), "hasReaction": False,
            "duration": str(draft.seconds), "vCards": [], "mentionedIds": [], "groupMentions": [], "isGif": False, "links": []}


WAWP = Dialect(
    "wawp", "Wawp", ("/v2",), Style(), {
        "access-token": {"type": "apiKey", "in": "header", "name": "access-token"},
        "access_token": {"type": "apiKey", "in": "query", "name": "access_token"}}, Failure, forms=True,
    calls=(
        Endpoint("POST", "/v2/send/voice", send_voice, "Send a voice note and wait until WhatsApp has taken it", "send",
                 SendVoice, tag="Wawp", answer=dict[str, Any],
                 errors=("session_not_found", "session_not_connected", "invalid_recipient", "not_audio", "fetch_failed",
                         "idempotency_conflict"),
                 max_body=body_limit("ptt"),
                 example={"instance_id": "my-session", "chatId": "237612345678@c.us", "convert": True,
                          "file": {"url": "https://example.com/hello.mp3", "filename": "hello.mp3", "mimetype": "audio/mpeg"}},
                 description="Fields in a JSON body, a form or the query; the file nested or as `file[url]`. The key may be in "
                             "the body too, as `access_token`."),
    ),
    unsupported=(
        Unsupported("*", "/v2/send/{kind}", "POST /api/v1/messages or /api/v1/messages/media"),
        Unsupported("*", "/v2/session/{rest:path}", "the sessions of the native API at /api/v1/sessions"),
    ),
)
