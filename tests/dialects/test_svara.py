"""Svara's contract: fields, types, formats, status codes and headers, over HTTP."""

from __future__ import annotations

import base64
import io
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.config import Audio, Plan
from gateway.events import LoggedOut, Receipt
from gateway.jid import JID
from gateway.messages import PTT
from tests.link.fake_link import FakeLinks
from tests.running import FAST, Answer, Running, run_gateway, until

UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
SESSION, MESSAGE = re.compile(r"ws_[0-9a-f]{32}"), re.compile(r"msg_[0-9a-f]{32}")
TO = "237612345678"


def check_rate_headers(answer: Answer) -> None:
    limit, remaining = int(answer.headers["X-RateLimit-Limit"]), int(answer.headers["X-RateLimit-Remaining"])
    assert 0 <= remaining <= limit
    assert time.time() <= int(answer.headers["X-RateLimit-Reset"]) <= time.time() + 62


async def new_session(running: Running) -> Answer:
    running.links.on_pair = lambda pairing: pairing.show_qr()
    return await running.client.post("/v1/whatsapp/sessions")


async def linked(running: Running) -> str:
    """A session made and scanned the way a Svara client does it."""
    made = await new_session(running)
    id_: str = made.body["session_id"]
    live = running.gateway.sessions.live()[-1]
    running.links.pairing(live.session.id).scan("441234567890")
    await until(live.usable.is_set)
    return id_


def ask(session: str, url: str, **more: Any) -> dict[str, Any]:
    return {"platform": "whatsapp", "recipient": TO, "audio_url": url, "session": {"session_id": session}, **more}


async def test_a_new_session_answers_with_its_first_qr(running: Running) -> None:
    answer = await new_session(running)
    assert answer.status == 201
    assert set(answer.body) == {"session_id", "qr_code", "status"}
    assert SESSION.fullmatch(answer.body["session_id"])
    assert answer.body["status"] == "qr_pending"
    head, _, picture = answer.body["qr_code"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(picture, validate=True)[:8] == b"\x89PNG\r\n\x1a\n"
    check_rate_headers(answer)


async def test_where_whatsapp_cannot_be_reached_it_is_a_platform_error_and_no_session_stays(running: Running) -> None:
    running.links.on_pair = lambda pairing: pairing.end("no_network_pairing", "connection refused")
    answer = await running.client.post("/v1/whatsapp/sessions")
    assert (answer.status, answer.body["error"]["code"]) == (502, "platform_error")
    check_rate_headers(answer)
    assert (await running.client.get("/v1/whatsapp/sessions")).body == {"sessions": []}


async def test_a_session_tells_its_status_and_its_number_without_plus(running: Running) -> None:
    id_ = await linked(running)
    one = await running.client.get(f"/v1/whatsapp/sessions/{id_}")
    assert one.status == 200
    assert set(one.body) == {"session_id", "status", "phone_number", "created_at", "last_connected_at"}
    assert one.body["session_id"] == id_
    assert (one.body["status"], one.body["phone_number"]) == ("connected", "441234567890")
    assert UTC.fullmatch(one.body["created_at"])
    assert UTC.fullmatch(one.body["last_connected_at"])
    listed = await running.client.get("/v1/whatsapp/sessions")
    assert listed.body == {"sessions": [{"id": id_, **{name: one.body[name] for name in (
        "phone_number", "status", "created_at", "last_connected_at")}}]}
    check_rate_headers(listed)


async def test_before_the_scan_there_is_no_number_and_when_the_codes_run_out_it_is_qr_expired(running: Running) -> None:
    id_ = (await new_session(running)).body["session_id"]
    one = (await running.client.get(f"/v1/whatsapp/sessions/{id_}")).body
    assert (one["status"], one["phone_number"], one["last_connected_at"]) == ("qr_pending", None, None)
    live = running.gateway.sessions.live()[0]
    running.links.pairing(live.session.id).end("qr_expired")
    await until(lambda: live.state.reason.code == "qr_expired")
    assert (await running.client.get(f"/v1/whatsapp/sessions/{id_}")).body["status"] == "qr_expired"


async def test_a_session_unlinked_from_the_phone_is_disconnected(running: Running) -> None:
    id_ = await linked(running)
    live = running.gateway.sessions.live()[0]
    running.links.live(live.session.id).emit(LoggedOut(False, "logged_out"))
    await until(lambda: live.state.reason.code == "logged_out")
    assert (await running.client.get(f"/v1/whatsapp/sessions/{id_}")).body["status"] == "disconnected"


async def test_deleting_a_session_unlinks_it_on_whatsapp_too(running: Running) -> None:
    id_ = await linked(running)
    answer = await running.client.delete(f"/v1/whatsapp/sessions/{id_}")
    assert (answer.status, answer.body) == (200, {"deleted": True})
    assert "logout" in [told.call for told in running.links.told]
    again = await running.client.delete(f"/v1/whatsapp/sessions/{id_}")
    assert (again.status, again.body["error"]["code"]) == (404, "not_found")


async def test_a_voice_note_is_queued_sent_and_delivered(running: Running, files: str) -> None:
    id_ = await linked(running)
    answer = await running.client.post("/v1/send", ask(id_, f"{files}/hello.wav", duration=2, caption="Hello", unknown=1))
    assert answer.status == 202
    assert set(answer.body) == {"id", "status", "platform", "recipient", "created_at"}
    assert MESSAGE.fullmatch(answer.body["id"])
    assert UTC.fullmatch(answer.body["created_at"])
    assert (answer.body["status"], answer.body["platform"], answer.body["recipient"]) == ("queued", "whatsapp", TO)
    check_rate_headers(answer)
    await until(lambda: running.links.sent)
    note = running.links.sent[0].message
    assert isinstance(note, PTT)
    assert (note.ogg[:4], note.seconds, len(note.waveform)) == (b"OggS", 2, 64)

    path = f"/v1/status/{answer.body['id']}"
    for kind, status in ((None, "sent"), ("delivered", "delivered"), ("played", "delivered")):
        if kind:
            jid = JID.parse(f"{TO}@s.whatsapp.net")
            running.links.links[-1].emit(Receipt(kind, jid, jid, (running.links.sent[0].id,), int(time.time())))  # type: ignore[arg-type]
        await with_status(running, path, status)
    told = (await running.client.get(path)).body
    assert set(told) == {"id", "status", "platform", "recipient", "created_at", "delivered_at", "error"}
    assert {name: told[name] for name in ("id", "platform", "recipient", "created_at")} == {
        name: answer.body[name] for name in ("id", "platform", "recipient", "created_at")}
    assert UTC.fullmatch(told["delivered_at"])
    assert told["error"] is None


async def with_status(running: Running, path: str, status: str) -> dict[str, Any]:
    while True:
        body: dict[str, Any] = (await running.client.get(path)).body
        if body["status"] == status:
            return body


async def test_what_is_no_audio_fails_and_the_status_says_why(running: Running, files: str) -> None:
    id_ = await linked(running)
    answer = await running.client.post("/v1/send", ask(id_, f"{files}/words.txt"))
    assert answer.status == 202
    failed = await with_status(running, f"/v1/status/{answer.body['id']}", "failed")
    assert failed["error"]["code"] == "not_audio"
    assert failed["error"]["message"]
    assert failed["delivered_at"] is None


async def test_other_platforms_are_refused_naming_what_is_supported(running: Running) -> None:
    answer = await running.client.post("/v1/send", {"platform": "linkedin"})
    assert (answer.status, answer.body["error"]["code"]) == (422, "unsupported_platform")
    assert answer.body["error"]["details"]["supported"] == ["whatsapp"]
    assert "whatsapp" in answer.body["error"]["message"]


async def test_wrong_requests_are_told_in_svaras_words(running: Running) -> None:
    client = running.client
    id_ = await linked(running)
    good = ask(id_, "https://example.com/a.mp3")
    for body, status, code in (
        ({**good, "recipient": "12"}, 422, "unprocessable_entity"),
        ({**good, "audio_url": "ftp://x"}, 422, "unprocessable_entity"),
        ({"platform": "whatsapp", "recipient": TO}, 422, "unprocessable_entity"),
        ({**good, "session": {"session_id": "ws_" + "0" * 32}}, 404, "not_found"),
    ):
        answer = await client.post("/v1/send", body)
        assert (answer.status, answer.body["error"]["code"]) == (status, code), answer.body
        assert set(answer.body) == {"error"}
        assert set(answer.body["error"]) == {"code", "message", "details"}
        check_rate_headers(answer)
    broken = await client("POST", "/v1/send", data=b"{", headers={"Content-Type": "application/json"})
    assert (broken.status, broken.body["error"]["code"]) == (400, "bad_request")


async def test_a_body_that_is_too_large_is_told_so(tmp_path: Path) -> None:
    async with run_gateway(tmp_path / "state", replace(FAST, audio=Audio(max_bytes=1000))) as running:
        large = await running.client("POST", "/v1/send", data=io.BytesIO(b" " * 1_100_000),
                                     headers={"Content-Type": "application/json"})
        assert (large.status, large.body["error"]["code"]) == (413, "payload_too_large")


async def test_without_a_key_or_with_a_wrong_one_it_is_unauthorized(running: Running) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wag_000000000000_x"}):
        answer = await running.client.get("/v1/usage", headers=headers)
        assert (answer.status, answer.body["error"]["code"]) == (401, "unauthorized")
        check_rate_headers(answer)


async def test_another_keys_sessions_and_messages_are_not_found(running: Running, files: str) -> None:
    id_ = await linked(running)
    message = (await running.client.post("/v1/send", ask(id_, f"{files}/hello.wav"))).body["id"]
    other = await running.another_client()
    for path in (f"/v1/whatsapp/sessions/{id_}", f"/v1/status/{message}"):
        assert (await other.get(path)).status == 404
    assert (await other.get("/v1/whatsapp/sessions")).body == {"sessions": []}
    assert (await other.post("/v1/send", ask(id_, f"{files}/hello.wav"))).status == 404


async def test_usage_tells_counts_and_limits(running: Running, files: str) -> None:
    id_ = await linked(running)
    before = (await running.client.get("/v1/usage")).body
    assert set(before) == {"plan", "period_start", "period_end", "usage", "limits"}
    assert before["usage"] == {"total_sent": 0, "total_delivered": 0, "total_failed": 0, "by_platform": {"whatsapp": 0}}
    assert before["limits"]["monthly_quota"] == before["limits"]["remaining"] == before["limits"]["rate_limit_per_minute"]
    assert before["period_start"][7:] == "-01T00:00:00Z"
    message = (await running.client.post("/v1/send", ask(id_, f"{files}/hello.wav"))).body["id"]
    await with_status(running, f"/v1/status/{message}", "sent")
    after = (await running.client.get("/v1/usage")).body
    assert after["usage"]["total_sent"] == after["usage"]["by_platform"]["whatsapp"] == 1
    assert after["limits"]["remaining"] == before["limits"]["remaining"] - 1


async def test_the_months_quota_is_payment_required_and_the_minutes_rate_is_told(tmp_path: Path, files: str) -> None:
    plans = {**FAST.plans, "small": Plan(messages_per_month=1, requests_per_minute=6)}
    async with run_gateway(tmp_path / "state", replace(FAST, plans=plans), FakeLinks()) as running:
        running.client = await running.another_client(plan="small")
        id_ = await linked(running)                                                                             # 1
        assert (await running.client.post("/v1/send", ask(id_, f"{files}/hello.wav"))).status == 202            # 2
        spent = await running.client.post("/v1/send", ask(id_, f"{files}/hello.wav"))                           # 3
        assert (spent.status, spent.body["error"]["code"]) == (402, "payment_required")
        assert (spent.headers["X-RateLimit-Limit"], spent.headers["X-RateLimit-Remaining"]) == ("6", "3")
        usage = (await running.client.get("/v1/usage")).body                                                    # 4
        assert usage["limits"] == {"monthly_quota": 1, "remaining": 0, "rate_limit_per_minute": 6}
        for _ in range(2):
            assert (await running.client.get("/v1/usage")).status == 200
        refused = await running.client.get("/v1/usage")
        assert (refused.status, refused.body["error"]["code"]) == (429, "rate_limited")
        details = refused.body["error"]["details"]
        assert (details["limit"], details["window"]) == (6, "minute")
        assert details["retry_after"] == int(refused.headers["Retry-After"]) <= 60
        check_rate_headers(refused)


async def test_what_is_ignored_may_be_anything_and_what_is_missing_is_named(running: Running, files: str) -> None:
    id_ = await linked(running)
    asked = ask(id_, f"{files}/hello.wav")
    assert (await running.client.post("/v1/send", {**asked, "duration": "4.2 s", "caption": ["x"]})).status == 202
    del asked["audio_url"]
    answer = await running.client.post("/v1/send", asked)
    assert (answer.status, answer.body["error"]["message"]) == (422, "audio_url: this field is missing")


async def test_the_same_calls_are_answered_under_its_own_prefix(running: Running) -> None:
    id_ = await linked(running)
    answer = await running.client.get(f"/svara/v1/whatsapp/sessions/{id_}")
    assert (answer.status, answer.body["session_id"]) == (200, id_)
    check_rate_headers(answer)


async def test_calls_it_does_not_know_and_wrong_methods_are_told_in_the_envelope(running: Running) -> None:
    absent = await running.client.post("/v1/webhooks", {"url": "https://example.com"})
    assert (absent.status, absent.body["error"]["code"]) == (501, "not_supported")
    assert "/api/v1/webhooks" in absent.body["error"]["details"]["use"]
    assert (await running.client.get("/v1/nothing/of/the/kind")).status == 501
    wrong = await running.client.get("/v1/send")
    assert (wrong.status, wrong.headers["Allow"]) == (405, "OPTIONS, POST")
    check_rate_headers(wrong)
