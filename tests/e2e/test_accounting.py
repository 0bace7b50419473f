"""Every accepted message is accounted for, whatever the daemon went through."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import aiohttp
import pytest

from gateway.times import parse_iso
from tests.e2e.world import World

pytestmark = pytest.mark.e2e
SESSIONS, SENDS, KILLS = 5, 300, 6


@pytest.mark.timeout(240)
async def test_kill_9_during_300_sends_loses_none_and_doubles_none_silently(world: World) -> None:
    """Random moments; the recipients' phones are compared with what was answered 202."""
    chance = random.Random(20261121)
    sessions = [await world.link(f"s{i}", f"1555000110{i}") for i in range(SESSIONS)]
    accepted: dict[str, str] = {}               # message id -> text
    unanswered, killed = 0, 0.0
    kills = sorted(chance.sample(range(20, SENDS - 10), KILLS))
    for i in range(SENDS):
        if kills and i == kills[0]:
            kills.pop(0)
            await asyncio.sleep(chance.uniform(0, 0.3))
            await world.kill()
            killed = time.time()
            await world.start()
        text, body = f"text {i}", {"session": sessions[i % SESSIONS], "to": f"+1555200{i % 7:03d}1"}
        try:
            answer = await world.client.post("/api/v1/messages", {**body, "message": text})
        except aiohttp.ClientError:
            unanswered += 1
            continue
        assert answer.status == 202, answer.body
        accepted[answer.body["id"]] = text
    assert unanswered == 0, "every request was made while the daemon ran"

    settled = {id_: await world.until_message(id_, "sent", "delivered", "failed", seconds=60) for id_ in accepted}
    for id_, message in settled.items():        # a receipt can fall to a kill (docs/reliability.md), but to nothing else
        if message["status"] == "sent" and parse_iso(message["sent_at"]) > killed:
            settled[id_] = await world.until_message(id_, "delivered", seconds=60)
    records = await world.whatsapp("GET", "/messages?decrypted=1")
    records = records["messages"] if isinstance(records, dict) else records
    arrived = Counter(r["text"] for r in records if r["kind"] == "text")
    for id_, text in accepted.items():
        message, copies = settled[id_], arrived[text]
        if message["status"] == "failed":
            assert message["may_have_been_delivered"] and message["error"]["code"] == "send_unconfirmed", message
        else:
            assert copies >= 1, f"{message} never arrived"
        assert copies <= 1 or message["may_have_been_delivered"], f"{text} arrived {copies} times: {message}"
    assert set(arrived) <= set(accepted.values())
    # Each chat's order, as its recipient saw it.
    for session in range(SESSIONS):
        for number in range(7):
            seen = [int(r["text"].split()[1]) for r in records
                    if r["to"] == f"1555200{number:03d}1" and r["from_number"] == f"1555000110{session}"]
            assert seen == sorted(seen), f"session {session} to {number}"
