"""The control API of a sandbox that runs in its own process, and its manual."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.sandbox.actions import ACTIONS
from gateway.sandbox.compose import KINDS as MESSAGE_KINDS
from gateway.sandbox.control import Control
from gateway.sandbox.faults import KINDS
from gateway.sandbox.server import Sandbox

from .conftest import SECONDS, Neonize

MANUAL = Path(__file__).parents[2] / "docs" / "sandbox.md"
CONTACT = "15550002222"


class Client:
    """`await client.get(path)` and so on: (status, JSON or bytes)."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url, self._http = url, http

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self._http.request(method, self._url + path, json=body) as answer:
            if answer.content_type == "application/json":
                return answer.status, await answer.json()
            return answer.status, await answer.read()

    async def get(self, path: str) -> Any:
        status, body = await self("GET", path)
        assert status == 200, body
        return body

    async def post(self, path: str, **body: Any) -> Any:
        status, answer = await self("POST", path, body)
        assert status in (200, 201), answer
        return answer


class Process:
    """`python -m gateway.sandbox` and what it said when it was ready."""

    def __init__(self, process: asyncio.subprocess.Process, said: dict[str, Any]) -> None:
        self.process, self.said = process, said


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    port_file = tmp_path / "port.json"
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.sandbox", "--directory", str(tmp_path / "sandbox"), "--port-file", str(port_file),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert started.stdout is not None
    async with asyncio.timeout(SECONDS):
        said = json.loads(await started.stdout.readline())
    assert json.loads(port_file.read_text()) == said
    yield Process(started, said)
    if started.returncode is None:
        started.send_signal(signal.SIGTERM)
    async with asyncio.timeout(SECONDS):
        assert await started.wait() == 0


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def control(sandbox: Sandbox, http: aiohttp.ClientSession) -> Client:
    return Client(sandbox.control_url, http)


async def test_a_whole_story_over_http(process: Process, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    control = Client(process.said["control_url"], http)
    assert await control.get("/environment") == process.said["env"]
    neonize = await Neonize.start(process.said["env"])
    try:
        phone = await control.post("/phones", name="Ann")
        await control.post("/contacts", number=CONTACT, name="Bea", read=0, play=0, echo=0.01)
        await neonize.open("a", tmp_path / "a.db")
        code = await neonize.happened("a", "QR")
        assert (await control.get("/state"))["waiting_codes"] == 1
        device = await control.post("/scan", qr=code, phone=phone["number"])
        assert device["jid"] == f"{phone['number']}:1@s.whatsapp.net"
        await neonize.happened("a", "Connected")

        ogg = base64.b64encode(os.urandom(2000)).decode()
        sent = await neonize.call("a", f"voice(client, '{CONTACT}', ogg, 3, [5] * 64)", names={"ogg": ogg})
        [record] = await control.get(f"/messages?to={CONTACT}&from={phone['number']}&wait=10&decrypted=1")
        assert (record["id"], record["kind"], record["seconds"], record["waveform"]) == (sent["ID"], "voice", 3, [5] * 64)
        assert base64.b64encode(await control.get(f"/messages/{sent['ID']}/media")).decode() == ogg
        assert (await control("GET", f"/messages/{sent['ID']}/thumbnail"))[0] == 404

        text = await neonize.call("a", f"client.send_message(jid('{CONTACT}'), 'echo this')")
        echoed = await neonize.event(lambda said: "You wrote: echo this" in str(said))
        assert echoed["data"]["Info"]["Pushname"] == "Bea"
        [after] = await control.get(f"/messages?after={record['sequence']}")
        assert after["id"] == text["ID"]

        written = await control.post(f"/contacts/{CONTACT}/send", text="hello", quote=text["ID"])
        arrived = await neonize.read("a", written["id"])
        assert arrived["Message"]["extendedTextMessage"]["contextInfo"]["stanzaID"] == text["ID"]
        copied = await control.post(f"/phones/{phone['number']}/send", to=CONTACT, text="typed on the phone")
        assert (await neonize.read("a", copied["id"]))["Info"]["MessageSource"]["IsFromMe"] is True
        await control.post(f"/contacts/{CONTACT}/receipt", id=text["ID"], type="read")
        taken = {event["id"]: event for event in await control.get("/events?kind=taken&count=5&wait=10")}
        assert {taken[written["id"]]["what"], taken[copied["id"]]["what"]} == {"message"}
        assert taken[text["ID"]]["what"] == "receipt"
        assert taken[written["id"]]["sent"][0] <= taken[written["id"]]["at"]
        [state, *_] = await control.get("/events?kind=receipt&wait=10")
        assert state["device"] == device["jid"]

        await control.post(f"/devices/{phone['number']}/logout")
        await neonize.happened("a", "LoggedOut")
        [gone] = (await control.get("/state"))["devices"]
        assert (gone["removed"], gone["online"]) == (True, False)
    finally:
        await neonize.close()


async def test_typing_and_presence_of_contacts_reach_the_device(
    sandbox: Sandbox, control: Client, neonize: Neonize, tmp_path: Path
) -> None:
    await neonize.open("a", tmp_path / "a.db")
    device = await control.post("/scan", qr=await neonize.happened("a", "QR"))
    await neonize.happened("a", "Connected")
    await control.post(f"/contacts/{CONTACT}/typing", state="recording")
    said = await neonize.happened("a", "ChatPresence")
    assert said["MessageSource"]["Sender"]["Server"] == "lid"
    await neonize.call("a", f"client.subscribe_presence(jid('{CONTACT}'))")
    first = await neonize.happened("a", "Presence")
    assert first["Unavailable"] is True
    seen = len(neonize.events)
    await control.post(f"/contacts/{CONTACT}/presence", available=True)
    assert not (await neonize.happened("a", "Presence", since=seen)).get("Unavailable")
    assert device["phone"] == "15550100001"


async def test_what_cannot_be_done_is_refused_with_a_reason(control: Client) -> None:
    refusals = {
        ("POST", "/scan", '{"qr": "nonsense"}'): (409, "not_a_code"),
        ("POST", "/enter-code", '{"code": "AAAA-AAAA", "phone": "15550001111"}'): (409, "no_code"),
        ("POST", "/phones", '{"number": "15550000000"}'): (409, "not_on_whatsapp"),
        ("POST", "/phones", '{"number": "somebody"}'): (400, "bad_request"),
        ("POST", "/faults", '{"kind": "weather"}'): (400, "bad_request"),
        ("POST", "/contacts/15550002222/send", '{"text": "to whom?"}'): (400, "bad_request"),
        ("POST", "/contacts/15550002222/send", '{"to": "15550001111", "text": "x", "voice": {}}'): (400, "bad_request"),
        ("POST", "/contacts/15550002222/send", '{"to": "15550001111", "voice": {"data": "§"}}'): (400, "bad_request"),
        ("POST", "/contacts/15550002222/send", '{"to": "15550001111", "group": "1@g.us", "text": ""}'): (404, "no_group"),
        ("POST", "/contacts/15550002222/receipt", '{"id": "unknown"}'): (404, "no_message"),
        ("POST", "/groups", '{"members": ["15550000000"]}'): (400, "bad_request"),
        ("POST", "/devices/15550001111/logout", "{}"): (404, "no_device"),
        ("POST", "/devices/15550001111/dance", "{}"): (404, "no_action"),
        ("GET", "/messages/unknown", "null"): (404, "no_message"),
        ("GET", "/nowhere", "null"): (404, "http"),
        ("GET", "/events?device=nobody", "null"): (404, "no_device"),
        ("GET", "/events?wait=nan", "null"): (400, "bad_request"),
        ("GET", "/messages?wait=-1", "null"): (400, "bad_request"),
        ("POST", "/contacts", '{"number": "15550002222", "deliver": NaN}'): (400, "bad_request"),
        ("POST", "/contacts", '{"number": "15550002222", "read": -5}'): (400, "bad_request"),
        ("POST", "/faults", '{"kind": "ack", "mode": "hodl"}'): (400, "bad_request"),
    }
    for (method, path, body), (status, code) in refusals.items():
        answered, answer = await control(method, path, json.loads(body))
        assert (answered, answer["error"]) == (status, code), path
        assert answer["message"]


async def test_numbers_faults_and_groups_are_listed_and_cleared(control: Client) -> None:
    assert (await control.post("/numbers/15550007777", on_whatsapp=False))["on_whatsapp"] is False
    assert (await control("POST", "/phones", {"number": "15550007777"}))[0] == 409
    await control.post("/faults", kind="ack", mode="hold", times=3)
    await control.post("/faults", kind="upload", status=500)
    assert [rule["kind"] for rule in await control.get("/faults")] == ["ack", "upload"]
    assert (await control("DELETE", "/faults?kind=ack"))[1] == {"cleared": 1}
    one = await control.post("/faults", kind="upload", device="15550001111", status=500)
    assert (await control("DELETE", f"/faults?id={one['id']}"))[1] == {"cleared": 1}      # and not the other of its kind
    assert (await control("DELETE", "/faults?id=many"))[0] == 400
    assert (await control("DELETE", "/faults"))[1] == {"cleared": 1}
    group = await control.post("/groups", subject="Trip", members=["15550001111", CONTACT])
    assert await control.get("/groups") == [group]
    assert {person["number"] for person in await control.get("/contacts")} == {"15550001111", CONTACT}
    first, second = await control.post("/phones"), await control.post("/phones")
    assert first["number"] != second["number"]
    assert await control.get("/messages?wait=0") == []
    assert (await control.post("/cut"))["cut"] == 0


async def test_the_sandbox_ends_when_its_standard_input_does(tmp_path: Path) -> None:
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.sandbox", "--directory", str(tmp_path), "--until-eof",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert started.stdin is not None
    assert started.stdout is not None
    async with asyncio.timeout(SECONDS):
        assert await started.stdout.readline()
        started.stdin.close()
        assert await started.wait() == 0


def test_every_call_fault_action_and_kind_is_in_the_manual(sandbox: Sandbox) -> None:
    manual = MANUAL.read_text()
    application = Control(sandbox.world, lambda: 0, dict).application()
    for route in application.router.routes():
        if route.method != "HEAD":
            assert route.resource is not None
            assert f"{route.method} {route.resource.canonical}" in manual or (
                route.method == "DELETE" and f"DELETE {route.resource.canonical}" in manual
            ), route
    for word in [*KINDS, *ACTIONS, *MESSAGE_KINDS]:
        assert f"`{word}`" in manual or f'"{word}"' in manual, word
