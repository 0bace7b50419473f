"""What contacts can write, and how a message reads as facts."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from gateway.sandbox.compose import KINDS, ComposeError, compose
from gateway.sandbox.content import describe, media_of, thumbnail_of
from gateway.sandbox.media import unseal
from gateway.sandbox.protobufs import Message
from gateway.sandbox.trust import NoiseTrust
from gateway.sandbox.world import World

CHAT, AUTHOR = "1@lid", "2@lid"
FILE = base64.b64encode(b"a file").decode()


@pytest.fixture
def world() -> World:
    return World(NoiseTrust(), b"")


WRITTEN: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": ("hi", {"kind": "text", "text": "hi"}),
    "voice": (
        {"data": FILE, "seconds": 4, "waveform": [0, 50, 100]},
        {"kind": "voice", "ptt": True, "seconds": 4, "waveform": [0, 50, 100], "mimetype": "audio/ogg; codecs=opus"},
    ),
    "audio": ({"data": FILE, "seconds": 9}, {"kind": "audio", "ptt": False, "seconds": 9, "mimetype": "audio/mpeg"}),
    "image": ({"data": FILE, "caption": "look", "width": 3}, {"kind": "image", "caption": "look", "width": 3}),
    "video": ({"data": FILE, "seconds": 2}, {"kind": "video", "seconds": 2, "mimetype": "video/mp4"}),
    "document": ({"data": FILE, "filename": "a.pdf"}, {"kind": "document", "filename": "a.pdf"}),
    "sticker": ({"data": FILE}, {"kind": "sticker", "mimetype": "image/webp"}),
    "reaction": ({"id": "M1", "emoji": "👍"}, {"kind": "reaction", "target": "M1", "reaction": "👍"}),
    "revoke": ({"id": "M1"}, {"kind": "revoke", "target": "M1"}),
    "edit": ({"id": "M1", "text": "better"}, {"kind": "edit", "target": "M1", "text": "better"}),
    "location": ({"latitude": 1.5, "longitude": -2, "name": "here"}, {"kind": "location", "latitude": 1.5, "text": "here"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_reads_back(world: World, kind: str) -> None:
    value, facts = WRITTEN[kind]
    message = Message.FromString(compose(world, {kind: value}, CHAT, AUTHOR).SerializeToString())
    described = describe(message)
    assert {name: described[name] for name in facts} == facts
    pointer = media_of(message)
    assert (pointer is not None) == (kind in ("voice", "audio", "image", "video", "document", "sticker"))
    if pointer is not None:
        blob = world.media.get(pointer.encrypted_sha256)
        assert unseal(blob, pointer.key, pointer.kind, pointer.sha256) == b"a file"
        assert "?" in described["direct_path"]


def test_envelopes_quotes_mentions_and_previews_are_read() -> None:
    message = Message()
    inner = message.ephemeralMessage.message.viewOnceMessage.message.imageMessage
    inner.caption, inner.JPEGThumbnail = "once", b"jpeg"
    assert describe(message) | {"kind": "image", "view_once": True, "caption": "once", "thumbnail_size": 4} == describe(message)
    assert thumbnail_of(message) == b"jpeg"
    text = Message()
    text.extendedTextMessage.text = "see https://example.org"
    text.extendedTextMessage.matchedText, text.extendedTextMessage.title = "https://example.org", "Example"
    text.extendedTextMessage.contextInfo.stanzaID = "M0"
    text.extendedTextMessage.contextInfo.quotedMessage.conversation = "what?"
    text.extendedTextMessage.contextInfo.mentionedJID.append("1@lid")
    facts = describe(text)
    assert facts["preview"] == {"url": "https://example.org", "title": "Example", "description": ""}
    assert (facts["quoted_id"], facts["quoted"], facts["mentions"]) == ("M0", {"kind": "text", "text": "what?"}, ["1@lid"])
    poll = Message()
    poll.pollCreationMessageV3.name = "Where?"
    poll.pollCreationMessageV3.options.add(optionName="Here")
    assert describe(poll) == {"kind": "poll", "text": "Where?", "options": ["Here"]}
    assert describe(Message()) == {"kind": "empty"}
    assert thumbnail_of(Message(conversation="x")) == b""


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "x", "voice": {"data": FILE}},
        {"voice": "not an object"},
        {"voice": {"data": "§"}},
        {"image": {}},
        {"reaction": {"emoji": "x"}},
    ],
)
def test_what_is_no_message_is_refused(world: World, body: dict[str, Any]) -> None:
    with pytest.raises(ComposeError):
        compose(world, body, CHAT, AUTHOR)
