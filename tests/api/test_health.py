"""/readyz: for load balancers, so without a key, as often as they like, and with nothing about tenants in it."""

from __future__ import annotations

import asyncio
import re

import pytest

from gateway.services import readiness
from tests.running import Answer, Running


async def ready(running: Running, key: str | None) -> Answer:
    return await running.client.get("/readyz", headers={"Authorization": f"Bearer {key}" if key else ""})


async def commits(running: Running) -> int:
    page = (await running.client.get("/metrics")).body.decode()
    found = re.search(r"^wagateway_store_commit_seconds_count (\d+)", page, re.MULTILINE)
    assert found is not None
    return int(found.group(1))


async def test_how_many_sessions_there_are_is_told_to_an_admin_only(running: Running) -> None:
    await running.linked()
    others = [(await running.another_client(scope)).key for scope in ("read", "send", "full")]
    for key in (None, "nonsense", running.client.key + "x", *others):
        answer = await ready(running, key)
        assert (answer.status, answer.body) == (200, {"ready": True, "sessions": None, "problems": []})
    assert (await ready(running, running.client.key)).body == {"ready": True, "sessions": {"connected": 1}, "problems": []}


async def test_however_often_it_is_asked_the_store_is_written_once_in_a_while(running: Running) -> None:
    await ready(running, None)
    before = await commits(running)
    for _ in range(20):
        assert {answer.status for answer in await asyncio.gather(*(ready(running, None) for _ in range(50)))} == {200}
    assert await commits(running) - before <= 10, "1000 questions"


async def test_a_store_that_cannot_be_written_is_503_and_over_when_it_is_over(
        running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "KEEP_SECONDS", 0.2)
    await ready(running, None)
    writer = running.gateway.store.database._writer
    await writer.execute("PRAGMA query_only = ON")
    await asyncio.sleep(0.25)
    for key in (None, running.client.key):
        answer = await ready(running, key)
        assert (answer.status, answer.body["ready"], len(answer.body["problems"])) == (503, False, 1)
    assert (await ready(running, running.client.key)).body["sessions"] == {}
    await writer.execute("PRAGMA query_only = OFF")
    await asyncio.sleep(0.25)
    assert (await ready(running, None)).status == 200
