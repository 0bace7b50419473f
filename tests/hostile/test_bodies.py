"""Every call of the native API and of every dialect, over HTTP, with bodies, paths and queries that nobody meant: each is answered in
the API's own envelope, none is a failure of ours, and nothing of them stays."""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import secrets
import sys
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from gateway.api import app
from gateway.api.http import Endpoint
from gateway.api.shapes import ErrorEnvelope
from gateway.config import Plan
from gateway.daemon import SWITCH_INTERVAL
from gateway.dialects.mount import DIALECTS
from gateway.errors import TABLE
from tests.api.conftest import tone_wav  # noqa: F401
from tests.dialects.conftest import note_ogg  # noqa: F401
from tests.dialects.test_bad_input import with_key
from tests.hostile.bodies import Found, ask, requests
from tests.hostile.parsers import rss_kb
from tests.link.fake_link import FakePairing
from tests.running import FAST, Client, Running, run_gateway

GROWTH_MB = 40                  # of this process, test and gateway, over the second half
STREAMS = ("/api/v1/events", "/api/v1/sessions/{id}/stream")
LEFT_ALONE = ("/api/v1/admin/backup", "/api/v1/admin/vault/rotate")     # seconds each; they take no body
APIS = {"native": ("", [e for e in app.ENDPOINTS if e.path not in (*STREAMS, *LEFT_ALONE)], ErrorEnvelope),
        **{dialect.name: (f"/{dialect.name}", list(dialect.calls), dialect.error) for dialect in DIALECTS}}


def rss_mb() -> int:
    return rss_kb() // 1024


async def prepared(running: Running, name: str) -> tuple[Client, list[str]]:
    """A key of a small plan with a linked session, and ids that there are."""
    running.links.on_pair = shown
    client = await running.another_client("admin" if name == "native" else "full", plan="small")
    mine = Running(running.gateway, running.links, client, running.key, running.state)
    running.links.on_pair = lambda pairing: None
    session, _ = await mine.linked("default")
    running.links.on_pair = shown
    sent = await client.post("/api/v1/messages", {"to": "+237612345678", "message": "x"})
    return client, [session, "default", sent.body["id"], "nobody"]


async def fuzz(running: Running, name: str, count: int, seed: int, note: bytes) -> Found:
    prefix, calls, envelope = APIS[name]
    client, ids = await prepared(running, name)
    sound = "data:audio/ogg;base64," + base64.b64encode(note).decode()
    examples = {call.path: real(call.example, sound, ids[0]) for call in calls if call.example is not None}

    def ours(status: int, body: bytes) -> bool:
        """501 says what to use instead; wuzapi's own word for everything that is no mistake of the caller is 500."""
        if status >= 400 and body:
            msgspec.json.decode(body, type=envelope)
        return (status >= 500 and status != 501 and name != "wuzapi") or TABLE["internal_error"].sentence.encode() in body

    headers = {"Authorization": f"Bearer {client.key}"}
    for dialect in DIALECTS:
        if dialect.name == name and (own := with_key(dialect, client.key)):
            headers = {header: value for header, value in own.items() if value}
    found = Found()
    halves = []
    for half in range(2):
        asked = requests(kept(calls), prefix, count // 2, seed + half, ids, examples)
        now = await asyncio.to_thread(ask, running.client.url, headers, asked, ours)
        found = Found(found.statuses + now.statuses, max(found.slowest, now.slowest), found.failures + now.failures)
        gc.collect()
        halves.append(rss_mb())
    print(f"{name}: {sum(found.statuses.values())} requests, {dict(sorted(found.statuses.items()))}, slowest {found.slowest:.1f} s, "
          f"{halves[0]} -> {halves[1]} MB")
    assert halves[1] - halves[0] < GROWTH_MB
    assert (await client.get("/api/v1/usage")).status == 200
    return found


def kept(calls: Sequence[Endpoint]) -> list[Endpoint]:
    """Those that end the session last, so that the others have one."""
    return sorted(calls, key=lambda call: call.method == "DELETE" or "logout" in call.path)


def real(example: Any, sound: str, session: str) -> Any:
    """An example with a sound and a session that there are."""
    if isinstance(example, dict):
        return {name: real(value, sound, session) for name, value in example.items()}
    if isinstance(example, str) and example.startswith("https://example.com"):
        return sound
    return {"my-session": "default", "ws_0f8fad5bd9cb469fa16570867728950e": f"ws_{uuid.UUID(session).hex}"}.get(example, example) \
        if isinstance(example, str) else example


def shown(pairing: FakePairing) -> None:
    pairing.show_qr()
    if pairing.phone:
        pairing.show_code()


async def fuzzed(folder: Path, name: str, count: int, seed: int, note: bytes) -> None:
    settings = replace(FAST, plans={**FAST.plans, "small": Plan(sessions=4)})
    sys.setswitchinterval(SWITCH_INTERVAL)          # as the daemon does; its threads and the client's take turns
    async with run_gateway(folder / "state", settings) as running:
        with structlog.testing.capture_logs() as lines:
            found = await fuzz(running, name, count, seed, note)
        assert found.failures == [], f"seed {seed}"
        assert [line for line in lines if line["log_level"] in ("error", "critical")] == [], f"seed {seed}"
        assert found.slowest < 25


@pytest.mark.parametrize("name", APIS)
async def test_no_request_is_a_failure_of_ours(tmp_path: Path, name: str, note_ogg: bytes) -> None:  # noqa: F811
    await fuzzed(tmp_path, name, 150, 1, note_ogg)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", APIS)
async def test_no_request_of_thousands_is_a_failure_of_ours(tmp_path: Path, name: str, note_ogg: bytes) -> None:  # noqa: F811
    """HOSTILE_SEED repeats a run that failed."""
    await fuzzed(tmp_path, name, 1_000, int(os.environ.get("HOSTILE_SEED", "0")) or secrets.randbelow(1 << 31), note_ogg)
