"""SendAPI.co's contract: fields, types, formats and status codes, over HTTP."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Dialects
from gateway.events import Disconnected, StreamReplaced
from tests.running import FAST, Answer, Running, run_gateway, until

UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
ID = re.compile(r"sess_[0-9a-f]{32}")
SESSIONS = "/sendapi/v1/whatsapp/sessions"


class Codes:
    """Every attempt to link shows a QR of its own."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, pairing: Any) -> None:
        self.shown.append(f"2@attempt-{len(self.shown)}")
        pairing.show_qr(self.shown[-1])


async def create(running: Running, name: str = "Support", **more: Any) -> Answer:
    if running.links.on_pair is None:
        running.links.on_pair = Codes()
    return await running.client.post(SESSIONS, {"name": name, **more})


async def scan(running: Running, number: str = "447700900000") -> Any:
    live = running.gateway.sessions.live()[-1]
    running.links.pairing(live.session.id).scan(number)
    await until(live.usable.is_set)
    return live


async def test_a_new_session_is_pending_with_a_qr_and_its_end(running: Running) -> None:
    answer = await create(running, webhook_url="https://example.com/hook", unknown=True)
    assert answer.status == 201
    assert set(answer.body) == {"id", "name", "status", "qr_code", "qr_expires_at", "created_at"}
    assert ID.fullmatch(answer.body["id"])
    assert (answer.body["name"], answer.body["status"]) == ("Support", "pending")
    assert answer.body["qr_code"].startswith("data:image/png;base64,")
    assert UTC.fullmatch(answer.body["qr_expires_at"])
    assert UTC.fullmatch(answer.body["created_at"])
    assert answer.body["qr_expires_at"] > answer.body["created_at"]
    assert [hook.url for hook in await running.gateway.webhooks.all(running.key)] == ["https://example.com/hook"]


async def test_a_name_is_required_and_a_webhook_must_be_a_url(running: Running) -> None:
    for body in ({}, {"name": ""}, {"name": "x", "webhook_url": "not a url"}):
        answer = await running.client.post(SESSIONS, body)
        assert (answer.status, answer.body["error"]["code"]) == (422, "unprocessable_entity")
    assert running.gateway.sessions.live() == []


async def test_one_session_tells_number_with_plus_and_what_was_sent(running: Running) -> None:
    id_ = (await create(running)).body["id"]
    before = (await running.client.get(f"{SESSIONS}/{id_}")).body
    assert before == {"id": id_, "name": "Support", "status": "pending", "phone_number": None, "last_seen_at": None,
                      "message_count": 0, "created_at": before["created_at"]}
    await scan(running)
    sent = await running.client.post("/api/v1/messages", {"to": "+237612345678", "message": "Hello!"})
    await running.message(sent.body["id"], "sent")
    one = (await running.client.get(f"{SESSIONS}/{id_}")).body
    assert (one["status"], one["phone_number"], one["message_count"]) == ("connected", "+447700900000", 1)
    assert UTC.fullmatch(one["last_seen_at"])


async def test_the_list_has_pages(running: Running) -> None:
    ids = [(await create(running, f"s{i}")).body["id"] for i in range(3)]
    whole = await running.client.get(SESSIONS)
    assert whole.status == 200
    assert whole.body["meta"] == {"total": 3, "page": 1, "per_page": 25}
    assert [one["id"] for one in whole.body["data"]] == ids
    assert set(whole.body["data"][0]) == {"id", "name", "status", "phone_number", "last_seen_at", "message_count", "created_at"}
    second = (await running.client.get(f"{SESSIONS}?page=2&per_page=2")).body
    assert ([one["id"] for one in second["data"]], second["meta"]) == (ids[2:], {"total": 3, "page": 2, "per_page": 2})
    assert (await running.client.get(f"{SESSIONS}?page=9")).body["data"] == []
    assert (await running.client.get(f"{SESSIONS}?page=0")).status == 422


async def test_a_fresh_qr_ends_the_attempt_that_showed_the_old_one(running: Running) -> None:
    made = (await create(running)).body
    first = running.links.pairings[-1]
    fresh = await running.client.get(f"{SESSIONS}/{made['id']}/qr")
    assert fresh.status == 200
    assert set(fresh.body) == {"qr_code", "expires_at"}
    assert UTC.fullmatch(fresh.body["expires_at"])
    assert fresh.body["qr_code"].startswith("data:image/png;base64,")
    assert fresh.body["qr_code"] != made["qr_code"]
    assert first.closed
    assert running.links.pairings[-1] is not first
    await scan(running)
    paired = await running.client.get(f"{SESSIONS}/{made['id']}/qr")
    assert (paired.status, paired.body["error"]["code"]) == (409, "already_paired")


async def test_codes_that_ran_out_are_still_pending_since_a_fresh_one_can_be_had(running: Running) -> None:
    id_ = (await create(running)).body["id"]
    live = running.gateway.sessions.live()[0]
    running.links.pairings[-1].end("qr_expired")
    await until(lambda: live.state.reason.code == "qr_expired")
    assert (await running.client.get(f"{SESSIONS}/{id_}")).body["status"] == "pending"
    assert (await running.client.get(f"{SESSIONS}/{id_}/qr")).status == 200


async def test_disconnected_comes_back_by_itself_and_failed_does_not(running: Running) -> None:
    id_ = (await create(running)).body["id"]
    live = await scan(running)
    link = running.links.live(live.session.id)
    link.emit(Disconnected())
    await until(lambda: live.state.reason.code == "connection_lost")
    assert (await running.client.get(f"{SESSIONS}/{id_}")).body["status"] == "disconnected"
    link.emit(StreamReplaced())
    await until(lambda: live.state.reason.code == "stream_replaced")
    assert (await running.client.get(f"{SESSIONS}/{id_}")).body["status"] == "failed"


async def test_deleting_answers_with_the_id_and_then_it_is_gone(running: Running) -> None:
    id_ = (await create(running)).body["id"]
    await scan(running)
    assert (await running.client.delete(f"{SESSIONS}/{id_}")).body == {"deleted": True, "id": id_}
    assert "logout" in [told.call for told in running.links.told]
    for call in (running.client.get, running.client.delete):
        gone = await call(f"{SESSIONS}/{id_}")
        assert (gone.status, gone.body["error"]["code"]) == (404, "session_not_found")


async def test_where_whatsapp_gives_no_code_nothing_stays(running: Running) -> None:
    running.links.on_pair = lambda pairing: pairing.end("no_network_pairing", "connection refused")
    assert (await create(running)).status == 502
    assert (await running.client.get(SESSIONS)).body["meta"]["total"] == 0


async def test_another_keys_session_is_not_found_and_no_key_is_unauthorized(running: Running) -> None:
    id_ = (await create(running)).body["id"]
    other = await running.another_client()
    assert (await other.get(f"{SESSIONS}/{id_}")).status == 404
    assert (await other.get(SESSIONS)).body["data"] == []
    assert (await running.client.get(SESSIONS, headers={"Authorization": ""})).status == 401


async def test_sending_names_the_native_call(running: Running) -> None:
    answer = await running.client.post("/sendapi/v1/messages", {"to": "+447700900000", "text": "Hi"})
    assert (answer.status, answer.body["error"]["code"]) == (501, "not_supported")
    assert "/api/v1/messages" in answer.body["error"]["message"]


@pytest.fixture
async def at_root(tmp_path: Path) -> AsyncIterator[Running]:
    async with run_gateway(tmp_path / "state", replace(FAST, dialects=Dialects(root="sendapi"))) as running:
        yield running


async def test_chosen_as_root_it_answers_at_v1_and_svara_only_under_its_prefix(at_root: Running) -> None:
    at_root.links.on_pair = Codes()
    made = await at_root.client.post("/v1/whatsapp/sessions", {"name": "Support"})
    assert ID.fullmatch(made.body["id"])
    assert (await at_root.client.get("/v1/whatsapp/sessions")).body["meta"]["total"] == 1
    assert [set(one) for one in (await at_root.client.get("/svara/v1/whatsapp/sessions")).body["sessions"]] == [
        {"id", "phone_number", "status", "created_at", "last_connected_at"}]
    assert (await at_root.client.get("/v1/usage")).status == 501
