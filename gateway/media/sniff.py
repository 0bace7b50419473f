"""What some bytes are, whatever their sender called them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import pylibmagic  # noqa: F401  # puts libmagic of its wheel where python-magic looks; must come first

import magic  # isort: skip

Kind = Literal["image", "video", "audio", "document"]

_HEAD: Final = 1 << 16  # libmagic looks no further for anything we name
_OGG_OPUS: Final = "audio/ogg; codecs=opus"
_IMAGES: Final = frozenset(("image/jpeg", "image/png", "image/webp", "image/gif"))  # what WhatsApp shows as a picture

# libmagic's private names for what has a registered one.
_REGISTERED: Final = {
    "application/x-empty": "application/octet-stream",
    "application/ogg": "audio/ogg",
    "audio/x-aiff": "audio/aiff",
    "audio/x-flac": "audio/flac",
    "audio/x-hx-aac-adts": "audio/aac",
    "audio/x-m4a": "audio/mp4",
    "audio/x-wav": "audio/wav",
    "video/x-m4v": "video/mp4",
}


class MediaError(Exception):
    """A picture or video that cannot be sent as one. `code` is stable, `text` a sentence for people.

    Codes: `empty`, `not_image`, `not_video`, `too_large`, `protected`, `damaged`, `timeout`.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Sniffed:
    """`mimetype` by content; `kind` is how WhatsApp would send it. Never fails: the last resort is
    `application/octet-stream`, a document."""

    mimetype: str
    kind: Kind


def sniff(data: bytes) -> Sniffed:
    """Names the content by its first 64 KB. MP4 and WebM are called video even if they hold only sound."""
    mimetype = _mimetype(data[:_HEAD])
    family = mimetype.partition("/")[0]
    if mimetype in _IMAGES:
        return Sniffed(mimetype, "image")
    if family == "video":
        return Sniffed(mimetype, "video")
    return Sniffed(mimetype, "audio" if family == "audio" else "document")


def _mimetype(head: bytes) -> str:
    if head[:4] == b"OggS" and head[28:36] == b"OpusHead":
        return _OGG_OPUS
    try:
        named = str(magic.from_buffer(head, mime=True))
    except magic.MagicException:
        return "application/octet-stream"
    return _REGISTERED.get(named, named)
