"""The core's error sentences, sorted. whatsmeow returns Go errors; over the C boundary only their text arrives.

What matters for a send is whether the message may be on its way. whatsmeow says "failed to send message node" when the
socket did not take it; everything that can only happen after the first byte went out leaves the send unconfirmed.
(whatsmeow: errors.go, send.go, request.go, upload.go.)
"""

from __future__ import annotations

import re

from gateway.link.base import SendError

_SERVER_ERROR = re.compile(r"server returned error (\d+)")
_UPLOAD_STATUS = re.compile(r"(?:upload failed with|returned) status(?: code)? (\d+)")
_NOT_LINKED = ("the store doesn't contain a device JID", "client is nil", "device has been deleted")
_BEFORE_THE_WIRE = (                    # the connection's failures while the send was being prepared: nothing left
    "failed to send message node: websocket not connected",
    "failed to send message node: frame socket is closed",
    "failed to get LID for PN", "failed to get user info", "failed to get group members", "failed to get device list",
    "failed to prefetch sessions", "failed to fetch LID mappings", "failed to fetch prekeys", "failed to refresh")
_CONNECTION = ("websocket", "socket", "timed out", "connection", "EOF", "network", "i/o timeout", "status 5")
_ON_THE_WIRE = (
    "timed out waiting for message send response", "websocket not connected", "websocket disconnected before message send",
    "frame socket is closed", "context canceled", "context deadline exceeded", "failed to send message node",
    "info query timed out",
    "failed to write", "use of closed", "broken pipe", "connection reset")
_TRY_LATER = {429, 500, 503}
_STORE = ("database or disk is full", "database is locked")         # the session's keys are saved before the wire is touched


def send_error(text: str, *, perhaps_a_copy: bool = False) -> SendError:
    """What `SendMessage` answered. An unknown sentence is certain: the ones that are not are few and known. `perhaps_a_copy`: the
    connection was lost meanwhile, so the core may have sent the message twice, and it is the second one that was refused."""
    if code := _SERVER_ERROR.search(text):
        if perhaps_a_copy:
            return SendError("send_unconfirmed", f"{text}, after the connection was lost and the message sent again", certain=False)
        number = int(code[1])
        if number == 463:
            return SendError("account_restricted", text)
        return SendError("send_failed", text, retry=number in _TRY_LATER)
    if any(part in text for part in _NOT_LINKED):
        return SendError("session_gone", text)
    if any(part in text for part in _STORE):
        return SendError("storage_unavailable", text, retry=True)
    if "no LID found for" in text:
        return SendError("not_on_whatsapp", text)
    if any(part in text for part in _BEFORE_THE_WIRE):
        return SendError("send_failed", text, retry=any(part in text for part in _CONNECTION))
    if any(part in text for part in _ON_THE_WIRE):
        return SendError("send_unconfirmed", text, certain=False)
    return SendError("send_failed", text)


def upload_error(text: str) -> SendError:
    """What `Upload` answered: nothing has been sent. WhatsApp's own trouble (5xx, 429) and the network's may pass."""
    if any(part in text for part in _NOT_LINKED):
        return SendError("session_gone", text)
    status = _UPLOAD_STATUS.search(text)
    if status is None:
        return SendError("upload_failed", text, retry=True)
    return SendError("upload_failed", text, retry=int(status[1]) >= 500 or int(status[1]) in (401, 429))


def pairing_failure(text: str) -> tuple[str, str]:
    """Why the core returned instead of showing a code: (a reason of `states.REASONS`, detail)."""
    if any(part in text for part in ("database", "sqlite", "disk I/O", "upgrade", "foreign keys")):
        return "core_failed", text
    return "no_network_pairing", text
