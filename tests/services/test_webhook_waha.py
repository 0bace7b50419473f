"""A receiver that was written for WAHA is told in its words, from the session's creation on."""

from __future__ import annotations

import hashlib
import hmac
from itertools import groupby
from typing import Any

import pytest
import structlog

from gateway.events import Connected, Disconnected, MessageArrived, Receipt
from gateway.jid import JID
from gateway.messages import MessageKey
from tests.api.test_inbox import GROUP, PN, media, received
from tests.dialects.test_waha import TO, Waha
from tests.running import Client, Running, until
from tests.services.receiver import Receiver, Time, receiving

SECRET = "the receiver's own key"
OWN = "15550001111@c.us"


@pytest.fixture
def waha(running: Running) -> Client:
    return Waha(running.client.http, running.client.url, running.client.key)


def told(receiver: Receiver, event: str) -> list[dict[str, Any]]:
    return [request.body["payload"] for request in receiver.got if request.body["event"] == event]


def config(receiver: Receiver, *events: str) -> dict[str, Any]:
    return {"config": {"webhooks": [{"url": receiver.url, "events": list(events), "hmac": {"key": SECRET}}]}}


async def linked(running: Running, waha: Client, receiver: Receiver, *events: str) -> Any:
    running.links.on_pair = lambda pairing: pairing.show_qr()
    made = await waha.post("/api/sessions", {"name": "bot", **config(receiver, *events)})
    assert made.status == 201, made.body
    live = running.gateway.sessions.live()[-1]
    await until(lambda: live.qr)
    running.links.pairing(live.session.id).scan("15550001111")
    await until(live.usable.is_set)
    return live


async def test_a_session_tells_how_it_stands_from_its_first_moment(running: Running, waha: Client, receiver: Receiver) -> None:
    live = await linked(running, waha, receiver, "session.status")

    def statuses() -> list[str]:
        return [status for status, _ in groupby(one["status"] for one in told(receiver, "session.status"))]

    await until(lambda: statuses() == ["STARTING", "SCAN_QR_CODE", "STARTING", "WORKING"])
    running.links.live(live.session.id).emit(Disconnected())
    await until(lambda: statuses()[4:] == ["STARTING"])
    running.links.live(live.session.id).emit(Connected())
    await until(lambda: statuses()[5:] == ["WORKING"])
    await waha.post("/api/sessions/bot/stop")
    await until(lambda: statuses()[6:] == ["STOPPED"])
    last = receiver.got[-1]
    assert {name: last.body[name] for name in ("event", "session", "me", "metadata")} == {
        "event": "session.status", "session": "bot", "me": {"id": OWN, "pushName": "Owner"}, "metadata": {}}
    assert b"2@" not in b"".join(request.raw for request in receiver.got)           # what links a phone is told to nobody


async def test_what_arrives_is_a_message_and_signed_as_waha_signs(running: Running, waha: Client, receiver: Receiver) -> None:
    live = await linked(running, waha, receiver, "message")
    link = running.links.live(live.session.id)
    link.emit(MessageArrived(received("A1", quoted_id="Q1")))
    await until(lambda: receiver.got)
    (request,) = receiver.got
    payload = request.body["payload"]
    assert payload.pop("_data") == {"notifyName": "Ama", "type": "text"}
    assert payload == {
        "id": f"false_{TO}_A1", "timestamp": 1_700_000_000, "from": TO, "fromMe": False, "to": OWN, "participant": None,
        "body": "Hello you", "hasMedia": False, "media": None, "mediaUrl": None, "ack": 1, "ackName": "SERVER", "author": None,
        "location": None, "vCards": [], "replyTo": {"id": "Q1"}}
    assert request.headers["x-webhook-hmac"] == hmac.new(SECRET.encode(), request.raw, hashlib.sha512).hexdigest()
    assert request.headers["x-webhook-hmac-algorithm"] == "sha512"
    seen = await waha.post("/api/sendSeen", {"session": "bot", "chatId": payload["from"], "messageId": payload["id"]})
    assert seen.status == 201                                                        # its ids are understood where they go back


async def test_a_file_is_had_with_the_same_key_where_the_webhook_says(running: Running, waha: Client, receiver: Receiver) -> None:
    live = await linked(running, waha, receiver, "message")
    link = running.links.live(live.session.id)
    link.stored.media["/v/file"] = b"OggS"
    link.emit(MessageArrived(received("V1", kind="ptt", text="", media=media(), seconds=3)))
    await until(lambda: receiver.got)
    payload = receiver.got[0].body["payload"]
    assert (payload["hasMedia"], payload["media"]["mimetype"], payload["_data"]["type"]) == (True, "audio/ogg; codecs=opus", "ptt")
    path = payload["media"]["url"].partition("/waha")[2]
    file = await waha.get(path)
    assert (file.status, file.body) == (200, b"OggS")
    assert (await waha.get(path, headers={"X-Api-Key": ""})).status == 401
    other = await running.another_client()
    assert (await Waha(other.http, other.url, other.key).get(path)).status == 404


async def test_a_groups_message_names_who_wrote_it(running: Running, waha: Client, receiver: Receiver) -> None:
    live = await linked(running, waha, receiver, "message")
    key = MessageKey(GROUP, PN, "G1")
    running.links.live(live.session.id).emit(MessageArrived(received("G1", key=key)))
    await until(lambda: receiver.got)
    payload = receiver.got[0].body["payload"]
    assert (payload["from"], payload["participant"], payload["id"]) == (str(GROUP), TO, f"false_{GROUP}_G1_{TO}")


async def test_each_event_goes_to_whoever_asked_for_it_and_once(running: Running, waha: Client, receiver: Receiver) -> None:
    live = await linked(running, waha, receiver, "message", "message.any", "message.reaction", "message.ack", "group.join")
    link = running.links.live(live.session.id)
    link.emit(MessageArrived(received("A1")))
    link.emit(MessageArrived(received("A2", kind="reaction", text="👍", target_id="Z1")))
    own = JID.parse("15550001111@s.whatsapp.net")
    link.emit(MessageArrived(received("A3", from_me=True, key=MessageKey(PN, own, "A3"), pn=own)))
    sent = (await waha.post("/api/sendText", {"session": "bot", "chatId": TO, "text": "Hi"})).body
    link.emit(Receipt("read", PN, PN, (sent["_data"]["id"]["id"],), 1_700_000_100))
    await until(lambda: len(told(receiver, "message.ack")) == 2 and len(told(receiver, "message.any")) == 2)
    assert [one["id"] for one in told(receiver, "message")] == [f"false_{TO}_A1"]
    assert sorted(one["id"] for one in told(receiver, "message.any")) == [f"false_{TO}_A1", f"true_{TO}_A3"]
    (reaction,) = told(receiver, "message.reaction")
    assert reaction["reaction"] == {"text": "👍", "messageId": "Z1"}
    acks = told(receiver, "message.ack")
    assert [(one["id"], one["ack"], one["ackName"], one["to"]) for one in acks] == [
        (sent["id"], 1, "SERVER", TO), (sent["id"], 3, "READ", TO)]
    assert len({request.body["id"] for request in receiver.got}) == len(receiver.got) - 1       # A1 under both its names


async def test_an_edit_and_a_revoke_are_no_messages_but_changes_of_one(running: Running, waha: Client, receiver: Receiver) -> None:
    live = await linked(running, waha, receiver, "message", "message.any", "message.edited", "message.revoked")
    link = running.links.live(live.session.id)
    link.emit(MessageArrived(received("E1", kind="edit", text="Hello again", target_id="Z1")))
    link.emit(MessageArrived(received("R1", kind="revoke", text="", target_id="Z1")))
    await until(lambda: len(receiver.got) == 2)
    (edited,), (revoked,) = told(receiver, "message.edited"), told(receiver, "message.revoked")
    assert (edited["body"], edited["editedMessageId"]) == ("Hello again", "Z1")
    assert (revoked["revokedMessageId"], revoked["after"]["id"]) == ("Z1", f"false_{TO}_R1")


async def test_webhooks_are_replaced_all_or_none(running: Running, waha: Client, receiver: Receiver) -> None:
    live = await linked(running, waha, receiver, "*")
    formats = ["waha", "waha.any", "waha.edit", "waha.reaction", "waha.revoke"]

    async def there() -> list[tuple[str, str]]:
        rows = (await running.client.get("/api/v1/webhooks")).body["webhooks"]
        return sorted((row["format"], row["session"]) for row in rows)

    assert await there() == [(format_, live.session.id) for format_ in formats]
    bad = config(receiver, "message")["config"]["webhooks"] + [{"url": "ftp://x", "events": ["message"]}]
    assert (await waha("PUT", "/api/sessions/bot", {"config": {"webhooks": bad}})).status == 422
    assert len(await there()) == len(formats)
    async with receiving(Time()) as second:
        both = {"config": {"webhooks": [hook for one in (receiver, second) for hook in config(one, "message")["config"]["webhooks"]]}}
        assert (await waha("PUT", "/api/sessions/bot", both)).status == 200
        rows = (await running.client.get("/api/v1/webhooks")).body["webhooks"]
        assert {row["url"] for row in rows} == {receiver.url, second.url}
    changed = await waha("PUT", "/api/sessions/bot", config(receiver, "message"))
    assert (changed.status, changed.body["name"]) == (200, "bot")
    assert await there() == [("waha", live.session.id)]
    assert (await waha("PUT", "/api/sessions/bot", {})).status == 200
    assert await there() == []


async def test_an_event_that_cannot_be_worded_holds_up_no_other(running: Running, waha: Client, receiver: Receiver) -> None:
    live = await linked(running, waha, receiver, "message")
    with structlog.testing.capture_logs() as lines:
        async with running.gateway.store.database.transaction() as tx:
            await running.gateway.feed.tell(tx, owner=live.session.owner, session_id=live.session.id, type="message", at=1.0,
                                            data={"session": live.session.id, "type": "text"})
        running.links.live(live.session.id).emit(MessageArrived(received("A1")))
        await until(lambda: receiver.got)
    assert [one["id"] for one in told(receiver, "message")] == [f"false_{TO}_A1"]
    assert [line["format"] for line in lines if line["event"] == "event_not_worded"] == ["waha"]
