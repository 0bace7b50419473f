"""Messages of every kind, both ways, as the other phone sees them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import math
import struct
import wave
from fractions import Fraction
from typing import Any

import aiohttp
import av
import pytest
from PIL import Image

from gateway.audio.voice_note import make_voice_note
from tests.e2e.world import World

pytestmark = pytest.mark.e2e
FRIEND = "15550002222"


def picture(format: str, frames: int = 1) -> bytes:
    out = io.BytesIO()
    images = [Image.new("RGB", (320, 200), (40 * i, 90, 160)) for i in range(frames)]
    more: dict[str, Any] = {"save_all": True, "append_images": images[1:], "duration": 100} if frames > 1 else {}
    images[0].save(out, format, **more)
    return out.getvalue()


def film() -> bytes:
    """Two seconds of H.264 in MP4."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for i in range(20):
            frame = av.VideoFrame.from_image(Image.new("RGB", (160, 120), (10 * i, 80, 80)))
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


async def send_file(world: World, kind: str, data: bytes, **fields: str) -> dict[str, Any]:
    """Sent, delivered, and as the friend's phone decrypted it."""
    form = aiohttp.FormData()
    for name, value in {"to": f"+{FRIEND}", **fields}.items():
        form.add_field(name, value)
    form.add_field("file", data, filename="file.bin", content_type="application/octet-stream")
    if kind == "audio":
        form.add_field("ptt", "false")
        answer = await world.client("POST", "/api/v1/messages/audio", data=form)
    else:
        form.add_field("mediaType", kind)
        answer = await world.client("POST", "/api/v1/messages/media", data=form)
    assert answer.status == 202, answer.body
    body = await world.until_message(answer.body["id"], "delivered")
    record: dict[str, Any] = await world.whatsapp("GET", f"/messages/{body['whatsapp_id']}")
    record["content"] = await world.media(record["id"])
    assert hashlib.sha256(record["content"]).hexdigest() == record["sha256"]
    return record


async def test_files_of_every_kind_arrive_as_what_they_are(world: World, hello: bytes) -> None:
    """Told by content: every upload says it is application/octet-stream."""
    await world.link()
    for format in ("JPEG", "PNG", "WEBP"):
        data = picture(format)
        record = await send_file(world, "image", data, caption="Look")
        assert (record["kind"], record["mimetype"], record["width"], record["height"]) == (
            "image", f"image/{format.lower()}", 320, 200)
        assert record["content"] == data and record["caption"] == "Look" and 0 < record["thumbnail_size"] < 32_768
    moving = await send_file(world, "image", picture("GIF", frames=5))
    assert (moving["kind"], moving["mimetype"]) == ("gif", "video/mp4")
    data = film()
    record = await send_file(world, "video", data, caption="Play")
    assert (record["kind"], record["mimetype"], record["seconds"]) == ("video", "video/mp4", 2)
    assert record["content"] == data and record["thumbnail_size"] > 0
    record = await send_file(world, "document", b"%PDF-1.4\n%%EOF\n", filename="Offer.pdf")
    assert (record["kind"], record["mimetype"], record["filename"]) == ("document", "application/pdf", "Offer.pdf")
    record = await send_file(world, "audio", hello)
    assert (record["kind"], record["ptt"], record["mimetype"]) == ("audio", False, "audio/mpeg")
    assert record["content"] == hello
    assert all(not r["bot_node"] for r in await world.arrived(FRIEND, 7))


async def test_texts_carry_no_preview_and_replies_their_question(world: World) -> None:
    session = await world.link()
    text = await world.send(FRIEND, "See https://example.com now")
    sent = await world.until_message(text, "delivered")
    record = await world.whatsapp("GET", f"/messages/{sent['whatsapp_id']}")
    assert record["text"] == "See https://example.com now" and not record.get("preview")
    asked = await world.whatsapp("POST", f"/contacts/{FRIEND}/send", {"text": "How much?"})
    question = await inbound(world, session, asked["id"])
    answer = await world.send(FRIEND, "Ten.", reply_to=question["id"])
    sent = await world.until_message(answer, "delivered")
    record = await world.whatsapp("GET", f"/messages/{sent['whatsapp_id']}")
    assert (record["text"], record["quoted_id"], record["quoted"]["text"]) == ("Ten.", asked["id"], "How much?")


async def inbound(world: World, session: str, wa_id: str) -> dict[str, Any]:
    """The message that arrived under this id."""
    async with asyncio.timeout(20):
        while True:
            for message in (await world.client.get(f"/api/v1/messages?direction=in&session={session}")).body["messages"]:
                if message["whatsapp_id"] == wa_id:
                    return message
            await asyncio.sleep(0.05)


async def test_what_friends_write_is_told_and_its_files_can_be_had(world: World) -> None:
    session = await world.link()
    await world.until_message(await world.send(FRIEND, "hello"), "delivered")
    note = make_voice_note(_tone())
    voice = await world.whatsapp("POST", f"/contacts/{FRIEND}/send", {"voice": {
        "data": base64.b64encode(note.ogg).decode(), "seconds": note.seconds, "waveform": list(note.waveform)}})
    arrived = await inbound(world, session, voice["id"])
    assert (arrived["type"], arrived["ptt"], arrived["seconds"]) == ("audio", True, note.seconds)
    assert arrived["from"] == f"{FRIEND}@s.whatsapp.net" and arrived["from_lid"].endswith("@lid")
    media = await world.client.get(f"/api/v1/messages/{arrived['id']}/media")
    assert (media.status, media.body) == (200, note.ogg)
    assert media.headers["X-Content-Type-Options"] == "nosniff"
    for file in world.state.rglob("*"):
        assert not file.is_file() or note.ogg[200:400] not in file.read_bytes(), f"{file} holds it in the clear"

    assert (await world.client.post(f"/api/v1/messages/{arrived['id']}/read")).status == 200
    assert (await world.client.post(f"/api/v1/messages/{arrived['id']}/reaction", {"emoji": "👍"})).status == 202
    reactions = [r for r in await world.arrived(FRIEND, 2) if r["kind"] == "reaction"]
    assert [(r["reaction"], r["target"]) for r in reactions] == [("👍", voice["id"])]

    text = await world.whatsapp("POST", f"/contacts/{FRIEND}/send", {"text": "first"})
    await inbound(world, session, text["id"])
    edit = await world.whatsapp("POST", f"/contacts/{FRIEND}/send", {"edit": {"id": text["id"], "text": "second"}})
    assert (await inbound(world, session, edit["id"]))["type"] == "edit"
    revoke = await world.whatsapp("POST", f"/contacts/{FRIEND}/send", {"revoke": {"id": text["id"]}})
    assert (await inbound(world, session, revoke["id"]))["target_whatsapp_id"] == text["id"]
    broken = await world.whatsapp("POST", f"/contacts/{FRIEND}/send", {"text": "twice", "corrupt": True})
    assert (await inbound(world, session, broken["id"]))["type"] == "text"


def _tone() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as w:
        w.setnchannels(1)
        w.setsampwidth(2)
        w.setframerate(16_000)
        w.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(i / 7))) for i in range(32_000)))
    return out.getvalue()


async def test_a_group_gets_a_voice_note(world: World, hello: bytes) -> None:
    await world.link()
    group = await world.whatsapp("POST", "/groups", {"subject": "Shop", "members": ["15550001111", FRIEND, "15550002223"]})
    form = aiohttp.FormData()
    form.add_field("to", group["jid"])
    form.add_field("file", hello, filename="x")
    answer = await world.client("POST", "/api/v1/messages/audio", data=form)
    assert answer.status == 202, answer.body
    await world.until_message(answer.body["id"], "sent", "delivered")
    record, = await world.arrived(group["jid"])
    assert record["kind"] == "voice" and record["waveform"] == answer.body["waveform"]


async def test_a_sent_message_can_be_taken_back(world: World) -> None:
    await world.link()
    id_ = await world.send(FRIEND, "oops")
    sent = await world.until_message(id_, "delivered")
    assert (await world.client.delete(f"/api/v1/messages/{id_}")).status in (200, 202)
    records = await world.arrived(FRIEND, 2)
    assert [(r["kind"], r.get("target")) for r in records if r["kind"] == "revoke"] == [("revoke", sent["whatsapp_id"])]


async def test_what_is_being_done_is_shown_and_numbers_are_looked_up(world: World) -> None:
    session = await world.link()
    path = f"/api/v1/sessions/{session}"
    assert (await world.client.post(f"{path}/presence", {"to": FRIEND, "state": "recording"})).status == 200
    await world.send(FRIEND, "listen")
    record = (await world.arrived(FRIEND, 1))[-1]
    assert ("composing", "audio") in [(state["state"], state["media"]) for state in record["chat_states"]]
    found = await world.client.post(f"{path}/numbers", {"numbers": [FRIEND, "15550000000"]})
    assert [(one["number"], one["exists"]) for one in found.body["numbers"]] == [(f"+{FRIEND}", True), ("+15550000000", False)]
    assert (await world.client.patch(path, {"settings": {"presence": "available"}})).status == 200
    async with asyncio.timeout(10):
        while [device["available"] for device in (await world.whatsapp("GET", "/state"))["devices"]] != [True]:
            await asyncio.sleep(0.05)
