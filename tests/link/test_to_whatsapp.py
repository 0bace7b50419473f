"""What is handed over: the fields WhatsApp's own clients fill, and the message secret in every kind."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.jid import JID, USER
from gateway.link import library
from gateway.link.to_whatsapp import Uploaded, attachment, jid_bytes, payload
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

N, E, _ = library.protobufs()
SECRET = bytes(range(32))
OWN, PEER, GROUP = JID("15550001111", USER, 7), JID("15550002222", USER), JID("120363000000000001", "g.us")
UPLOADED = Uploaded("https://mmg/x", "/v/x", b"k" * 32, b"a" * 32, b"b" * 32, 5)
THEIRS, OURS = MessageKey(PEER, PEER, "THEIRS"), MessageKey(PEER, None, "OURS")


def built(message: Outgoing) -> Any:
    encoded = payload(message, SECRET, own=OWN, uploaded=UPLOADED, now=lambda: 1_700_000_000.5).SerializeToString()
    return E.Message.FromString(encoded)


@pytest.mark.parametrize("message", [
    Text("a"), Text("a", Quoted(THEIRS, "q")), PTT(b"OggS", 1, bytes(64)), Audio(b"x", "audio/mpeg", 2),
    Image(b"x", "image/jpeg", 2, 1, b"t"), Video(b"x", "video/mp4", 3, 2, 1, b"t"), Document(b"x", "a/b", "c"),
    Document(b"x", "a/b", "c", "caption"), Reaction(THEIRS, "👍"), Revoke(OURS)])
def test_every_kind_carries_its_secret_at_the_top(message: Outgoing) -> None:
    assert built(message).messageContextInfo.messageSecret == SECRET


def test_a_voice_note_is_what_a_phone_records() -> None:
    audio = built(PTT(b"OggS.", 0, bytes(range(64)))).audioMessage
    assert (audio.PTT, audio.mimetype, audio.seconds, audio.waveform) == (
        True, "audio/ogg; codecs=opus", 1, bytes(range(64)))
    assert (audio.URL, audio.directPath, audio.mediaKey, audio.fileSHA256, audio.fileEncSHA256, audio.fileLength,
            audio.mediaKeyTimestamp) == ("https://mmg/x", "/v/x", b"k" * 32, b"a" * 32, b"b" * 32, 5, 1_700_000_000)


def test_a_plain_text_is_a_conversation_and_an_answer_quotes() -> None:
    assert built(Text("hi")).conversation == "hi"
    answer = built(Text("yes", Quoted(THEIRS, "ready?"))).extendedTextMessage
    assert (answer.text, answer.contextInfo.stanzaID, answer.contextInfo.participant,
            answer.contextInfo.quotedMessage.conversation) == ("yes", "THEIRS", str(PEER), "ready?")
    assert built(Text("ps", Quoted(OURS))).extendedTextMessage.contextInfo.participant == str(OWN.non_ad())


def test_pictures_videos_and_documents_show_what_they_are() -> None:
    image = built(Image(b"x", "image/png", 40, 30, b"jpeg", "c", Quoted(THEIRS))).imageMessage
    assert (image.width, image.height, image.JPEGThumbnail, image.caption, image.contextInfo.stanzaID) == (
        40, 30, b"jpeg", "c", "THEIRS")
    video = built(Video(b"x", "video/mp4", 9, 40, 30, b"jpeg", gif=True)).videoMessage
    assert (video.seconds, video.gifPlayback, video.HasField("caption")) == (9, True, False)
    document = built(Document(b"x", "application/pdf", "a.pdf")).documentMessage
    assert (document.fileName, document.title) == ("a.pdf", "a.pdf")
    captioned = built(Document(b"x", "application/pdf", "a.pdf", "read this"))
    assert captioned.documentWithCaptionMessage.message.documentMessage.caption == "read this"
    audio = built(Audio(b"x", "audio/mpeg", 7)).audioMessage
    assert (audio.PTT, audio.seconds, audio.HasField("waveform")) == (False, 7, False)


def test_reactions_and_revokes_name_the_author_in_groups_only() -> None:
    reaction = built(Reaction(THEIRS, "👍")).reactionMessage
    assert (reaction.key.ID, reaction.key.fromMe, reaction.key.remoteJID, reaction.key.HasField("participant"),
            reaction.text, reaction.senderTimestampMS) == ("THEIRS", False, str(PEER), False, "👍", 1_700_000_000_500)
    in_group = built(Reaction(MessageKey(GROUP, JID("15550002222", USER, 4), "G"), "")).reactionMessage
    assert (in_group.key.participant, in_group.HasField("text"), in_group.text) == (str(PEER), True, "")
    revoke = built(Revoke(OURS)).protocolMessage
    assert (revoke.type, revoke.key.fromMe, revoke.key.ID) == (E.ProtocolMessage.REVOKE, True, "OURS")


def test_only_files_are_uploaded() -> None:
    assert attachment(PTT(b"o", 1, bytes(64))) == ("audio", b"o")
    assert attachment(Document(b"d", "a/b", "c")) == ("document", b"d")
    assert attachment(Video(b"v", "video/mp4", 1, 1, 1, b"")) == ("video", b"v")
    assert attachment(Text("a")) is None
    assert attachment(Reaction(THEIRS, "x")) is None


def test_an_address_has_every_field_go_follows_blindly() -> None:
    for jid in (PEER, JID("9", "lid", 3), None):
        proto = N.JID.FromString(jid_bytes(jid))
        assert all(proto.HasField(name) for name in ("User", "RawAgent", "Device", "Integrator", "Server"))
