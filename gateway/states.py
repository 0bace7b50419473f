"""The states of a session: one enum, one table from reason to sentence, action and "does it retry by itself".

API, event stream, console, logs and metrics read the same value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.times import iso


class Status(StrEnum):
    PENDING = "pending"             # a QR or pairing code waits, or the attempt is being prepared
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"   # paired; reconnecting by itself, unless the reason says otherwise
    QR_EXPIRED = "qr_expired"
    LOGGED_OUT = "logged_out"
    BANNED = "banned"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a session is as it is. `retry`: the gateway goes on by itself. `action`: what the operator can do."""

    code: str
    status: Status
    sentence: str
    retry: bool = False
    action: str = "none"


_P, _C, _D, _E, _L, _B, _F = Status
REASONS: dict[str, Reason] = {r.code: r for r in (
    Reason("pairing", _P, "Waiting for WhatsApp's first code.", True),
    Reason("qr_waiting", _P, "A QR code waits to be scanned.", action="scan_qr"),
    Reason("code_waiting", _P, "A pairing code waits to be typed on the phone.", action="enter_code"),
    Reason("paired", _P, "The phone accepted; logging in.", True),
    Reason("connected", _C, "Connected."),
    Reason("starting", _D, "Connecting.", True),
    Reason("connection_lost", _D, "The connection was lost; reconnecting.", True),
    Reason("no_network", _D, "WhatsApp cannot be reached; trying again.", True, "check_network"),
    Reason("keepalive_timeout", _D, "WhatsApp does not answer; waiting for it or reconnecting.", True, "check_network"),
    Reason("server_refused", _D, "WhatsApp refused the login for now; trying again.", True),
    Reason("acks_missing", _D, "WhatsApp takes messages but does not confirm them; reconnecting.", True),
    Reason("storage_unavailable", _D, "The gateway's own store cannot be written; trying again.", True, "look_at_the_disk"),
    Reason("stopped", _D, "Disconnected by request.", action="connect"),
    Reason("stream_replaced", _D, "Another program connected with this device's keys.", action="stop_the_other_program"),
    Reason("qr_expired", _E, "Nobody scanned in time.", action="relink"),
    Reason("logged_out", _L, "Unlinked from the phone.", action="relink"),
    Reason("main_device_gone", _L, "The phone's account is gone or logged out everywhere.", action="relink"),
    Reason("unknown_logout", _L, "WhatsApp logged the device out.", action="relink"),
    Reason("temporary_ban", _B, "WhatsApp banned the account for a time.", action="wait"),
    Reason("client_outdated", _F, "WhatsApp no longer accepts this version of the core.", action="update_the_gateway"),
    Reason("bad_user_agent", _F, "WhatsApp refused the client's description.", action="update_the_gateway"),
    Reason("passkey_required", _F, "This account asks for a passkey while linking, which a gateway cannot answer.",
           action="link_with_phone_settings_changed"),
    Reason("pair_error", _F, "The phone and WhatsApp did not agree on the link.", action="relink"),
    Reason("connect_failure", _F, "WhatsApp refused the login.", action="see_log"),
    Reason("no_network_pairing", _F, "WhatsApp could not be reached to begin linking.", action="check_network"),
    Reason("store_damaged", _F, "The session's key file cannot be opened.", action="restore_or_relink"),
    Reason("stale_restore", _F, "The session's keys are older than the ones last used; sending with them would break "
           "the chats.", action="relink_or_force"),
    Reason("core_failed", _F, "The WhatsApp core failed.", action="see_log"),
)}


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session's state as everyone sees it. Times are unix seconds."""

    reason: Reason
    since: float
    detail: str = ""                    # WhatsApp's own words or number, where there are any
    next_retry: float | None = None
    until: float | None = None          # of a ban: when it ends

    @property
    def status(self) -> Status:
        return self.reason.status

    @property
    def is_terminal(self) -> bool:
        """Nothing happens until somebody acts."""
        return self.status not in (Status.CONNECTED, Status.PENDING) and not self.reason.retry

    @property
    def needs_somebody(self) -> bool:
        """It came to an end that nobody asked for."""
        return self.is_terminal and self.reason.code != "stopped"

    def public(self) -> dict[str, Any]:
        return {"status": self.status.value, "reason": self.reason.code, "sentence": self.reason.sentence,
                "detail": self.detail, "since": iso(self.since), "next_retry": iso(self.next_retry),
                "until": iso(self.until), "action": self.reason.action}
