"""Messages that arrive: listed, opened for their owner, answered, reacted to, read, and their files."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.config import Media
from gateway.errors import GatewayError
from gateway.events import Disconnected, MessageArrived
from gateway.jid import JID
from gateway.link.base import LinkError
from gateway.messages import MediaRef, MessageKey, Quoted, Reaction, Received, Text
from tests.link.fake_link import FakeLink
from tests.running import FAST, Running, run_gateway

together = pytest.mark.asyncio(loop_scope="module")

PN, LID = JID.parse("237612345678@s.whatsapp.net"), JID.parse("99887766@lid")
GROUP = JID.parse("120363000000000001@g.us")
MESSAGES = "/api/v1/messages"


def media(mimetype: str = "audio/ogg; codecs=opus", type_: str = "audio", size: int = 4) -> MediaRef:
    return MediaRef(type_, "/v/file", b"k" * 32, b"s" * 32, b"e" * 32, size, mimetype)      # type: ignore[arg-type]


def received(id_: str = "AAA1", kind: str = "text", **more: object) -> Received:
    values: dict[str, object] = {"text": "Hello you", "from_me": False, "pn": PN, "lid": None, "push_name": "Ama",
                                 "key": MessageKey(PN, PN, id_), "timestamp": 1_700_000_000} | more
    return Received(kind=kind, **values)                                                    # type: ignore[arg-type]


async def arrive(running: Running, link: FakeLink, message: Received) -> str:
    """Our id of a message that arrived."""
    before = {m["id"] for m in (await running.client.get(f"{MESSAGES}?direction=in&limit=500")).body["messages"]}
    link.emit(MessageArrived(message))
    async with asyncio.timeout(5):
        while True:
            for m in (await running.client.get(f"{MESSAGES}?direction=in&limit=500")).body["messages"]:
                if m["id"] not in before:
                    return str(m["id"])
            await asyncio.sleep(0.01)


async def test_an_arrival_is_listed_without_its_words_and_opened_with_them(running: Running) -> None:
    session, link = await running.linked()
    id_ = await arrive(running, link, received(lid=LID))
    listed = (await running.client.get(MESSAGES)).body["messages"][0]
    assert "text" not in listed
    one = (await running.client.get(f"{MESSAGES}/{id_}")).body
    expected = {"text": "Hello you", "direction": "in", "status": "received", "type": "text", "from": str(PN),
                "from_lid": str(LID), "chat": str(PN), "push_name": "Ama", "session": session,
                "timestamp": "2023-11-14T22:13:20.000Z"}
    assert {name: one[name] for name in expected} == expected


async def test_the_words_of_what_was_sent_are_opened_too(running: Running) -> None:
    await running.linked()
    id_ = (await running.client.post(MESSAGES, {"to": "+237612345678", "message": "Hi"})).body["id"]
    await running.message(id_, "sent")
    assert (await running.client.get(f"{MESSAGES}/{id_}")).body["text"] == "Hi"


async def test_a_message_delivered_twice_is_one(running: Running) -> None:
    _, link = await running.linked()
    await arrive(running, link, received("AAA1"))
    link.emit(MessageArrived(received("AAA1")))
    await arrive(running, link, received("AAA2"))
    assert len((await running.client.get(MESSAGES)).body["messages"]) == 2


async def test_a_file_is_downloaded_once_and_then_comes_sealed_from_the_store(running: Running) -> None:
    _, link = await running.linked()
    id_ = await arrive(running, link, received(kind="ptt", text="", media=media(), seconds=3, waveform=bytes(64)))
    assert (await running.client.get(f"{MESSAGES}/{id_}/media")).status == 410         # WhatsApp does not have it
    link.stored.media["/v/file"] = b"OggS"
    answers = await asyncio.gather(*(running.client.get(f"{MESSAGES}/{id_}/media") for _ in range(5)))
    assert {(a.status, a.body) for a in answers} == {(200, b"OggS")}
    assert [t.call for t in running.links.told].count("download") == 2
    link.emit(Disconnected())
    again = await running.client.get(f"{MESSAGES}/{id_}/media")
    assert (again.status, again.body, again.headers["Content-Type"]) == (200, b"OggS", "audio/ogg")
    assert again.headers["Content-Disposition"].startswith("inline;")
    row = await running.gateway.store.database.one("SELECT body_sealed FROM media")
    assert row is not None
    assert b"OggS" not in row[0]


async def test_a_file_that_cannot_be_kept_is_given_all_the_same(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full; who looks at a picture need not know."""
    async def full(*_: object) -> None:
        raise GatewayError("storage_unavailable")

    monkeypatch.setattr("gateway.store.media.Media.keep", full)
    _, link = await running.linked()
    link.stored.media["/v/file"] = b"OggS"
    id_ = await arrive(running, link, received(kind="ptt", media=media()))
    answer = await running.client.get(f"{MESSAGES}/{id_}/media")
    assert (answer.status, answer.body) == (200, b"OggS")


async def test_without_retention_a_file_is_not_kept(tmp_path) -> None:
    async with run_gateway(tmp_path / "s", replace(FAST, media=Media(retention_hours=0))) as running:
        _, link = await running.linked()
        link.stored.media["/v/file"] = b"OggS"
        id_ = await arrive(running, link, received(kind="ptt", media=media()))
        for _ in range(2):
            assert (await running.client.get(f"{MESSAGES}/{id_}/media")).body == b"OggS"
        assert [t.call for t in running.links.told].count("download") == 2
        assert await running.gateway.store.database.one("SELECT 1 FROM media") is None


@together
@pytest.mark.parametrize(("mimetype", "filename"), [
    ("text/html", "page.html"), ("image/svg+xml", "x.svg"), ("application/pdf", "../../etc/passwd"),
    ("nonsense", 'a"b\r\nX: y.txt'),
    ("text/html\r\nSet-Cookie: a=b", "x"), ("", ""),
])
async def test_a_file_that_could_hold_a_program_is_only_a_download(shared: Running, mimetype: str, filename: str) -> None:
    link = shared.links.links[-1]
    link.stored.media["/v/file"] = b"<script>1</script>"
    file = received(f"D{mimetype}{filename}", kind="document", media=media(mimetype, "document"), filename=filename)
    id_ = await arrive(shared, link, file)
    answer = await shared.client.get(f"{MESSAGES}/{id_}/media")
    assert answer.status == 200
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith("attachment; filename*=UTF-8''")
    assert not set(disposition) & set('"/\\\r\n')
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in answer.headers
    assert "X" not in answer.headers


@together
@pytest.mark.parametrize(("wanted", "status", "body"), [
    ("bytes=0-3", 206, b"0123"), ("bytes=4-", 206, b"456789"), ("bytes=-2", 206, b"89"), ("bytes=8-100", 206, b"89"),
    ("bytes=10-", 416, b""), ("bytes=-0", 416, b""), ("bytes=0-1,3-4", 200, b"0123456789"), ("lines=1", 200, b"0123456789"),
    ("bytes=-", 200, b"0123456789"), ("bytes=5-2", 416, b""),
])
async def test_a_player_may_ask_for_a_part(shared: Running, wanted: str, status: int, body: bytes) -> None:
    link = shared.links.links[-1]
    link.stored.media["/v/file"] = b"0123456789"
    id_ = await arrive(shared, link, received(f"R{wanted}", kind="ptt", media=media()))
    answer = await shared.client.get(f"{MESSAGES}/{id_}/media", headers={"Range": wanted})
    assert (answer.status, answer.body) == (status, body)


async def test_a_message_without_a_file_or_one_that_is_too_large_is_told(running: Running) -> None:
    _, link = await running.linked()
    text = await arrive(running, link, received("A1"))
    large = await arrive(running, link, received("A2", kind="video", media=media("video/mp4", "video", size=1 << 40)))
    sent = (await running.client.post(MESSAGES, {"to": "+237612345678", "message": "x"})).body["id"]
    for id_, status, code in ((text, 404, "not_found"), (large, 413, "too_large"), (sent, 410, "media_unavailable")):
        answer = await running.client.get(f"{MESSAGES}/{id_}/media")
        assert (answer.status, answer.body["error"]["code"]) == (status, code)


async def test_marking_as_read_tells_the_sender_at_the_address_it_wrote_from(running: Running) -> None:
    _, link = await running.linked()
    id_ = await arrive(running, link, received(key=MessageKey(LID, LID, "A1"), lid=LID))
    answer = await running.client.post(f"{MESSAGES}/{id_}/read")
    assert (answer.status, answer.body["chat"]) == (200, str(PN))
    assert answer.body["read_at"]
    assert "played_at" not in answer.body
    told = running.links.told[-1]
    assert (told.call, told.arguments) == ("mark_read", ((MessageKey(LID, LID, "A1"),), False))


async def test_a_voice_note_is_marked_as_played_unless_asked_otherwise(running: Running) -> None:
    _, link = await running.linked()
    id_ = await arrive(running, link, received(kind="ptt", media=media()))
    assert (await running.client.post(f"{MESSAGES}/{id_}/read", {"played": False})).body.get("played_at") is None
    assert running.links.told[-1].arguments[1] is False
    assert (await running.client.post(f"{MESSAGES}/{id_}/read")).body["played_at"]
    assert running.links.told[-1].arguments[1] is True
    timeline = (await running.client.get(f"{MESSAGES}/{id_}/events")).body["events"]
    assert [entry["status"] for entry in timeline] == ["received", "read", "played"]


async def test_what_cannot_be_marked_as_read_says_why(running: Running) -> None:
    session, link = await running.linked()
    mine = await arrive(running, link, received("A1", from_me=True))
    theirs = await arrive(running, link, received("A2"))
    assert (await running.client.post(f"{MESSAGES}/{mine}/read")).body["error"]["code"] == "wrong_state"
    link.on_call["mark_read"] = LinkError("the server said no")
    assert (await running.client.post(f"{MESSAGES}/{theirs}/read")).status == 502
    await running.client.post(f"/api/v1/sessions/{session}/disconnect")
    answer = await running.client.post(f"{MESSAGES}/{theirs}/read")
    assert (answer.status, answer.body["error"]["code"]) == (409, "session_not_connected")


async def test_a_reaction_goes_to_the_message_and_an_empty_one_takes_it_away(running: Running) -> None:
    _, link = await running.linked()
    id_ = await arrive(running, link, received("A1", key=MessageKey(GROUP, PN, "A1")))
    for emoji in ("👍", "👩🏽‍💻", "❤️", ""):
        answer = await running.client.post(f"{MESSAGES}/{id_}/reaction", {"emoji": emoji})
        assert (answer.status, answer.body["type"]) == (202, "reaction")
        await running.message(answer.body["id"], "sent")
        sent = running.links.sent[-1]
        assert (sent.to, sent.message) == (GROUP, Reaction(MessageKey(GROUP, PN, "A1"), emoji))
    for wrong in ("nice", "👍 👍", "\n", "x" * 33, None):
        assert (await running.client.post(f"{MESSAGES}/{id_}/reaction", {"emoji": wrong})).status == 422


async def test_a_reply_quotes_what_it_answers(running: Running) -> None:
    _, link = await running.linked()
    id_ = await arrive(running, link, received("A1", key=MessageKey(GROUP, LID, "A1"), lid=LID))
    answer = await running.client.post(MESSAGES, {"to": str(GROUP), "message": "Indeed", "reply_to": id_})
    assert answer.body["reply_to_whatsapp_id"] == "A1"
    await running.message(answer.body["id"], "sent")
    assert running.links.sent[-1].message == Text("Indeed", Quoted(MessageKey(GROUP, LID, "A1"), "Hello you"))


async def test_what_the_owner_sent_on_the_phone_is_quoted_as_our_own(running: Running) -> None:
    _, link = await running.linked()
    own = JID.parse("15550001111@s.whatsapp.net")
    id_ = await arrive(running, link, received("A1", from_me=True, key=MessageKey(PN, own, "A1"), pn=own))
    answer = await running.client.post(MESSAGES, {"to": str(PN), "message": "And", "reply_to": id_})
    await running.message(answer.body["id"], "sent")
    assert running.links.sent[-1].message == Text("And", Quoted(MessageKey(PN, None, "A1"), "Hello you"))


@pytest.mark.parametrize("to", ["120363000000000001@g.us", "120363000000000009@newsletter", "99887766@lid", "237612345678@c.us"])
async def test_groups_newsletters_and_hidden_addresses_are_recipients(running: Running, to: str) -> None:
    await running.linked()
    answer = await running.client.post(MESSAGES, {"to": to, "message": "x"})
    assert answer.status == 202
    await running.message(answer.body["id"], "sent")
    assert str(running.links.sent[-1].to) == to.replace("c.us", "s.whatsapp.net")
