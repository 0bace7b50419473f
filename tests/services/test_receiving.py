"""What WhatsApp tells becomes rows and events, each once, whatever it looks like."""

from __future__ import annotations

import pytest

from gateway.events import MessageArrived, Receipt, Undecryptable
from gateway.jid import JID
from gateway.messages import MediaRef, MessageKey, Received
from gateway.services.feed import Feed
from gateway.services.ledger import Ledger
from gateway.services.receiving import Receiving
from gateway.states import REASONS, SessionState
from gateway.store.sessions import Session
from gateway.store.store import Store

PN, LID, GROUP = JID.parse("237612345678@s.whatsapp.net"), JID.parse("998877@lid"), JID.parse("120363000000000001@g.us")
NOW = 1_800_000_000.0
SESSION = Session("s1", "o", "main", "main", SessionState(REASONS["connected"], 0.0), None, None, "", "", {}, "", b"", 0, False, None,
                  0.0, None, None)


@pytest.fixture
def receiving(store: Store) -> Receiving:
    feed = Feed(store.journal)
    return Receiving(store.database, store.messages, Ledger(store.messages, store.usage, feed), feed)


def received(kind: str = "text", **more: object) -> MessageArrived:
    values: dict[str, object] = {"key": MessageKey(PN, PN, "A1"), "timestamp": int(NOW), "from_me": False, "pn": PN, "lid": None,
                                 "push_name": "Ama", "text": "x"} | more
    return MessageArrived(Received(kind=kind, **values))                                    # type: ignore[arg-type]


async def told(store: Store) -> list[tuple[str, dict[str, object]]]:
    return [(event.type, event.data) for event in await store.journal.after(0)]


async def sent(store: Store, receiving: Receiving, wa_id: str = "W1") -> str:
    ledger = receiving._ledger
    async with store.database.transaction() as tx:
        message = await ledger.accept(tx, id=wa_id.lower(), owner="o", session_id="s1", kind="text", chat=PN, facts={}, payload=b"x",
                                      at=NOW)
        await ledger.advance(tx, message, "sent", NOW, wa_id)
    return message.id


async def test_a_person_is_listed_under_the_phone_number_where_it_is_known(store: Store, receiving: Receiving) -> None:
    await receiving.handle_message(SESSION, received(key=MessageKey(LID, LID, "A1"), lid=LID), NOW)
    await receiving.handle_message(SESSION, received(key=MessageKey(LID, LID, "A2"), lid=LID, pn=None), NOW)
    await receiving.handle_message(SESSION, received(key=MessageKey(GROUP, LID, "A3"), lid=LID), NOW)
    chats = [(data["chat"], data["from"], data["from_lid"]) for _, data in await told(store)]
    assert chats == [(str(PN), str(PN), str(LID)), (str(LID), str(LID), str(LID)), (str(GROUP), str(PN), str(LID))]


async def test_what_arrives_twice_is_told_once(store: Store, receiving: Receiving) -> None:
    for _ in range(3):
        await receiving.handle_message(SESSION, received(), NOW)
    assert len(await told(store)) == 1


async def test_the_words_are_sealed_at_rest(store: Store, receiving: Receiving) -> None:
    await receiving.handle_message(SESSION, received(text="the words"), NOW)
    await store.database._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"the words" not in store.database.path.read_bytes()


@pytest.mark.parametrize("timestamp", [0, -5, 10**15, 2**62])
async def test_a_time_that_cannot_be_is_now(store: Store, receiving: Receiving, timestamp: int) -> None:
    await receiving.handle_message(SESSION, received(timestamp=timestamp), NOW)
    assert (await told(store))[0][1]["timestamp"] == "2027-01-15T08:00:00.000Z"
    id_ = await sent(store, receiving)
    await receiving.handle_receipt(SESSION, Receipt("delivered", PN, PN, ("W1",), timestamp), NOW)
    message = await store.messages.one(id_)
    assert message is not None
    assert message.delivered_at == NOW


async def test_media_reactions_and_revokes_say_what_they_are_about(store: Store, receiving: Receiving) -> None:
    media = MediaRef("image", "/p", b"k", b"s", b"e", 77, "image/jpeg")
    await receiving.handle_message(SESSION, received("image", key=MessageKey(PN, PN, "A1"), media=media, width=4, height=3), NOW)
    await receiving.handle_message(SESSION, received("reaction", key=MessageKey(PN, PN, "A2"), text="👍", target_id="W9"), NOW)
    await receiving.handle_message(SESSION, received("revoke", key=MessageKey(PN, PN, "A3"), text="", target_id="A1"), NOW)
    await receiving.handle_message(SESSION, received("unknown", key=MessageKey(PN, PN, "A4")), NOW)
    image, reaction, revoke = [data for _, data in await told(store)]
    assert (image["mimetype"], image["size"], image["width"]) == ("image/jpeg", 77, 4)
    assert (reaction["type"], reaction["text"], reaction["target_whatsapp_id"]) == ("reaction", "👍", "W9")
    assert (revoke["type"], revoke["target_whatsapp_id"]) == ("revoke", "A1")
    assert "k" not in str(image.get("media", ""))


async def test_receipts_go_forward_only_and_count_once(store: Store, receiving: Receiving) -> None:
    id_ = await sent(store, receiving)
    for kind in ("delivered", "read", "delivered", "played", "read", "sender", "read_self", "retry"):
        await receiving.handle_receipt(SESSION, Receipt(kind, PN, PN, ("W1", "of somebody else"), int(NOW)), NOW)   # type: ignore[arg-type]
    message = await store.messages.one(id_)
    assert message is not None
    assert message.status == "played"
    statuses = [data["status"] for type_, data in await told(store) if type_ == "receipt"]
    assert statuses == ["pending", "sent", "delivered", "read", "played"]
    usage = await store.usage.totals("o", "2000-01-01")
    assert (usage.accepted, usage.sent, usage.delivered, usage.failed) == (1, 1, 1, 0)


async def test_another_sessions_receipt_moves_nothing(store: Store, receiving: Receiving) -> None:
    import dataclasses

    id_ = await sent(store, receiving)
    await receiving.handle_receipt(dataclasses.replace(SESSION, id="s2"), Receipt("read", PN, PN, ("W1",), int(NOW)), NOW)
    message = await store.messages.one(id_)
    assert message is not None
    assert message.status == "sent"


async def test_what_cannot_be_opened_is_told(store: Store, receiving: Receiving) -> None:
    await receiving.handle_undecryptable(SESSION, Undecryptable(PN, PN, "A1", int(NOW)), NOW)
    [(type_, data)] = await told(store)
    assert (type_, data["code"], data["id"]) == ("warning", "undecryptable", "A1")


@pytest.mark.parametrize("sender", [
    JID("0", "s.whatsapp.net"), JID("867051314767696", "bot"), JID("237612345678", "hosted", 99), JID("1", "a server of tomorrow")])
async def test_a_sender_of_no_kind_we_write_to_is_listed_all_the_same(store: Store, receiving: Receiving, sender: JID) -> None:
    """WhatsApp's own announcements come from 0@s.whatsapp.net, an assistant's words in a group from …@bot."""
    for chat in (sender.non_ad(), GROUP):
        await receiving.handle_message(SESSION, received(key=MessageKey(chat, sender, "A1"), pn=None), NOW)
    assert [(data["chat"], data["from"]) for _, data in await told(store)] == [
        (str(sender.non_ad()), str(sender)), (str(GROUP), str(sender))]
    one, two = await store.messages.page("o")
    assert (one.sender, two.sender, two.chat) == (sender, sender, sender.non_ad())
