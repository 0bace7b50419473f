"""GOWA's contract, for the calls that are offered."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.dialects import words
from gateway.events import Disconnected
from gateway.messages import PTT, Audio, Document, Image, Reaction, Revoke, Text
from tests.api.test_inbox import arrive, received
from tests.running import FAST, Answer, Client, Running, run_gateway, until

PHONE = "237612345678@s.whatsapp.net"


class Gowa(Client):
    """Its key as the password, and nowhere else."""

    async def __call__(self, method: str, path: str, json_body: Any = None, **more: Any) -> Answer:
        basic = b64encode(f"someone:{self.key}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}"} | more.pop("headers", {})
        return await super().__call__(method, f"/gowa{path}", json_body, headers=headers, **more)


@pytest.fixture
def gowa(running: Running) -> Client:
    return Gowa(running.client.http, running.client.url, running.client.key)


async def linked(running: Running, gowa: Client) -> Any:
    running.links.on_pair = lambda pairing: pairing.show_qr("2@the-code")
    assert (await gowa.get("/app/login")).status == 200
    live = running.gateway.sessions.live()[-1]
    running.links.pairing(live.session.id).scan("15550001111")
    await until(live.usable.is_set)
    return live


def good(answer: Answer) -> Any:
    assert (answer.status, answer.body["status"], answer.body["code"]) == (200, 200, "SUCCESS"), answer.body
    return answer.body["results"]


async def test_the_first_login_makes_a_device_whose_picture_is_scanned(running: Running, gowa: Client) -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr("2@the-code")
    results = good(await gowa.get("/app/login"))
    assert (results["device_id"], 0 < results["qr_duration"] <= 60) == ("default", True)
    link = results["qr_link"].removeprefix(f"{running.client.url}/gowa")
    assert link.startswith("/statics/images/qrcode/")
    shown = await gowa.get(link)
    assert (shown.status, shown.headers["Content-Type"], shown.body[:4]) == (200, "image/png", b"\x89PNG")
    assert (await gowa.get(link, headers={"Authorization": ""})).status == 401
    assert good(await gowa.get("/app/status")) == {
        "is_connected": False, "is_logged_in": False, "device_id": "default", "jid": ""}
    live = running.gateway.sessions.live()[0]
    running.links.pairing(live.session.id).scan("15550001111")
    await until(live.usable.is_set)
    assert good(await gowa.get("/app/status")) == {
        "is_connected": True, "is_logged_in": True, "device_id": "default", "jid": "15550001111@s.whatsapp.net"}
    assert good(await gowa.get("/app/devices")) == [{"name": "Owner", "device": "default", "jid": "15550001111@s.whatsapp.net"}]
    again = await gowa.get("/app/login")
    assert (again.status, again.body["code"]) == (400, "ALREADY_LOGGED_IN")
    assert (await gowa.get(link)).body["code"] == "NOT_FOUND"


async def test_devices_are_made_named_and_removed(running: Running, gowa: Client) -> None:
    running.links.on_pair = lambda pairing: pairing.show_code() if pairing.phone else pairing.show_qr()
    made = good(await gowa.post("/devices", {"device_id": "shop"}))
    assert (made["id"], made["state"], made["jid"]) == ("shop", "disconnected", "")
    other = good(await gowa.post("/devices", {}))
    assert [one["id"] for one in good(await gowa.get("/devices"))] == ["shop", other["id"]]
    unnamed = await gowa.get("/app/status")
    assert (unnamed.status, unnamed.body["code"]) == (400, "DEVICE_ID_REQUIRED")
    absent = await gowa.get("/app/status", headers={"X-Device-Id": "nobody"})
    assert (absent.status, absent.body["code"], absent.body["results"]) == (404, "DEVICE_NOT_FOUND", None)
    assert good(await gowa.get("/devices/shop/login"))["device_id"] == "shop"
    assert good(await gowa.get("/app/login?device_id=shop"))["device_id"] == "shop"
    code = good(await gowa.post("/devices/shop/login/code?phone=15550001111"))
    assert (code["device_id"], len(code["pair_code"])) == ("shop", 9)
    live = next(live for live in running.gateway.sessions.live() if live.session.session_key == "shop")
    running.links.pairing(live.session.id).scan("15550001111")
    await until(live.usable.is_set)
    for path, more in (("/devices/shop/status", {}), ("/app/status", {"headers": {"X-Device-Id": "shop"}})):
        assert good(await gowa.get(path, **more))["is_connected"]
    assert good(await gowa.get("/devices/shop"))["state"] == "logged_in"
    assert good(await gowa.delete(f"/devices/{other['id']}")) is None
    assert (await gowa.get(f"/devices/{other['id']}")).status == 404
    for hook, status, code in (({"webhook_events": "call.offer"}, 501, "NOT_SUPPORTED"),
                               ({"webhook_secret": "secret"}, 400, "VALIDATION_ERROR"),
                               ({"webhook_insecure_skip_verify": True}, 501, "NOT_SUPPORTED")):
        hooked = await gowa.post("/devices", {"device_id": "x", "webhook_url": "https://example.com", **hook})
        assert (hooked.status, hooked.body["code"]) == (status, code), hooked.body
    assert [one["id"] for one in good(await gowa.get("/devices"))] == ["shop"]


async def test_reconnecting_comes_back_and_logging_out_keeps_the_slot(running: Running, gowa: Client) -> None:
    live = await linked(running, gowa)
    for method, path in (("GET", "/app/reconnect"), ("POST", "/devices/default/reconnect")):
        good(await gowa(method, path))
        await until(live.usable.is_set)
    good(await gowa.get("/app/logout"))
    assert "logout" in [told.call for told in running.links.told]
    assert good(await gowa.get("/devices/default"))["state"] == "disconnected"
    good(await gowa.post("/devices/default/logout"))                                # twice is as good as once
    refused = await gowa.get("/app/reconnect")
    assert (refused.status, refused.body["code"]) == (409, "INVALID_WA_CLI")


async def test_a_text_and_its_answer(running: Running, gowa: Client) -> None:
    live = await linked(running, gowa)
    await arrive(running, running.links.live(live.session.id), received("A1"))
    results = good(await gowa.post("/send/message", {"phone": PHONE, "message": "Hello", "reply_message_id": "A1"}))
    sent = running.links.sent[0].message
    assert isinstance(sent, Text)
    assert (sent.text, sent.quoted.key.id if sent.quoted else None) == ("Hello", "A1")
    assert results["message_id"] == (await running.client.get("/api/v1/messages")).body["messages"][0]["whatsapp_id"]
    assert results["status"].startswith(f"Message sent to {PHONE} (server timestamp: 20")


async def test_a_sound_is_a_voice_note_where_that_is_asked(running: Running, gowa: Client, note_ogg: bytes, files: str) -> None:
    await linked(running, gowa)
    for ptt, kind in (("true", PTT), ("false", Audio)):
        form = aiohttp.FormData({"phone": PHONE, "ptt": ptt})
        form.add_field("audio", note_ogg, filename="note.ogg")
        good(await gowa("POST", "/send/audio", data=form))
        assert isinstance(running.links.sent[-1].message, kind)
    good(await gowa.post("/send/audio", {"phone": PHONE, "audio_url": f"{files}/hello.wav", "ptt": True}))
    sent = running.links.sent[-1].message
    assert isinstance(sent, PTT)
    assert (sent.seconds, len(sent.waveform)) == (2, 64)
    nothing = await gowa.post("/send/audio", {"phone": PHONE})
    assert (nothing.status, nothing.body["code"], "audio_url" in nothing.body["message"]) == (400, "VALIDATION_ERROR", True)


async def test_pictures_and_documents_keep_caption_and_name(running: Running, gowa: Client, picture_png: bytes, files: str) -> None:
    await linked(running, gowa)
    form = aiohttp.FormData({"phone": PHONE, "caption": "Look", "compress": "true", "view_once": "false"})
    form.add_field("image", picture_png, filename="a.png")
    good(await gowa("POST", "/send/image", data=form))
    image = running.links.sent[-1].message
    assert isinstance(image, Image)
    assert image.caption == "Look"
    form = aiohttp.FormData({"phone": PHONE, "caption": "Read"})
    form.add_field("file", b"words", filename="words.txt")
    good(await gowa("POST", "/send/file", data=form))
    document = running.links.sent[-1].message
    assert isinstance(document, Document)
    assert (document.filename, document.caption) == ("words.txt", "Read")
    good(await gowa.post("/send/file", {"phone": PHONE, "file_url": f"{files}/words.txt"}))
    refused = await gowa.post("/send/video", {"phone": PHONE, "video_url": f"{files}/words.txt"})
    assert (refused.status, "video" in refused.body["message"]) == (400, True)


@pytest.mark.parametrize(("path", "field", "value"), [
    ("image", "view_once", True), ("message", "duration", 86400), ("message", "mentions", ["@everyone"])])
async def test_what_would_silently_not_be_done_is_refused(running: Running, gowa: Client, path: str, field: str, value: Any) -> None:
    await linked(running, gowa)
    refused = await gowa.post(f"/send/{path}", {"phone": PHONE, "message": "x", "image_url": "data:,x", field: value})
    assert (refused.status, refused.body["code"], field in refused.body["message"]) == (501, "NOT_SUPPORTED", True)
    assert running.links.sent == []


async def test_reactions_reading_and_taking_back(running: Running, gowa: Client) -> None:
    live = await linked(running, gowa)
    await arrive(running, running.links.live(live.session.id), received("A1"))
    for emoji in ("🙏", ""):
        good(await gowa.post("/message/A1/reaction", {"phone": PHONE, "emoji": emoji}))
        sent = running.links.sent[-1].message
        assert isinstance(sent, Reaction)
        assert (sent.emoji, sent.target.id) == (emoji, "A1")
    assert good(await gowa.post("/message/A1/read", {"phone": PHONE})) == {"message_id": "A1", "status": "Mark as read success A1"}
    assert [told.arguments[0][0].id for told in running.links.told if told.call == "mark_read"] == ["A1"]
    own = good(await gowa.post("/send/message", {"phone": PHONE, "message": "Hello"}))["message_id"]
    assert good(await gowa.post(f"/message/{own}/revoke", {"phone": PHONE}))["message_id"] == own
    await until(lambda: isinstance(running.links.sent[-1].message, Revoke))
    absent = await gowa.post("/message/Z9/revoke", {"phone": PHONE})
    assert (absent.status, absent.body["code"]) == (404, "NOT_FOUND")


async def test_presence_and_who_is_there(running: Running, gowa: Client) -> None:
    await linked(running, gowa)
    for action, state in (("start", "composing"), ("stop", "paused")):
        results = good(await gowa.post("/send/chat-presence", {"phone": PHONE, "action": action}))
        assert results["message_id"] == f"chat-presence-{action}"
        assert running.links.told[-1].arguments[1] == state
    assert good(await gowa.post("/send/presence", {"type": "available"}))["message_id"] == "presence"
    assert (running.links.told[-1].call, running.links.told[-1].arguments) == ("set_presence", (True,))
    running.links.not_on_whatsapp = {"237612345600"}
    assert good(await gowa.get("/user/check?phone=237612345678")) == {"is_on_whatsapp": True}
    assert good(await gowa.get("/user/check?phone=237612345600")) == {"is_on_whatsapp": False}
    nobody = await gowa.post("/send/message", {"phone": "237612345600", "message": "x"})
    assert (nobody.status, nobody.body["code"]) == (400, "INVALID_JID")


async def test_what_waits_says_so_and_a_lost_connection_too(running: Running, gowa: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "ACK_SECONDS", 0.1)
    live = await linked(running, gowa)
    link = running.links.live(live.session.id)
    held = link.hold_next_send()
    results = good(await gowa.post("/send/message", {"phone": PHONE, "message": "x"}))
    assert "has not taken it yet" in results["status"]
    assert (await running.client.get(f"/api/v1/messages/{results['message_id']}")).body["status"] == "pending"
    held.confirm()
    link.emit(Disconnected())
    await until(lambda: not live.usable.is_set())
    away = await gowa.get("/user/check?phone=237612345678")
    assert (away.status, away.body["code"]) == (409, "INVALID_WA_CLI")


async def test_the_key_is_the_password_or_stands_alone(running: Running, gowa: Client) -> None:
    for text, status in ((f"x:{gowa.key}", 200), (f"{gowa.key}:", 200), (gowa.key, 200), ("x:y", 401), ("", 401)):
        answer = await gowa.get("/devices", headers={"Authorization": f"Basic {b64encode(text.encode()).decode()}"})
        assert answer.status == status
    for header in (f"Bearer {gowa.key}", "Basic !!", "Basic"):
        refused = await gowa.get("/devices", headers={"Authorization": header})
        assert (refused.status, refused.body["code"], refused.headers["WWW-Authenticate"]) == (401, "AUTHENTICATION_ERROR", "Basic")


async def test_another_site_cannot_use_what_a_browser_remembers(running: Running, gowa: Client) -> None:
    live = await linked(running, gowa)
    for site, status in (("cross-site", 401), ("same-site", 401), ("same-origin", 200), ("none", 200)):
        assert (await gowa.get("/app/status", headers={"Sec-Fetch-Site": site})).status == status
    assert (await gowa.get("/app/logout", headers={"Sec-Fetch-Site": "cross-site"})).status == 401
    assert live.usable.is_set()


async def test_behind_a_proxy_links_lead_where_others_reach_it(tmp_path: Path) -> None:
    settings = replace(FAST, server=replace(FAST.server, public_url="https://wa.example.com/w/"))
    async with run_gateway(tmp_path / "state", settings) as running:
        running.links.on_pair = lambda pairing: pairing.show_qr()
        results = good(await Gowa(running.client.http, running.client.url, running.client.key).get("/app/login"))
        assert results["qr_link"].startswith("https://wa.example.com/w/gowa/statics/")
