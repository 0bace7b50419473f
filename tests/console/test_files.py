"""How the page is served."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.api import console
from gateway.config import Server
from tests.running import FAST, Running, run_gateway


@pytest.mark.asyncio(loop_scope="session")
async def test_the_page_is_served_with_a_policy_that_lets_nothing_in_from_elsewhere(running: Running) -> None:
    answer = await running.client.get("/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Permissions-Policy"].startswith("microphone=(self)")


@pytest.mark.asyncio(loop_scope="session")
async def test_a_part_is_asked_for_by_its_etag_and_sent_once(running: Running) -> None:
    first = await running.client.get("/console/app.js")
    assert (first.status, first.headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    again = await running.client.get("/console/app.js", headers={"If-None-Match": f'"other", W/{first.headers["ETag"]}'})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert first.headers["Cache-Control"] == "no-cache"


@pytest.mark.asyncio(loop_scope="session")
async def test_every_module_that_is_imported_and_every_file_that_is_named_is_there(running: Running) -> None:
    files = console.read()
    named = set(re.findall(r'"console/([^"]+)"', files["index.html"].body.decode()))
    for name, file in files.items():
        if name.endswith(".js"):
            named |= set(re.findall(r'from "\./([^"]+)"', file.body.decode()))
    assert named == set(files) - {"index.html"}
    for name in named:
        assert (await running.client.get(f"/console/{name}")).status == 200


@pytest.mark.asyncio(loop_scope="session")
async def test_what_is_not_a_part_of_the_page_is_not_found(running: Running) -> None:
    for path in ("/console/nothing.js", "/console/__init__.py", "/console/..%2f__init__.py"):
        answer = await running.client.get(path)
        assert (answer.status, answer.body["error"]["code"]) == (404, "not_found")


@pytest.mark.asyncio(loop_scope="session")
async def test_the_page_can_be_switched_off(tmp_path: Path) -> None:
    settings = replace(FAST, server=replace(FAST.server, console=False))
    assert Server().console
    async with run_gateway(tmp_path / "state", settings) as running:
        assert (await running.client.get("/")).status == 404
        assert (await running.client.get("/console/app.js")).status == 404


@pytest.mark.parametrize("name", [name for name in console.read() if name.endswith((".html", ".js", ".svg"))])
def test_no_file_has_anything_inline_or_from_elsewhere(name: str) -> None:
    text = console.read()[name].body.decode()
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=\"", text)
    elsewhere = set(re.findall(r"https?://[\w.-]+", text))
    assert elsewhere <= {"http://www.w3.org", "https://example.com"}
