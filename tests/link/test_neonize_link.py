"""The real links, with neonize's core, against the sandbox's WhatsApp."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.events import MessageArrived
from gateway.jid import JID, USER
from gateway.messages import PTT, Text
from tests.link.contract import LinkContract, Stage
from tests.link.real import PEER, RealStage, real_stage

TO = JID(PEER, USER)


class TestNeonizeLink(LinkContract):
    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncIterator[Stage]:
        async with real_stage(tmp_path) as stage:
            yield stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path) as stage:
        yield stage


async def test_a_voice_note_arrives_as_recorded_and_without_a_bot_node(stage: RealStage) -> None:
    link, inbox = await stage.connected()
    ogg, waveform = b"OggS" + os.urandom(15_000), bytes(range(64))
    sent = await link.send(TO, PTT(ogg, 7, waveform), os.urandom(32))
    record = await stage.control.get(f"/messages/{sent.id}")
    assert (record["kind"], record["ptt"], record["seconds"], record["mimetype"], record["mediatype"]) == (
        "voice", True, 7, "audio/ogg; codecs=opus", "ptt")
    assert record["waveform"] == list(waveform)
    assert record["bot_node"] is False
    assert record["copies"] == 1
    assert await stage.control.get_bytes(f"/messages/{sent.id}/media") == ogg
    said = await stage.control.post(f"/contacts/{PEER}/send", voice={
        "data": base64.b64encode(ogg).decode(), "seconds": 3, "waveform": [1] * 64})
    voice = (await inbox.first(MessageArrived, lambda m: m.message.key.id == said["id"])).message
    assert (voice.kind, voice.seconds, len(voice.waveform)) == ("ptt", 3, 64)
    assert voice.media is not None
    assert await link.download(voice.media) == ogg


async def test_a_process_started_plainly_starts_itself_anew_so_that_no_bot_node_is_sent(tmp_path: Path) -> None:
    async with real_stage(tmp_path, environment={"NEONIZE_BOT_TAG": "on"}) as stage:
        link, _ = await stage.connected()
        sent = await link.send(TO, Text("plain"), os.urandom(32))
        assert (await stage.control.get(f"/messages/{sent.id}"))["bot_node"] is False
