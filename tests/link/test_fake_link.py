"""The fake link keeps the same promises as the real one, and does what a test asks of it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from gateway.events import MessageArrived, Receipt
from gateway.jid import JID, USER
from gateway.link.base import SendError, SessionFile
from gateway.messages import MessageKey, Received, Text
from tests.link.contract import LinkContract, Stage, connected
from tests.link.fake_link import FakeLinks


class FakeStage(Stage):
    def __init__(self, folder: Path) -> None:
        self.links: FakeLinks = FakeLinks()
        self.links.on_pair = lambda pairing: pairing.show_qr()
        self.links.not_on_whatsapp.add(self.nobody)
        self.file = SessionFile("s1", folder / "s1.db", bytes(32))

    async def scan(self, qr: str) -> None:
        self.links.pairing("s1").scan()

    async def say(self, text: str) -> str:
        peer = JID(self.peer, USER)
        self.links.live("s1").emit(MessageArrived(Received(
            MessageKey(peer, peer, "SAID"), int(time.time()), "text", False, peer, None, "Peer", text)))
        return "SAID"

    async def read(self, id: str) -> None:
        peer = JID(self.peer, USER)
        self.links.live("s1").emit(Receipt("read", peer, peer, (id,), int(time.time())))

    async def arrived(self, id: str) -> str:
        [sent] = [sent for sent in self.links.sent if sent.id == id]
        assert isinstance(sent.message, Text)
        return sent.message.text


@pytest.fixture
def stage(tmp_path: Path) -> FakeStage:
    return FakeStage(tmp_path)


class TestFakeLink(LinkContract):
    @pytest.fixture
    async def stage(self, tmp_path: Path) -> Stage:
        return FakeStage(tmp_path)


async def test_a_lost_send_is_uncertain_and_was_handed_over(stage: FakeStage) -> None:
    link, _ = await connected(stage)
    stage.links.live("s1").lose_next_send()
    secret = os.urandom(32)
    with pytest.raises(SendError) as failed:
        await link.send(JID(stage.peer, USER), Text("lost"), secret)
    assert (failed.value.code, failed.value.certain) == ("send_unconfirmed", False)
    assert await link.find_sent(secret) == stage.links.sent[-1].id


async def test_a_certain_failure_leaves_nothing_on_the_wire(stage: FakeStage) -> None:
    link, _ = await connected(stage)
    stage.links.live("s1").fail_next_send(SendError("send_failed", "server returned error 400"))
    secret = os.urandom(32)
    with pytest.raises(SendError):
        await link.send(JID(stage.peer, USER), Text("refused"), secret)
    assert stage.links.sent == []
    assert await link.find_sent(secret) is None


async def test_a_held_send_waits_for_the_test(stage: FakeStage) -> None:
    link, _ = await connected(stage)
    held = stage.links.live("s1").hold_next_send()
    sending = asyncio.create_task(link.send(JID(stage.peer, USER), Text("later"), os.urandom(32)))
    await held.handed_over.wait()
    assert not sending.done()
    held.confirm()
    assert (await sending).id == stage.links.sent[-1].id
