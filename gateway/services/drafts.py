"""What somebody asked to send, as it waits in the outbox: sealed, and complete enough to be sent after a restart."""

from __future__ import annotations

import msgspec

from gateway.jid import JID
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


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message on WhatsApp that is answered, reacted to or revoked."""

    chat: str
    id: str
    sender: str = ""                    # empty: our own
    text: str = ""

    def key(self) -> MessageKey:
        return MessageKey(JID.stored(self.chat), JID.stored(self.sender) if self.sender else None, self.id)

    def quoted(self) -> Quoted:
        return Quoted(self.key(), self.text)


class Draft(msgspec.Struct, frozen=True, omit_defaults=True):
    """`url` is fetched when the message's turn comes; `data` with `ready` needs no more preparation."""

    kind: str
    text: str = ""                      # body, caption or emoji
    url: str = ""
    data: bytes = b""
    ready: bool = False
    mimetype: str = ""
    filename: str = ""
    profile: str = ""
    seconds: int = 0
    waveform: bytes = b""
    width: int = 0
    height: int = 0
    thumbnail: bytes = b""
    gif: bool = False
    reply_to: Target | None = None
    target: Target | None = None

    @classmethod
    def reaction(cls, target: Target, emoji: str) -> Draft:
        """An empty emoji takes the reaction away."""
        return cls("reaction", text=emoji, ready=True, target=msgspec.structs.replace(target, text=""))

    def without_file(self) -> Draft:
        return msgspec.structs.replace(self, data=b"", thumbnail=b"")

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, payload: bytes) -> Draft:
        return msgspec.msgpack.decode(payload, type=cls)

    def outgoing(self) -> Outgoing:
        """Of a draft that is ready."""
        quoted = self.reply_to.quoted() if self.reply_to else None
        match self.kind:
            case "text":
                return Text(self.text, quoted)
            case "ptt":
                return PTT(self.data, self.seconds, self.waveform, quoted)
            case "audio":
                return Audio(self.data, self.mimetype, self.seconds, quoted)
            case "image":
                return Image(self.data, self.mimetype, self.width, self.height, self.thumbnail, self.text, quoted)
            case "video":
                return Video(self.data, self.mimetype, self.seconds, self.width, self.height, self.thumbnail, self.text,
                             self.gif, quoted)
            case "document":
                return Document(self.data, self.mimetype, self.filename, self.text, quoted)
            case "reaction":
                assert self.target is not None
                return Reaction(self.target.key(), self.text)
            case "revoke":
                assert self.target is not None
                return Revoke(self.target.key())
        raise AssertionError(self.kind)
