"""A receiver that was written for GOWA is told in its words."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from gateway.events import MessageArrived, Receipt
from tests.api.test_inbox import LID, PN, media, received
from tests.dialects.test_gowa import PHONE, Gowa, good
from tests.running import Client, Running, until
from tests.services.receiver import Receiver

SECRET = "the receiver's own key"
OWN = "15550001111@s.whatsapp.net"


@pytest.fixture
def gowa(running: Running) -> Client:
    return Gowa(running.client.http, running.client.url, running.client.key)


async def linked(running: Running, gowa: Client, receiver: Receiver, events: str = "") -> Any:
    running.links.on_pair = lambda pairing: pairing.show_qr()
    made = good(await gowa.post("/devices", {"device_id": "shop", "webhook_url": receiver.url, "webhook_secret": SECRET,
                                             "webhook_events": events}))
    assert made["webhook_url"] == receiver.url
    good(await gowa.get("/devices/shop/login"))
    live = running.gateway.sessions.live()[-1]
    running.links.pairing(live.session.id).scan("15550001111")
    await until(live.usable.is_set)
    return live


async def test_a_text_is_told_and_signed_as_gowa_signs(running: Running, gowa: Client, receiver: Receiver) -> None:
    live = await linked(running, gowa, receiver, "message")
    running.links.live(live.session.id).emit(MessageArrived(received("A1", lid=LID, quoted_id="Q1")))
    await until(lambda: receiver.got)
    (request,) = receiver.got
    assert request.body == {"event": "message", "device_id": OWN, "session_id": "shop", "payload": {
        "id": "A1", "chat_id": PHONE, "from": PHONE, "from_lid": str(LID), "sender_display_name": "Ama", "from_name": "Ama",
        "timestamp": "2023-11-14T22:13:20.000Z", "is_from_me": False, "body": "Hello you", "replied_to_id": "Q1"}}
    signature = hmac.new(SECRET.encode(), request.raw, hashlib.sha256).hexdigest()
    assert request.headers["x-hub-signature-256"] == f"sha256={signature}"


async def test_a_file_is_where_the_webhook_says(running: Running, gowa: Client, receiver: Receiver) -> None:
    live = await linked(running, gowa, receiver, "message")
    link = running.links.live(live.session.id)
    link.stored.media["/v/file"] = b"OggS"
    link.emit(MessageArrived(received("V1", kind="ptt", text="", media=media(), seconds=3)))
    link.emit(MessageArrived(received("I1", kind="image", text="Look", media=media("image/png", "image"))))
    await until(lambda: len(receiver.got) == 2)
    voice, image = sorted((request.body["payload"] for request in receiver.got), key=lambda payload: "image" in payload)
    file = await gowa.get(f"/{voice['audio']}")
    assert (file.status, file.body) == (200, b"OggS")
    assert (image["body"], image["image"]["caption"]) == ("Look", "Look")


async def test_receipts_and_what_changes_a_message(running: Running, gowa: Client, receiver: Receiver) -> None:
    live = await linked(running, gowa, receiver)
    link = running.links.live(live.session.id)
    sent = good(await gowa.post("/send/message", {"phone": PHONE, "message": "Hi"}))["message_id"]
    link.emit(Receipt("read", PN, PN, (sent,), 1_700_000_100))
    for kind in ("reaction", "edit", "revoke"):
        link.emit(MessageArrived(received(f"C-{kind}", kind=kind, text="👍", target_id="Z1")))
    await until(lambda: len(receiver.got) == 4)
    told = {request.body["event"]: request.body for request in receiver.got}
    ack = told["message.ack"]
    assert (ack["payload"]["ids"], ack["payload"]["receipt_type"], ack["timestamp"]) == ([sent], "read", "2023-11-14T22:15:00.000Z")
    assert (told["message.reaction"]["payload"]["reaction"], told["message.reaction"]["payload"]["reacted_message_id"]) == ("👍", "Z1")
    assert (told["message.edited"]["payload"]["body"], told["message.edited"]["payload"]["original_message_id"]) == ("👍", "Z1")
    assert told["message.revoked"]["payload"]["revoked_message_id"] == "Z1"


async def test_it_is_looked_at_changed_and_switched_off(running: Running, gowa: Client, receiver: Receiver) -> None:
    await linked(running, gowa, receiver, "message, Message.ACK,call.offer")
    there = good(await gowa.get("/devices/shop/webhook"))
    assert there == {"device_id": "shop", "webhook_url": receiver.url, "webhook_secret": "", "webhook_events": "message,message.ack",
                     "webhook_insecure_skip_verify": False}
    changed = good(await gowa("PATCH", "/devices/shop/webhook", {"webhook_url": receiver.url, "webhook_events": "message.reaction"}))
    assert changed["webhook_events"] == "message.reaction"
    assert len((await running.client.get("/api/v1/webhooks")).body["webhooks"]) == 1
    assert (await gowa("PATCH", "/devices/shop/webhook", {})).status == 400
    assert good(await gowa("PATCH", "/devices/shop/webhook", {"webhook_url": ""}))["webhook_url"] == ""
    assert (await running.client.get("/api/v1/webhooks")).body["webhooks"] == []
