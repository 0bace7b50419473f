"""Webhooks as GOWA words them. A receiver chooses events by name: what changes a message is a format of its own, and `gowa` has
`message` and `message.ack`."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.jid import JID
from gateway.services.webhook_telling import CHANGES, FILES, Telling, Written, hmac_of

_RECEIPTS = {"delivered": "means the message was delivered to the device (but the user might not have noticed).",
             "read": "the user opened the chat and saw the message.",
             "played": "the user opened a view-once media message or listened to a voice note."}


def gowa(it: Telling) -> Written | None:
    """`message` and `message.ack`."""
    data = it.event.data
    match it.event.type:
        case "message" if data["type"] not in CHANGES:
            return _written(it, "message", _message(data))
        case "receipt" if data["direction"] == "out" and data["whatsapp_id"] and (meaning := _RECEIPTS.get(data["status"])):
            return _written(it, "message.ack", {
                "ids": [data["whatsapp_id"]], "chat_id": data["to"], "from": data["to"], "receipt_type": data["status"],
                "receipt_type_description": meaning}, timestamp=data["at"])
    return None


def gowa_change(it: Telling, kind: str) -> Written | None:
    """`message.reaction`, `message.edited` or `message.revoked`, by the arrival's kind."""
    data = it.event.data
    if it.event.type != "message" or data["type"] != kind:
        return None
    target, base = data.get("target_whatsapp_id"), _base(data)
    match kind:
        case "reaction":
            return _written(it, "message.reaction", {**base, "reaction": data["text"], "reacted_message_id": target})
        case "edit":
            return _written(it, "message.edited", {**base, "original_message_id": target, "body": data["text"]})
    return _written(it, "message.revoked", {
        **base, "revoked_message_id": target, "revoked_from_me": bool(data["from_me"]), "revoked_chat": data["chat"]})


def _written(it: Telling, name: str, payload: dict[str, Any], **more: Any) -> Written | None:
    """Signed over the body alone, as GitHub does."""
    if it.session is None:
        return None
    body = msgspec.json.encode({
        "event": name, "device_id": str(it.session.jid.non_ad()) if it.session.jid else "", "session_id": it.session.session_key,
        **more, "payload": payload})
    return body, {"X-Hub-Signature-256": f"sha256={hmac_of(it.secret, body)}", "X-Gateway-Delivery": it.delivery.id}


def _base(data: dict[str, Any]) -> dict[str, Any]:
    lid = {"from_lid": data["from_lid"]} if data["from_lid"] else {}
    name = data["push_name"] or JID.stored(data["from"]).user
    return {"id": data["whatsapp_id"], "chat_id": data["chat"], "from": data["from"], **lid, "sender_display_name": name,
            "from_name": data["push_name"], "timestamp": data["timestamp"], "is_from_me": bool(data["from_me"])}


def _message(data: dict[str, Any]) -> dict[str, Any]:
    payload = _base(data)
    if data["text"]:
        payload["body"] = data["text"]
    if quoted := data.get("quoted_whatsapp_id"):
        payload["replied_to_id"] = quoted
    if data["type"] in FILES:
        path = f"statics/media/{data['id']}"
        payload[data["type"]] = {"path": path, "caption": data["text"]} if data["text"] else path
    return payload
