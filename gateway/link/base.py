"""The edge to WhatsApp: small interfaces with their promises written on them. `neonize_link` keeps them for real,
`tests/link/fake_link.py` for unit tests; `tests/link/contract.py` holds the cases that both pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from gateway.events import LinkEvent, PairingEvent
from gateway.jid import JID
from gateway.messages import MediaRef, MessageKey, Outgoing, SendReceipt


@dataclass(frozen=True, slots=True)
class SessionFile:
    """A session's own sealed database: where it is and the 32-byte data key that opens it."""

    session_id: str
    path: Path
    data_key: bytes


class SendError(Exception):
    """A send that did not end with WhatsApp's acknowledgement. `code` is of `errors.TABLE`.

    `certain`: the message is certainly not on its way. `retry`: the same message may succeed later (connection lost).
    `restricted_until`: unix seconds, where WhatsApp said when a restriction (463) ends."""

    def __init__(self, code: str, text: str, *, certain: bool = True, retry: bool = False,
                 restricted_until: float | None = None) -> None:
        super().__init__(f"{code}: {text}")
        self.code, self.text, self.certain, self.retry = code, text, certain, retry
        self.restricted_until = restricted_until


class LinkError(Exception):
    """A call other than a send failed. `text` is one sentence; `code` is of `errors.TABLE`."""

    def __init__(self, text: str, code: str = "send_failed") -> None:
        super().__init__(text)
        self.code, self.text = code, text


@dataclass(frozen=True, slots=True)
class Account:
    """Who is linked."""

    jid: JID
    lid: JID | None
    push_name: str
    platform: str


class Link(Protocol):
    """One session's live connection. Events go to the sink given at construction, on the event loop, in WhatsApp's order."""

    async def open(self) -> None:
        """Begin and return. Failures arrive as events (`ConnectFailed`, `LoggedOut`, …), never as exceptions."""

    async def close(self) -> None:
        """Idempotent. When it returns, no further event arrives and the session's file is no longer in use.
        Bounded in time; a core that does not stop is reported in the log and left behind."""

    async def account(self) -> Account | None:
        """The linked account, from the session's store; None when there is none. Raises LinkError when the file does not
        open."""

    async def send(self, to: JID, message: Outgoing, secret: bytes) -> SendReceipt:
        """Upload what has to be uploaded, hand the message over, wait for the server's acknowledgement.

        `secret` (32 bytes, new for every attempt) becomes the message's secret, which the core commits together with the
        message's id in the session's store *before* the first byte goes out: `find_sent` finds it again after a crash.
        One message of a session is handed over at a time; the others wait here, where they have certainly not left. A wait
        that is cancelled does not take the message back. Raises SendError."""

    async def find_sent(self, secret: bytes) -> str | None:
        """The id under which the message of this secret was handed to the wire; None: it certainly never was.
        Works on an open or a closed link, without the network. Raises LinkError when that cannot be told: no device is
        linked any more (what was sent is forgotten with it), the core still holds the message, the file does not open."""

    async def is_on_whatsapp(self, numbers: Sequence[str]) -> dict[str, JID | None]:
        """Digits -> the JID under which WhatsApp knows them, or None. Raises LinkError."""

    async def set_presence(self, available: bool) -> None:
        """Our own presence. Raises LinkError (e.g. before the push name is known)."""

    async def chat_presence(self, chat: JID, state: Literal["composing", "recording", "paused"]) -> None:
        """Raises LinkError."""

    async def mark_read(self, keys: Sequence[MessageKey], played: bool = False) -> None:
        """Messages of ONE chat and sender as read (or played). Raises LinkError."""

    async def download(self, media: MediaRef) -> bytes:
        """The decrypted file, its hash checked. Raises LinkError(code='media_unavailable')."""

    async def logout(self) -> None:
        """Unlink this device on WhatsApp's side. Raises LinkError; afterwards `close` is still owed."""


class Pairing(Protocol):
    """One attempt to link. Nothing of it stays behind after `close`: no thread, socket, descriptor."""

    def events(self) -> AsyncIterator[PairingEvent]:
        """Codes as they appear, then exactly one `Paired` or `PairingEnded`."""

    async def close(self) -> None:
        """Abandon the attempt; idempotent, bounded."""


class Links(Protocol):
    """Makes links and pairings; one per process."""

    def link(self, file: SessionFile, sink: Callable[[LinkEvent], None]) -> Link: ...

    def pair(self, file: SessionFile, phone: str | None = None) -> Pairing:
        """By QR, or with `phone` (digits) by pairing code (the QR codes come too). The attempt begins with a new file in place
        of whatever is there, a linked device's keys included: close the session's link first."""

    async def close(self) -> None:
        """When all links are closed: lets go of what the process holds."""


class StoreDamaged(Exception):
    """A session's file does not open; the text says why."""


class Generations(Protocol):
    """A session's file counts its openings, so that one put back from a backup is recognised."""

    async def read(self, file: SessionFile) -> int:
        """Raises StoreDamaged, GatewayError('storage_unavailable')."""

    async def bump(self, file: SessionFile, at_least: int) -> int:
        """One more than the file's number, and more than `at_least`; durable. Raises StoreDamaged,
        GatewayError('storage_unavailable')."""
