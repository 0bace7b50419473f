"""wuzapi's contract, for the calls that are offered."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Any

import pytest

from gateway.dialects import words
from gateway.messages import PTT, Document, Image, Reaction, Text
from tests.api.test_inbox import arrive, received
from tests.running import Answer, Client, Running, until

TO = "237612345678"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


class Wuzapi(Client):
    """Its key in wuzapi's header, and no other."""

    async def __call__(self, method: str, path: str, json_body: Any = None, **more: Any) -> Answer:
        headers = {"Authorization": "", "Token": self.key} | more.pop("headers", {})
        return await super().__call__(method, path, json_body, headers=headers, **more)


@pytest.fixture
def wuzapi(running: Running) -> Client:
    return Wuzapi(running.client.http, running.client.url, running.client.key)


async def linked(running: Running, wuzapi: Client) -> Any:
    running.links.on_pair = lambda pairing: pairing.show_qr()
    assert (await wuzapi.post("/session/connect", {"Subscribe": ["Message"], "Immediate": False})).status == 200
    live = running.gateway.sessions.live()[-1]
    running.links.pairing(live.session.id).scan("15550001111")
    await until(live.usable.is_set)
    return live


async def test_connecting_shows_a_qr_and_after_the_scan_it_is_logged_in(running: Running, wuzapi: Client) -> None:
    nothing = await wuzapi.get("/session/status")
    assert (nothing.status, nothing.body) == (500, {"code": 500, "error": "No session", "success": False})
    running.links.on_pair = lambda pairing: pairing.show_qr()
    connected = await wuzapi.post("/session/connect", {"Subscribe": ["Message", "ReadReceipt"], "Immediate": False})
    assert connected.status == 200
    assert connected.body == {"code": 200, "success": True, "data": {
        "details": "Connected!", "events": "Message,ReadReceipt", "jid": "", "webhook": ""}}
    assert (await wuzapi.get("/session/status")).body == {
        "code": 200, "data": {"Connected": True, "LoggedIn": False}, "success": True}
    code = await wuzapi.get("/session/qr")
    assert (code.status, code.body["code"], code.body["success"]) == (200, 200, True)
    assert b64decode(code.body["data"]["QRCode"].removeprefix("data:image/png;base64,"))[:4] == b"\x89PNG"
    live = running.gateway.sessions.live()[0]
    assert live.session.session_key == "default"
    running.links.pairings[0].scan()
    await until(live.usable.is_set)
    assert (await wuzapi.get("/session/status")).body["data"] == {"Connected": True, "LoggedIn": True}
    for method, path, text in (("GET", "/session/qr", "Already Loggedin"), ("POST", "/session/connect", "Already Connected")):
        again = await wuzapi(method, path)
        assert (again.status, again.body) == (500, {"code": 500, "error": text, "success": False})


async def test_where_whatsapp_cannot_be_reached_connecting_fails(running: Running, wuzapi: Client) -> None:
    running.links.on_pair = lambda pairing: pairing.end("no_network_pairing", "connection refused")
    failed = await wuzapi.post("/session/connect", {"Immediate": False})
    assert (failed.status, failed.body["error"]) == (500, "Failed to Connect")


async def test_a_key_with_one_session_of_another_name_uses_that(running: Running, wuzapi: Client) -> None:
    await running.linked("support")
    assert (await wuzapi.get("/session/status")).body["data"] == {"Connected": True, "LoggedIn": True}
    await running.linked("default", "15550002222")
    await wuzapi.post("/chat/send/text", {"Phone": TO, "Body": "1"})
    sender = next(live for live in running.gateway.sessions.live() if live.session.id == running.links.sent[0].session_id)
    assert sender.session.session_key == "default"


async def test_a_text_is_sent_with_its_fields_in_any_case(running: Running, wuzapi: Client) -> None:
    await linked(running, wuzapi)
    answer = await wuzapi.post("/chat/send/text", {"Phone": TO, "Body": "Hellow Meow", "Id": "90B2F8B13FAC8A9CF6B06E99C7834DC5"})
    assert (answer.status, answer.body["code"], answer.body["success"]) == (200, 200, True)
    sent = running.links.sent[0]
    assert sent.message == Text("Hellow Meow")
    assert RFC3339.fullmatch(answer.body["data"].pop("Timestamp"))
    assert answer.body["data"] == {"Details": "Sent", "Id": sent.id}
    context = {"stanzaid": sent.id, "Participant": f"{TO}@s.whatsapp.net"}
    reply = await wuzapi.post("/chat/send/text", {"phone": TO, "body": "Ditto", "ContextInfo": context})
    assert reply.status == 200, reply.body
    assert running.links.sent[1].message.quoted.key.id == sent.id


async def test_audio_and_image_come_as_data_uris(running: Running, wuzapi: Client, note_ogg: bytes, tone_wav: bytes,
                                                 picture_png: bytes) -> None:
    await linked(running, wuzapi)
    for kind, data in (("ogg", note_ogg), ("wav", tone_wav)):
        uri = f"data:audio/{kind};base64,{b64encode(data).decode()}"
        answer = await wuzapi.post("/chat/send/audio", {"Phone": TO, "Audio": uri})
        assert (answer.status, answer.body["data"]["Details"]) == (200, "Sent"), answer.body
        assert isinstance(running.links.sent[-1].message, PTT)
    uri = f"data:image/png;base64,{b64encode(picture_png).decode()}"
    answer = await wuzapi.post("/chat/send/image", {"Phone": TO, "Caption": "Look at this", "Image": uri})
    assert answer.status == 200
    image = running.links.sent[-1].message
    assert isinstance(image, Image)
    assert image.caption == "Look at this"


async def test_a_document_comes_with_its_name(running: Running, wuzapi: Client) -> None:
    await linked(running, wuzapi)
    uri = f"data:application/pdf;base64,{b64encode(b'%PDF-1.4 words').decode()}"
    nameless = await wuzapi.post("/chat/send/document", {"Phone": TO, "Document": uri})
    assert (nameless.status, nameless.body["error"]) == (400, "Missing FileName in Payload")
    answer = await wuzapi.post("/chat/send/document", {"Phone": TO, "Document": uri, "filename": "a.pdf"})
    assert answer.status == 200, answer.body
    sent = running.links.sent[0].message
    assert isinstance(sent, Document)
    assert sent.filename == "a.pdf"
    assert (await wuzapi.post("/chat/send/video", {"Phone": TO, "Video": uri})).status == 400


async def test_a_code_to_type_and_going_away_and_coming_back(running: Running, wuzapi: Client) -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr()
    await wuzapi.post("/session/connect", {})
    running.links.on_pair = lambda pairing: pairing.show_code("ABCD-EFGH")
    code = await wuzapi.post("/session/pairphone", {"Phone": "15550001111"})
    assert (code.status, code.body["data"]) == (200, {"LinkingCode": "ABCD-EFGH"})
    live = running.gateway.sessions.live()[0]
    running.links.pairings[-1].scan("15550001111")
    await until(live.usable.is_set)
    again = await wuzapi.post("/session/pairphone", {"Phone": "15550001111"})
    assert (again.status, again.body["error"]) == (400, "Already paired")
    assert (await wuzapi.post("/session/disconnect")).body["data"] == {"Details": "Disconnected"}
    assert (await wuzapi.post("/session/disconnect")).status == 500
    assert (await wuzapi.post("/session/connect", {"Immediate": False})).status == 200
    assert live.usable.is_set()


async def test_what_whatsapp_has_not_taken_in_time_is_pending(running: Running, wuzapi: Client,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "ACK_SECONDS", 0.2)
    live = await linked(running, wuzapi)
    held = running.links.live(live.session.id).hold_next_send()
    assert (await wuzapi.post("/chat/send/text", {"Phone": TO, "Body": "1"})).body["data"]["Details"] == "Pending"
    held.confirm()


async def test_errors_are_in_its_envelope(running: Running, wuzapi: Client) -> None:
    assert (await wuzapi.post("/chat/send/text", {"Phone": TO, "Body": "1"})).body["error"] == "No session"
    await linked(running, wuzapi)
    for path, body, text in (
        ("/chat/send/text", {"Body": "1"}, "Missing Phone in Payload"),
        ("/chat/send/text", {"Phone": TO}, "Missing Body in Payload"),
        ("/chat/send/audio", {"Phone": TO}, "Missing Audio in Payload"),
        ("/chat/send/image", {"Phone": TO}, "Missing Image in Payload"),
        ("/chat/send/text", {"Phone": "1", "Body": "1"}, "Phone"),
        ("/chat/send/audio", {"Phone": TO, "Audio": "data:,x"}, "audio"),
    ):
        answer = await wuzapi.post(path, body)
        assert (answer.status, answer.body["code"], answer.body["success"]) == (400, 400, False), answer.body
        assert text in answer.body["error"]
    wrong = await wuzapi.get("/session/status", headers={"Token": "wrong"})
    assert (wrong.status, wrong.body) == (401, {"code": 401, "error": "Unauthorized", "success": False})


async def test_logging_out_unlinks_and_the_next_connect_wants_a_scan(running: Running, wuzapi: Client) -> None:
    await linked(running, wuzapi)
    out = await wuzapi.post("/session/logout")
    assert (out.status, out.body) == (200, {"code": 200, "data": {"Details": "Logged out"}, "success": True})
    assert "logout" in [told.call for told in running.links.told]
    assert (await wuzapi.get("/session/status")).status == 500
    assert (await wuzapi.post("/session/connect", {"Immediate": False})).status == 200
    assert (await wuzapi.get("/session/status")).body["data"] == {"Connected": True, "LoggedIn": False}
    not_yet = await wuzapi.post("/session/logout")
    assert (not_yet.status, not_yet.body["success"]) == (500, False)


async def test_a_session_that_was_stopped_connects_again(running: Running, wuzapi: Client) -> None:
    live = await linked(running, wuzapi)
    await live.disconnect()
    assert (await wuzapi.get("/session/status")).body["data"] == {"Connected": False, "LoggedIn": False}
    back = await wuzapi.post("/session/connect", {"Immediate": False})
    assert (back.status, back.body["data"]["jid"]) == (200, "15550001111:1@s.whatsapp.net")
    assert (await wuzapi.get("/session/status")).body["data"] == {"Connected": True, "LoggedIn": True}


async def test_calls_it_does_not_offer_name_what_to_use(running: Running, wuzapi: Client) -> None:
    for method, path, use in (("POST", "/chat/send/sticker", "/api/v1/messages/media"),
                              ("GET", "/wuzapi/admin/users", "/api/v1/keys"),
                              ("POST", "/user/info", "/user/check")):
        answer = await wuzapi(method, path, {} if method == "POST" else None)
        assert (answer.status, answer.body["code"], answer.body["success"]) == (501, 501, False)
        assert use in answer.body["error"]


async def test_reactions_and_reading(running: Running, wuzapi: Client) -> None:
    live = await linked(running, wuzapi)
    await arrive(running, running.links.live(live.session.id), received("A1"))
    own = (await wuzapi.post("/chat/send/text", {"Phone": TO, "Body": "Hello"})).body["data"]["Id"]
    for id_, body, emoji in (("A1", "👍", "👍"), (f"me:{own}", "👍", "👍"), ("A1", "remove", "")):
        reacted = await wuzapi.post("/chat/react", {"Phone": TO, "Body": body, "Id": id_})
        assert (reacted.status, reacted.body["data"]["Details"]) == (200, "Sent"), reacted.body
        sent = running.links.sent[-1].message
        assert isinstance(sent, Reaction)
        assert (sent.emoji, sent.target.id, sent.target.sender is None) == (emoji, id_.removeprefix("me:"), id_ != "A1")
    read = await wuzapi.post("/chat/markread", {"Id": ["A1"], "Chat": f"{TO}@s.whatsapp.net"})
    assert (read.status, read.body["data"]) == (200, {"Details": "Message(s) marked as read"})
    assert [told.arguments[0][0].id for told in running.links.told if told.call == "mark_read"] == ["A1"]
    for path, sent_body, missing in (("react", {"Phone": TO, "Body": "👍"}, "Id"), ("react", {"Phone": TO, "Id": "A1"}, "Body"),
                                     ("markread", {"Id": ["A1"]}, "Chat"), ("markread", {"Chat": TO}, "Id"),
                                     ("presence", {"Phone": TO}, "State")):
        refused = await wuzapi.post(f"/chat/{path}", sent_body)
        assert (refused.status, refused.body["error"]) == (400, f"Missing {missing} in Payload")


async def test_presence_and_who_is_there(running: Running, wuzapi: Client) -> None:
    await linked(running, wuzapi)
    for state, media, told in (("composing", "", "composing"), ("composing", "audio", "recording"), ("paused", "", "paused")):
        shown = await wuzapi.post("/chat/presence", {"phone": TO, "state": state, "Media": media})
        assert (shown.status, shown.body["data"]) == (200, {"Details": "Chat presence set successfuly"})
        assert running.links.told[-1].arguments[1] == told
    online = await wuzapi.post("/user/presence", {"type": "available"})
    assert (online.status, online.body["data"]) == (200, {"Details": "Presence set successfuly"})
    assert (running.links.told[-1].call, running.links.told[-1].arguments) == ("set_presence", (True,))
    running.links.not_on_whatsapp = {"237612345600"}
    found = await wuzapi.post("/user/check", {"Phone": [TO, "237612345600"]})
    assert (found.status, found.body["data"]) == (200, {"Users": [
        {"IsInWhatsapp": True, "JID": f"{TO}@s.whatsapp.net", "Query": TO, "VerifiedName": ""},
        {"IsInWhatsapp": False, "JID": "237612345600@s.whatsapp.net", "Query": "237612345600", "VerifiedName": ""}]})
