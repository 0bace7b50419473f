"""Evolution API's contract, for the calls that are offered."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from typing import Any

import aiohttp
import pytest

from gateway.events import Disconnected
from gateway.messages import PTT, Audio, Document, Image, Reaction, Text
from tests.api.test_inbox import arrive, media, received
from tests.running import Answer, Client, Running, until

TO = "237612345678"


class Evolution(Client):
    """Its key in Evolution's header, and no other."""

    async def __call__(self, method: str, path: str, json_body: Any = None, **more: Any) -> Answer:
        headers = {"Authorization": "", "apikey": self.key} | more.pop("headers", {})
        return await super().__call__(method, path, json_body, headers=headers, **more)


@pytest.fixture
def evolution(running: Running) -> Client:
    return Evolution(running.client.http, running.client.url, running.client.key)


async def linked(running: Running, evolution: Client, name: str = "main") -> Any:
    running.links.on_pair = lambda pairing: pairing.show_qr("2@the-code")
    made = await evolution.post("/instance/create", {"instanceName": name, "qrcode": True, "integration": "WHATSAPP-BAILEYS"})
    assert made.status == 201, made.body
    live = running.gateway.sessions.live()[-1]
    running.links.pairing(live.session.id).scan("15550001111")
    await until(live.usable.is_set)
    return live


async def test_an_instance_is_made_with_its_qr(running: Running, evolution: Client) -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr("2@the-code")
    made = await evolution.post("/instance/create", {"instanceName": "main", "qrcode": True, "integration": "WHATSAPP-BAILEYS",
                                                     "rejectCall": False})
    assert made.status == 201, made.body
    assert set(made.body) == {"instance", "hash", "webhook", "websocket", "rabbitmq", "nats", "sqs", "settings", "qrcode"}
    assert made.body["instance"] == {
        "instanceName": "main", "instanceId": running.gateway.sessions.live()[0].session.id, "integration": "WHATSAPP-BAILEYS",
        "webhookWaBusiness": None, "accessTokenWaBusiness": "", "status": "connecting"}
    assert made.body["hash"] == evolution.key
    code = made.body["qrcode"]
    assert set(code) == {"pairingCode", "code", "base64", "count"}
    assert (code["pairingCode"], code["code"], code["count"]) == (None, "2@the-code", 1)
    assert b64decode(code["base64"].removeprefix("data:image/png;base64,"))[:4] == b"\x89PNG"
    assert (await evolution.get("/instance/connect/main")).body == code


async def test_without_qrcode_it_waits_to_be_connected_then_opens_and_comes_back(running: Running, evolution: Client) -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr("2@the-code")
    made = await evolution.post("/instance/create", {"instanceName": "main"})
    assert (made.body["instance"]["status"], made.body["qrcode"]) == ("close", None)
    assert running.links.pairings == []
    assert (await evolution.get("/instance/connect/main")).body["code"] == "2@the-code"
    state = await evolution.get("/instance/connectionState/main")
    assert (state.status, state.body) == (200, {"instance": {"instanceName": "main", "state": "connecting"}})
    live = running.gateway.sessions.live()[0]
    running.links.pairings[0].scan()
    await until(live.usable.is_set)
    for path in ("/instance/connectionState/main", "/instance/connect/main"):
        assert (await evolution.get(path)).body == {"instance": {"instanceName": "main", "state": "open"}}
    running.links.live(live.session.id).emit(Disconnected())
    await until(lambda: live.state.reason.code == "connection_lost")
    assert (await evolution.get("/instance/connectionState/main")).body["instance"]["state"] == "connecting"


async def test_with_a_number_there_is_a_pairing_code_too(running: Running, evolution: Client) -> None:
    def show(pairing: Any) -> None:
        pairing.show_qr("2@the-code")
        pairing.show_code("ABCD-EFGH")

    running.links.on_pair = show
    made = await evolution.post("/instance/create", {"instanceName": "main", "qrcode": True, "number": "15550001111"})
    assert (made.status, made.body["qrcode"]["pairingCode"]) == (201, "ABCDEFGH")
    assert running.links.pairings[0].phone == "15550001111"
    assert (await evolution.get("/instance/connect/main?number=15550001111")).body["pairingCode"] == "ABCDEFGH"
    assert len(running.links.pairings) == 1


async def test_a_text_is_answered_with_the_message(running: Running, evolution: Client) -> None:
    live = await linked(running, evolution)
    answer = await evolution.post("/message/sendText/main", {"number": TO, "text": "Hello!", "delay": 1, "linkPreview": False})
    assert answer.status == 201, answer.body
    sent = running.links.sent[0]
    assert sent.message == Text("Hello!")
    assert abs(answer.body.pop("messageTimestamp") - time.time()) < 10
    assert answer.body == {
        "key": {"remoteJid": f"{TO}@s.whatsapp.net", "fromMe": True, "id": sent.id}, "pushName": "Owner", "status": "SERVER_ACK",
        "message": {"conversation": "Hello!"}, "contextInfo": None, "messageType": "conversation",
        "instanceId": live.session.id, "source": "web"}
    quoted = {"key": {"id": sent.id, "remoteJid": f"{TO}@s.whatsapp.net", "fromMe": True}, "message": {"conversation": "Hello!"}}
    reply = await evolution.post("/message/sendText/main", {"number": TO, "text": "Again", "quoted": quoted})
    assert reply.body["contextInfo"]["stanzaId"] == sent.id
    assert running.links.sent[1].message.quoted.key.id == sent.id


async def test_a_voice_note_comes_by_url_base64_or_upload(running: Running, evolution: Client, files: str,
                                                            tone_wav: bytes) -> None:
    await linked(running, evolution)
    form = aiohttp.FormData()
    form.add_field("number", TO)
    form.add_field("file", tone_wav, filename="a.wav", content_type="audio/wav")
    encoded = b64encode(tone_wav).decode()
    asked: list[dict[str, Any]] = [
        {"json": {"number": TO, "audio": f"{files}/hello.wav", "encoding": True}}, {"json": {"number": TO, "audio": encoded}},
        {"json": {"number": TO, "audio": f"data:audio/wav;base64,{encoded}"}}, {"data": form}]
    for how in asked:
        answer = await evolution("POST", "/message/sendWhatsAppAudio/main", **how)
        assert answer.status == 201, answer.body
        note = running.links.sent[-1].message
        assert isinstance(note, PTT)
        audio = answer.body["message"]["audioMessage"]
        assert (answer.body["messageType"], audio["ptt"], audio["seconds"]) == ("audioMessage", True, 2)
        assert (audio["mimetype"], audio["fileLength"]) == ("audio/ogg; codecs=opus", str(len(note.ogg)))
        assert b64decode(audio["waveform"]) == note.waveform


async def test_media_of_every_type(running: Running, evolution: Client, files: str, picture_png: bytes) -> None:
    await linked(running, evolution)
    for body, kind, name in (
        ({"mediatype": "image", "media": f"{files}/picture.png", "caption": "Look"}, Image, "imageMessage"),
        ({"mediatype": "image", "media": b64encode(picture_png).decode()}, Image, "imageMessage"),
        ({"mediatype": "document", "media": f"{files}/words.txt", "fileName": "w.txt", "mimetype": "text/plain"}, Document,
         "documentMessage"),
        ({"mediatype": "audio", "media": f"{files}/hello.wav"}, Audio, "audioMessage"),
    ):
        answer = await evolution.post("/message/sendMedia/main", {"number": TO, **body})
        assert (answer.status, answer.body["messageType"]) == (201, name), answer.body
        assert isinstance(running.links.sent[-1].message, kind)
        assert set(answer.body["message"]) == {name}
    assert running.links.sent[0].message.caption == "Look"
    assert running.links.sent[2].message.filename == "w.txt"


async def test_errors_are_in_its_envelope(running: Running, evolution: Client, files: str) -> None:
    await linked(running, evolution)
    running.links.not_on_whatsapp.add("237699999999")
    for path, body, status in (
        ("/message/sendText/absent", {"number": TO, "text": "1"}, 404),
        ("/message/sendText/main", {"number": "1", "text": "1"}, 400),
        ("/message/sendText/main", {"number": TO}, 400),
        ("/message/sendText/main", {"number": TO, "text": ""}, 400),
        ("/message/sendText/main", {"number": "237699999999", "text": "1"}, 400),
        ("/message/sendWhatsAppAudio/main", {"number": TO, "audio": f"{files}/words.txt"}, 400),
        ("/message/sendWhatsAppAudio/main", {"number": TO}, 400),
        ("/message/sendMedia/main", {"number": TO, "mediatype": "sculpture", "media": "x"}, 400),
        ("/instance/create", {"instanceName": "main"}, 403),
        ("/instance/create", {"instanceName": "b", "integration": "WHATSAPP-BUSINESS"}, 501),
        ("/instance/create", {"instanceName": "b", "webhook": {"url": "https://example.com", "byEvents": True}}, 501),
        ("/instance/create", {"instanceName": "b", "webhook": {"url": "https://example.com", "events": ["CALL"]}}, 501),
        ("/instance/create", {"instanceName": "b", "webhook": {"url": "ftp://x"}}, 400),
    ):
        answer = await evolution.post(path, body)
        assert (answer.status, answer.body["status"]) == (status, status), answer.body
        assert set(answer.body) == {"status", "error", "response"}
        assert set(answer.body["response"]) == {"message"}
    assert [live.session.session_key for live in running.gateway.sessions.live()] == ["main"]
    absent = await evolution.post("/message/sendText/main", {"number": "237699999999", "text": "1"})
    assert absent.body["response"]["message"] == [
        {"jid": "237699999999@s.whatsapp.net", "exists": False, "number": "237699999999"}]
    assert "does not exist" in (await evolution.get("/instance/connectionState/absent")).body["response"]["message"][0]
    wrong = await evolution.get("/instance/connectionState/main", headers={"apikey": "wrong"})
    assert (wrong.status, wrong.body) == (401, {"status": 401, "error": "Unauthorized", "response": {"message": "Unauthorized"}})


async def test_where_whatsapp_gives_no_code_no_instance_stays(running: Running, evolution: Client) -> None:
    running.links.on_pair = lambda pairing: pairing.end("no_network_pairing", "connection refused")
    assert (await evolution.post("/instance/create", {"instanceName": "main", "qrcode": True})).status == 502
    assert running.gateway.sessions.live() == []


async def test_deleting_an_instance_logs_it_out(running: Running, evolution: Client) -> None:
    await linked(running, evolution)
    other = await running.another_client()
    assert (await Evolution(other.http, other.url, other.key).delete("/instance/delete/main")).status == 404
    gone = await evolution.delete("/instance/delete/main")
    assert (gone.status, gone.body) == (200, {"status": "SUCCESS", "error": False, "response": {"message": "Instance deleted"}})
    assert "logout" in [told.call for told in running.links.told]
    assert (await evolution.delete("/instance/delete/main")).status == 404


async def test_instances_are_listed_restarted_and_logged_out(running: Running, evolution: Client) -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr()
    assert (await evolution.get("/instance/fetchInstances")).body == []
    await linked(running, evolution)
    live = running.gateway.sessions.live()[0]
    (row,) = (await evolution.get("/instance/fetchInstances?instanceName=main")).body
    assert (row["name"], row["id"], row["connectionStatus"]) == ("main", live.session.id, "open")
    assert (row["ownerJid"], row["number"], row["token"]) == ("15550001111@s.whatsapp.net", "15550001111", evolution.key)
    absent = await evolution.get("/instance/fetchInstances?instanceName=absent")
    assert (absent.status, absent.body["response"]["message"]) == (404, ['Instance "absent" not found'])
    again = await evolution.post("/instance/restart/main")
    assert (again.status, again.body) == (200, {"instance": {"instanceName": "main", "state": "connecting"}})
    await until(live.usable.is_set)
    out = await evolution.delete("/instance/logout/main")
    assert (out.status, out.body) == (200, {"status": "SUCCESS", "error": False, "response": {"message": "Instance logged out"}})
    assert "logout" in [told.call for told in running.links.told]
    assert (await evolution.get("/instance/connectionState/main")).body["instance"]["state"] == "close"
    assert (await evolution.delete("/instance/logout/main")).status == 400
    assert (await evolution.get("/instance/connect/main")).body["base64"].startswith("data:image/png;base64,")


async def test_calls_it_does_not_offer_name_what_to_use(running: Running, evolution: Client) -> None:
    for method, path, use in (("POST", "/message/sendPoll/main", "/api/v1/messages"),
                              ("POST", "/evolution/chat/findMessages/main", "/api/v1/messages")):
        answer = await evolution(method, path, {} if method == "POST" else None)
        assert (answer.status, answer.body["error"]) == (501, "Not Implemented")
        assert use in answer.body["response"]["message"][0]


async def test_a_reaction_says_what_it_is_of(running: Running, evolution: Client) -> None:
    live = await linked(running, evolution)
    await arrive(running, running.links.live(live.session.id), received("A1"))
    key = {"remoteJid": f"{TO}@s.whatsapp.net", "fromMe": False, "id": "A1"}
    reacted = await evolution.post("/message/sendReaction/main", {"key": key, "reaction": "🚀"})
    assert (reacted.status, reacted.body["messageType"], reacted.body["status"]) == (201, "reactionMessage", "SERVER_ACK")
    assert reacted.body["message"] == {"reactionMessage": {"key": key, "text": "🚀"}}
    sent = running.links.sent[-1].message
    assert isinstance(sent, Reaction)
    assert (sent.emoji, sent.target.id) == ("🚀", "A1")
    absent = await evolution.post("/message/sendReaction/main", {"key": {"id": "Z9"}, "reaction": "🚀"})
    assert (absent.status, "key.id" in absent.body["response"]["message"][0]) == (400, True)


async def test_what_came_is_marked_as_read(running: Running, evolution: Client) -> None:
    live = await linked(running, evolution)
    for id_ in ("A1", "A2"):
        await arrive(running, running.links.live(live.session.id), received(id_))
    keys = [{"remoteJid": f"{TO}@s.whatsapp.net", "fromMe": False, "id": id_} for id_ in ("A1", "A2")]
    read = await evolution.post("/chat/markMessageAsRead/main", {"readMessages": keys})
    assert (read.status, read.body) == (201, {"message": "Read messages", "read": "success"})

    def told() -> list[str]:
        return [key.id for one in running.links.told if one.call == "mark_read" for key in one.arguments[0]]

    assert told() == ["A1", "A2"]
    absent = await evolution.post("/chat/markMessageAsRead/main", {"readMessages": [*keys, keys[0] | {"id": "Z9"}]})
    assert (absent.status, told()) == (400, ["A1", "A2"])


async def test_numbers_are_looked_up_as_they_were_written(running: Running, evolution: Client) -> None:
    await linked(running, evolution)
    running.links.not_on_whatsapp = {"237612345600"}
    found = await evolution.post("/chat/whatsappNumbers/main", {"numbers": ["+237 612 345 678", "237612345600"]})
    assert (found.status, found.body) == (200, [
        {"jid": "237612345678@s.whatsapp.net", "exists": True, "number": "+237 612 345 678"},
        {"jid": "237612345600@s.whatsapp.net", "exists": False, "number": "237612345600"}])


async def test_what_is_being_written_is_shown_for_a_while(running: Running, evolution: Client) -> None:
    await linked(running, evolution)
    shown = await evolution.post("/chat/sendPresence/main", {"number": TO, "presence": "recording", "delay": 10})
    assert (shown.status, shown.body) == (201, {"presence": "recording"})
    states = [told.arguments[1] for told in running.links.told if told.call == "chat_presence"]
    assert states == ["recording", "paused"]
    assert (await evolution.post("/chat/sendPresence/main", {"number": TO, "presence": "paused", "delay": 10})).status == 201
    for path, body in (("/chat/sendPresence/main", {"number": TO, "presence": "available", "delay": 0}),
                       ("/instance/setPresence/main", {"presence": "unavailable"})):
        told = await evolution.post(path, body)
        assert (told.status, told.body) == (201, {"presence": body["presence"]})
        assert running.links.told[-1].arguments == (body["presence"] == "available",)


async def test_its_calls_below_chat_are_answered_beside_wuzapis(running: Running, evolution: Client) -> None:
    for path in ("/chat/whatsappNumbers/main", "/chat/sendPresence/main", "/chat/markMessageAsRead/main"):
        absent = await evolution.post(path, {"number": TO, "presence": "paused", "numbers": [TO], "readMessages": [{"id": "A1"}]})
        assert (absent.status, absent.body["response"]["message"]) == (404, ['The "main" instance does not exist'])
    wuzapi = await running.client.post("/chat/send/text", {}, headers={"Authorization": "", "Token": evolution.key})
    assert wuzapi.body["error"] == "Missing Phone in Payload"


async def test_a_file_that_arrived_is_had_by_its_messages_key(running: Running, evolution: Client) -> None:
    live = await linked(running, evolution)
    link = running.links.live(live.session.id)
    link.stored.media["/v/file"] = b"OggS"
    await arrive(running, link, received("V1", kind="ptt", text="", media=media(), seconds=3))
    await arrive(running, link, received("T1"))
    path, key = "/chat/getBase64FromMediaMessage/main", {"remoteJid": f"{TO}@s.whatsapp.net", "fromMe": False, "id": "V1"}
    got = await evolution.post(path, {"message": {"key": key}, "convertToMp4": False})
    assert (got.status, got.body["mediaType"], got.body["mimetype"]) == (201, "audioMessage", "audio/ogg")
    assert got.body["fileName"].startswith("V1.")
    assert (b64decode(got.body["base64"]), got.body["size"]["fileLength"], got.body["caption"]) == (b"OggS", "4", None)
    for id_, status in (("T1", 404), ("Z9", 404)):
        assert (await evolution.post(path, {"message": {"key": {"id": id_}}})).status == status
    assert (await evolution.post(path, {"message": {"key": key}, "convertToMp4": True})).status == 501
