"""Webhooks as Evolution API words them: `messages.upsert`, `messages.update`, `connection.update` and `qrcode.updated`."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec

from gateway.jid import JID
from gateway.services import qr
from gateway.services.webhook_telling import Telling, Written, hmac_of
from gateway.store.sessions import Session
from gateway.times import iso, parse_iso

ACKS = {"failed": "ERROR", "sent": "SERVER_ACK", "delivered": "DELIVERY_ACK", "read": "READ", "played": "PLAYED"}
_STATES = {"connected": "open", "pending": "connecting"}
_FIELDS = {"mimetype": "mimetype", "seconds": "seconds", "width": "width", "height": "height"}


def evolution(it: Telling) -> Written | None:
    """Evolution API signs nothing; the body's SHA-256 under the secret stands in a header of ours."""
    if it.session is None or (told := _told(it, it.session)) is None:
        return None
    name, data = told
    body = msgspec.json.encode({
        "event": name, "instance": it.session.session_key, "data": data, "destination": it.url, "date_time": iso(it.event.at),
        "sender": str(it.session.jid.non_ad()) if it.session.jid else None, "server_url": it.base, "apikey": None})
    return body, {"X-Gateway-Delivery": it.delivery.id, "X-Gateway-Signature": hmac_of(it.secret, body)}


def _told(it: Telling, session: Session) -> tuple[str, dict[str, Any]] | None:
    data = it.event.data
    match it.event.type:
        case "message" if data["type"] not in ("revoke", "edit"):
            message = _message(data, session)
            if it.file is not None:
                message["message"]["base64"] = b64encode(it.file).decode()
            return "messages.upsert", message
        case "receipt" if data["direction"] == "out" and data["whatsapp_id"] and (status := ACKS.get(data["status"])):
            return "messages.update", {
                "messageId": data["id"], "keyId": data["whatsapp_id"], "remoteJid": data["to"], "fromMe": True,
                "participant": None, "status": status, "instanceId": session.id}
        case "status":
            # What comes back by itself is 'connecting'; Baileys' own numbers for why it closed are not known here.
            state = _STATES.get(data["status"]) or ("connecting" if data["next_retry"] else "close")
            return "connection.update", {
                "instance": session.session_key, "wuid": str(session.jid.non_ad()) if session.jid else None,
                "profileName": session.push_name, "profilePictureUrl": None, "state": state,
                "statusReason": 200 if state != "close" else 401 if data["status"] == "logged_out" else 428}
        case "qr":
            return "qrcode.updated", {"qrcode": {"instance": session.session_key, "pairingCode": None, "code": data["code"],
                                                 "base64": qr.png_data_uri(data["code"])}}
    return None


def _message(data: dict[str, Any], session: Session) -> dict[str, Any]:
    chat = JID.stored(data["chat"])
    key: dict[str, Any] = {"remoteJid": data["chat"], "fromMe": bool(data["from_me"]), "id": data["whatsapp_id"]}
    if chat.is_group:
        key["participant"] = data["from"]
    kind, content = _content(data)
    quoted = data.get("quoted_whatsapp_id")
    return {"key": key, "pushName": data["push_name"], "status": "SERVER_ACK" if data["from_me"] else "DELIVERY_ACK",
            "message": {kind: content}, "contextInfo": {"stanzaId": quoted} if quoted else None, "messageType": kind,
            "messageTimestamp": int(parse_iso(data["timestamp"])), "instanceId": session.id, "source": "unknown"}


def _content(data: dict[str, Any]) -> tuple[str, Any]:
    """As WhatsApp's protobuf names it, as far as it is known."""
    kind, text = data["type"], data["text"]
    fields = {name: data[ours] for ours, name in _FIELDS.items() if ours in data}
    if "size" in data:
        fields["fileLength"] = str(data["size"])
    match kind:
        case "text":
            return "conversation", text
        case "reaction":
            return "reactionMessage", {"key": {"remoteJid": data["chat"], "id": data.get("target_whatsapp_id")}, "text": text}
        case "audio":
            wave = {"waveform": b64encode(bytes(data["waveform"])).decode()} if data.get("waveform") else {}
            return "audioMessage", {**fields, "ptt": data["ptt"], **wave}
        case "document":
            return "documentMessage", {**fields, "fileName": data["filename"], "caption": text}
        case "image" | "video":
            return f"{kind}Message", {**fields, "caption": text}
    return f"{kind}Message", {**fields, "text": text} if text else fields
