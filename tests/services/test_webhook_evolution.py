"""A receiver that was written for Evolution API is told in its words."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from gateway.events import LoggedOut, MessageArrived, Receipt
from gateway.messages import MessageKey
from tests.api.test_inbox import GROUP, PN, media, received
from tests.dialects.test_evolution import TO, Evolution
from tests.running import Client, Running, until
from tests.services.receiver import Receiver, Time, receiving

CHAT = f"{TO}@s.whatsapp.net"


@pytest.fixture
def evolution(running: Running) -> Client:
    return Evolution(running.client.http, running.client.url, running.client.key)


def told(receiver: Receiver, event: str) -> list[dict[str, Any]]:
    return [request.body["data"] for request in receiver.got if request.body["event"] == event]


async def linked(running: Running, evolution: Client, webhook: Any) -> Any:
    running.links.on_pair = lambda pairing: pairing.show_qr("2@the-code")
    made = await evolution.post("/instance/create", {"instanceName": "main", "qrcode": True, "webhook": webhook})
    assert made.status == 201, made.body
    live = running.gateway.sessions.live()[-1]
    running.links.pairing(live.session.id).scan("15550001111")
    await until(live.usable.is_set)
    return live


async def test_from_the_first_qr_to_the_log_out(running: Running, evolution: Client, receiver: Receiver) -> None:
    live = await linked(running, evolution, {"url": receiver.url, "events": ["QRCODE_UPDATED", "CONNECTION_UPDATE"]})
    await until(lambda: told(receiver, "connection.update")[-1:] and told(receiver, "connection.update")[-1]["state"] == "open")
    (code,) = told(receiver, "qrcode.updated")
    assert code["qrcode"]["code"] == "2@the-code"
    assert base64.b64decode(code["qrcode"]["base64"].partition(",")[2])[:4] == b"\x89PNG"
    body = receiver.got[-1].body
    assert (body["instance"], body["destination"], body["sender"]) == ("main", receiver.url, "15550001111@s.whatsapp.net")
    assert (body["data"]["wuid"], body["data"]["profileName"], body["data"]["statusReason"]) == (body["sender"], "Owner", 200)
    running.links.live(live.session.id).emit(LoggedOut(False, "logged_out", "401: device removed"))
    await until(lambda: told(receiver, "connection.update")[-1]["state"] == "close")
    assert told(receiver, "connection.update")[-1]["statusReason"] == 401


@pytest.mark.parametrize(("arrival", "kind", "content"), [
    ({}, "conversation", "Hello you"),
    ({"kind": "image", "text": "Look", "media": media("image/png", "image"), "width": 4, "height": 3}, "imageMessage",
     {"mimetype": "image/png", "width": 4, "height": 3, "fileLength": "4", "caption": "Look"}),
    ({"kind": "ptt", "text": "", "media": media(), "seconds": 3, "waveform": b"\x01\x02"}, "audioMessage",
     {"mimetype": "audio/ogg; codecs=opus", "seconds": 3, "fileLength": "4", "ptt": True, "waveform": "AQI="}),
    ({"kind": "document", "text": "Read", "media": media("application/pdf", "document"), "filename": "a.pdf"}, "documentMessage",
     {"mimetype": "application/pdf", "fileLength": "4", "fileName": "a.pdf", "caption": "Read"}),
    ({"kind": "reaction", "text": "👍", "target_id": "Z1"}, "reactionMessage",
     {"key": {"remoteJid": CHAT, "id": "Z1"}, "text": "👍"}),
    ({"kind": "sticker", "text": "", "media": media("image/webp", "image")}, "stickerMessage",
     {"mimetype": "image/webp", "fileLength": "4"}),
    ({"kind": "location", "text": "Yaoundé"}, "locationMessage", {"text": "Yaoundé"}),
])
async def test_what_arrives(running: Running, evolution: Client, receiver: Receiver, arrival: dict[str, Any], kind: str,
                            content: Any) -> None:
    live = await linked(running, evolution, receiver.url)
    running.links.live(live.session.id).emit(MessageArrived(received("A1", **arrival)))
    await until(lambda: told(receiver, "messages.upsert"))
    (data,) = told(receiver, "messages.upsert")
    assert data == {"key": {"remoteJid": CHAT, "fromMe": False, "id": "A1"}, "pushName": "Ama", "status": "DELIVERY_ACK",
                    "message": {kind: content}, "contextInfo": None, "messageType": kind, "messageTimestamp": 1_700_000_000,
                    "instanceId": live.session.id, "source": "unknown"}
    assert told(receiver, "qrcode.updated") == []                                    # not asked for by name


async def test_a_groups_message_and_receipts(running: Running, evolution: Client, receiver: Receiver) -> None:
    live = await linked(running, evolution, {"url": receiver.url, "events": ["MESSAGES_UPSERT", "MESSAGES_UPDATE", "CALL"]})
    link = running.links.live(live.session.id)
    link.emit(MessageArrived(received("G1", key=MessageKey(GROUP, PN, "G1"), quoted_id="Q1")))
    sent = (await evolution.post("/message/sendText/main", {"number": TO, "text": "Hi"})).body["key"]["id"]
    link.emit(Receipt("delivered", PN, PN, (sent,), 1_700_000_100))
    await until(lambda: len(receiver.got) == 3)
    (data,) = told(receiver, "messages.upsert")
    assert data["key"] == {"remoteJid": str(GROUP), "fromMe": False, "id": "G1", "participant": str(PN)}
    assert data["contextInfo"] == {"stanzaId": "Q1"}
    updates = told(receiver, "messages.update")
    assert [(one["keyId"], one["remoteJid"], one["status"]) for one in updates] == [
        (sent, CHAT, "SERVER_ACK"), (sent, CHAT, "DELIVERY_ACK")]


async def test_it_is_set_found_and_switched_off(running: Running, evolution: Client, receiver: Receiver) -> None:
    live = await linked(running, evolution, None)
    assert (await evolution.get("/webhook/find/main")).body is None
    asked = {"webhook": {"enabled": True, "url": receiver.url, "events": ["MESSAGES_UPSERT", "SEND_MESSAGE"]}}
    made = await evolution.post("/webhook/set/main", asked)
    assert (made.status, made.body["url"], made.body["events"], made.body["enabled"]) == (
        201, receiver.url, ["MESSAGES_UPSERT"], True)
    again = await evolution.post("/webhook/set/main", asked)
    assert (await evolution.get("/webhook/find/main")).body == again.body
    assert again.body["id"] == made.body["id"]
    assert len((await running.client.get("/api/v1/webhooks")).body["webhooks"]) == 1
    running.links.live(live.session.id).emit(MessageArrived(received("A1")))
    await until(lambda: receiver.got)
    off = await evolution.post("/webhook/set/main", {"webhook": {"enabled": False, "url": receiver.url}})
    assert (off.status, off.body) == (201, None)
    assert (await evolution.post("/webhook/set/absent", asked)).status == 404


async def test_what_waits_for_a_bot_is_there_when_it_asks_again(running: Running, evolution: Client, receiver: Receiver) -> None:
    live = await linked(running, evolution, {"url": receiver.url, "events": ["MESSAGES_UPSERT"]})
    receiver.reply = lambda request: 503
    link = running.links.live(live.session.id)
    for id_ in ("A1", "A2"):
        link.emit(MessageArrived(received(id_)))
    await until(lambda: receiver.got)
    async with receiving(Time()) as elsewhere:
        moved = {"webhook": {"enabled": True, "url": elsewhere.url, "events": ["MESSAGES_UPSERT", "MESSAGES_UPDATE"]}}
        assert (await evolution.post("/webhook/set/main", moved)).body["events"] == ["MESSAGES_UPSERT", "MESSAGES_UPDATE"]
        await until(lambda: len(elsewhere.got) == 2)
        assert [one["key"]["id"] for one in told(elsewhere, "messages.upsert")] == ["A1", "A2"]


async def test_with_base64_a_file_goes_with_its_message(running: Running, evolution: Client, receiver: Receiver) -> None:
    live = await linked(running, evolution, {"url": receiver.url, "base64": True, "events": ["MESSAGES_UPSERT"]})
    assert (await evolution.get("/webhook/find/main")).body["webhookBase64"] is True
    again = {"webhook": {"enabled": True, "url": receiver.url, "webhookByEvents": False, "webhookBase64": True,
                         "events": ["MESSAGES_UPSERT"]}}                            # as n8n's node words it
    assert (await evolution.post("/webhook/set/main", again)).body["webhookBase64"] is True
    link = running.links.live(live.session.id)
    link.emit(MessageArrived(received("V0", kind="ptt", text="", media=media(), seconds=3)))
    await until(lambda: len(receiver.got) == 1)
    assert "base64" not in told(receiver, "messages.upsert")[0]["message"]           # WhatsApp has it no more: told all the same
    link.stored.media["/v/file"] = b"OggS"
    for id_, size in (("V1", 4), ("V2", 17 << 20)):
        link.emit(MessageArrived(received(id_, kind="ptt", text="", media=media(size=size), seconds=3)))
    link.emit(MessageArrived(received("T1")))
    await until(lambda: len(receiver.got) == 4)
    files = {one["key"]["id"]: one["message"].get("base64") for one in told(receiver, "messages.upsert")[1:]}
    assert files == {"V1": "T2dnUw==", "V2": None, "T1": None}
