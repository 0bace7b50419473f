"""What a contact can write, from JSON to WhatsApp's protobuf."""

from __future__ import annotations

import base64
import binascii
import time
from typing import TYPE_CHECKING, Any

from .media import seal
from .protobufs import Message, ProtocolMessage

if TYPE_CHECKING:
    from .world import World

KINDS = ("text", "voice", "audio", "image", "video", "document", "sticker", "reaction", "revoke", "edit", "location")


class ComposeError(Exception):
    """The JSON is no message; the text says what is wrong."""


def compose(world: World, body: dict[str, Any], chat: str, author: str) -> Message:
    """The message a JSON object describes: exactly one of KINDS, and `quote`. Raises ComposeError.

    Files are base64 in `data`. `chat` is the address of the chat, `author` of whoever writes.
    """
    kinds = [kind for kind in KINDS if kind in body]
    if len(kinds) != 1:
        raise ComposeError(f"one of {', '.join(KINDS)} is needed, got {kinds or 'none'}")
    kind, value, message = kinds[0], body[kinds[0]], Message()
    if kind == "text":
        message.extendedTextMessage.text = str(value)
        if "quote" not in body:
            message = Message(conversation=str(value))
        else:
            _quote(world, message.extendedTextMessage, str(body["quote"]))
        return message
    if not isinstance(value, dict):
        raise ComposeError(f"{kind} has to be an object")
    if kind == "reaction":
        _target(message.reactionMessage.key, value, chat, author)
        message.reactionMessage.text = str(value.get("emoji", ""))
        message.reactionMessage.senderTimestampMS = int(time.time() * 1000)
    elif kind in ("revoke", "edit"):
        _target(message.protocolMessage.key, value | {"from_me": True}, chat, author)
        message.protocolMessage.type = ProtocolMessage.REVOKE
        if kind == "edit":
            message.protocolMessage.type = ProtocolMessage.MESSAGE_EDIT
            message.protocolMessage.editedMessage.conversation = str(value.get("text", ""))
            message.protocolMessage.timestampMS = int(time.time() * 1000)
    elif kind == "location":
        message.locationMessage.degreesLatitude = float(value.get("latitude", 0))
        message.locationMessage.degreesLongitude = float(value.get("longitude", 0))
        message.locationMessage.name = str(value.get("name", ""))
    else:
        part = _media(world, message, kind, value)
        if "quote" in body:
            _quote(world, part, str(body["quote"]))
    return message


def _target(key: Any, value: dict[str, Any], chat: str, author: str) -> None:
    """The key of the message a reaction, revoke or edit is about: `id`, and `from_me` when the author wrote it."""
    if not value.get("id"):
        raise ComposeError("the id of the message it is about is missing")
    key.ID = str(value["id"])
    key.fromMe = bool(value.get("from_me", False))
    key.remoteJID = chat
    if chat.endswith("@g.us"):
        key.participant = author if key.fromMe else str(value.get("participant", ""))


def _quote(world: World, part: Any, message_id: str) -> None:
    part.contextInfo.stanzaID = message_id
    record = world.records.with_id(message_id)
    if record is not None and record.message is not None:
        part.contextInfo.participant = str(record.device.owner.lid)
        part.contextInfo.quotedMessage.CopyFrom(record.message)


def _media(world: World, message: Message, kind: str, value: dict[str, Any]) -> Any:
    """Seal and upload `data`, and fill the part of the message that points at it."""
    try:
        plain = base64.b64decode(value["data"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise ComposeError(f"{kind}.data has to be base64") from None
    sealed = seal(plain, "audio" if kind in ("voice", "audio") else kind)
    part = {
        "voice": message.audioMessage,
        "audio": message.audioMessage,
        "image": message.imageMessage,
        "video": message.videoMessage,
        "document": message.documentMessage,
        "sticker": message.stickerMessage,
    }[kind]
    default = {
        "voice": "audio/ogg; codecs=opus",
        "audio": "audio/mpeg",
        "image": "image/jpeg",
        "video": "video/mp4",
        "document": "application/octet-stream",
        "sticker": "image/webp",
    }[kind]
    part.mimetype = str(value.get("mimetype", default))
    part.fileSHA256, part.fileEncSHA256 = sealed.sha256, sealed.encrypted_sha256
    part.mediaKey, part.fileLength = sealed.key, len(plain)
    part.mediaKeyTimestamp = int(time.time())
    part.directPath = world.media.put(sealed.blob)
    part.URL = world.media.url(part.directPath)
    if kind in ("voice", "audio"):
        part.seconds = int(value.get("seconds", 1))
        part.PTT = kind == "voice"
        if value.get("waveform"):
            part.waveform = bytes(value["waveform"])
    elif kind in ("image", "video", "sticker"):
        part.width, part.height = int(value.get("width", 1)), int(value.get("height", 1))
    if kind == "video":
        part.seconds = int(value.get("seconds", 1))
    if kind in ("image", "video", "document"):
        part.caption = str(value.get("caption", ""))
    if kind == "document":
        part.fileName = str(value.get("filename", "file"))
    return part
