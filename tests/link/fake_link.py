"""WhatsApp as a test wants it: the fake side of `gateway.link.base`, scripted by the test that holds it.

    links = FakeLinks()
    link = links.link(file, sink)         # what the service does
    await link.open()                     # tells Connected by itself, unless links.on_open says otherwise
    links.sent[-1].message                # what went out, oldest first
    link.emit(MessageArrived(...))        # deliver this
    link.fail_next_send(SendError(...))   # one per coming send, in order
    link.lose_next_send()                 # handed to the wire, never confirmed
    held = link.hold_next_send()          # the caller waits until held.confirm() or held.fail(...)

What a real session keeps in its file (who is linked, which secrets were handed over) `FakeLinks` keeps by path, so a
second link on the same file finds it, as after a restart.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gateway.events import (
    Connected,
    LinkEvent,
    LoggedOut,
    Paired,
    PairingCode,
    PairingEnded,
    PairingEvent,
    QrCode,
)
from gateway.jid import JID, LID, USER
from gateway.link.base import Account, LinkError, SendError, SessionFile
from gateway.messages import MediaRef, MessageKey, Outgoing, SendReceipt


@dataclass(frozen=True, slots=True)
class Sent:
    """One hand-over to the wire. `at` is monotonic."""

    session_id: str
    to: JID
    message: Outgoing
    secret: bytes
    id: str
    at: float


@dataclass(frozen=True, slots=True)
class Told:
    """A call that is not a send: `chat_presence`, `mark_read`, …"""

    session_id: str
    call: str
    arguments: tuple[object, ...]


@dataclass(slots=True)
class Stored:
    """What the session's file would hold."""

    account: Account | None = None
    handed_over: dict[bytes, str] = field(default_factory=dict)
    media: dict[str, bytes] = field(default_factory=dict)       # direct path -> plain bytes


class HeldSend:
    """A send that waits for the test."""

    def __init__(self) -> None:
        self.handed_over = asyncio.Event()
        self._outcome: asyncio.Future[SendError | None] = asyncio.get_running_loop().create_future()

    def confirm(self) -> None:
        self._outcome.set_result(None)

    def fail(self, error: SendError) -> None:
        self._outcome.set_result(error)

    async def outcome(self) -> SendError | None:
        return await self._outcome


class FakeLink:
    """One session's link. `opened` and `closed` count the calls."""

    def __init__(self, links: FakeLinks, file: SessionFile, sink: Callable[[LinkEvent], None]) -> None:
        self.links, self.file = links, file
        self._sink = sink
        self._live = False
        self._script: deque[SendError | HeldSend | Literal["lose"]] = deque()
        self.opened = self.closed = 0
        self.on_call: dict[str, LinkError] = {}                 # call name -> what it raises, until removed

    # -- what the test does

    def emit(self, event: LinkEvent) -> None:
        """WhatsApp tells something now. Nothing arrives on a link that is not open."""
        if self._live:
            self._sink(event)

    def fail_next_send(self, error: SendError) -> None:
        """An error that is not certain leaves the message handed over, as a missing acknowledgement does."""
        self._script.append(error)

    def lose_next_send(self) -> None:
        self._script.append("lose")

    def hold_next_send(self) -> HeldSend:
        held = HeldSend()
        self._script.append(held)
        return held

    # -- what the service does

    @property
    def stored(self) -> Stored:
        return self.links.stored.setdefault(self.file.path, Stored())

    async def open(self) -> None:
        self.opened += 1
        self._live = True
        if self.stored.account is None:
            told: Sequence[LinkEvent] = (LoggedOut(True, "unknown_logout", "no device is linked in this file"),)
        else:
            told = self.links.on_open
        for event in told:
            asyncio.get_running_loop().call_soon(self.emit, event)

    async def close(self) -> None:
        self.closed += 1
        self._live = False

    async def account(self) -> Account | None:
        return self.stored.account

    async def send(self, to: JID, message: Outgoing, secret: bytes) -> SendReceipt:
        if not self._live:
            raise SendError("session_not_connected", "the link is not open", retry=True)
        step = self._script.popleft() if self._script else None
        if isinstance(step, SendError) and step.certain:
            raise step
        id_ = f"3EB0{next(self.links.numbers):016X}"
        self.stored.handed_over[secret] = id_
        self.links.sent.append(Sent(self.file.session_id, to, message, secret, id_, time.monotonic()))
        if isinstance(step, HeldSend):
            step.handed_over.set()
            error = await step.outcome()
            if error is not None:
                raise error
        elif step == "lose":
            raise SendError("send_unconfirmed", "timed out waiting for message send response", certain=False)
        elif step is not None:
            raise step
        return SendReceipt(id_, int(time.time()))

    async def find_sent(self, secret: bytes) -> str | None:
        return self.stored.handed_over.get(secret)

    async def is_on_whatsapp(self, numbers: Sequence[str]) -> dict[str, JID | None]:
        self._tell("is_on_whatsapp", tuple(numbers))
        return {number: None if number in self.links.not_on_whatsapp else JID(number, USER) for number in numbers}

    async def set_presence(self, available: bool) -> None:
        self._tell("set_presence", available)

    async def chat_presence(self, chat: JID, state: Literal["composing", "recording", "paused"]) -> None:
        self._tell("chat_presence", chat, state)

    async def mark_read(self, keys: Sequence[MessageKey], played: bool = False) -> None:
        self._tell("mark_read", tuple(keys), played)

    async def download(self, media: MediaRef) -> bytes:
        self._tell("download", media)
        found = self.stored.media.get(media.direct_path)
        if found is None:
            raise LinkError("download failed with status code 404", "media_unavailable")
        return found

    async def logout(self) -> None:
        self._tell("logout")
        self.stored.account = None
        self.stored.handed_over.clear()

    def _tell(self, call: str, *arguments: object) -> None:
        if not self._live:
            raise LinkError("the link is not open", "session_not_connected")
        self.links.told.append(Told(self.file.session_id, call, arguments))
        if call in self.on_call:
            raise self.on_call[call]


class FakePairing:
    """One attempt to link; the test shows codes and scans them."""

    def __init__(self, links: FakeLinks, file: SessionFile, phone: str | None) -> None:
        self.links, self.file, self.phone = links, file, phone
        self._queue: asyncio.Queue[PairingEvent | None] = asyncio.Queue()
        self.closed = 0
        self.over = False

    # -- what the test does

    def show_qr(self, code: str = "2@fake-qr", seconds: float = 60.0) -> None:
        self._queue.put_nowait(QrCode(code, time.time() + seconds))

    def show_code(self, code: str = "ABCD-EFGH", seconds: float = 160.0) -> None:
        self._queue.put_nowait(PairingCode(code, time.time() + seconds))

    def scan(self, number: str = "15550001111", device: int = 1, push_name: str = "Owner") -> Paired:
        """The phone accepts: the account is in the session's file from here on."""
        jid, lid = JID(number, USER, device), JID(f"9{number}", LID, device)
        self.file.path.parent.mkdir(parents=True, exist_ok=True)
        self.file.path.touch()
        self.links.stored[self.file.path] = Stored(Account(jid, lid, push_name, "android"))
        paired = Paired(jid, lid, "android", "")
        self._finish(paired)
        return paired

    def end(self, reason: str, detail: str = "") -> None:
        self._finish(PairingEnded(reason, detail))

    def _finish(self, last: Paired | PairingEnded) -> None:
        assert not self.over, "an attempt ends once"
        self.over = True
        self._queue.put_nowait(last)

    # -- what the service does

    async def events(self) -> AsyncIterator[PairingEvent]:
        while True:
            event = await self._queue.get()
            if event is None:
                return
            yield event
            if isinstance(event, Paired | PairingEnded):
                return

    async def close(self) -> None:
        self.closed += 1
        self._queue.put_nowait(None)


class FakeLinks:
    """Every link and pairing of one test. `live(session_id)` is the newest link, `pairing(session_id)` the newest
    attempt."""

    def __init__(self) -> None:
        self.links: list[FakeLink] = []
        self.pairings: list[FakePairing] = []
        self.sent: list[Sent] = []
        self.told: list[Told] = []
        self.stored: dict[Path, Stored] = {}
        self.on_open: Sequence[LinkEvent] = (Connected(),)
        self.on_pair: Callable[[FakePairing], None] | None = None
        self.not_on_whatsapp: set[str] = set()
        self.numbers = itertools.count(1)
        self.closed = 0

    def link(self, file: SessionFile, sink: Callable[[LinkEvent], None]) -> FakeLink:
        link = FakeLink(self, file, sink)
        self.links.append(link)
        return link

    def pair(self, file: SessionFile, phone: str | None = None) -> FakePairing:
        pairing = FakePairing(self, file, phone)
        self.pairings.append(pairing)
        if self.on_pair is not None:
            self.on_pair(pairing)
        return pairing

    async def close(self) -> None:
        self.closed += 1

    def live(self, session_id: str) -> FakeLink:
        return next(link for link in reversed(self.links) if link.file.session_id == session_id)

    def pairing(self, session_id: str) -> FakePairing:
        return next(pairing for pairing in reversed(self.pairings) if pairing.file.session_id == session_id)

    def link_account(self, file: SessionFile, number: str = "15550001111", device: int = 1) -> Account:
        """As if the session had been paired before the test began."""
        account = Account(JID(number, USER, device), JID(f"9{number}", LID, device), "Owner", "android")
        self.stored[file.path] = Stored(account)
        return account
