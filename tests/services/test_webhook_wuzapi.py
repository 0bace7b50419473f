"""A receiver that was written for wuzapi is told in its words."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from gateway.events import MessageArrived, Receipt
from gateway.messages import MessageKey
from tests.api.test_inbox import GROUP, PN, media, received
from tests.dialects.test_wuzapi import TO, Wuzapi, linked
from tests.running import Client, Running, until
from tests.services.receiver import Receiver, Request

HOOK = "/wuzapi/webhook"
TARGET = {"remoteJID": str(PN), "ID": "Z1"}


@pytest.fixture
def wuzapi(running: Running) -> Client:
    return Wuzapi(running.client.http, running.client.url, running.client.key)


def told(request: Request) -> dict[str, Any]:
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    form = {name: values[0] for name, values in parse_qs(request.raw.decode(), strict_parsing=True).items()}
    assert form["token"] == "default"
    body: dict[str, Any] = json.loads(form["jsonData"])
    return body


@pytest.mark.parametrize(("arrival", "type_", "message"), [
    ({}, "text", {"conversation": "Hello you"}),
    ({"quoted_id": "Q1"}, "text", {"extendedTextMessage": {"text": "Hello you", "contextInfo": {"stanzaID": "Q1"}}}),
    ({"kind": "ptt", "text": "", "media": media(), "seconds": 3}, "media",
     {"audioMessage": {"mimetype": "audio/ogg; codecs=opus", "seconds": 3, "fileLength": 4, "PTT": True}}),
    ({"kind": "document", "text": "Read", "media": media("application/pdf", "document"), "filename": "a.pdf"}, "media",
     {"documentMessage": {"mimetype": "application/pdf", "fileLength": 4, "fileName": "a.pdf", "caption": "Read"}}),
    ({"kind": "reaction", "text": "👍", "target_id": "Z1"}, "text", {"reactionMessage": {"key": TARGET, "text": "👍"}}),
    ({"kind": "revoke", "text": "", "target_id": "Z1"}, "text", {"protocolMessage": {"key": TARGET, "type": 0}}),
    ({"kind": "edit", "text": "2", "target_id": "Z1"}, "text",
     {"protocolMessage": {"key": TARGET, "type": 14, "editedMessage": {"conversation": "2"}}}),
    ({"kind": "location", "text": "Yaoundé"}, "text", {"locationMessage": {"text": "Yaoundé"}}),
])
async def test_what_arrives(running: Running, wuzapi: Client, receiver: Receiver, arrival: dict[str, Any], type_: str,
                            message: dict[str, Any]) -> None:
    live = await linked(running, wuzapi)
    assert (await wuzapi.post(HOOK, {"webhookURL": receiver.url})).body["data"]["webhook"] == receiver.url
    running.links.live(live.session.id).emit(MessageArrived(received("A1", **arrival)))
    await until(lambda: receiver.got)
    body = told(receiver.got[0])
    info = body["event"]["Info"]
    assert (body["type"], body["event"]["Message"]) == ("Message", message)
    assert {name: info[name] for name in ("Chat", "Sender", "IsFromMe", "IsGroup", "ID", "PushName", "Timestamp", "Type")} == {
        "Chat": str(PN), "Sender": str(PN), "IsFromMe": False, "IsGroup": False, "ID": "A1", "PushName": "Ama",
        "Timestamp": "2023-11-14T22:13:20.000Z", "Type": type_}


async def test_groups_and_receipts(running: Running, wuzapi: Client, receiver: Receiver) -> None:
    live = await linked(running, wuzapi)
    await wuzapi.post(HOOK, {"webhook": receiver.url, "events": ["All"]})
    link = running.links.live(live.session.id)
    link.emit(MessageArrived(received("G1", key=MessageKey(GROUP, PN, "G1"))))
    await until(lambda: receiver.got)
    info = told(receiver.got[0])["event"]["Info"]
    assert (info["Chat"], info["Sender"], info["IsGroup"]) == (str(GROUP), str(PN), True)
    sent = (await wuzapi.post("/chat/send/text", {"Phone": TO, "Body": "Hi"})).body["data"]["Id"]
    link.emit(Receipt("read", PN, PN, (sent,), 1_700_000_100))
    await until(lambda: len(receiver.got) == 2)
    receipt = told(receiver.got[1])
    assert (receipt["type"], receipt["state"], receipt["event"]["MessageIDs"]) == ("ReadReceipt", "Read", [sent])


async def test_it_is_looked_at_changed_and_deleted(running: Running, wuzapi: Client, receiver: Receiver) -> None:
    await linked(running, wuzapi)
    assert (await wuzapi.get(HOOK)).body["data"] == {"webhook": "", "subscribe": []}
    await wuzapi.post(HOOK, {"webhook": receiver.url, "events": ["Message", "Presence"]})
    assert (await wuzapi.get(HOOK)).body["data"] == {"webhook": receiver.url, "subscribe": ["Message"]}
    off = await wuzapi("PUT", HOOK, {"webhook": receiver.url, "events": ["Message"], "active": False})
    assert off.body["data"] == {"webhook": "", "events": ["Message"], "active": False}
    assert (await running.client.get("/api/v1/webhooks")).body["webhooks"] == []
    await wuzapi("PUT", HOOK, {"webhook": receiver.url, "active": True})
    assert (await wuzapi.get(HOOK)).body["data"]["subscribe"] == ["Message", "ReadReceipt"]
    assert (await wuzapi.delete(HOOK)).body["data"] == {"Details": "Webhook and events deleted successfully"}
    assert (await wuzapi.get(HOOK)).body["data"]["webhook"] == ""
    unknown = await wuzapi.post(HOOK, {"webhook": receiver.url, "events": ["HistorySync"]})
    assert (unknown.status, unknown.body["success"]) == (501, False)
    assert (await wuzapi.post(HOOK, {"webhook": "ftp://x"})).status == 400
