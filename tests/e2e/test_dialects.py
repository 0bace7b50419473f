"""Each dialect, as its own clients speak it, down to the voice note that the recipient's phone decrypts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import cv2
import numpy as np
import pytest
from aiohttp import web

from tests.e2e.world import World

pytestmark = pytest.mark.e2e


@asynccontextmanager
async def serving(body: bytes) -> AsyncIterator[str]:
    """A URL on loopback with the file behind it."""
    async def get(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/octet-stream")

    app = web.Application()
    app.router.add_get("/hello.mp3", get)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hello.mp3"
    finally:
        await runner.cleanup()


def code_of(data_uri: str) -> str:
    """What a phone's camera reads from the picture."""
    png = base64.b64decode(data_uri.partition(",")[2])
    text, _, _ = cv2.QRCodeDetector().detectAndDecode(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR))
    return str(text)


class Caller:
    """HTTP with the dialect's own way of giving the key."""

    def __init__(self, world: World, key: str, header: str) -> None:
        self.world, self.key = world, key
        self.headers = {"Authorization": f"Bearer {key}"} if header == "Authorization" else {header: key}

    async def __call__(self, method: str, path: str, status: int, **more: Any) -> Any:
        async with self.world.http.request(method, self.world.client.url + path, headers=self.headers, **more) as response:
            assert response.status == status, f"{method} {path}: {response.status} {await response.text()}"
            return await response.json(content_type=None)


async def svara(call: Caller, url: str, to: str, scan: Callable[[str], Awaitable[None]]) -> None:
    made = await call("POST", "/v1/whatsapp/sessions", 201)
    assert made["session_id"].startswith("ws_") and made["status"] == "qr_pending"
    await scan(made["qr_code"])
    one = await call("GET", f"/v1/whatsapp/sessions/{made['session_id']}", 200)
    assert one["status"] == "connected" and one["phone_number"].isdigit()
    sent = await call("POST", "/v1/send", 202, json={"platform": "whatsapp", "recipient": to, "audio_url": url,
                                                     "session": {"session_id": made["session_id"]}})
    assert sent["status"] == "queued" and sent["id"].startswith("msg_")
    assert (await call("GET", f"/v1/status/{sent['id']}", 200))["recipient"] == to


async def sendapi(call: Caller, url: str, to: str, scan: Callable[[str], Awaitable[None]]) -> None:
    made = await call("POST", "/sendapi/v1/whatsapp/sessions", 201, json={"name": "Shop"})
    fresh = await call("GET", f"/sendapi/v1/whatsapp/sessions/{made['id']}/qr", 200)
    assert fresh["qr_code"] != made["qr_code"]
    await scan(fresh["qr_code"])
    one = await call("GET", f"/sendapi/v1/whatsapp/sessions/{made['id']}", 200)
    assert one["status"] == "connected" and one["phone_number"].startswith("+")
    await call("POST", "/api/v1/messages/audio", 202, json={"to": to, "audioUrl": url})     # SendAPI.co sends no voice notes


async def wawp(call: Caller, url: str, to: str, scan: Callable[[str], Awaitable[None]]) -> None:
    made = await call("POST", "/api/v1/sessions", 201, json={"session_key": "wawp"})        # instances are made elsewhere
    await scan((await call("GET", "/api/v1/sessions/wawp/qr", 200))["qr_code"])
    sent = await call("POST", "/v2/send/voice", 200, json={
        "instance_id": made["id"], "access_token": call.key, "chatId": f"{to}@c.us", "convert": "true", "file[url]": url,
        "file[filename]": "hello.mp3", "file[mimetype]": "audio/mpeg"})
    assert sent["type"] == "ptt" and sent["ack"] >= 1 and sent["id"]["_serialized"].startswith(f"true_{to}@c.us_")


async def waha(call: Caller, url: str, to: str, scan: Callable[[str], Awaitable[None]]) -> None:
    await call("POST", "/api/sessions", 201, json={"name": "default"})
    qr = await call("GET", "/api/default/auth/qr?format=raw", 200)
    await scan(qr["value"])
    assert (await call("GET", "/api/sessions/default", 200))["status"] == "WORKING"
    sent = await call("POST", "/api/sendVoice", 201, json={"session": "default", "chatId": f"{to}@c.us", "file": {
        "url": url, "mimetype": "audio/mpeg"}})
    assert sent["fromMe"] is True


async def evolution(call: Caller, url: str, to: str, scan: Callable[[str], Awaitable[None]]) -> None:
    await call("POST", "/instance/create", 201, json={"instanceName": "shop", "qrcode": True, "integration": "WHATSAPP-BAILEYS"})
    qr = await call("GET", "/instance/connect/shop", 200)
    await scan(qr["base64"])
    assert (await call("GET", "/instance/connectionState/shop", 200))["instance"]["state"] == "open"
    sent = await call("POST", "/message/sendWhatsAppAudio/shop", 201, json={"number": to, "audio": url})
    assert sent["key"]["fromMe"] is True


async def wuzapi(call: Caller, url: str, to: str, scan: Callable[[str], Awaitable[None]]) -> None:
    await call("POST", "/session/connect", 200, json={"Subscribe": ["Message"], "Immediate": True})
    qr = await call("GET", "/session/qr", 200)
    await scan(qr["data"]["QRCode"])
    assert (await call("GET", "/session/status", 200))["data"]["LoggedIn"] is True
    async with call.world.http.get(url) as response:
        audio = base64.b64encode(await response.read()).decode()
    sent = await call("POST", "/chat/send/audio", 200, json={"Phone": to, "Audio": f"data:audio/mpeg;base64,{audio}"})
    assert sent["success"] is True


DIALECTS = {"svara": (svara, "Authorization"), "sendapi": (sendapi, "Authorization"), "wawp": (wawp, "Authorization"),
            "waha": (waha, "X-Api-Key"), "evolution": (evolution, "apikey"), "wuzapi": (wuzapi, "Token")}


async def test_a_voice_note_through_every_dialect_is_decrypted_by_its_recipient(world: World, hello: bytes) -> None:
    async with serving(hello) as url:
        notes = set()
        for i, (name, (story, header)) in enumerate(DIALECTS.items()):
            to, phone = f"1555300000{i + 1}", f"1555300010{i + 1}"
            native = world.client.key
            call = Caller(world, await world.make_key("--scope", "full"), header)
            if name in ("wawp", "sendapi"):
                call.headers["Authorization"] = f"Bearer {call.key}"
            await world.whatsapp("POST", "/phones", {"number": phone})

            async def scan(code: str, phone: str = phone, key: str = call.key) -> None:
                text = code_of(code) if code.startswith("data:") else code
                await world.whatsapp("POST", "/scan", {"qr": text, "phone": phone})
                world.client.key = key
                session, = (await world.client.get("/api/v1/sessions")).body["sessions"]
                await world.until_session(session["id"], "connected")

            await story(call, url, to, scan)
            world.client.key = native
            record, = await world.arrived(to)
            ogg = await world.media(record["id"])
            assert (record["kind"], record["ptt"], record["mimetype"]) == ("voice", True, "audio/ogg; codecs=opus"), name
            assert record["from_number"] == phone and record["sha256"] == hashlib.sha256(ogg).hexdigest(), name
            notes.add((ogg, tuple(record["waveform"]), record["seconds"]))
        assert len(notes) == 1, "the same file is the same voice note, whoever is asked"
    assert call.key.encode() not in world.log.read_bytes()
