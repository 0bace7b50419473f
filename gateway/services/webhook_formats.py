"""How a webhook's receiver is told: the gateway's own words, or those of a service that its receiver was written for."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from uuid import UUID

import msgspec

from gateway.store.journal import Event
from gateway.store.webhooks import Delivery
from gateway.times import iso

Written = tuple[bytes, dict[str, str]]
Formatter = Callable[[Event, Delivery, str, float], Written | None]
"""(event, delivery, secret, now) -> the body and the headers that go with it; None: this format has no words for the event,
so it is not delivered. Two events with the same body are delivered once."""


def hmac_sha256(secret: str, message: bytes) -> str:
    """In hexadecimal."""
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def native(event: Event, delivery: Delivery, secret: str, now: float) -> Written:
    """The time is part of what is signed, so a receiver can refuse a body that somebody kept and sends again."""
    body = msgspec.json.encode({"id": delivery.id, "seq": event.seq, "type": event.type, "session": event.session_id,
                                "at": iso(event.at), "data": event.data})
    signature = hmac_sha256(secret, f"{int(now)}.".encode() + body)
    return body, {"X-Gateway-Signature": f"t={int(now)},v1={signature}", "X-Gateway-Event": event.type,
                  "X-Gateway-Delivery": delivery.id}


def svara(event: Event, delivery: Delivery, secret: str, now: float) -> Written | None:
    """`voice_note.sent`, `.delivered` and `.failed`, signed over the body alone. Svara knows no `read` and `played`; where one
    of them is the first word that the voice note arrived, it is told as delivered."""
    data = event.data
    if event.type != "receipt" or not data["ptt"] or data["direction"] != "out":
        return None
    status = data["status"]
    if status in ("read", "played") and data["delivered_at"] == data["at"]:
        status = "delivered"
    if status not in ("sent", "delivered", "failed"):
        return None
    body = msgspec.json.encode({"event": f"voice_note.{status}", "timestamp": data["at"], "data": {
        "id": f"msg_{UUID(data['id']).hex}", "platform": "whatsapp",
        "recipient": data["toPhone"].removeprefix("+") if data["toPhone"] else data["to"], "status": status,
        "created_at": data["created_at"], "delivered_at": data["delivered_at"], "error": data["error"]}})
    return body, {"X-Svara-Signature": hmac_sha256(secret, body)}


FORMATS: dict[str, Formatter] = {"native": native, "svara": svara}
