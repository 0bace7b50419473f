"""Webhooks as wuzapi words them: whatsmeow's own events as JSON in a form, `Message` and `ReadReceipt`."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec

from gateway.jid import JID
from gateway.services.webhook_telling import FILES, Telling, Written, hmac_of

_STATES = {"delivered": "Delivered", "read": "Read"}
_REVOKE, _EDIT = 0, 14          # of WhatsApp's ProtocolMessage


def wuzapi(it: Telling) -> Written | None:
    """A form of `jsonData` and `token`; that is the session's name, since a key's text is not kept. wuzapi signs nothing; the
    body's SHA-256 under the secret stands in a header of ours."""
    if it.session is None or (told := _told(it)) is None:
        return None
    body = urlencode({"jsonData": msgspec.json.encode(told), "token": it.session.session_key}).encode()
    return body, {"Content-Type": "application/x-www-form-urlencoded", "X-Gateway-Delivery": it.delivery.id,
                  "X-Gateway-Signature": hmac_of(it.secret, body)}


def _told(it: Telling) -> dict[str, Any] | None:
    data = it.event.data
    match it.event.type:
        case "message":
            return {"type": "Message", "event": {"Info": _info(data), "Message": _message(data)}}
        case "receipt" if data["direction"] == "out" and data["whatsapp_id"] and (state := _STATES.get(data["status"])):
            return {"type": "ReadReceipt", "state": state, "event": {
                "Chat": data["to"], "Sender": data["to"], "IsFromMe": False, "IsGroup": JID.stored(data["to"]).is_group,
                "MessageIDs": [data["whatsapp_id"]], "Timestamp": data["at"], "Type": "read" if state == "Read" else ""}}
    return None


def _info(data: dict[str, Any]) -> dict[str, Any]:
    media = "" if data["type"] not in FILES else "ptt" if data["ptt"] else data["type"]
    return {"Chat": data["chat"], "Sender": data["from"], "SenderAlt": data["from_lid"] or "", "IsFromMe": bool(data["from_me"]),
            "IsGroup": JID.stored(data["chat"]).is_group, "ID": data["whatsapp_id"], "PushName": data["push_name"],
            "Timestamp": data["timestamp"], "Type": "media" if media else "text", "MediaType": media, "Category": ""}


def _message(data: dict[str, Any]) -> dict[str, Any]:
    """The protobuf, as far as it is known."""
    kind, text, target = data["type"], data["text"], {"remoteJID": data["chat"], "ID": data.get("target_whatsapp_id")}
    match kind:
        case "text" if quoted := data.get("quoted_whatsapp_id"):
            return {"extendedTextMessage": {"text": text, "contextInfo": {"stanzaID": quoted}}}
        case "text":
            return {"conversation": text}
        case "reaction":
            return {"reactionMessage": {"key": target, "text": text}}
        case "revoke":
            return {"protocolMessage": {"key": target, "type": _REVOKE}}
        case "edit":
            return {"protocolMessage": {"key": target, "type": _EDIT, "editedMessage": {"conversation": text}}}
    if kind not in FILES:
        return {f"{kind}Message": {"text": text} if text else {}}
    fields: dict[str, Any] = {name: data[name] for name in ("mimetype", "seconds", "width", "height") if name in data}
    if "size" in data:
        fields["fileLength"] = data["size"]
    if kind == "audio":
        fields["PTT"] = data["ptt"]
    if kind == "document":
        fields["fileName"] = data["filename"]
    return {f"{kind}Message": fields | ({"caption": text} if text else {})}
