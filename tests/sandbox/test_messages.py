"""What a stock neonize sends is decrypted by virtual phones, and what contacts write is read by it."""

from __future__ import annotations

import base64
import os

import pytest

from gateway.sandbox.compose import compose
from gateway.sandbox.content import media_of
from gateway.sandbox.media import unseal
from gateway.sandbox.people import Behaviour, LinkedDevice
from gateway.sandbox.server import Sandbox

from .conftest import OWNER, SECONDS, Neonize, on_stage, somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")
sandbox, neonize, device = on_stage()


async def test_texts_arrive_in_order_and_their_receipts_come_back(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    somebody(sandbox, contact).behaviour = Behaviour(deliver=0, read=0.05)
    sent = [await neonize.call("a", f"client.send_message(jid('{contact}'), 'hello {number}')") for number in range(3)]

    records = [record.describe() for record in sandbox.world.records.find(to=contact)]
    assert [(facts["id"], facts["text"]) for facts in records] == [
        (answer["ID"], f"hello {number}") for number, answer in enumerate(sent)
    ]
    for facts in records:
        assert (facts["kind"], facts["copies"], facts["retries"], facts["ack"]) == ("text", 1, 0, "sent")
        assert facts["decrypted_by"] == [contact]
        assert facts["own_copy"] is True
        assert facts["bot_node"] is False
    for answer in sent:
        for kind in ("DELIVERED", "READ"):
            await neonize.event(
                lambda said, kind=kind, answer=answer: (
                    said.get("event") == "Receipt"
                    and said["data"]["Type"] == kind
                    and said["data"]["MessageIDs"] == [answer["ID"]]
                )
            )
    assert await sandbox.world.wait_until(lambda: not device.pending, SECONDS)


async def test_a_voice_note_arrives_whole_with_its_seconds_and_waveform(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    somebody(sandbox, contact).behaviour = Behaviour(deliver=0, read=0, play=0)
    ogg, waveform = b"OggS" + os.urandom(5000), list(range(64))
    sent = await neonize.call(
        "a", f"voice(client, '{contact}', ogg, 7, {waveform})", names={"ogg": base64.b64encode(ogg).decode()}
    )

    [record] = sandbox.world.records.find(to=contact)
    facts = record.describe()
    assert facts["id"] == sent["ID"]
    assert facts["kind"] == "voice"
    assert (facts["mediatype"], facts["mimetype"], facts["seconds"]) == ("ptt", "audio/ogg; codecs=opus", 7)
    assert facts["waveform"] == waveform
    assert facts["size"] == len(ogg)
    pointer = media_of(record.message)
    assert pointer is not None
    assert unseal(sandbox.world.media.get(pointer.encrypted_sha256), pointer.key, "audio", pointer.sha256) == ogg
    await neonize.event(lambda said: said.get("event") == "Receipt" and said["data"]["Type"] == "PLAYED")


async def test_what_contacts_write_is_decrypted_and_its_files_download(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    world, author, owner = sandbox.world, somebody(sandbox, contact), somebody(sandbox, OWNER)
    author.name = "Bea"
    ogg = os.urandom(3000)

    def write(**body: object) -> str:
        return world.incoming.write(author, owner, compose(world, body, str(author.lid), str(author.lid)))

    text = await neonize.read("a", write(text="hi"))
    assert text["Message"]["conversation"] == "hi"
    assert text["Info"]["Pushname"] == "Bea"
    assert text["Info"]["MessageSource"]["SenderAlt"]["User"] == contact
    voice = await neonize.read("a", write(voice={"data": base64.b64encode(ogg).decode(), "seconds": 3, "waveform": [1] * 64}))
    assert voice["Message"]["audioMessage"]["PTT"] is True
    loaded = await neonize.call("a", "download(client, message)", names={"message": voice["Message"]})
    assert base64.b64decode(loaded) == ogg
    first = text["Info"]["ID"]
    reaction = await neonize.read("a", write(reaction={"id": first, "from_me": True, "emoji": "👍"}))
    assert reaction["Message"]["reactionMessage"]["text"] == "👍"
    edit = await neonize.read("a", write(edit={"id": first, "text": "hello"}))
    assert "hello" in str(edit["Message"])
    revoke = await neonize.read("a", write(revoke={"id": first}))
    assert revoke["Message"]["protocolMessage"]["key"]["ID"] == first
    quoting = await neonize.read("a", write(text="indeed", quote=first))
    assert quoting["Message"]["extendedTextMessage"]["contextInfo"]["stanzaID"] == first
    assert await world.wait_until(lambda: not device.pending, SECONDS)


async def test_a_message_typed_on_the_own_phone_reaches_the_companion(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    world, owner, friend = sandbox.world, somebody(sandbox, OWNER), somebody(sandbox, contact)
    message = compose(world, {"text": "from my phone"}, str(friend.lid), str(owner.lid))
    arrived = await neonize.read("a", world.incoming.write(owner, owner, message, to=friend))
    assert arrived["Info"]["MessageSource"]["IsFromMe"] is True
    assert arrived["Info"]["MessageSource"]["Chat"]["User"] == friend.lid.user
    assert "from my phone" in str(arrived["Message"])


async def test_what_one_side_cannot_decrypt_is_encrypted_again(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    world, author, owner = sandbox.world, somebody(sandbox, contact), somebody(sandbox, OWNER)
    retries = world.incoming.retries
    message = compose(world, {"text": "garbled at first"}, str(author.lid), str(author.lid))
    arrived = await neonize.read("a", world.incoming.write(author, owner, message, corrupt=True))
    assert arrived["Message"]["conversation"] == "garbled at first"
    assert world.incoming.retries > retries

    world.faults.add("decrypt", to=contact, times=1)
    await neonize.call("a", f"client.send_message(jid('{contact}'), 'once more')")
    [record] = world.records.find(to=contact)
    assert await world.wait_until(lambda: bool(record.decrypted_by), SECONDS)
    assert record.describe()["text"] == "once more"
    assert record.retries == 1
    assert record.failures


async def test_presence_chat_states_and_read_receipts_of_the_device_are_seen(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    world, author, owner = sandbox.world, somebody(sandbox, contact), somebody(sandbox, OWNER)
    message_id = world.incoming.write(author, owner, compose(world, {"text": "hi"}, str(author.lid), str(author.lid)))
    await neonize.read("a", message_id)
    assert await world.wait_until(lambda: not device.pending, SECONDS)
    await neonize.call("a", "client.send_presence(const.Presence.AVAILABLE)")
    await neonize.call(
        "a",
        f"client.send_chat_presence(jid('{contact}'), const.ChatPresence.CHAT_PRESENCE_COMPOSING, "
        "const.ChatPresenceMedia.CHAT_PRESENCE_MEDIA_AUDIO)",
    )
    await neonize.call(
        "a",
        f"client.mark_read('{message_id}', chat=jid('{author.lid.user}', 'lid'), sender=jid('{contact}'), "
        "receipt=const.ReceiptType.READ)",
    )
    await neonize.call("a", f"client.send_message(jid('{contact}'), 'after all that')")

    [record] = world.records.find(to=contact)
    assert [(state["state"], state["media"]) for state in record.chat_states] == [("composing", "audio")]
    seen = {(entry.kind, entry.facts.get("state") or entry.facts.get("type")) for entry in world.seen}
    assert seen >= {("presence", "available"), ("receipt", "read"), ("chat_state", "composing")}
    assert device.available


async def test_a_number_that_is_not_on_whatsapp_cannot_be_written_to(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    with pytest.raises(RuntimeError, match="no LID found"):
        await neonize.call("a", "client.send_message(jid('15550000000'), 'hello?')")
    answers = await neonize.call("a", f"client.is_on_whatsapp('+{contact}', '+15550000000')")
    assert {answer["Query"].lstrip("+"): answer.get("IsIn", False) for answer in answers} == {
        contact: True,
        "15550000000": False,
    }


async def test_a_device_that_was_away_gets_everything_when_it_is_back(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    world, author, owner = sandbox.world, somebody(sandbox, contact), somebody(sandbox, OWNER)
    sent = await neonize.call("a", f"client.send_message(jid('{contact}'), 'before the drop')")
    connection, logins = device.connection, device.logins
    assert connection is not None
    world.faults.add("connect", times=1, mode="refuse")
    connection.drop()
    assert await world.wait_until(lambda: not device.online, SECONDS)
    message_id = world.incoming.write(author, owner, compose(world, {"text": "missed"}, str(author.lid), str(author.lid)))
    assert ("message", message_id) in device.pending

    arrived = await neonize.read("a", message_id)
    assert arrived["Message"]["conversation"] == "missed"
    assert await world.wait_until(lambda: not device.pending, SECONDS)
    assert device.logins > logins
    again = await neonize.call("a", f"client.send_message(jid('{contact}'), 'after the drop')")
    assert [record.id for record in world.records.find(to=contact)] == [sent["ID"], again["ID"]]
