"""Keys, scopes, limits and usage over HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from gateway.config import Plan
from tests.running import FAST, Answer, Client, Running, run_gateway

KEYS, MESSAGES = "/api/v1/keys", "/api/v1/messages"
TEXT = {"to": "+237612345678", "message": "x"}


def of(running: Running, text: str) -> Client:
    return Client(running.client.http, running.client.url, text)


def error(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.body["error"]["code"]


async def test_a_key_is_shown_once_and_kept_as_a_hash(running: Running) -> None:
    made = await running.client.post(KEYS, {"name": "shop", "scope": "send", "plan": "pro"})
    assert made.status == 201
    assert made.headers["Cache-Control"] == "no-store"
    listed = next(key for key in (await running.client.get(KEYS)).body["keys"] if key["id"] == made.body["id"])
    assert "key" not in listed
    assert {name: listed[name] for name in ("name", "scope", "plan", "revoked_at", "replaces")} == {
        "name": "shop", "scope": "send", "plan": "pro", "revoked_at": None, "replaces": None}
    secret = made.body["key"].split("_", 2)[2]
    for file in running.state.glob("gateway.db*"):
        assert secret.encode() not in file.read_bytes()


async def test_keys_are_for_admins_alone(running: Running) -> None:
    for scope in ("read", "send", "full"):
        client = await running.another_client(scope=scope)
        for method, path in (("GET", KEYS), ("POST", KEYS), ("DELETE", f"{KEYS}/x"), ("POST", f"{KEYS}/x/rotate")):
            assert error(await client(method, path, {"name": "x"} if method == "POST" else None)) == (403, "forbidden")


async def test_a_scope_allows_what_it_says_and_no_more(running: Running) -> None:
    allowed = {"read": 0, "send": 1, "full": 2, "admin": 3}
    calls = (("GET", "/api/v1/sessions", None, 0), ("POST", MESSAGES, TEXT, 1), ("POST", "/api/v1/sessions", {}, 2),
             ("GET", KEYS, None, 3))
    for scope, rank in allowed.items():
        client = await running.another_client(scope=scope)
        for method, path, body, needed in calls:
            answer = await client(method, path, body)
            assert (answer.status == 403) is (rank < needed), (scope, method, path)
    assert error(await (await running.another_client(scope="read")).post(MESSAGES, TEXT)) == (403, "forbidden")


async def test_rotation_gives_a_second_key_for_the_same_sessions_and_no_gap(running: Running) -> None:
    session, _ = await running.linked()
    new = await running.client.post(f"{KEYS}/{running.key.id}/rotate")
    assert (new.status, new.body["replaces"]) == (201, running.key.id)
    rotated = of(running, new.body["key"])
    for client in (running.client, rotated):
        assert [s["id"] for s in (await client.get("/api/v1/sessions")).body["sessions"]] == [session]
    id_ = (await running.client.post(MESSAGES, TEXT)).body["id"]
    assert (await rotated.delete(f"{KEYS}/{running.key.id}")).body == {"deleted": True, "id": running.key.id, "note": ""}
    assert error(await running.client.get("/api/v1/usage")) == (401, "unauthorized")
    assert (await rotated.get(f"{MESSAGES}/{id_}")).status == 200
    assert error(await rotated.delete(f"{KEYS}/{running.key.id}")) == (404, "not_found")
    assert error(await rotated.post(f"{KEYS}/{running.key.id}/rotate")) == (404, "not_found")


async def test_a_key_may_share_the_sessions_of_another_within_its_own_scope(running: Running) -> None:
    session, _ = await running.linked()
    made = []
    for scope, shares in (("send", running.key.name), ("read", running.key.id), ("full", "")):
        answer = await running.client.post(KEYS, {"name": f"a {scope}", "scope": scope, "shares": shares})
        assert (answer.status, answer.body["owner"]) == (201, running.key.id if shares else answer.body["id"])
        made.append(of(running, answer.body["key"]))
    sender, reader, apart = made
    id_ = (await sender.post(MESSAGES, TEXT)).body["id"]
    assert [s["id"] for s in (await reader.get("/api/v1/sessions")).body["sessions"]] == [session]
    assert [(await client.get(f"{MESSAGES}/{id_}")).status for client in (running.client, reader, apart)] == [200, 200, 404]
    assert error(await reader.post(MESSAGES, TEXT)) == (403, "forbidden")
    assert error(await sender.delete(f"/api/v1/sessions/{session}")) == (403, "forbidden")
    assert (await running.client.delete(f"{KEYS}/{running.key.id}")).status == 200
    assert (await sender.post(MESSAGES, TEXT)).status == 202                # theirs are keys of their own


async def test_whose_sessions_are_shared_must_be_clear(running: Running) -> None:
    for _ in range(2):
        await running.client.post(KEYS, {"name": "twin"})
    gone = (await running.client.post(KEYS, {"name": "gone"})).body["id"]
    await running.client.delete(f"{KEYS}/{gone}")
    for named, part in (("twin", "several"), ("nobody", "no valid key"), (gone, "no valid key"), ("gone", "no valid key")):
        answer = await running.client.post(KEYS, {"name": "x", "shares": named})
        assert (answer.status, answer.body["error"]["details"]["field"]) == (422, "shares")
        assert part in answer.body["error"]["message"]


async def test_an_unknown_plan_or_scope_is_named(running: Running) -> None:
    for body, field in (({"name": "x", "plan": "gold"}, "plan"), ({"name": "x", "scope": "root"}, "scope"), ({"name": " "}, "name"),
                        ({}, "name"), ({"name": "x", "key": "mine"}, "key")):
        answer = await running.client.post(KEYS, body)
        assert (answer.status, answer.body["error"]["details"]["field"]) == (422, field)


PLANS = {**FAST.plans, "tiny": Plan(sessions=1, messages_per_day=2, requests_per_minute=1000), "month": Plan(messages_per_month=2),
         "slow": Plan(requests_per_minute=3)}


async def test_requests_are_limited_and_the_answers_say_how_many_are_left(tmp_path: Any) -> None:
    async with run_gateway(tmp_path / "s", replace(FAST, plans=PLANS)) as running:
        client = await running.another_client(plan="slow")
        answers = [await client.get("/api/v1/usage"), await client.post(MESSAGES, {"to": 1}), await client.get(f"{MESSAGES}/x")]
        assert [a.status for a in answers] == [200, 422, 404]
        assert [a.headers["X-RateLimit-Remaining"] for a in answers] == ["2", "1", "0"]
        assert {a.headers["X-RateLimit-Limit"] for a in answers} == {"3"}
        refused = await client.get("/api/v1/usage")
        assert error(refused) == (429, "rate_limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert refused.headers["X-RateLimit-Remaining"] == "0"
        assert refused.body["error"]["details"]["window"] == "minute"
        assert (await running.client.get("/api/v1/usage")).status == 200         # another key is not concerned
        assert "X-RateLimit-Limit" not in (await running.client.get("/api/v1/usage")).headers


async def test_a_days_messages_are_limited_also_when_they_come_at_once(tmp_path: Any) -> None:
    async with run_gateway(tmp_path / "s", replace(FAST, plans=PLANS)) as running:
        running.client.key = (await running.another_client(plan="tiny")).key
        await running.linked()
        answers = await asyncio.gather(*(running.client.post(MESSAGES, TEXT) for _ in range(6)))
        assert sorted(a.status for a in answers) == [202, 202, 429, 429, 429, 429]
        refused = next(a for a in answers if a.status == 429)
        assert error(refused) == (429, "rate_limited")
        assert 86_000 < int(refused.headers["Retry-After"]) <= 86_400
        usage = (await running.client.get("/api/v1/usage")).body
        assert usage["messages_today"] == {"used": 2, "limit": 2}
        assert usage["sessions"] == {"used": 1, "limit": 1}
        assert error(await running.client.post("/api/v1/sessions", {})) == (409, "session_limit")


async def test_a_months_messages_are_limited(tmp_path: Any) -> None:
    async with run_gateway(tmp_path / "s", replace(FAST, plans=PLANS)) as running:
        running.client.key = (await running.another_client(plan="month")).key
        await running.linked()
        assert [(await running.client.post(MESSAGES, TEXT)).status for _ in range(2)] == [202, 202]
        refused = await running.client.post(MESSAGES, TEXT)
        assert error(refused) == (429, "quota_exceeded")
        assert int(refused.headers["Retry-After"]) > 0


async def test_usage_counts_what_became_of_messages(running: Running) -> None:
    from gateway.link.base import SendError

    _, link = await running.linked()
    link.fail_next_send(SendError("send_failed", "no"))
    for status in ("failed", "sent"):
        await running.message((await running.client.post(MESSAGES, TEXT)).body["id"], status)
    usage = (await running.client.get("/api/v1/usage")).body
    assert {name: usage["messages_month"][name] for name in ("used", "sent", "delivered", "failed")} == {
        "used": 2, "sent": 1, "delivered": 0, "failed": 1}
    assert usage["plan"] == "unlimited"
    assert usage["period_start"] < usage["period_end"]
