"""A draft is what it was after it has waited in the outbox."""

from __future__ import annotations

import pytest

from gateway.jid import JID
from gateway.messages import PTT, Audio, Document, Image, MessageKey, Outgoing, Quoted, Reaction, Revoke, Text, Video
from gateway.services.drafts import Draft, Target

CHAT, SENDER = "120363000000000001@g.us", "237612345678:3@s.whatsapp.net"
TARGET = Target(CHAT, "A1", SENDER, "before")
KEY = MessageKey(JID.parse(CHAT), JID.parse(SENDER), "A1")
QUOTED = Quoted(KEY, "before")
FILE = {"data": b"\x00\xff", "mimetype": "a/b", "ready": True, "reply_to": TARGET}


@pytest.mark.parametrize(("draft", "message"), [
    (Draft("text", text="Hé 👋\u0000"), Text("Hé 👋\u0000")),
    (Draft("text", text="x", reply_to=TARGET), Text("x", QUOTED)),
    (Draft("ptt", seconds=3, waveform=bytes(64), **FILE), PTT(b"\x00\xff", 3, bytes(64), QUOTED)),
    (Draft("audio", seconds=3, **FILE), Audio(b"\x00\xff", "a/b", 3, QUOTED)),
    (Draft("image", text="c", width=2, height=1, thumbnail=b"t", **FILE), Image(b"\x00\xff", "a/b", 2, 1, b"t", "c", QUOTED)),
    (Draft("video", text="c", width=2, height=1, seconds=4, thumbnail=b"t", gif=True, **FILE),
     Video(b"\x00\xff", "a/b", 4, 2, 1, b"t", "c", True, QUOTED)),
    (Draft("document", text="c", filename="f.pdf", **FILE), Document(b"\x00\xff", "a/b", "f.pdf", "c", QUOTED)),
    (Draft("reaction", text="👍", target=TARGET), Reaction(KEY, "👍")),
    (Draft("revoke", target=Target(CHAT, "A1")), Revoke(MessageKey(JID.parse(CHAT), None, "A1"))),
])
def test_a_draft_comes_back_and_says_what_to_send(draft: Draft, message: Outgoing) -> None:
    assert Draft.decode(draft.encode()) == draft
    assert Draft.decode(draft.encode()).outgoing() == message


def test_a_draft_of_an_earlier_version_is_read_with_the_defaults_of_this_one() -> None:
    assert Draft.decode(b"\x82\xa4kind\xa4text\xa7unknown\x01") == Draft("text")
