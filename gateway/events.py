"""What a link tells: WhatsApp's events as frozen values. Unknown ones become `Unknown`, never an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.jid import JID
from gateway.messages import Received

# ------------------------------------------------------------------ pairing


@dataclass(frozen=True, slots=True)
class QrCode:
    """The text to draw. WhatsApp shows six: the first for 60 s, the others for 20 s. `expires_at`: unix seconds."""

    code: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class PairingCode:
    """Eight characters (`ABCD-EFGH`) to type on the phone under Linked devices > Link with phone number."""

    code: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Paired:
    """The phone accepted and the keys are committed in the session's sealed store."""

    jid: JID
    lid: JID | None
    platform: str
    business_name: str


@dataclass(frozen=True, slots=True)
class PairingEnded:
    """The attempt is over without a link. `reason` is a code of `states.REASONS`: qr_expired, pair_error,
    passkey_required, client_outdated, no_network_pairing, core_failed."""

    reason: str
    detail: str = ""


PairingEvent = QrCode | PairingCode | Paired | PairingEnded

# ------------------------------------------------------------------ a live link


@dataclass(frozen=True, slots=True)
class Connected:
    """Logged in and usable: prekeys are uploaded. (Right after linking, our own presence is refused until the phone has told
    the push name, half a second or so.)"""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The socket is gone; the core reconnects by itself."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """WhatsApp is out of reach, the first dial failed, the core returned, or (`store_damaged: …`) the file does not open:
    nothing reconnects unless we open again."""

    detail: str


@dataclass(frozen=True, slots=True)
class KeepAliveTimeout:
    errors: int
    last_success: int               # unix seconds


@dataclass(frozen=True, slots=True)
class KeepAliveRestored:
    pass


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """The device is unlinked; its keys are deleted from the session's store by the core."""

    on_connect: bool
    reason: Literal["logged_out", "main_device_gone", "unknown_logout"]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StreamReplaced:
    pass


@dataclass(frozen=True, slots=True)
class TemporaryBan:
    code: int
    expires_in: float               # seconds
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LoginRefused:
    """The login was refused for good. `reason`: client_outdated, bad_user_agent or connect_failure."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StreamError:
    code: str


@dataclass(frozen=True, slots=True)
class OfflineSyncCompleted:
    """All that waited for us on the server has been delivered."""

    count: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """Somebody's device got, read or played messages of ours, or asks for one again (`retry`), or our own other device
    read theirs (`read_self`/`played_self`), or the server refused (`server_error`)."""

    type: Literal["delivered", "read", "played", "sender", "retry", "read_self", "played_self", "server_error", "other"]
    chat: JID
    sender: JID
    ids: tuple[str, ...]
    timestamp: int                  # unix seconds


@dataclass(frozen=True, slots=True)
class MessageArrived:
    message: Received


@dataclass(frozen=True, slots=True)
class Undecryptable:
    """A message that could not be opened; the core has asked its sender for it again."""

    chat: JID
    sender: JID
    id: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class ChatPresence:
    chat: JID
    sender: JID
    state: Literal["composing", "recording", "paused"]


@dataclass(frozen=True, slots=True)
class Unknown:
    """An event this version has no use for, or none it could read."""

    type: int
    detail: str = ""


LinkEvent = (Connected | Disconnected | ConnectFailed | KeepAliveTimeout | KeepAliveRestored | LoggedOut | StreamReplaced
             | TemporaryBan | LoginRefused | StreamError | OfflineSyncCompleted | Receipt | MessageArrived | Undecryptable
             | ChatPresence | Unknown)
