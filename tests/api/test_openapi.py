"""The description says what the program does: routes, types, errors, and a fuzzer that believes it."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from gateway.api import app
from gateway.api.openapi import document
from gateway.errors import TABLE
from tests.hostile.fuzzer import fuzz
from tests.running import Running

STREAMS = ("/api/v1/events", "/api/v1/sessions/{id}/stream")


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    return {(method.upper(), path): operation for path, methods in document([app.GROUP])["paths"].items()
            for method, operation in methods.items()}


def test_every_route_is_described_and_nothing_else_is() -> None:
    assert set(operations()) == {(e.method, e.path) for e in app.ENDPOINTS}


def test_every_operation_has_its_own_id_a_summary_and_a_tag_with_a_description() -> None:
    described = {tag["name"] for tag in document([app.GROUP])["tags"] if tag.get("description")}
    ids = [operation["operationId"] for operation in operations().values()]
    assert len(ids) == len(set(ids))
    for operation in operations().values():
        assert operation["summary"]
        assert set(operation["tags"]) <= described


def test_every_body_has_an_example_that_its_type_takes() -> None:
    import msgspec

    for e in app.ENDPOINTS:
        if e.body is not None:
            assert e.example is not None, e.path
            msgspec.convert(e.example, e.body)


def test_what_needs_a_key_says_401_and_403_and_every_error_has_an_example() -> None:
    for (method, path), operation in operations().items():
        answers = operation["responses"]
        if operation["security"]:
            assert {"401", "403", "429"} <= set(answers), (method, path)
        for status, answer in answers.items():
            if int(status) < 400 or path == "/readyz":
                continue
            examples = answer["content"]["application/json"]["examples"]
            assert examples
            assert all(TABLE[code].status == int(status) for code in examples), (method, path, status)


async def test_the_document_is_served_without_a_key(running: Running) -> None:
    async with running.client.http.get(running.client.url + "/openapi.json") as response:
        assert response.status == 200
        assert (await response.json())["openapi"] == "3.1.0"


async def test_the_page_loads_nothing_from_elsewhere(running: Running) -> None:
    page = await running.client.get("/docs")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    text = page.body.decode()
    assert "http" not in text.replace("https://example.com", "")
    assert not re.search(r"<script(?![^>]*src=)|style=|onload=", text)
    for link in re.findall(r'(?:src|href)="(/docs/[^"]+)"', text):
        asset = await running.client.get(link)
        assert (asset.status, "http://" in asset.body.decode(), "https://" in asset.body.decode()) == (200, False, False)


@pytest.mark.timeout(90)
async def test_a_fuzzer_finds_no_server_error_and_no_answer_that_is_not_described(running: Running) -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr()
    session, _ = await running.linked()
    message = (await running.client.post("/api/v1/messages", {"to": "+237612345678", "message": "1"})).body["id"]
    real = {"/api/v1/sessions/{id}": {"id": session}, "/api/v1/messages/{id}": {"id": message}}
    headers = {"Authorization": f"Bearer {running.client.key}"}
    found, calls = await asyncio.to_thread(fuzz, document([app.GROUP]), running.client.url, headers, real, leave_out=STREAMS)
    assert not found, "\n\n".join(found[:5])
    assert calls > 5 * len(app.ENDPOINTS)
