"""The core's protobufs become the gateway's events; what is unknown or broken becomes Unknown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from gateway.link.from_whatsapp import SUBSCRIBED, ended, from_whatsapp
from gateway.messages import MediaRef, MessageKey, Received

N, E, _ = library.protobufs()
PEER, PEER_LID = JID("15550002222", USER), JID("9001", LID)
MEDIA = {"URL": "https://mmg/x", "directPath": "/v/x?y", "mediaKey": b"k" * 32, "fileSHA256": b"a" * 32,
         "fileEncSHA256": b"b" * 32, "fileLength": 77}


def address(jid: JID) -> Any:
    return N.JID(User=jid.user, RawAgent=0, Device=jid.device, Integrator=0, Server=jid.server)


def source(from_me: bool = False, group: bool = False) -> Any:
    empty = address(JID("", ""))
    chat = JID("12036300000", "g.us") if group else PEER_LID
    return N.MessageSource(Chat=address(chat), Sender=address(JID("9001", LID, 3)), SenderAlt=address(PEER), RecipientAlt=empty,
                           BroadcastListOwner=empty, IsFromMe=from_me, IsGroup=group)


def info(**more: Any) -> Any:
    group, from_me = more.pop("group", False), more.pop("from_me", False)
    return N.MessageInfo(**({
        "MessageSource": source(from_me, group), "ID": "M1", "ServerID": 0, "Type": "text", "Pushname": "Ada",
        "Timestamp": 1_700_000_000_123, "Category": "", "Multicast": False, "MediaType": "", "Edit": ""} | more))


def told(message: Any, **more: Any) -> LinkEvent:
    return from_whatsapp(17, N.Message(
        Info=info(**more), Message=message, IsEphemeral=False, IsViewOnce=False, IsViewOnceV2=False, IsEdit=False,
        IsViewOnceV2Extension=False, IsDocumentWithCaption=False, IsLottieSticker=False, UnavailableRequestID="",
        RetryCount=0).SerializeToString())


def arrived(message: Any, **more: Any) -> Received:
    event = told(message, **more)
    assert isinstance(event, MessageArrived), event
    return event.message


@given(code=st.integers(0, 60), data=st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_bytes_of_any_event_raise(code: int, data: bytes) -> None:
    from_whatsapp(code, data)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_damage_to_a_real_event_raises(data: st.DataObject) -> None:
    code = data.draw(st.sampled_from(list(SUBSCRIBED)))
    whole = bytearray(N.Message(Info=info(), Message=E.Message(conversation="hello"), IsEphemeral=False, IsViewOnce=False,
                                IsViewOnceV2=False, IsEdit=False, IsViewOnceV2Extension=False, IsDocumentWithCaption=False,
                                IsLottieSticker=False, UnavailableRequestID="", RetryCount=0).SerializeToString())
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6)):
        whole[at] = data.draw(st.integers(0, 255))
    from_whatsapp(code, bytes(whole))


@pytest.mark.parametrize(("code", "proto", "event"), [
    (3, N.Connected(status=True), Connected()),
    (4, N.KeepAliveTimeout(ErrorCount=2, LastSuccess=1_700_000_000), KeepAliveTimeout(2, 1_700_000_000)),
    (5, N.KeepAliveRestored(), KeepAliveRestored()),
    (6, N.LoggedOut(OnConnect=False, Reason=2), LoggedOut(False, "logged_out")),
    (6, N.LoggedOut(OnConnect=True, Reason=4), LoggedOut(True, "main_device_gone")),
    (6, N.LoggedOut(OnConnect=True, Reason=5), LoggedOut(True, "unknown_logout")),
    (7, N.StreamReplaced(), StreamReplaced()),
    (8, N.TemporaryBan(Code=1, Expire=3600), TemporaryBan(101, 3600.0, "sent to too many people")),
    (8, N.TemporaryBan(Code=5, Expire=60), TemporaryBan(106, 60.0, "broadcast list")),
    (9, N.ConnectFailure(Reason=7, Message="", Raw=N.Node(Tag="failure")), LoginRefused("bad_user_agent", "bad_user_agent")),
    (9, N.ConnectFailure(Reason=9, Message="no", Raw=N.Node(Tag="failure")), LoginRefused("connect_failure", "no")),
    (10, N.ClientOutdated(), LoginRefused("client_outdated")),
    (11, N.StreamError(Code="500", Raw=N.Node(Tag="x")), StreamError("500")),
    (12, N.Disconnected(status=True), Disconnected()),
    (27, N.OfflineSyncCompleted(Count=9), OfflineSyncCompleted(9)),
])
def test_the_connection_is_told(code: int, proto: Any, event: LinkEvent) -> None:
    assert from_whatsapp(code, proto.SerializeToString()) == event


@pytest.mark.parametrize(("number", "type_"), [
    (1, "delivered"), (2, "sender"), (3, "retry"), (4, "read"), (5, "read_self"), (6, "played"), (8, "played_self"),
    (9, "other"), (10, "other"), (11, "other")])
def test_receipts_keep_their_kind(number: int, type_: str) -> None:
    proto = N.Receipt(MessageSource=source(), MessageIDs=["A", "B"], Timestamp=1_700_000_000, Type=number)
    assert from_whatsapp(18, proto.SerializeToString()) == Receipt(
        type_, PEER_LID, JID("9001", LID, 3), ("A", "B"), 1_700_000_000)  # type: ignore[arg-type]


@pytest.mark.parametrize(("state", "media", "expected"), [(1, 1, "composing"), (1, 2, "recording"), (2, 1, "paused")])
def test_chat_presence_tells_recording_from_composing(state: int, media: int, expected: str) -> None:
    proto = N.ChatPresence(MessageSource=source(), State=state, Media=media)
    assert from_whatsapp(19, proto.SerializeToString()) == ChatPresence(PEER_LID, PEER_LID, expected)  # type: ignore[arg-type]


def test_what_could_not_be_decrypted_is_told_without_content() -> None:
    proto = N.UndecryptableMessage(Info=info(), IsUnavailable=False, DecryptFailMode=1)
    assert from_whatsapp(44, proto.SerializeToString()) == Undecryptable(PEER_LID, PEER_LID, "M1", 1_700_000_000)


def test_a_text_carries_both_addresses_and_no_device() -> None:
    assert arrived(E.Message(conversation="hello")) == Received(
        MessageKey(PEER_LID, PEER_LID, "M1"), 1_700_000_000, "text", False, PEER, PEER_LID, "Ada", text="hello")


def test_our_own_from_another_device_has_no_sender() -> None:
    message = arrived(E.Message(conversation="mine"), from_me=True)
    assert (message.key.sender, message.from_me) == (None, True)


def test_a_voice_note_is_a_ptt_with_its_waveform_and_how_to_open_it() -> None:
    message = arrived(E.Message(audioMessage=E.AudioMessage(
        **MEDIA, mimetype="audio/ogg; codecs=opus", PTT=True, seconds=4, waveform=bytes(range(64)))), group=True)
    assert (message.kind, message.seconds, message.waveform) == ("ptt", 4, bytes(range(64)))
    assert message.media == MediaRef("audio", "/v/x?y", b"k" * 32, b"a" * 32, b"b" * 32, 77, "audio/ogg; codecs=opus")
    assert message.key.chat.is_group


@pytest.mark.parametrize(("part", "kind", "text"), [
    ({"extendedTextMessage": {"text": "t", "contextInfo": {"stanzaID": "Q"}}}, "text", "t"),
    ({"imageMessage": {**MEDIA, "caption": "c", "width": 3, "height": 2}}, "image", "c"),
    ({"videoMessage": {**MEDIA, "caption": "v", "seconds": 9}}, "video", "v"),
    ({"documentMessage": {**MEDIA, "caption": "d", "fileName": "a.pdf"}}, "document", "d"),
    ({"audioMessage": {**MEDIA, "seconds": 9}}, "audio", ""),
    ({"stickerMessage": {**MEDIA}}, "sticker", ""),
    ({"locationMessage": {"degreesLatitude": 3.5, "degreesLongitude": 11.5, "name": "Yaoundé"}}, "location",
     "3.500000,11.500000 Yaoundé"),
    ({"contactMessage": {"displayName": "Bo"}}, "contact", "Bo"),
    ({"contactsArrayMessage": {"contacts": [{"displayName": "Bo"}, {"displayName": "Cy"}]}}, "contact", "Bo, Cy"),
    ({"pollCreationMessageV3": {"name": "When?"}}, "poll", "When?"),
    ({"liveLocationMessage": {"degreesLatitude": float("nan"), "caption": "me"}}, "location", "me"),
    ({"buttonsResponseMessage": {"selectedDisplayText": "Yes"}}, "text", "Yes"),
    ({"listResponseMessage": {"title": "One"}}, "text", "One"),
    ({"pollUpdateMessage": {}}, "unknown", ""),
])
def test_every_kind_is_known(part: dict[str, Any], kind: str, text: str) -> None:
    message = arrived(E.Message(**part))
    assert (message.kind, message.text) == (kind, text)
    assert message.quoted_id == ("Q" if "extendedTextMessage" in part else "")


def test_reactions_revokes_and_edits_name_their_target() -> None:
    key = {"ID": "T", "remoteJID": "x", "fromMe": True}
    reaction = arrived(E.Message(reactionMessage={"key": key, "text": "👍"}))
    assert (reaction.kind, reaction.text, reaction.target_id) == ("reaction", "👍", "T")
    revoke = arrived(E.Message(protocolMessage={"key": key, "type": E.ProtocolMessage.REVOKE}))
    assert (revoke.kind, revoke.target_id) == ("revoke", "T")
    edited = {"key": key, "type": E.ProtocolMessage.MESSAGE_EDIT, "editedMessage": {"conversation": "new"}}
    edit = arrived(E.Message(editedMessage={"message": {"protocolMessage": edited}}))
    assert (edit.kind, edit.text, edit.target_id) == ("edit", "new", "T")


@pytest.mark.parametrize("wrapper", ["ephemeralMessage", "viewOnceMessage", "viewOnceMessageV2", "deviceSentMessage",
                                     "documentWithCaptionMessage"])
def test_envelopes_are_opened(wrapper: str) -> None:
    inner = E.Message(conversation="inside", messageContextInfo={"messageSecret": b"s"})
    assert arrived(E.Message(**{wrapper: {"message": E.Message(ephemeralMessage={"message": inner})}})).text == "inside"


def test_endless_envelopes_end() -> None:
    message = E.Message(conversation="deep")
    for _ in range(20):
        message = E.Message(viewOnceMessage={"message": message})
    assert isinstance(told(message), MessageArrived)


@pytest.mark.parametrize(("message", "more"), [
    (E.Message(protocolMessage={"type": E.ProtocolMessage.APP_STATE_SYNC_KEY_SHARE}), {}),
    (E.Message(conversation="x"), {"Category": "peer"}),
    (E.Message(senderKeyDistributionMessage={"groupID": "g"}), {}),
    (E.Message(), {}),
])
def test_housekeeping_is_no_message(message: Any, more: dict[str, Any]) -> None:
    assert isinstance(told(message, **more), Unknown)


def test_what_the_core_could_not_encode_still_means_something() -> None:
    unset = "proto: required field neonize.{} not set".format
    assert isinstance(ended(unset("TemporaryBan.Code")), TemporaryBan)
    assert ended(unset("ConnectFailure.Reason")) == LoginRefused(
        "connect_failure", "for a reason this version does not know")
    assert isinstance(ended(unset("LoggedOut.Reason")), LoggedOut)
    assert ended(unset("Receipt.Type")) is None
    assert ended("dial tcp: no route to host") is None
