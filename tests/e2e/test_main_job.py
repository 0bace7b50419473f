"""A device links over QR, and a voice note arrives with its waveform: real daemon, real neonize, our WhatsApp."""

from __future__ import annotations

import asyncio
import hashlib

import aiohttp
import pytest

from tests.e2e.world import World

pytestmark = pytest.mark.e2e
FRIEND = "15550002222"


async def _voice_note(world: World, hello: bytes, to: str = FRIEND) -> dict:
    form = aiohttp.FormData()
    form.add_field("to", f"+{to}")
    form.add_field("file", hello, filename="hello.mp3")
    answer = await world.client("POST", "/api/v1/messages/audio", data=form)
    assert answer.status == 202, answer.body
    return answer.body


async def test_a_device_links_and_a_voice_note_arrives_with_its_waveform(world: World, hello: bytes) -> None:
    await world.link()
    await world.whatsapp("POST", "/contacts", {"number": FRIEND, "deliver": 0.1, "read": 0.1, "play": 0.1})
    sent = await _voice_note(world, hello)
    played = await world.until_message(sent["id"], "played")
    assert None not in (played["sent_at"], played["delivered_at"], played["read_at"], played["played_at"])
    record, = await world.arrived(FRIEND)
    ogg = await world.media(record["id"])
    assert (record["kind"], record["ptt"], record["mimetype"]) == ("voice", True, "audio/ogg; codecs=opus")
    assert (record["seconds"], record["waveform"], record["size"]) == (sent["seconds"], sent["waveform"], sent["size"])
    assert hashlib.sha256(ogg).hexdigest() == record["sha256"]
    assert ogg[:4] == b"OggS" and b"OpusHead" in ogg[:64]
    assert record["bot_node"] is False and record["copies"] == 1


async def test_a_restart_needs_no_new_code_and_an_old_queue_is_finished(world: World) -> None:
    id_ = await world.link()
    assert await world.stop() == 0
    await world.start()
    await world.until_session(id_, "connected")
    message = await world.send(FRIEND, "after the restart")
    await world.until_message(message, "delivered")
    record, = await world.arrived(FRIEND)
    assert record["text"] == "after the restart"


async def test_linking_by_a_code_typed_on_the_phone(world: World) -> None:
    await world.whatsapp("POST", "/phones", {"number": "15550003333", "name": "Typist"})
    made = (await world.client.post("/api/v1/sessions", {"session_key": "typed", "pairing_phone": "+15550003333"})).body
    async with asyncio.timeout(30), world.client.stream(f"/api/v1/sessions/{made['id']}/stream") as events:
        async for _, event, data in events:
            if event == "pairing_code":
                assert len(data["code"].replace("-", "")) == 8
                await world.whatsapp("POST", "/enter-code", {"code": data["code"], "phone": "15550003333", "wait": 10})
            elif event == "connected":
                assert data["phone_number"] == "+15550003333"
                break
            assert event != "error", data


async def test_a_log_out_on_the_phone_is_told_and_the_session_links_again(world: World) -> None:
    id_ = await world.link()
    await world.whatsapp("POST", "/devices/15550001111/logout", {})
    assert (await world.until_session(id_, "logged_out"))["action"] == "relink"
    answer = await world.client.post("/api/v1/messages", {"to": FRIEND, "message": "x"})
    assert (answer.status, answer.body["error"]["code"]) == (409, "session_not_connected")
    code = (await world.client.get(f"/api/v1/sessions/{id_}/qr")).body["code"]
    await world.whatsapp("POST", "/scan", {"qr": code, "phone": "15550001111"})
    await world.until_session(id_, "connected")
    await world.until_message(await world.send(FRIEND, "linked again"), "delivered")


async def test_a_log_out_while_the_daemon_was_away_is_told_at_its_start(world: World) -> None:
    id_ = await world.link()
    await world.stop()
    await world.whatsapp("POST", "/devices/15550001111/logout", {})
    await world.start()
    await world.until_session(id_, "logged_out")


async def test_a_dropped_connection_comes_back_and_loses_nothing(world: World) -> None:
    id_ = await world.link()
    await world.whatsapp("POST", "/devices/15550001111/drop", {})
    messages = [await world.send(FRIEND, f"number {i}") for i in range(5)]
    for message in messages:
        await world.until_message(message, "delivered")
    assert [r["text"] for r in await world.arrived(FRIEND, 5)] == [f"number {i}" for i in range(5)]
    await world.until_session(id_, "connected")


async def test_a_kill_between_the_answer_and_the_acknowledgement_is_settled_by_the_receipt(world: World) -> None:
    id_ = await world.link()
    await world.until_message(await world.send(FRIEND, "first"), "delivered")
    await world.whatsapp("POST", "/faults", {"kind": "ack", "mode": "hold", "times": 1})
    await world.whatsapp("POST", "/faults", {"kind": "receipt", "seconds": 2, "type": "delivered"})
    message = await world.send(FRIEND, "in flight")
    await world.until_message(message, "sending")
    await world.arrived(FRIEND, 2)
    await world.kill()
    await world.whatsapp("DELETE", "/faults")
    await world.start()
    await world.until_session(id_, "connected")
    settled = await world.until_message(message, "delivered", "failed")
    assert settled["status"] == "delivered"
    assert len(await world.arrived(FRIEND, 2)) == 2


async def test_a_kill_before_the_hand_over_sends_once(world: World) -> None:
    id_ = await world.link()
    await world.whatsapp("POST", "/faults", {"kind": "connect", "mode": "refuse"})
    await world.whatsapp("POST", "/devices/15550001111/drop", {})
    await world.until_session(id_, "disconnected")
    message = await world.send(FRIEND, "waits")
    await world.kill()
    await world.whatsapp("DELETE", "/faults")
    await world.start()
    await world.until_message(message, "delivered")
    record, = await world.arrived(FRIEND)
    assert record["copies"] == 1


async def test_deleting_a_session_unlinks_it_and_leaves_no_file(world: World) -> None:
    id_ = await world.link()
    assert list((world.state / "sessions").glob(f"{id_}*"))
    answer = await world.client.delete(f"/api/v1/sessions/{id_}")
    assert answer.body == {"deleted": True, "id": id_, "note": ""}
    assert not list((world.state / "sessions").glob(f"{id_}*"))
    assert (await world.client.get(f"/api/v1/sessions/{id_}")).status == 404
    devices = (await world.whatsapp("GET", "/state"))["devices"]
    assert all(device["removed"] for device in devices)
