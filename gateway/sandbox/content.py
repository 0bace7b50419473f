"""What a message says: the protobuf that came out of the ciphertext, as plain facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .protobufs import Message, ProtocolMessage

_WRAPPERS = (
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
    "editedMessage",
    "lottieStickerMessage",
)
_MEDIA = {
    "imageMessage": "image",
    "videoMessage": "video",
    "ptvMessage": "video",
    "audioMessage": "audio",
    "documentMessage": "document",
    "stickerMessage": "sticker",
}


@dataclass(frozen=True, slots=True)
class MediaPointer:
    """Where a message's file is and how it opens."""

    kind: str
    key: bytes
    sha256: bytes
    encrypted_sha256: bytes


def unwrap(message: Message) -> tuple[Message, bool]:
    """The message inside its envelopes, and whether one of them was a view-once."""
    view_once = False
    for _ in range(len(_WRAPPERS)):
        wrapper = next((name for name in _WRAPPERS if message.HasField(name)), None)
        if wrapper is None:
            break
        view_once |= wrapper.startswith("viewOnce")
        message = getattr(message, wrapper).message
    return message, view_once


def describe(message: Message) -> dict[str, Any]:
    """Facts by name; only those that the kind of message has.

    `kind` is text, image, video, gif, audio, voice, document, sticker, reaction, revoke, edit, location, contact,
    poll or the protobuf's field name. `waveform` is a list of 0-100, `sha256` hex, `thumbnail_size` bytes.
    """
    message, view_once = unwrap(message)
    facts: dict[str, Any] = {"view_once": True} if view_once else {}
    present = [field.name for field, _ in message.ListFields()]
    name = next((name for name in present if name not in ("messageContextInfo", "senderKeyDistributionMessage")), "")
    part: Any = getattr(message, name) if name else None
    if name == "conversation":
        return facts | {"kind": "text", "text": message.conversation}
    if name == "extendedTextMessage":
        return facts | _text(part)
    if name in _MEDIA:
        return facts | _media(_MEDIA[name], part)
    if name == "reactionMessage":
        return facts | {"kind": "reaction", "reaction": part.text, "target": part.key.ID}
    if name == "protocolMessage":
        return facts | _protocol(part)
    if name == "locationMessage":
        return facts | {
            "kind": "location",
            "latitude": part.degreesLatitude,
            "longitude": part.degreesLongitude,
            "text": part.name,
            **_context(part),
        }
    if name == "contactMessage":
        return facts | {"kind": "contact", "text": part.displayName, "vcard": part.vcard, **_context(part)}
    if name.startswith("pollCreationMessage"):
        return facts | {"kind": "poll", "text": part.name, "options": [option.optionName for option in part.options]}
    return facts | {"kind": name or "empty"}


def _text(part: Any) -> dict[str, Any]:
    facts = {"kind": "text", "text": part.text, **_context(part)}
    if part.matchedText or part.title:
        facts["preview"] = {"url": part.matchedText, "title": part.title, "description": part.description}
        facts["thumbnail_size"] = len(part.JPEGThumbnail)
    return facts


def _protocol(part: Any) -> dict[str, Any]:
    if part.type == ProtocolMessage.REVOKE:
        return {"kind": "revoke", "target": part.key.ID}
    if part.type == ProtocolMessage.MESSAGE_EDIT:
        return {"kind": "edit", "target": part.key.ID, "text": describe(part.editedMessage).get("text", "")}
    return {"kind": "protocol", "protocol": ProtocolMessage.Type.Name(part.type)}


def _media(kind: str, part: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "kind": kind,
        "mimetype": part.mimetype,
        "size": part.fileLength,
        "sha256": part.fileSHA256.hex(),
        "direct_path": part.directPath,
    }
    if kind == "audio":
        facts |= {"seconds": part.seconds, "ptt": part.PTT, "waveform": list(part.waveform)}
        facts["kind"] = "voice" if part.PTT else "audio"
        facts["view_once"] = part.viewOnce
    else:
        facts["url"] = part.URL
    if kind == "video":
        facts |= {"seconds": part.seconds, "kind": "gif" if part.gifPlayback else "video"}
    if kind in ("image", "video", "sticker"):
        facts |= {"width": part.width, "height": part.height}
    if kind in ("image", "video", "document"):
        facts |= {"caption": part.caption, "thumbnail_size": len(part.JPEGThumbnail)}
    if kind == "document":
        facts |= {"filename": part.fileName, "title": part.title}
    facts["url"] = part.URL
    return facts | _context(part)


def _context(part: Any) -> dict[str, Any]:
    """What a message refers to: quoted message, mentions, forwarding."""
    context = part.contextInfo
    facts: dict[str, Any] = {}
    if context.stanzaID:
        quoted = describe(context.quotedMessage) if context.HasField("quotedMessage") else {}
        facts |= {"quoted_id": context.stanzaID, "quoted_from": context.participant, "quoted": quoted}
    if context.mentionedJID:
        facts["mentions"] = list(context.mentionedJID)
    if context.isForwarded:
        facts["forwarded"] = context.forwardingScore
    return facts


def media_of(message: Message) -> MediaPointer | None:
    """Where the file of a media message is, None for the others."""
    message, _ = unwrap(message)
    for name, kind in _MEDIA.items():
        if message.HasField(name):
            part = getattr(message, name)
            return MediaPointer(kind, part.mediaKey, part.fileSHA256, part.fileEncSHA256)
    return None


def thumbnail_of(message: Message) -> bytes:
    """The JPEG inside the message, b"" when it has none."""
    message, _ = unwrap(message)
    for name in ("imageMessage", "videoMessage", "documentMessage", "extendedTextMessage"):
        if message.HasField(name):
            return bytes(getattr(message, name).JPEGThumbnail)
    return b""
