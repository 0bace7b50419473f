"""What a stock neonize sends is decrypted by virtual phones, and what contacts write is read by it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.sandbox import pairing
from gateway.sandbox.people import Behaviour, LinkedDevice, Person
from gateway.sandbox.server import Sandbox

from .conftest import SECONDS, Neonize

OWNER, CONTACT = "15550001111", "15550002222"


def somebody(sandbox: Sandbox, number: str) -> Person:
    person = sandbox.world.people.person(number)
    assert person is not None
    return person


@pytest.fixture
async def device(sandbox: Sandbox, neonize: Neonize, tmp_path: Path) -> LinkedDevice:
    await neonize.open("a", tmp_path / "a.db")
    linked = await pairing.scan(sandbox.world, await neonize.happened("a", "QR"), somebody(sandbox, OWNER))
    await neonize.happened("a", "Connected")
    return linked


async def test_a_text_arrives_and_its_receipts_come_back(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice
) -> None:
    somebody(sandbox, CONTACT).behaviour = Behaviour(deliver=0, read=0.05)
    sent = await neonize.call("a", f"client.send_message(jid('{CONTACT}'), 'hello ✓')")

    [record] = sandbox.world.records.find(to=CONTACT)
    facts = record.describe()
    assert (facts["id"], facts["text"], facts["kind"], facts["copies"]) == (sent["ID"], "hello ✓", "text", 1)
    assert facts["bot_node"] is False
    assert facts["own_copy"] is True
    read = await neonize.event(lambda said: said.get("event") == "Receipt" and said["data"]["Type"] == "READ")
    assert read["data"]["MessageIDs"] == [sent["ID"]]
    assert await sandbox.world.wait_until(lambda: not device.pending, SECONDS)
