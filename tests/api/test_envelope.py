"""What all answers have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.api.http import accepts
from gateway.config import Server
from tests.running import FAST, Answer, Running, run_gateway

together = pytest.mark.asyncio(loop_scope="module")


def code(answer: Answer) -> tuple[int, str]:
    assert set(answer.body["error"]) == {"code", "message", "details"}
    assert answer.headers["X-Request-Id"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    return answer.status, answer.body["error"]["code"]


@together
@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/messages/", "/api/v1/sessions/a/b/c",
                                  "/api/v1/sessions/%2e%2e/qr/x", "/favicon.ico", "/api/v1/sessions/a%2Fb"])
async def test_what_is_not_there_is_404_in_the_envelope(shared: Running, path: str) -> None:
    from yarl import URL

    async with shared.client.http.get(URL(shared.client.url + path, encoded=True)) as response:
        if path.startswith("/api/v1"):
            assert code(Answer(response.status, await response.json(), response.headers)) == (404, "not_found")
        assert response.status == 404


@together
@pytest.mark.parametrize(("method", "path", "allow"), [
    ("PUT", "/api/v1/sessions/x", "DELETE, GET, HEAD, OPTIONS, PATCH"),
    ("DELETE", "/api/v1/messages", "GET, HEAD, OPTIONS, POST"),
    ("POST", "/healthz", "GET, HEAD, OPTIONS"), ("TRACE", "/api/v1/usage", "GET, HEAD, OPTIONS"),
])
async def test_a_wrong_method_is_405_and_names_the_right_ones(shared: Running, method: str, path: str, allow: str) -> None:
    answer = await shared.client(method, path)
    assert code(answer) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allow


async def test_options_names_the_methods_and_needs_no_key(running: Running) -> None:
    async with running.client.http.options(running.client.url + "/api/v1/messages") as response:
        assert (response.status, response.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")
        assert "Access-Control-Allow-Origin" not in response.headers


@together
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/api/v1/usage", "/api/v1/sessions", "/openapi.json", "/docs"])
async def test_head_is_get_without_its_body(shared: Running, path: str) -> None:
    get, head = await shared.client.get(path), await shared.client("HEAD", path)
    assert (head.status, head.body) == (get.status, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


async def test_a_type_that_is_not_made_here_is_406(running: Running) -> None:
    for accept in ("text/html", "application/json;q=0", "image/*, audio/ogg"):
        answer = await running.client.get("/api/v1/usage", headers={"Accept": accept})
        assert code(answer) == (406, "not_acceptable")
    for accept in ("*/*", "application/json", "application/*;q=0.1", "text/html, */*;q=0.1", ""):
        assert (await running.client.get("/api/v1/usage", headers={"Accept": accept})).status == 200


@pytest.mark.parametrize(("header", "produced", "yes"), [
    ("", ("application/json",), True), ("audio/ogg", ("application/json", "audio/ogg"), True),
    ("audio/*", ("audio/ogg; codecs=opus",), True), ("image/png", ("*/*",), True), ("image/png;q=0.0", ("*/*",), False),
    ("text/plain", ("application/json",), False), ("nonsense", ("application/json",), False), (",,", ("a/b",), True),
    ("text/html;level=1;q=0 , a/b", ("a/b",), True), ("A/B", ("a/b",), True),
])
def test_accept_headers(header: str, produced: tuple[str, ...], yes: bool) -> None:
    assert accepts(header, produced) is yes


async def test_web_pages_elsewhere_may_call_only_where_that_is_allowed(tmp_path: Any) -> None:
    server = replace(FAST.server, cors_origins=("https://app.example.com",))
    async with run_gateway(tmp_path / "s", replace(FAST, server=server)) as running:
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
        for origin, allowed in (("https://app.example.com", True), ("https://evil.example.com", False)):
            async with running.client.http.options(running.client.url + "/api/v1/messages",
                                                   headers={"Origin": origin, **preflight}) as response:
                assert (response.headers.get("Access-Control-Allow-Origin") == origin) is allowed
            answer = await running.client.get("/api/v1/usage", headers={"Origin": origin})
            assert (answer.headers.get("Access-Control-Allow-Origin") == origin) is allowed
            assert "Access-Control-Allow-Credentials" not in answer.headers
        assert Server().cors_origins == ()


async def test_a_mistake_of_ours_is_a_500_without_its_traceback_and_logged_with_its_request(
        running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    import structlog

    async def broken(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(type(running.gateway.keys), "quota", broken)
    with structlog.testing.capture_logs() as lines:
        answer = await running.client.get("/api/v1/usage")
    assert code(answer) == (500, "internal_error")
    assert "secret" not in str(answer.body)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["request_failed"]
