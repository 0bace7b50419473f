"""Outgoing messages as WhatsApp's clients exchange them (waE2E.Message): values in, values out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from gateway.jid import JID
from gateway.link import library
from gateway.messages import (
    PTT,
    Audio,
    Document,
    Image,
    MessageKey,
    Outgoing,
    Quoted,
    Reaction,
    Revoke,
    Text,
    Video,
)

MediaKind = Literal["image", "video", "audio", "document"]
_neonize, _e2e, _ = library.protobufs()
Payload = Any                   # a waE2E.Message


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Where WhatsApp keeps a file that was just uploaded, and how its recipients open it."""

    url: str
    direct_path: str
    media_key: bytes
    file_sha256: bytes
    file_enc_sha256: bytes
    file_length: int


def jid_bytes(jid: JID | None) -> bytes:
    """A JID as the core's functions take it. Every field must be there: Go follows each without looking. None: empty."""
    user, server, device = (jid.user, jid.server, jid.device) if jid is not None else ("", "", 0)
    encoded: bytes = _neonize.JID(User=user, RawAgent=0, Device=device, Integrator=0, Server=server,
                                  IsEmpty=jid is None).SerializeToString()
    return encoded


def attachment(message: Outgoing) -> tuple[MediaKind, bytes] | None:
    """What has to be uploaded before `payload` can be built."""
    match message:
        case PTT(ogg=data):
            return "audio", data
        case Audio(data=data):
            return "audio", data
        case Image(data=data):
            return "image", data
        case Video(data=data):
            return "video", data
        case Document(data=data):
            return "document", data
        case _:
            return None


def payload(message: Outgoing, secret: bytes, *, own: JID, uploaded: Uploaded | None = None,
            now: Callable[[], float] = time.time) -> Payload:
    """The message to hand over. `secret` (32 bytes) becomes its message secret, which the core stores beside the id;
    `own` is the linked account, named where one of its own messages is quoted."""
    built = _e2e.Message(**_content(message, uploaded, own, now))
    built.messageContextInfo.messageSecret = secret
    return built


def _content(message: Outgoing, uploaded: Uploaded | None, own: JID, now: Callable[[], float]) -> dict[str, Any]:
    match message:
        case Text(text=text, quoted=None):
            return {"conversation": text}
        case Text(text=text, quoted=quoted):
            return {"extendedTextMessage": _e2e.ExtendedTextMessage(text=text, **_context(quoted, own))}
        case PTT():
            return {"audioMessage": _e2e.AudioMessage(
                **_media(uploaded, now), mimetype=message.mimetype, PTT=True, seconds=max(1, message.seconds),
                waveform=message.waveform, **_context(message.quoted, own))}
        case Audio():
            return {"audioMessage": _e2e.AudioMessage(
                **_media(uploaded, now), mimetype=message.mimetype, PTT=False, seconds=message.seconds,
                **_context(message.quoted, own))}
        case Image():
            return {"imageMessage": _e2e.ImageMessage(
                **_media(uploaded, now), mimetype=message.mimetype, width=message.width, height=message.height,
                **_shown(message.caption, message.thumbnail), **_context(message.quoted, own))}
        case Video():
            return {"videoMessage": _e2e.VideoMessage(
                **_media(uploaded, now), mimetype=message.mimetype, width=message.width, height=message.height,
                seconds=message.seconds, gifPlayback=message.gif, **_shown(message.caption, message.thumbnail),
                **_context(message.quoted, own))}
        case Document():
            document = _e2e.DocumentMessage(
                **_media(uploaded, now), mimetype=message.mimetype, fileName=message.filename, title=message.filename,
                **_shown(message.caption, b""), **_context(message.quoted, own))
            if not message.caption:
                return {"documentMessage": document}
            inner = _e2e.Message(documentMessage=document)
            return {"documentWithCaptionMessage": _e2e.FutureProofMessage(message=inner)}
        case Reaction(target=target, emoji=emoji):
            return {"reactionMessage": _e2e.ReactionMessage(
                key=_key(target), text=emoji, senderTimestampMS=int(now() * 1000))}
        case Revoke(target=target):
            return {"protocolMessage": _e2e.ProtocolMessage(key=_key(target), type=_e2e.ProtocolMessage.REVOKE)}


def _media(uploaded: Uploaded | None, now: Callable[[], float]) -> dict[str, Any]:
    assert uploaded is not None, "the attachment is uploaded first"
    return {"URL": uploaded.url, "directPath": uploaded.direct_path, "mediaKey": uploaded.media_key,
            "fileSHA256": uploaded.file_sha256, "fileEncSHA256": uploaded.file_enc_sha256,
            "fileLength": uploaded.file_length, "mediaKeyTimestamp": int(now())}


def _shown(caption: str, thumbnail: bytes) -> dict[str, Any]:
    return ({"caption": caption} if caption else {}) | ({"JPEGThumbnail": thumbnail} if thumbnail else {})


def _context(quoted: Quoted | None, own: JID) -> dict[str, Any]:
    if quoted is None:
        return {}
    key = quoted.key
    return {"contextInfo": _e2e.ContextInfo(
        stanzaID=key.id, participant=str((key.sender or own).non_ad()),
        quotedMessage=_e2e.Message(conversation=quoted.text))}


def _key(key: MessageKey) -> dict[str, Any]:
    """The key of a message that is already in the chat. In a group the sender of somebody else's is named."""
    named = {"participant": str(key.sender.non_ad())} if key.sender is not None and not key.chat.is_person else {}
    return {"remoteJID": str(key.chat.non_ad()), "fromMe": key.sender is None, "ID": key.id, **named}
