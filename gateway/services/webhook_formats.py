"""How a webhook's receiver is told: the gateway's own words, or those of a service that its receiver was written for."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import msgspec

from gateway.services import webhook_evolution, webhook_gowa, webhook_waha, webhook_wuzapi
from gateway.services.webhook_telling import CHANGES, Formatter, Telling, Written, hmac_of
from gateway.times import iso


def native(it: Telling) -> Written:
    """The time is part of what is signed, so a receiver can refuse a body that somebody kept and sends again."""
    event, now = it.event, int(it.now)
    body = msgspec.json.encode({"id": it.delivery.id, "seq": event.seq, "type": event.type, "session": event.session_id,
                                "at": iso(event.at), "data": event.data})
    return body, {"X-Gateway-Signature": f"t={now},v1={hmac_of(it.secret, f'{now}.'.encode() + body)}",
                  "X-Gateway-Event": event.type, "X-Gateway-Delivery": it.delivery.id}


def svara(it: Telling) -> Written | None:
    """`voice_note.sent`, `.delivered` and `.failed`, signed over the body alone. Svara knows no `read` and `played`; where one
    of them is the first word that the voice note arrived, it is told as delivered."""
    data = it.event.data
    if it.event.type != "receipt" or not data["ptt"] or data["direction"] != "out":
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
    return body, {"X-Svara-Signature": hmac_of(it.secret, body)}


FORMATS: dict[str, Formatter] = {
    "native": native, "svara": svara, "evolution": webhook_evolution.evolution,
    "evolution.base64": webhook_evolution.evolution, "wuzapi": webhook_wuzapi.wuzapi,
    "waha": webhook_waha.waha, "waha.any": webhook_waha.waha_any,
    **{f"waha.{kind}": partial(webhook_waha.waha_change, kind=kind) for kind in CHANGES},
    "gowa": webhook_gowa.gowa, **{f"gowa.{kind}": partial(webhook_gowa.gowa_change, kind=kind) for kind in CHANGES}}
