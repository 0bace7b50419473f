"""What WhatsApp does to a session, and what the session says of it."""

from __future__ import annotations

import pytest

from tests.e2e.world import World, world

pytestmark = pytest.mark.e2e
FRIEND = "15550002222"


async def _refused(world: World, **fault: object) -> str:
    """The next login is refused like that; the session's id."""
    id_ = await world.link()
    await world.whatsapp("POST", "/faults", {"kind": "login", **fault})
    await world.whatsapp("POST", "/devices/15550001111/drop", {})
    return id_


async def test_a_temporary_ban_says_when_it_ends_and_is_waited_out(world: World) -> None:
    id_ = await _refused(world, reason=402, code=101, expire=3, times=1)
    banned = await world.until_session(id_, "banned")
    assert banned["until"] is not None and banned["action"] == "wait"
    await world.until_session(id_, "connected", seconds=40)


@pytest.mark.parametrize(("fault", "status", "reason"), [
    ({"reason": 403}, "logged_out", "main_device_gone"),
    ({"reason": 405}, "failed", "client_outdated"),
    ({"reason": 409}, "failed", "bad_user_agent"),
])
async def test_a_refusal_that_does_not_end_by_itself_is_told(world: World, fault: dict, status: str, reason: str) -> None:
    id_ = await _refused(world, **fault)
    body = await world.until_session(id_, reason)
    assert body["status"] == status
    assert body["action"] != "none"


async def test_a_refusal_for_now_is_tried_again(world: World) -> None:
    id_ = await _refused(world, reason=503, times=1)
    await world.until_session(id_, "disconnected")
    await world.until_session(id_, "connected")


async def test_another_program_with_the_same_keys_ends_the_session(world: World) -> None:
    id_ = await world.link()
    await world.whatsapp("POST", "/devices/15550001111/replace", {})
    assert (await world.until_session(id_, "stream_replaced"))["action"] == "stop_the_other_program"
    assert (await world.client.post(f"/api/v1/sessions/{id_}/connect")).status == 200
    await world.until_session(id_, "connected")


async def test_an_account_that_asks_for_a_passkey_fails_with_advice(world: World) -> None:
    await world.whatsapp("POST", "/faults", {"kind": "pairing", "mode": "passkey"})
    await world.whatsapp("POST", "/phones", {"number": "15550001111"})
    made = (await world.client.post("/api/v1/sessions", {"session_key": "p"})).body
    async with world.client.stream(f"/api/v1/sessions/{made['id']}/stream") as events:
        async for _, event, data in events:
            if event == "qr":
                async with world.http.post(f"{world.control}/scan", json={"qr": data["code"], "phone": "15550001111"}):
                    pass
            elif event == "error":
                assert data["code"] == "passkey_required"
                break


async def test_a_first_dial_without_network_keeps_trying(tmp_path) -> None:
    async with world(tmp_path) as it:
        await it.start()
        id_ = await it.link()
        await it.stop()
        await it.whatsapp("POST", "/faults", {"kind": "connect", "mode": "refuse", "times": 3})
        await it.start()
        waiting = await it.until_session(id_, "disconnected")
        assert waiting["reason"] in ("starting", "no_network")
        await it.until_session(id_, "connected", seconds=40)


async def test_disconnecting_by_request_lasts_over_a_restart_until_it_is_connected_again(world: World) -> None:
    id_ = await world.link()
    stopped = (await world.client.post(f"/api/v1/sessions/{id_}/disconnect")).body
    assert (stopped["status"], stopped["reason"]) == ("disconnected", "stopped")
    answer = await world.client.post("/api/v1/messages", {"to": FRIEND, "message": "x"})
    assert answer.status == 409
    await world.stop()
    await world.start()
    assert (await world.client.get(f"/api/v1/sessions/{id_}")).body["reason"] == "stopped"
    await world.client.post(f"/api/v1/sessions/{id_}/connect")
    await world.until_session(id_, "connected")
    await world.until_message(await world.send(FRIEND, "back"), "delivered")


async def test_the_owners_phone_keeps_notifying_because_our_presence_is_unavailable(world: World) -> None:
    await world.link()
    await world.until_message(await world.send(FRIEND, "x"), "delivered")
    state = await world.whatsapp("GET", "/state")
    assert [device["available"] for device in state["devices"]] != [True]


async def test_a_restricted_account_holds_new_chats_and_says_until_when(world: World) -> None:
    id_ = await world.link()
    await world.until_message(await world.send(FRIEND, "an old chat"), "delivered")
    await world.whatsapp("POST", "/faults", {"kind": "ack", "mode": "error", "code": 463, "times": 1})
    held = await world.send("15550004444", "a new chat")
    async with world.client.stream(f"/api/v1/sessions/{id_}/stream", Last_Event_ID="0") as events:
        async for _, event, data in events:
            if event == "warning" and data["code"] == "restricted":
                break
    assert (await world.client.get(f"/api/v1/sessions/{id_}")).body["restricted_until"] is not None
    await world.until_message(await world.send(FRIEND, "the old chat goes on"), "delivered")
    assert (await world.client.get(f"/api/v1/messages/{held}")).body["status"] == "pending"


async def test_a_number_that_is_not_on_whatsapp_fails_before_a_chat_is_opened(world: World) -> None:
    await world.link()
    failed = await world.until_message(await world.send("15550000000", "x"), "failed")
    assert failed["error"]["code"] == "not_on_whatsapp"


async def test_missing_acks_are_told_and_the_session_is_not_called_connected(tmp_path) -> None:
    async with world(tmp_path, WAGATEWAY_SENDING_NO_ACK_SECONDS="1") as it:
        await it.start()
        id_ = await it.link()
        await it.until_message(await it.send(FRIEND, "first"), "delivered")
        await it.whatsapp("POST", "/faults", {"kind": "ack", "mode": "delay", "seconds": 4, "times": 1})
        slow = await it.send(FRIEND, "slow")
        await it.until_session(id_, "acks_missing")
        other = await it.client.get("/api/v1/messages?limit=1")
        assert other.body["messages"][0]["id"] == slow
        await it.until_message(slow, "delivered")
        await it.until_session(id_, "connected")
