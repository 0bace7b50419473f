"""Webhooks as WAHA words them. A receiver asks for events by name, and one message may be told under two of them: so `message.any`
and what changes a message are formats of their own, and `waha` has the rest."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.jid import JID
from gateway.services.webhook_telling import CHANGES, FILES, Telling, Written, hmac_of
from gateway.store.sessions import Session
from gateway.times import parse_iso

ACKS = {"failed": (-1, "ERROR"), "sent": (1, "SERVER"), "delivered": (2, "DEVICE"), "read": (3, "READ"), "played": (4, "PLAYED")}
_STATUS = {"pending": "STARTING", "connected": "WORKING", "disconnected": "STARTING"}


def waha(it: Telling) -> Written | None:
    """`message`, `message.ack` and `session.status`."""
    return _written(it, _told(it))


def waha_any(it: Telling) -> Written | None:
    """`message.any`: what arrives and what the owner's phone sends."""
    return _written(it, ("message.any", _message(it)) if _is_message(it) else None)


def waha_change(it: Telling, kind: str) -> Written | None:
    """`message.reaction`, `message.edited` or `message.revoked`, by the arrival's kind."""
    data = it.event.data
    if it.event.type != "message" or data["type"] != kind:
        return None
    target = data.get("target_whatsapp_id")
    match kind:
        case "reaction":
            return _written(it, ("message.reaction", {**_base(it), "reaction": {"text": data["text"], "messageId": target}}))
        case "edit":
            return _written(it, ("message.edited", {**_message(it), "editedMessageId": target}))
    return _written(it, ("message.revoked", {"before": None, "after": _message(it), "revokedMessageId": target}))


def _written(it: Telling, told: tuple[str, dict[str, Any]] | None) -> Written | None:
    """Signed over the body alone, with SHA-512."""
    if told is None or it.session is None:
        return None
    name, payload = told
    own = it.session.jid
    body = msgspec.json.encode({
        "id": f"evt_{it.event.seq}", "timestamp": int(it.event.at * 1000), "event": name, "session": it.session.session_key,
        "metadata": {}, "me": {"id": own.c_us, "pushName": it.session.push_name} if own else None, "payload": payload,
        "engine": "wagateway", "environment": {"version": "wagateway", "engine": "wagateway", "tier": "PLUS", "browser": None}})
    return body, {"X-Webhook-Request-Id": it.delivery.id, "X-Webhook-Timestamp": str(int(it.now * 1000)),
                  "X-Webhook-Hmac": hmac_of(it.secret, body, "sha512"), "X-Webhook-Hmac-Algorithm": "sha512"}


def _told(it: Telling) -> tuple[str, dict[str, Any]] | None:
    data = it.event.data
    match it.event.type:
        case "message" if _is_message(it) and not data["from_me"]:
            return "message", _message(it)
        case "receipt" if data["direction"] == "out" and data["whatsapp_id"] and (ack := ACKS.get(data["status"])):
            chat = JID.stored(data["to"]).c_us
            return "message.ack", {"id": f"true_{chat}_{data['whatsapp_id']}", "from": _own(it.session), "to": chat,
                                   "participant": None, "fromMe": True, "ack": ack[0], "ackName": ack[1]}
        case "status":
            status = "STOPPED" if data["reason"] == "stopped" else _STATUS.get(data["status"], "FAILED")
            return "session.status", {"name": it.session.session_key if it.session else "", "status": status}
        case "qr":                                  # only that there is one: the code is had from the session
            return "session.status", {"name": it.session.session_key if it.session else "", "status": "SCAN_QR_CODE"}
    return None


def _is_message(it: Telling) -> bool:
    return it.event.type == "message" and it.event.data["type"] not in CHANGES


def _base(it: Telling) -> dict[str, Any]:
    """Who, to whom, when. A group's sender is the `participant`."""
    data = it.event.data
    own, from_me = _own(it.session), bool(data["from_me"])
    jid = JID.stored(data["chat"])
    chat, sender = jid.c_us, JID.stored(data["from"]).c_us if jid.is_group else None
    id_ = f"{str(from_me).lower()}_{chat}_{data['whatsapp_id']}" + (f"_{sender}" if sender else "")
    return {"id": id_, "timestamp": int(parse_iso(data["timestamp"])), "from": own if from_me else chat, "fromMe": from_me,
            "to": chat if from_me else own, "participant": sender}


def _message(it: Telling) -> dict[str, Any]:
    data = it.event.data
    media = None
    if data["type"] in FILES:
        media = {"url": f"{it.base}/waha/api/files/{data['id']}", "mimetype": data.get("mimetype"), "filename": data["filename"],
                 "error": None}
    base, quoted = _base(it), data.get("quoted_whatsapp_id")
    return {**base, "body": data["text"], "hasMedia": media is not None, "media": media,
            "mediaUrl": media["url"] if media else None, "ack": 1, "ackName": "SERVER", "author": base["participant"],
            "location": None, "vCards": [], "replyTo": {"id": quoted} if quoted else None,
            "_data": {"notifyName": data["push_name"], "type": "ptt" if data["ptt"] else data["type"]}}


def _own(session: Session | None) -> str:
    return session.jid.c_us if session and session.jid else ""
