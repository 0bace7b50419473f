"""WAHA's contract, for the calls that are offered."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from typing import Any

import pytest

from gateway.messages import PTT, Document, Image, Reaction, Text
from tests.api.test_inbox import arrive, received
from tests.running import Answer, Client, Running, until

TO = "237612345678@c.us"


@pytest.fixture
def waha(running: Running) -> Client:
    return Waha(running.client.http, running.client.url, running.client.key)


class Waha(Client):
    """Its key in WAHA's header, and no other."""

    async def __call__(self, method: str, path: str, json_body: Any = None, **more: Any) -> Answer:
        headers = {"Authorization": "", "X-Api-Key": self.key} | more.pop("headers", {})
        return await super().__call__(method, path, json_body, headers=headers, **more)


async def linked(running: Running, waha: Client, name: str = "default") -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr()
    assert (await waha.post("/api/sessions", {"name": name, "start": True})).status == 201
    live = running.gateway.sessions.live()[-1]
    await until(lambda: live.qr)
    running.links.pairing(live.session.id).scan()
    await until(live.usable.is_set)


async def test_a_session_goes_from_starting_to_scan_qr_code_to_working_to_stopped(running: Running, waha: Client) -> None:
    made = await waha.post("/api/sessions", {"name": "default", "config": {"debug": False}})
    assert (made.status, made.body) == (201, {"name": "default", "status": "STARTING", "me": None})
    live = running.gateway.sessions.live()[0]
    await until(lambda: running.links.pairings)
    running.links.pairings[0].show_qr()
    await until(lambda: live.qr)
    assert (await waha.get("/api/sessions/default")).body["status"] == "SCAN_QR_CODE"
    running.links.pairings[0].scan("15550001111")
    await until(live.usable.is_set)
    working = (await waha.get("/api/sessions/default")).body
    assert working == {"name": "default", "status": "WORKING", "me": {"id": "15550001111@c.us", "pushName": "Owner"}}
    stopped = await waha.post("/api/sessions/default/stop")
    assert (stopped.status, stopped.body["status"]) == (201, "STOPPED")
    assert (await waha.get("/api/sessions")).body == []
    assert [one["name"] for one in (await waha.get("/api/sessions?all=true")).body] == ["default"]
    started = await waha.post("/api/sessions/default/start")
    assert started.status == 201
    await until(live.usable.is_set)
    assert (await waha.get("/api/sessions")).body[0]["status"] == "WORKING"


async def test_a_session_that_is_not_started_waits_to_be(running: Running, waha: Client) -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr()
    made = await waha.post("/api/sessions", {"start": False})
    assert (made.status, made.body["status"]) == (201, "STOPPED")
    assert running.links.pairings == []
    name = made.body["name"]
    assert (await waha.post(f"/api/sessions/{name}/start")).status == 201
    live = running.gateway.sessions.live()[0]
    await until(lambda: live.qr)
    assert (await waha.get(f"/api/sessions/{name}")).body["status"] == "SCAN_QR_CODE"
    await waha.post(f"/api/sessions/{name}/start")
    assert len(running.links.pairings) == 1
    running.links.pairings[0].end("qr_expired")
    await until(lambda: live.state.reason.code == "qr_expired")
    assert (await waha.get(f"/api/sessions/{name}")).body["status"] == "FAILED"


async def test_the_qr_is_a_picture_or_base64_or_its_text(running: Running, waha: Client) -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr("2@the-code")
    await waha.post("/api/sessions", {"name": "default"})
    picture = await waha.get("/api/default/auth/qr")
    assert (picture.status, picture.headers["Content-Type"], picture.body[:8]) == (200, "image/png", b"\x89PNG\r\n\x1a\n")
    encoded = (await waha.get("/api/default/auth/qr", headers={"Accept": "application/json"})).body
    assert (encoded["mimetype"], b64decode(encoded["data"])) == ("image/png", picture.body)
    assert (await waha.get("/api/default/auth/qr?format=raw")).body == {"value": "2@the-code"}


async def test_a_text_is_answered_with_the_message(running: Running, waha: Client) -> None:
    await linked(running, waha)
    answer = await waha.post("/api/sendText", {"session": "default", "chatId": TO, "text": "Hi there!", "linkPreview": True})
    assert answer.status == 201, answer.body
    sent = running.links.sent[0]
    assert sent.message == Text("Hi there!")
    id_ = f"true_{TO}_{sent.id}"
    assert answer.body.pop("_data")["id"] == {"fromMe": True, "remote": TO, "id": sent.id, "_serialized": id_}
    assert abs(answer.body.pop("timestamp") - time.time()) < 10
    assert answer.body == {
        "id": id_, "from": "15550001111@c.us", "fromMe": True, "to": TO, "participant": None, "body": "Hi there!",
        "hasMedia": False, "media": None, "ack": 1, "ackName": "SERVER", "replyTo": None, "vCards": []}


async def test_a_voice_note_comes_by_url_or_base64_and_any_audio_is_converted(running: Running, waha: Client, files: str,
                                                                               tone_wav: bytes) -> None:
    await linked(running, waha)
    for file in ({"mimetype": "audio/ogg; codecs=opus", "url": f"{files}/hello.ogg"},
                 {"mimetype": "audio/wav", "filename": "a.wav", "data": b64encode(tone_wav).decode()}):
        answer = await waha.post("/api/sendVoice", {"session": "default", "chatId": TO, "file": file, "convert": True})
        assert answer.status == 201, answer.body
        assert (answer.body["hasMedia"], answer.body["media"]["mimetype"]) == (True, "audio/ogg; codecs=opus")
        note = running.links.sent[-1].message
        assert isinstance(note, PTT)
        assert note.seconds == 2


async def test_a_document_keeps_its_name_and_what_is_no_video_is_refused(running: Running, waha: Client, files: str) -> None:
    await linked(running, waha)
    file = {"mimetype": "text/plain", "filename": "words.txt", "url": f"{files}/words.txt"}
    answer = await waha.post("/api/sendFile", {"session": "default", "chatId": TO, "caption": "Read", "file": file})
    assert (answer.status, answer.body["media"]["filename"]) == (201, "words.txt"), answer.body
    sent = running.links.sent[0].message
    assert isinstance(sent, Document)
    assert (sent.filename, sent.caption) == ("words.txt", "Read")
    nothing = await waha.post("/api/sendFile", {"session": "default", "chatId": TO, "file": {"mimetype": "text/plain"}})
    assert (nothing.status, nothing.body["message"]) == (422, "file.url: a URL, or base64 in file.data, is needed")
    refused = await waha.post("/api/sendVideo", {"session": "default", "chatId": TO, "file": file})
    assert (refused.status, "video" in refused.body["message"]) == (422, True)


async def test_what_came_is_seen_once_and_one_by_its_id(running: Running, waha: Client) -> None:
    await linked(running, waha)
    live = running.gateway.sessions.live()[0]
    link = running.links.live(live.session.id)
    for id_ in ("A1", "A2"):
        await arrive(running, link, received(id_))

    def told() -> list[str]:
        return [key.id for one in running.links.told if one.call == "mark_read" for key in one.arguments[0]]

    seen = await waha.post("/api/sendSeen", {"session": "default", "chatId": TO, "messageId": f"false_{TO}_A1"})
    assert (seen.status, seen.body, told()) == (201, {}, ["A1"])
    for _ in range(2):
        assert (await waha.post("/api/sendSeen", {"session": "default", "chatId": TO})).status == 201
        assert told() == ["A1", "A2"]
    both = {"session": "default", "chatId": TO, "messageIds": [f"false_{TO}_A1", "A2"]}
    assert (await waha.post("/api/sendSeen", both)).status == 201
    assert told() == ["A1", "A2", "A1", "A2"]
    absent = await waha.post("/api/sendSeen", {"session": "default", "chatId": TO, "messageId": "Z9"})
    assert (absent.status, "messageId" in absent.body["message"]) == (422, True)


async def test_what_bots_do_before_they_answer(running: Running, waha: Client) -> None:
    await linked(running, waha)
    to = {"session": "default", "chatId": TO}
    for path, state in (("startTyping", "composing"), ("stopTyping", "paused")):
        shown = await waha.post(f"/api/{path}", to)
        assert (shown.status, shown.body) == (201, {"result": True})
        assert (running.links.told[-1].call, running.links.told[-1].arguments[1]) == ("chat_presence", state)
    for name, state in (("typing", "composing"), ("recording", "recording"), ("paused", "paused")):
        assert (await waha.post("/api/default/presence", {"chatId": TO, "presence": name})).status == 201
        assert running.links.told[-1].arguments[1] == state
    for name, available in (("online", True), ("offline", False)):
        assert (await waha.post("/api/default/presence", {"presence": name})).status == 201
        assert (running.links.told[-1].call, running.links.told[-1].arguments) == ("set_presence", (available,))
    for body in ({"presence": "typing"}, {"presence": "online", "chatId": TO}):
        refused = await waha.post("/api/default/presence", body)
        assert (refused.status, "chatId" in refused.body["message"]) == (422, True), refused.body


async def test_a_key_that_only_sends_shows_that_it_types_and_not_that_it_is_online(running: Running, waha: Client) -> None:
    await linked(running, waha)
    _, text = await running.gateway.keys.create(name="sender", scope="send", shares=running.key.id)
    sender = Waha(waha.http, waha.url, text)
    assert (await sender.post("/api/default/presence", {"chatId": TO, "presence": "typing"})).status == 201
    assert (await sender.post("/api/default/presence", {"presence": "online"})).status == 403


async def test_whether_a_number_is_there(running: Running, waha: Client) -> None:
    await linked(running, waha)
    running.links.not_on_whatsapp = {"237612345600"}
    for path in ("/api/contacts/check-exists", "/api/checkNumberStatus"):
        there = await waha.get(f"{path}?session=default&phone=237612345678")
        assert (there.status, there.body) == (200, {"numberExists": True, "chatId": TO})
        nobody = await waha.get(f"{path}?phone=237612345600")
        assert (nobody.status, nobody.body) == (200, {"numberExists": False})


async def test_a_reaction_and_its_end_and_an_answer_the_older_way(running: Running, waha: Client) -> None:
    await linked(running, waha)
    await arrive(running, running.links.live(running.gateway.sessions.live()[0].session.id), received("A1"))
    for emoji in ("👍", ""):
        reacted = await waha("PUT", "/api/reaction", {"session": "default", "messageId": f"false_{TO}_A1", "reaction": emoji})
        assert (reacted.status, reacted.body["ack"], reacted.body["to"]) == (200, 1, TO), reacted.body
        sent = running.links.sent[-1].message
        assert isinstance(sent, Reaction)
        assert (sent.emoji, sent.target.id) == (emoji, "A1")
    for body, named in (({"messageId": "Z9", "reaction": "👍"}, "messageId"), ({"messageId": "A1", "reaction": "yes"}, "reaction")):
        refused = await waha("PUT", "/api/reaction", body)
        assert (refused.status, named in refused.body["message"]) == (422, True)
    answer = await waha.post("/api/reply", {"chatId": TO, "text": "Yes", "reply_to": f"false_{TO}_A1"})
    assert (answer.status, answer.body["replyTo"]) == (201, {"id": "A1"})


async def test_restarting_comes_back_linked_and_logging_out_wants_a_scan(running: Running, waha: Client) -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr()
    await linked(running, waha)
    live = running.gateway.sessions.live()[0]
    assert (await waha.get("/api/sessions/default/me")).body == {"id": "15550001111@c.us", "pushName": "Owner"}
    await waha.post("/api/sessions/default/stop")
    for verb in ("start", "restart"):
        again = await waha.post(f"/api/sessions/default/{verb}")
        assert (again.status, again.body["status"]) == (201, "STARTING")
    await until(live.usable.is_set)
    out = await waha.post("/api/sessions/default/logout")
    assert (out.status, out.body["me"]) == (201, None)
    assert "logout" in [told.call for told in running.links.told]
    await until(lambda: live.qr)
    assert (await waha.get("/api/sessions/default")).body["status"] == "SCAN_QR_CODE"
    assert (await waha.get("/api/sessions/default/me")).body is None
    await waha.post("/api/sessions/default/stop")
    assert (await waha.post("/api/sessions/default/logout")).body["status"] == "STOPPED"


async def test_a_code_to_type_is_asked_for_until_a_phone_is_linked(running: Running, waha: Client) -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr()
    await waha.post("/api/sessions", {"name": "default"})
    running.links.on_pair = lambda pairing: pairing.show_code("ABCD-EFGH")
    code = await waha.post("/api/default/auth/request-code", {"phoneNumber": "237612345678"})
    assert (code.status, code.body) == (201, {"code": "ABCD-EFGH"})
    assert (await waha.post("/api/default/auth/request-code", {"phoneNumber": "237612345678", "method": "sms"})).status == 501
    running.links.pairings[-1].scan()
    await until(running.gateway.sessions.live()[0].usable.is_set)
    assert (await waha.post("/api/default/auth/request-code", {"phoneNumber": "237612345678"})).status == 422
    assert running.gateway.sessions.live()[0].session.jid is not None


async def test_an_image_has_its_caption_and_answers_another_message(running: Running, waha: Client, files: str) -> None:
    await linked(running, waha)
    first = (await waha.post("/api/sendText", {"chatId": TO, "text": "1"})).body["id"]
    answer = await waha.post("/api/sendImage", {"session": "default", "chatId": TO, "caption": "Look", "reply_to": first,
                                                "file": {"mimetype": "image/png", "url": f"{files}/picture.png"}})
    assert answer.status == 201, answer.body
    assert (answer.body["body"], answer.body["replyTo"]) == ("Look", {"id": running.links.sent[0].id})
    image = running.links.sent[-1].message
    assert isinstance(image, Image)
    assert (image.mimetype, image.caption, image.width) == ("image/png", "Look", 64)


async def test_errors_are_in_its_envelope(running: Running, waha: Client, files: str) -> None:
    await linked(running, waha)
    text = {"session": "default", "chatId": TO, "text": "1"}
    for path, body, status in (
        ("/api/sendText", {**text, "session": "absent"}, 404),
        ("/api/sendText", {**text, "chatId": "1"}, 422),
        ("/api/sendText", {**text, "text": ""}, 422),
        ("/api/sendText", {"chatId": TO}, 422),
        ("/api/sendVoice", {"chatId": TO, "file": {"url": f"{files}/words.txt"}}, 422),
        ("/api/sendVoice", {"chatId": TO, "file": {"data": "!"}}, 422),
        ("/api/sendVoice", {"chatId": TO, "file": {}}, 422),
        ("/api/sessions", {"name": "default"}, 422),
        ("/api/sessions", {"name": "b", "config": {"webhooks": [{"url": "https://example.com"}]}}, 422),
        ("/api/sessions", {"name": "b", "config": {"webhooks": [{"url": "https://example.com", "events": ["call.received"]}]}}, 501),
        ("/api/sessions", {"name": "b", "config": {"webhooks": [{"url": "ftp://x", "events": ["*"]}]}}, 422),
        ("/api/sessions", {"name": "b", "config": {"webhooks": [
            {"url": "https://example.com", "events": ["*"], "customHeaders": [{"name": "A", "value": "b"}]}]}}, 501),
    ):
        answer = await waha.post(path, body)
        assert (answer.status, answer.body["statusCode"]) == (status, status), answer.body
        assert set(answer.body) == {"statusCode", "message", "error"}
    assert [live.session.session_key for live in running.gateway.sessions.live()] == ["default"]
    assert (await waha.get("/api/default/auth/qr")).status == 422
    wrong = await waha.get("/api/sessions", headers={"X-Api-Key": "wrong"})
    assert (wrong.status, wrong.body) == (401, {"statusCode": 401, "message": "Unauthorized", "error": "Unauthorized"})
    assert (await waha.get("/api/sessions", headers={"X-Api-Key": ""})).status == 401


async def test_deleting_is_idempotent_and_another_keys_session_is_not_touched(running: Running, waha: Client) -> None:
    await linked(running, waha)
    other = await running.another_client()
    foreign = Waha(other.http, other.url, other.key)
    assert (await foreign.get("/api/sessions/default")).status == 404
    assert (await foreign.delete("/api/sessions/default")).status == 200
    assert len(running.gateway.sessions.live()) == 1
    for _ in range(2):
        gone = await waha.delete("/api/sessions/default")
        assert (gone.status, gone.body) == (200, b"")
    assert running.gateway.sessions.live() == []


async def test_calls_it_does_not_offer_name_what_to_use(running: Running, waha: Client) -> None:
    for method, path, use in (("GET", "/api/default/chats/x/messages", "/api/v1/messages"), ("GET", "/api/version", "/api/v1")):
        answer = await waha(method, path, {} if method != "GET" else None)
        assert (answer.status, answer.body["error"]) == (501, "Not Implemented")
        assert use in answer.body["message"]
        assert (await waha(method, f"/waha{path}")).status == 501


async def test_below_the_native_path_it_never_answers(running: Running, waha: Client) -> None:
    for path in ("/api/v1/nothing", "/api/v1/auth/qr"):
        answer = await running.client.get(path)
        assert (answer.status, answer.body["error"]["code"]) == (404, "not_found")
