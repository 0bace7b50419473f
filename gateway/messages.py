"""What is sent and what is received: frozen values, no I/O. Kinds are values, so there is one send path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.jid import JID

Kind = Literal["text", "image", "video", "document", "audio", "ptt", "reaction", "revoke"]


@dataclass(frozen=True, slots=True)
class MessageKey:
    """What names a message on WhatsApp: the id alone is not unique."""

    chat: JID
    sender: JID | None          # None: our own
    id: str


@dataclass(frozen=True, slots=True)
class Quoted:
    """A message that is answered. `text` is what the reply shows above itself."""

    key: MessageKey
    text: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    quoted: Quoted | None = None
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class PTT:
    """A voice note: Ogg Opus with its seconds (>= 1) and 64 amplitude values of 0..100."""

    ogg: bytes
    seconds: int
    waveform: bytes
    quoted: Quoted | None = None
    mimetype: str = "audio/ogg; codecs=opus"
    kind: Literal["ptt"] = "ptt"


@dataclass(frozen=True, slots=True)
class Audio:
    """An audio file, shown as a file with a player and not as a voice note."""

    data: bytes
    mimetype: str
    seconds: int
    quoted: Quoted | None = None
    kind: Literal["audio"] = "audio"


@dataclass(frozen=True, slots=True)
class Image:
    data: bytes
    mimetype: str
    width: int
    height: int
    thumbnail: bytes            # JPEG
    caption: str = ""
    quoted: Quoted | None = None
    kind: Literal["image"] = "image"


@dataclass(frozen=True, slots=True)
class Video:
    data: bytes
    mimetype: str
    seconds: int
    width: int
    height: int
    thumbnail: bytes            # JPEG
    caption: str = ""
    gif: bool = False           # plays by itself, in a loop, without sound
    quoted: Quoted | None = None
    kind: Literal["video"] = "video"


@dataclass(frozen=True, slots=True)
class Document:
    data: bytes
    mimetype: str
    filename: str
    caption: str = ""
    quoted: Quoted | None = None
    kind: Literal["document"] = "document"


@dataclass(frozen=True, slots=True)
class Reaction:
    """An emoji on a message; an empty one takes it away."""

    target: MessageKey
    emoji: str
    kind: Literal["reaction"] = "reaction"


@dataclass(frozen=True, slots=True)
class Revoke:
    """Takes a message back for everyone."""

    target: MessageKey
    kind: Literal["revoke"] = "revoke"


Outgoing = Text | PTT | Audio | Image | Video | Document | Reaction | Revoke


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """WhatsApp's server took the message. `timestamp` is the server's, in unix seconds."""

    id: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class MediaRef:
    """Where WhatsApp keeps a media file and how to open it. `type` is image, video, audio or document."""

    type: Literal["image", "video", "audio", "document"]
    direct_path: str
    media_key: bytes
    file_sha256: bytes
    file_enc_sha256: bytes
    file_length: int
    mimetype: str


@dataclass(frozen=True, slots=True)
class Received:
    """A message that arrived. `pn`/`lid` are the sender's two addresses where known."""

    key: MessageKey
    timestamp: int              # unix seconds
    kind: str                   # text, image, video, document, audio, ptt, sticker, location, contact, reaction,
                                # revoke, edit, poll, unknown
    from_me: bool               # sent by the owner on another device
    pn: JID | None
    lid: JID | None
    push_name: str
    text: str = ""              # body or caption; a reaction's emoji
    media: MediaRef | None = None
    seconds: int = 0
    waveform: bytes = b""
    width: int = 0
    height: int = 0
    filename: str = ""
    target_id: str = ""         # of a reaction, revoke or edit
    quoted_id: str = ""
