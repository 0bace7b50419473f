"""Each dialect with the real daemon and our WhatsApp: a client of the other service links a phone, by the picture it was given,
and sends a voice note that the recipient's phone decrypts."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64decode, b64encode
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.camera import qr_code_in
from tests.e2e.world import World
from tests.running import Answer

pytestmark = pytest.mark.e2e
FRIEND = "15550002222"


@pytest.fixture
async def sound(hello: bytes) -> Any:
    """The URL of an MP3."""
    async def get(request: web.Request) -> web.Response:
        return web.Response(body=hello)

    app = web.Application()
    app.router.add_get("/hello.mp3", get)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("/hello.mp3"))


def code_in(picture: str) -> str:
    """What a phone's camera reads in the PNG of a data: URI."""
    head, _, data = picture.partition(",")
    assert head == "data:image/png;base64"
    return qr_code_in(b64decode(data))


async def scan(world: World, code: str, phone: str) -> None:
    await world.whatsapp("POST", "/phones", {"number": phone, "name": "Owner"})
    await world.whatsapp("POST", "/scan", {"qr": code, "phone": phone})


async def ask(world: World, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """With the key where that service has it."""
    named = {name.replace("_", "-"): value.replace("KEY", world.client.key) for name, value in headers.items()}
    answer = await world.client(method, path, body, headers={"Authorization": ""} | named)
    assert answer.status < 300, answer.body
    return answer


async def until(world: World, path: str, name: str, wanted: str, **headers: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            body: dict[str, Any] = (await ask(world, "GET", path, **headers)).body
            if body[name] == wanted:
                return body
            await asyncio.sleep(0.05)


async def check_voice_note(world: World, count: int) -> dict[str, Any]:
    record = (await world.arrived(FRIEND, count))[-1]
    ogg = await world.media(record["id"])
    assert (record["kind"], record["ptt"], record["mimetype"]) == ("voice", True, "audio/ogg; codecs=opus")
    assert hashlib.sha256(ogg).hexdigest() == record["sha256"]
    assert (ogg[:4], len(record["waveform"])) == (b"OggS", 64)
    return record


async def test_svara_and_wawp(world: World, sound: str) -> None:
    made = (await ask(world, "POST", "/v1/whatsapp/sessions", Authorization="Bearer KEY")).body
    await scan(world, code_in(made["qr_code"]), "15550001111")
    path = f"/v1/whatsapp/sessions/{made['session_id']}"
    one = await until(world, path, "status", "connected", Authorization="Bearer KEY")
    assert one["phone_number"] == "15550001111"
    sent = (await ask(world, "POST", "/v1/send", {
        "platform": "whatsapp", "recipient": FRIEND, "audio_url": sound, "session": {"session_id": made["session_id"]}},
        Authorization="Bearer KEY")).body
    await until(world, f"/v1/status/{sent['id']}", "status", "delivered", Authorization="Bearer KEY")
    await check_voice_note(world, 1)

    instance = made["session_id"].removeprefix("ws_")
    answer = (await ask(world, "POST", "/v2/send/voice", {
        "instance_id": f"{instance[:8]}-{instance[8:12]}-{instance[12:16]}-{instance[16:20]}-{instance[20:]}",
        "access_token": world.client.key, "chatId": f"{FRIEND}@c.us", "file[url]": sound, "convert": "true"})).body
    record = await check_voice_note(world, 2)
    assert answer["ack"] >= 1
    assert b64decode(answer["_data"]["filehash"]).hex() == record["sha256"]
    assert world.client.key not in world.log.read_text()
    assert (await ask(world, "DELETE", path, Authorization="Bearer KEY")).body == {"deleted": True}


async def test_sendapi_and_its_fresh_qr(world: World) -> None:
    sessions = "/sendapi/v1/whatsapp/sessions"
    made = (await ask(world, "POST", sessions, {"name": "Support"}, Authorization="Bearer KEY")).body
    fresh = (await ask(world, "GET", f"{sessions}/{made['id']}/qr", Authorization="Bearer KEY")).body
    assert code_in(fresh["qr_code"]) != code_in(made["qr_code"])
    await world.whatsapp("POST", "/phones", {"number": "15550001111", "name": "Owner"})
    body = {"qr": code_in(made["qr_code"]), "phone": "15550001111"}
    async with world.http.post(f"{world.control}/scan", json=body) as refused:
        assert refused.status >= 400, await refused.text()         # the previous one no longer links
    await scan(world, code_in(fresh["qr_code"]), "15550001111")
    one = await until(world, f"{sessions}/{made['id']}", "status", "connected", Authorization="Bearer KEY")
    assert one["phone_number"] == "+15550001111"


async def test_waha_wuzapi_and_evolution(world: World, sound: str, hello: bytes) -> None:
    await ask(world, "POST", "/api/sessions", {"name": "default"}, X_Api_Key="KEY")
    code = (await ask(world, "GET", "/api/default/auth/qr?format=raw", X_Api_Key="KEY")).body["value"]
    await scan(world, code, "15550001111")
    await until(world, "/api/sessions/default", "status", "WORKING", X_Api_Key="KEY")
    message = (await ask(world, "POST", "/api/sendVoice", {
        "session": "default", "chatId": f"{FRIEND}@c.us", "file": {"mimetype": "audio/mpeg", "url": sound}}, X_Api_Key="KEY")).body
    assert message["id"].startswith(f"true_{FRIEND}@c.us_3EB0")
    await check_voice_note(world, 1)

    audio = f"data:audio/mpeg;base64,{b64encode(hello).decode()}"
    data = (await ask(world, "POST", "/chat/send/audio", {"Phone": FRIEND, "Audio": audio}, Token="KEY")).body["data"]
    assert data["Details"] == "Sent"
    await check_voice_note(world, 2)

    made = (await ask(world, "POST", "/instance/create", {"instanceName": "second", "qrcode": True}, apikey="KEY")).body
    assert code_in(made["qrcode"]["base64"]) == made["qrcode"]["code"]
    await scan(world, made["qrcode"]["code"], "15550003333")
    async with asyncio.timeout(20):
        while (await ask(world, "GET", "/instance/connectionState/second", apikey="KEY")).body["instance"]["state"] != "open":
            await asyncio.sleep(0.05)
    sent = (await ask(world, "POST", "/message/sendWhatsAppAudio/second", {"number": FRIEND, "audio": sound}, apikey="KEY")).body
    assert (sent["messageType"], sent["key"]["remoteJid"]) == ("audioMessage", f"{FRIEND}@s.whatsapp.net")
    await check_voice_note(world, 3)


async def test_gowa_by_the_picture_its_link_leads_to(world: World, hello: bytes) -> None:
    basic = {"Authorization": f"Basic {b64encode(f'me:{world.client.key}'.encode()).decode()}"}

    async def gowa(method: str, path: str, **more: Any) -> Any:
        answer = await world.client(method, path.removeprefix(world.client.url), headers=basic, **more)
        assert answer.status == 200, answer.body
        return answer.body

    link = (await gowa("GET", "/gowa/app/login"))["results"]["qr_link"]
    await scan(world, qr_code_in(await gowa("GET", link)), "15550001111")
    async with asyncio.timeout(20):
        while not (await gowa("GET", "/gowa/app/status"))["results"]["is_connected"]:
            await asyncio.sleep(0.05)
    form = aiohttp.FormData({"phone": f"{FRIEND}@s.whatsapp.net", "ptt": "true"})
    form.add_field("audio", hello, filename="hello.mp3")
    results = (await gowa("POST", "/gowa/send/audio", data=form))["results"]
    assert results["message_id"].startswith("3EB0")
    await check_voice_note(world, 1)


async def test_a_bot_written_for_waha_hears_reads_types_and_answers(world: World) -> None:
    """What such a bot does with every message, with nothing of it changed but the address and the key."""
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def bot(request: web.Request) -> web.Response:
        body = await request.json()
        if body["event"] == "message":
            heard.put_nowait(body)
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", bot)
    async with TestServer(app, host="127.0.0.1") as server:
        await ask(world, "POST", "/api/sessions", {"name": "bot", "config": {"webhooks": [
            {"url": str(server.make_url("/hook")), "events": ["message", "session.status"]}]}}, X_Api_Key="KEY")
        code = (await ask(world, "GET", "/api/bot/auth/qr?format=raw", X_Api_Key="KEY")).body["value"]
        await scan(world, code, "15550001111")
        await until(world, "/api/sessions/bot", "status", "WORKING", X_Api_Key="KEY")
        await world.whatsapp("POST", f"/contacts/{FRIEND}/send", {"to": "15550001111", "text": "Are you open today?"})
        message = await asyncio.wait_for(heard.get(), 20)
    payload = message["payload"]
    assert (message["session"], payload["from"], payload["body"]) == ("bot", f"{FRIEND}@c.us", "Are you open today?")
    chat = {"session": message["session"], "chatId": payload["from"]}
    for call, more in (("sendSeen", {"messageId": payload["id"]}), ("startTyping", {}), ("stopTyping", {})):
        await ask(world, "POST", f"/api/{call}", {**chat, **more}, X_Api_Key="KEY")
    await ask(world, "POST", "/api/sendText", {**chat, "text": "Until eight.", "reply_to": payload["id"]}, X_Api_Key="KEY")
    record = (await world.arrived(FRIEND, 1))[-1]
    assert record["text"] == "Until eight."
    assert [state["state"] for state in record["chat_states"]][:2] == ["composing", "paused"]
