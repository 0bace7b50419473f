"""What the core tells, as the gateway's events: protobuf bytes in, frozen values out.

Whatever arrives, something readable comes back: what is unknown or cannot be read becomes `Unknown`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from gateway.events import (
    ChatPresence,
    Connected,
    Disconnected,
    KeepAliveRestored,
    KeepAliveTimeout,
    LinkEvent,
    LoggedOut,
    LoginRefused,
    MessageArrived,
    OfflineSyncCompleted,
    Receipt,
    StreamError,
    StreamReplaced,
    TemporaryBan,
    Undecryptable,
    Unknown,
)
from gateway.jid import JID, LID, USER
from gateway.link import library
from gateway.messages import MediaRef, MessageKey, Received

_neonize, _e2e, _ = library.protobufs()
Payload = Any                   # a waE2E.Message
ReceiptType = Literal["delivered", "read", "played", "sender", "retry", "read_self", "played_self", "server_error", "other"]

_WRAPPERS = ("ephemeralMessage", "viewOnceMessage", "viewOnceMessageV2", "viewOnceMessageV2Extension", "deviceSentMessage",
             "documentWithCaptionMessage", "editedMessage", "groupMentionedMessage", "lottieStickerMessage", "botInvokeMessage",
             "associatedChildMessage")
_LOGOUTS: dict[int, Literal["logged_out", "main_device_gone", "unknown_logout"]] = {2: "logged_out", 4: "main_device_gone"}
_BANS = {1: (101, "sent to too many people"), 2: (102, "blocked by users"), 3: (103, "created too many groups"),
         4: (104, "sent the same message too often"), 5: (106, "broadcast list")}
_RECEIPTS: dict[int, ReceiptType] = {
    1: "delivered", 2: "sender", 3: "retry", 4: "read", 5: "read_self", 6: "played", 7: "played_self",
    8: "played_self"}           # the core writes SERVER_ERROR where it means played-self, and dies of a true one
_KEEP_UNSAID = {"senderKeyDistributionMessage", "messageContextInfo", "fastRatchetKeySenderKeyDistributionMessage"}


def from_whatsapp(code: int, data: bytes) -> LinkEvent:
    """One event of the core. Never raises."""
    reader = _READERS.get(code)
    if reader is None:
        return Unknown(code)
    kind, read = reader
    try:
        return read(kind.FromString(data))
    except Exception as error:              # the bytes come from strangers, and protobuf fails in several ways
        return Unknown(code, f"{type(error).__name__}: {error}"[:200])


def ended(error: str) -> LinkEvent | None:
    """What it means that the core returned by itself with this error, beyond its end; None: nothing more.

    Its events are protobufs with required fields, and a reason or type it has no name for leaves one unset: encoding
    fails, and with it the session. The text still says which event it was."""
    if "required field" not in error:
        return None
    if "TemporaryBan" in error:
        return TemporaryBan(0, 0.0, "for a reason this version does not know")
    if "ConnectFailure" in error:
        return LoginRefused("connect_failure", "for a reason this version does not know")
    if "LoggedOut" in error:
        return LoggedOut(True, "unknown_logout", "for a reason this version does not know")
    return None


# ------------------------------------------------------------------ the connection


def _keepalive_timeout(event: Any) -> LinkEvent:
    return KeepAliveTimeout(event.ErrorCount, event.LastSuccess)


def _logged_out(event: Any) -> LinkEvent:
    return LoggedOut(event.OnConnect, _LOGOUTS.get(event.Reason, "unknown_logout"))


def _temporary_ban(event: Any) -> LinkEvent:
    code, detail = _BANS.get(event.Code, (0, "for a reason this version does not know"))
    return TemporaryBan(code, float(event.Expire), detail)


def _connect_failure(event: Any) -> LinkEvent:
    name = _neonize.ConnectFailureReason.Name(event.Reason).lower()
    reason = name if name in ("client_outdated", "bad_user_agent") else "connect_failure"
    return LoginRefused(reason, event.Message or name)


# ------------------------------------------------------------------ messages and receipts


def _receipt(event: Any) -> LinkEvent:
    source = event.MessageSource
    return Receipt(_RECEIPTS.get(event.Type, "other"), jid(source.Chat).non_ad(), jid(source.Sender),
                   tuple(event.MessageIDs), event.Timestamp)


def _chat_presence(event: Any) -> LinkEvent:
    source = event.MessageSource
    state: Literal["composing", "recording", "paused"] = "paused"
    if event.State == _neonize.ChatPresence.COMPOSING:
        state = "recording" if event.Media == _neonize.ChatPresence.AUDIO else "composing"
    return ChatPresence(jid(source.Chat).non_ad(), jid(source.Sender).non_ad(), state)


def _undecryptable(event: Any) -> LinkEvent:
    info = event.Info
    return Undecryptable(jid(info.MessageSource.Chat).non_ad(), jid(info.MessageSource.Sender).non_ad(), info.ID,
                         info.Timestamp // 1000)


def _message(event: Any) -> LinkEvent:
    info, source = event.Info, event.Info.MessageSource
    inner = unwrapped(event.Message)
    said = {field.name for field, _ in inner.ListFields()} - _KEEP_UNSAID
    if info.Category == "peer" or not said:
        return Unknown(17, "housekeeping between the account's own devices")
    if said == {"protocolMessage"} and inner.protocolMessage.type not in (0, 14):
        return Unknown(17, "protocol: " + _e2e.ProtocolMessage.Type.Name(inner.protocolMessage.type).lower())
    chat, sender, other = jid(source.Chat).non_ad(), jid(source.Sender).non_ad(), jid(source.SenderAlt).non_ad()
    key = MessageKey(chat, None if source.IsFromMe else sender, info.ID)
    addresses = {address.server: address for address in (other, sender) if address.user}
    return MessageArrived(Received(
        key=key, timestamp=info.Timestamp // 1000, from_me=source.IsFromMe, pn=addresses.get(USER), lid=addresses.get(LID),
        push_name=info.Pushname, **content(inner)))


def jid(proto: Any) -> JID:
    return JID(proto.User, proto.Server, proto.Device)


def unwrapped(message: Payload) -> Payload:
    """The message inside its envelopes: disappearing, seen once, sent by another own device, edited, captioned."""
    for _ in range(8):                      # nobody nests deeper; a stranger may
        wrapper = next((name for name in _WRAPPERS if message.HasField(name)), None)
        if wrapper is None:
            return message
        message = getattr(message, wrapper).message
    return message


def content(message: Payload) -> dict[str, Any]:
    """`Received`'s fields about what was said: kind, text, media, …"""
    if message.HasField("conversation"):
        return {"kind": "text", "text": message.conversation}
    for name, kind, read in _KINDS:
        if message.HasField(name):
            part = getattr(message, name)
            said = {"kind": kind, **read(part)}
            if "contextInfo" in part.DESCRIPTOR.fields_by_name and part.contextInfo.stanzaID:
                said["quoted_id"] = part.contextInfo.stanzaID
            return said
    return {"kind": "unknown"}


def _protocol(part: Any) -> dict[str, Any]:
    if part.type == _e2e.ProtocolMessage.REVOKE:
        return {"kind": "revoke", "target_id": part.key.ID}
    inner = content(unwrapped(part.editedMessage))
    return {"kind": "edit", "target_id": part.key.ID, "text": inner.get("text", "")}


def _audio(part: Any) -> dict[str, Any]:
    return {"kind": "ptt" if part.PTT else "audio", "seconds": part.seconds, "waveform": part.waveform,
            "media": _media("audio", part)}


def _image(part: Any) -> dict[str, Any]:
    return {"text": part.caption, "width": part.width, "height": part.height, "media": _media("image", part)}


def _video(part: Any) -> dict[str, Any]:
    return {"text": part.caption, "width": part.width, "height": part.height, "seconds": part.seconds,
            "media": _media("video", part)}


def _document(part: Any) -> dict[str, Any]:
    return {"text": part.caption, "filename": part.fileName or part.title, "media": _media("document", part)}


def _sticker(part: Any) -> dict[str, Any]:
    return {"width": part.width, "height": part.height, "media": _media("image", part)}


def _location(part: Any) -> dict[str, Any]:
    latitude, longitude = part.degreesLatitude, part.degreesLongitude
    place = f"{latitude:.6f},{longitude:.6f}" if math.isfinite(latitude) and math.isfinite(longitude) else ""
    named = ", ".join(filter(None, (getattr(part, "name", ""), getattr(part, "address", "") or getattr(part, "caption", ""))))
    return {"text": f"{place} {named}".strip()}


def _contacts(part: Any) -> dict[str, Any]:
    return {"text": part.displayName or ", ".join(contact.displayName for contact in part.contacts)}


def _chosen(part: Any) -> dict[str, Any]:
    return {"text": part.selectedDisplayText if "selectedDisplayText" in part.DESCRIPTOR.fields_by_name else part.title}


def _media(kind: Literal["image", "video", "audio", "document"], part: Any) -> MediaRef | None:
    if not part.directPath or not part.mediaKey:
        return None
    return MediaRef(kind, part.directPath, part.mediaKey, part.fileSHA256, part.fileEncSHA256, part.fileLength, part.mimetype)


_KINDS: tuple[tuple[str, str, Callable[[Any], dict[str, Any]]], ...] = (
    ("extendedTextMessage", "text", lambda part: {"text": part.text}),
    ("audioMessage", "audio", _audio),
    ("imageMessage", "image", _image),
    ("videoMessage", "video", _video),
    ("ptvMessage", "video", _video),
    ("documentMessage", "document", _document),
    ("stickerMessage", "sticker", _sticker),
    ("locationMessage", "location", _location),
    ("liveLocationMessage", "location", _location),
    ("contactMessage", "contact", lambda part: {"text": part.displayName}),
    ("contactsArrayMessage", "contact", _contacts),
    ("reactionMessage", "reaction", lambda part: {"text": part.text, "target_id": part.key.ID}),
    ("protocolMessage", "unknown", _protocol),
    ("pollCreationMessage", "poll", lambda part: {"text": part.name}),
    ("pollCreationMessageV2", "poll", lambda part: {"text": part.name}),
    ("pollCreationMessageV3", "poll", lambda part: {"text": part.name}),
    ("buttonsResponseMessage", "text", lambda part: {"text": part.selectedDisplayText}),
    ("templateButtonReplyMessage", "text", _chosen),
    ("listResponseMessage", "text", _chosen),
)
_READERS: dict[int, tuple[Any, Callable[[Any], LinkEvent]]] = {
    3: (_neonize.Connected, lambda _: Connected()),
    4: (_neonize.KeepAliveTimeout, _keepalive_timeout),
    5: (_neonize.KeepAliveRestored, lambda _: KeepAliveRestored()),
    6: (_neonize.LoggedOut, _logged_out),
    7: (_neonize.StreamReplaced, lambda _: StreamReplaced()),
    8: (_neonize.TemporaryBan, _temporary_ban),
    9: (_neonize.ConnectFailure, _connect_failure),
    10: (_neonize.ClientOutdated, lambda _: LoginRefused("client_outdated")),
    11: (_neonize.StreamError, lambda event: StreamError(event.Code)),
    12: (_neonize.Disconnected, lambda _: Disconnected()),
    17: (_neonize.Message, _message),
    18: (_neonize.Receipt, _receipt),
    19: (_neonize.ChatPresence, _chat_presence),
    27: (_neonize.OfflineSyncCompleted, lambda event: OfflineSyncCompleted(event.Count)),
    44: (_neonize.UndecryptableMessage, _undecryptable),
}
SUBSCRIBED = bytes(_READERS)
"""The events to ask the core for, by its numbers."""
