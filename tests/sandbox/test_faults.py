"""What goes wrong on purpose, as a stock neonize sees it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.sandbox import pairing
from gateway.sandbox.actions import ACTIONS
from gateway.sandbox.compose import compose
from gateway.sandbox.people import LinkedDevice
from gateway.sandbox.server import Sandbox

from .conftest import OWNER, SECONDS, Neonize, on_stage, somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")
sandbox, neonize, device = on_stage()


async def test_a_message_whose_ack_was_lost_arrives_twice_and_is_read_once(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    world = sandbox.world
    world.faults.add("ack", to=contact, times=1, mode="hold")
    sending = asyncio.create_task(neonize.call("a", f"client.send_message(jid('{contact}'), 'once')"))
    assert await world.wait_until(lambda: len(world.records) == 1, SECONDS)
    [record] = world.records.find(to=contact)
    assert record.ack == "held"
    assert device.connection is not None
    device.connection.drop()

    sent = await sending

    assert (record.id, record.copies, record.ack) == (sent["ID"], 2, "sent")
    assert record.decrypted_by == [contact]
    assert [receipt["type"] for receipt in record.receipts] == ["delivered"]


async def test_a_stanza_lost_on_the_way_is_delivered_when_it_is_sent_again(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    world = sandbox.world
    world.faults.add("ack", to=contact, times=1, mode="hold", deliver=False)
    sending = asyncio.create_task(neonize.call("a", f"client.send_message(jid('{contact}'), 'once')"))
    assert await world.wait_until(lambda: len(world.records) == 1, SECONDS)
    [record] = world.records.find(to=contact)
    assert not record.decrypted_by
    ACTIONS["drop"](world, device)
    await sending
    assert (record.copies, record.decrypted_by) == (2, [contact])


async def test_a_late_ack_is_waited_for_and_an_error_in_it_is_told(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    sandbox.world.faults.add("ack", to=contact, times=1, mode="delay", seconds=0.3)
    await neonize.call("a", f"client.send_message(jid('{contact}'), 'late')")
    sandbox.world.faults.add("ack", to=contact, times=1, mode="error", code=463)
    with pytest.raises(RuntimeError, match="server returned error 463"):
        await neonize.call("a", f"client.send_message(jid('{contact}'), 'refused')")
    late, refused = sandbox.world.records.find(to=contact)
    assert (late.ack, late.decrypted_by) == ("sent", [contact])
    assert (refused.ack, refused.decrypted_by) == ("463", [])


async def test_a_restriction_can_be_for_new_chats_only(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    await neonize.call("a", f"client.send_message(jid('{contact}'), 'before')")
    sandbox.world.faults.add("ack", mode="error", code=463, chats="new")
    with pytest.raises(RuntimeError, match="463"):
        await neonize.call("a", "client.send_message(jid('15550005555'), 'a stranger')")
    await neonize.call("a", f"client.send_message(jid('{contact}'), 'still fine')")
    assert [record.ack for record in sandbox.world.records.find()] == ["sent", "463", "sent"]


async def test_a_closed_connection_comes_back(sandbox: Sandbox, neonize: Neonize, device: LinkedDevice) -> None:
    for action in ("close", "restart"):
        logins = device.logins
        ACTIONS[action](sandbox.world, device)
        assert await sandbox.world.wait_until(lambda: device.online and device.logins > logins, SECONDS)  # noqa: B023


async def test_uploads_and_requests_fail_as_told_and_recover(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    voice = f"voice(client, '{contact}', 'T2dnUw==', 1, [])"
    sandbox.world.faults.add("upload", device=OWNER, times=1, status=413)
    with pytest.raises(RuntimeError, match="status code 413"):
        await neonize.call("a", voice)
    sandbox.world.faults.add("iq", xmlns="usync", times=1, mode="error", code=503)
    with pytest.raises(RuntimeError, match="503"):
        await neonize.call("a", voice)
    await neonize.call("a", voice)
    assert len(sandbox.world.records) == 1


async def test_receipts_are_dropped_or_late(sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str) -> None:
    sandbox.world.faults.add("receipt", to=contact, times=1, mode="drop")
    sandbox.world.faults.add("receipt", to=contact, times=1, seconds=0.2)
    never = await neonize.call("a", f"client.send_message(jid('{contact}'), 'never told')")
    late = await neonize.call("a", f"client.send_message(jid('{contact}'), 'told later')")
    told = await neonize.event(
        lambda said: said.get("event") == "Receipt" and said["data"]["MessageIDs"][0] in (never["ID"], late["ID"])
    )
    assert told["data"]["MessageIDs"] == [late["ID"]]


async def test_whatsapp_may_ask_for_a_passkey_while_linking(
    sandbox: Sandbox, neonize: Neonize, tmp_path: Path, contact: str
) -> None:
    sandbox.world.faults.add("pairing", device=contact, mode="passkey", times=1)
    await neonize.open("passkey", tmp_path / "a.db")
    code = await neonize.happened("passkey", "QR")
    with pytest.raises(pairing.PairingError) as asked:
        await pairing.scan(sandbox.world, code, somebody(sandbox, contact))
    assert asked.value.code == "passkey_required"
    assert await neonize.login_status("passkey") == "passkey-request"
    # The client has made itself a new secret for the passkey: the code it shows is worth nothing any more.
    with pytest.raises(pairing.PairingError, match="hmac-mismatch"):
        await pairing.scan(sandbox.world, code, somebody(sandbox, contact))


@pytest.mark.parametrize(
    ("mode", "status"),
    [
        ("passkey-at-start", "passkey-request"),
        ("outdated", "err-client-outdated"),
        ("no-multidevice", "err-scanned-without-multidevice"),
    ],
)
async def test_linking_ends_before_it_begins(sandbox: Sandbox, neonize: Neonize, tmp_path: Path, mode: str, status: str) -> None:
    sandbox.world.faults.add("pairing", mode=mode)
    await neonize.open(mode, tmp_path / "a.db")
    assert await neonize.login_status(mode) == status


async def test_whatsapp_may_refuse_a_pairing_code(sandbox: Sandbox, neonize: Neonize, tmp_path: Path, contact: str) -> None:
    sandbox.world.faults.add("pairing", device=contact, mode="code-refused", code=429)
    await neonize.open("code", tmp_path / "a.db")
    await neonize.happened("code", "QR")
    with pytest.raises(RuntimeError, match="429"):
        await neonize.call("code", f"client.PairPhone('{contact}', True)")


async def test_a_contact_with_a_new_phone_asks_again(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    await neonize.call("a", f"client.send_message(jid('{contact}'), 'to the old phone')")
    somebody(sandbox, contact).reinstall()
    await neonize.call("a", f"client.send_message(jid('{contact}'), 'to the new phone')")
    record = sandbox.world.records.find(to=contact)[1]
    assert await sandbox.world.wait_until(lambda: bool(record.decrypted_by), SECONDS)
    assert (record.retries, record.describe()["text"]) == (1, "to the new phone")


async def test_a_muted_device_hears_nothing_until_it_is_unmuted(
    sandbox: Sandbox, neonize: Neonize, device: LinkedDevice, contact: str
) -> None:
    world, author, owner = sandbox.world, somebody(sandbox, contact), somebody(sandbox, OWNER)
    logins = device.logins
    ACTIONS["mute"](world, device)
    with pytest.raises(RuntimeError, match="Timeout"):
        await neonize.call("a", "asyncio.wait_for(client.is_on_whatsapp('+15550002222'), 0.2)")
    written = world.incoming.write(author, owner, compose(world, {"text": "hi"}, str(author.lid), str(author.lid)))
    ACTIONS["unmute"](world, device)
    assert (await neonize.read("a", written))["Message"]["conversation"] == "hi"
    assert await neonize.call("a", "client.is_on_whatsapp('+15550002222')")
    assert device.logins == logins
