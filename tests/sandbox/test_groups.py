"""Groups, two linked programs that write to each other, notes to oneself and newsletters."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.sandbox import groups
from gateway.sandbox.compose import compose
from gateway.sandbox.people import LinkedDevice
from gateway.sandbox.server import Sandbox

from .conftest import OWNER, SECONDS, Neonize, link, on_stage, somebody

THIRD = "15550003333"
pytestmark = pytest.mark.asyncio(loop_scope="module")
sandbox, neonize, device = on_stage()


async def test_every_member_reads_a_group_message_and_can_answer(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    world = sandbox.world
    group = groups.create(world, "Trip", [OWNER, contact, THIRD])
    joined = await neonize.happened("a", "JoinedGroup")
    assert "Trip" in str(joined)
    for text in ("first", "second"):
        await neonize.call("a", f"client.send_message(jid('{group.address.user}', 'g.us'), '{text}')")
    first, second = (record.describe() for record in world.records.find(to=str(group.address)))
    assert (first["text"], second["text"]) == ("first", "second")
    assert sorted(first["decrypted_by"]) == sorted(second["decrypted_by"]) == sorted([contact, THIRD])
    assert len(second["receipts"]) == 2

    author = somebody(sandbox, contact)
    for text in ("third", "fourth"):
        message = compose(world, {"text": text}, str(group.address), str(author.lid))
        message_id = world.incoming.write(author, somebody(sandbox, OWNER), message, group=group)
        said = await neonize.event(
            lambda said, text=text, wanted=message_id: (
                said.get("event") == "Message"
                and said["data"]["Info"]["ID"] == wanted
                and said["data"]["Message"].get("conversation") == text
            )
        )
        assert said["data"]["Info"]["MessageSource"]["IsGroup"] is True
    assert await world.wait_until(lambda: not device.pending, SECONDS)

    with pytest.raises(RuntimeError, match="group"):
        await neonize.call("a", "client.send_message(jid('120363000000099999', 'g.us'), 'nobody home')")


async def test_two_linked_programs_write_to_each_other(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, tmp_path: Path, contact: str
) -> None:
    other = await link(sandbox, neonize, "b", tmp_path / "b.db", contact)
    sent = await neonize.call("a", f"client.send_message(jid('{contact}'), 'ping')")
    ping = await neonize.read("b", sent["ID"])
    assert "ping" in str(ping["Message"])
    await neonize.call(
        "b",
        f"client.mark_read('{sent['ID']}', chat=jid('{device.lid.user}', 'lid'), sender=jid('{OWNER}'), "
        "receipt=const.ReceiptType.READ)",
    )
    await neonize.event(
        lambda said: said.get("session") == "a" and said.get("event") == "Receipt" and said["data"]["Type"] == "READ"
    )
    answer = await neonize.call("b", f"client.send_message(jid('{OWNER}'), 'pong')")
    assert "pong" in str((await neonize.read("a", answer["ID"]))["Message"])
    assert await sandbox.world.wait_until(lambda: not device.pending and not other.pending, SECONDS)


async def test_another_companion_of_the_same_phone_gets_its_copies(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, tmp_path: Path, contact: str
) -> None:
    second = await link(sandbox, neonize, "second", tmp_path / "second.db", OWNER)
    sent = await neonize.call("second", f"client.send_message(jid('{contact}'), 'from the second')")
    copy = await neonize.read("a", sent["ID"])
    assert copy["Info"]["MessageSource"]["IsFromMe"] is True
    assert copy["Info"]["MessageSource"]["Chat"]["User"] == somebody(sandbox, contact).lid.user
    author = somebody(sandbox, contact)
    message = compose(sandbox.world, {"text": "to both"}, str(author.lid), str(author.lid))
    written = sandbox.world.incoming.write(author, somebody(sandbox, OWNER), message)
    for session in ("a", "second"):
        assert (await neonize.read(session, written))["Message"]["conversation"] == "to both"
    assert second.number == device.number + 1


async def test_a_note_to_oneself_is_recorded(sandbox: Sandbox, neonize: Neonize, device: LinkedDevice) -> None:
    await neonize.call("a", f"client.send_message(jid('{OWNER}'), 'remember')")
    [record] = sandbox.world.records.find(to=OWNER)
    assert await sandbox.world.wait_until(lambda: record.message is not None, SECONDS)
    assert record.describe()["text"] == "remember"


async def test_a_newsletter_takes_a_message_in_the_clear(sandbox: Sandbox, neonize: Neonize, device: LinkedDevice) -> None:
    await neonize.call("a", "client.send_message(jid('120363111111111111', 'newsletter'), 'news')")
    [record] = sandbox.world.records.find(to="120363111111111111@newsletter")
    assert record.describe()["text"] == "news"
