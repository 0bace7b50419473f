"""The cases every Link, Pairing and Links passes: the fake ones of the unit tests and the real ones against the sandbox.

A test class inherits `LinkContract` and gives it a `stage`."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from gateway.events import (
    Connected,
    LinkEvent,
    LoggedOut,
    MessageArrived,
    Paired,
    PairingEnded,
    PairingEvent,
    QrCode,
    Receipt,
)
from gateway.jid import JID, USER
from gateway.link.base import Link, LinkError, Links, Pairing, SendError, SessionFile
from gateway.messages import MessageKey, Text

T = TypeVar("T")
PATIENCE = 30.0


class Inbox:
    """A sink that can be waited on."""

    def __init__(self) -> None:
        self.events: list[LinkEvent] = []
        self._news = asyncio.Event()

    def __call__(self, event: LinkEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def first(self, kind: type[T], matching: Callable[[T], bool] = lambda _: True, seconds: float = PATIENCE) -> T:
        async with asyncio.timeout(seconds):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and matching(event):
                        return event
                self._news.clear()
                await self._news.wait()


class Stage(ABC):
    """WhatsApp's side of a case. `peer` is the number of somebody on WhatsApp, `nobody` of nobody."""

    links: Links
    file: SessionFile
    peer = "15550002222"
    nobody = "15559990000"

    @abstractmethod
    async def scan(self, qr: str) -> None:
        """The owner's phone scans."""

    @abstractmethod
    async def say(self, text: str) -> str:
        """The peer writes to the linked account; the message's id."""

    @abstractmethod
    async def read(self, id: str) -> None:
        """The peer opens the message of that id."""

    @abstractmethod
    async def arrived(self, id: str) -> str:
        """The text of that id, as the peer's phone shows it."""


class LinkContract:
    @pytest.fixture
    async def stage(self) -> Stage:
        raise NotImplementedError

    async def test_codes_come_before_the_one_paired(self, stage: Stage) -> None:
        pairing = stage.links.pair(stage.file)
        seen = await pair(stage, pairing)
        assert isinstance(seen[0], QrCode)
        assert [type(event) for event in seen].count(Paired) == 1
        assert isinstance(seen[-1], Paired)
        assert seen[-1].jid.server == USER

    async def test_a_paired_file_knows_its_account_and_connects(self, stage: Stage) -> None:
        paired = (await pair(stage, stage.links.pair(stage.file)))[-1]
        assert isinstance(paired, Paired)
        link, inbox = await opened(stage)
        account = await link.account()
        assert account is not None
        assert account.jid == paired.jid
        await inbox.first(Connected)
        await link.close()

    async def test_an_abandoned_pairing_ends_and_the_next_one_works(self, stage: Stage) -> None:
        first = stage.links.pair(stage.file)
        shown = asyncio.ensure_future(collect(first))
        await asyncio.sleep(0)
        await first.close()
        assert all(not isinstance(event, Paired) for event in await asyncio.wait_for(shown, PATIENCE))
        await first.close()
        assert isinstance((await pair(stage, stage.links.pair(stage.file)))[-1], Paired)

    async def test_a_file_without_a_device_is_told_as_logged_out(self, stage: Stage) -> None:
        link, inbox = await opened(stage)
        await inbox.first(LoggedOut)
        assert await link.account() is None
        await link.close()

    async def test_a_message_arrives_under_the_id_that_its_secret_finds(self, stage: Stage) -> None:
        link, _ = await connected(stage)
        secret = os.urandom(32)
        receipt = await link.send(JID(stage.peer, USER), Text("hello"), secret)
        assert receipt.timestamp > 0
        assert await stage.arrived(receipt.id) == "hello"
        assert await link.find_sent(secret) == receipt.id
        assert await link.find_sent(os.urandom(32)) is None
        await link.close()
        assert await link.find_sent(secret) == receipt.id
        again = stage.links.link(stage.file, lambda _: None)
        assert await again.find_sent(secret) == receipt.id

    async def test_what_a_peer_says_and_reads_is_told(self, stage: Stage) -> None:
        link, inbox = await connected(stage)
        sent = await link.send(JID(stage.peer, USER), Text("ping"), os.urandom(32))
        await stage.read(sent.id)
        receipt = await inbox.first(Receipt, lambda r: r.type == "read")
        assert sent.id in receipt.ids
        said = await stage.say("pong")
        message = (await inbox.first(MessageArrived, lambda m: m.message.key.id == said)).message
        assert (message.kind, message.text, message.from_me) == ("text", "pong", False)
        assert message.pn == JID(stage.peer, USER)
        assert message.key.sender is not None
        await link.mark_read([MessageKey(message.key.chat, message.key.sender, message.key.id)])
        await link.close()

    async def test_numbers_are_looked_up(self, stage: Stage) -> None:
        link, _ = await connected(stage)
        found = await link.is_on_whatsapp([stage.peer, stage.nobody])
        assert found[stage.peer] is not None
        assert found[stage.nobody] is None
        await link.close()

    async def test_nothing_is_told_or_done_after_close(self, stage: Stage) -> None:
        link, inbox = await connected(stage)
        await link.close()
        told = len(inbox.events)
        await stage.say("too late")
        await link.close()
        with pytest.raises(SendError) as failed:
            await link.send(JID(stage.peer, USER), Text("x"), os.urandom(32))
        assert failed.value.certain
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: link.set_presence(True), lambda: link.is_on_whatsapp([stage.peer]), link.logout,
            lambda: link.chat_presence(JID(stage.peer, USER), "recording"),
            lambda: link.mark_read([MessageKey(JID(stage.peer, USER), None, "X")])]
        for call in calls:
            with pytest.raises(LinkError):
                await call()
        assert len(inbox.events) == told

    async def test_logging_out_leaves_no_account(self, stage: Stage) -> None:
        link, _ = await connected(stage)
        await link.logout()
        await link.close()
        assert await link.account() is None


async def collect(pairing: Pairing) -> list[PairingEvent]:
    return [event async for event in pairing.events()]


async def pair(stage: Stage, pairing: Pairing) -> list[PairingEvent]:
    """Scan the first code shown; every event of the attempt."""
    seen: list[PairingEvent] = []
    async with asyncio.timeout(PATIENCE):
        async for event in pairing.events():
            seen.append(event)
            if isinstance(event, QrCode) and len(seen) == 1:
                await stage.scan(event.code)
            assert not isinstance(event, PairingEnded), event
    await pairing.close()
    return seen


async def opened(stage: Stage) -> tuple[Link, Inbox]:
    inbox = Inbox()
    link = stage.links.link(stage.file, inbox)
    await link.open()
    return link, inbox


async def connected(stage: Stage) -> tuple[Link, Inbox]:
    """Paired, opened, and usable."""
    await pair(stage, stage.links.pair(stage.file))
    link, inbox = await opened(stage)
    await inbox.first(Connected)
    return link, inbox
