"""A stock neonize links to the sandbox by QR and by pairing code, and is refused as WhatsApp refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.sandbox import pairing, pairing_code
from gateway.sandbox.actions import ACTIONS
from gateway.sandbox.server import Sandbox

from .conftest import SECONDS, Neonize, link, somebody

OWNER = "15550001111"


async def test_it_links_by_qr_and_takes_the_name_of_the_phone(sandbox: Sandbox, neonize: Neonize, tmp_path: Path) -> None:
    somebody(sandbox, OWNER).name = "Ann"
    device = await link(sandbox, neonize, "a", tmp_path / "a.db", OWNER)
    assert str(device.pn) == f"{OWNER}:1@s.whatsapp.net"
    assert len(device.one_time) >= 50
    paired = await neonize.happened("a", "PairStatus")
    assert paired["ID"]["User"] == OWNER
    await neonize.call("a", "client.send_presence(const.Presence.AVAILABLE)")
    presences = lambda: [seen.facts for seen in sandbox.world.seen if seen.kind == "presence"]  # noqa: E731
    assert await sandbox.world.wait_until(lambda: bool(presences()), SECONDS)
    assert presences() == [{"state": "available", "name": "Ann"}]


async def test_a_code_that_was_scanned_is_worth_nothing_to_another_phone(
    sandbox: Sandbox, neonize: Neonize, tmp_path: Path
) -> None:
    await neonize.open("a", tmp_path / "a.db")
    code = await neonize.happened("a", "QR")
    await pairing.scan(sandbox.world, code, somebody(sandbox, OWNER))
    with pytest.raises(pairing.PairingError):
        await pairing.scan(sandbox.world, code, somebody(sandbox, "15550003333"))
    with pytest.raises(pairing.PairingError, match="not the text"):
        await pairing.scan(sandbox.world, "https://example.org/", somebody(sandbox, OWNER))


async def test_it_links_by_pairing_code_after_a_wrong_one(sandbox: Sandbox, neonize: Neonize, tmp_path: Path) -> None:
    await neonize.open("a", tmp_path / "a.db")
    await neonize.happened("a", "QR")
    owner = somebody(sandbox, OWNER)
    code = await neonize.call("a", f"client.PairPhone('{OWNER}', True)")
    assert len(code) == 9
    with pytest.raises(pairing.PairingError) as wrong:
        await pairing_code.enter(sandbox.world, "AAAA-AAAA", owner)
    assert wrong.value.code == "wrong_code"

    device = await pairing_code.enter(sandbox.world, code, owner)

    await neonize.happened("a", "Connected")
    assert await sandbox.world.wait_until(lambda: device.online, SECONDS)
    assert device.owner is owner


async def test_a_device_removed_on_the_phone_is_logged_out_at_once(sandbox: Sandbox, neonize: Neonize, tmp_path: Path) -> None:
    device = await link(sandbox, neonize, "a", tmp_path / "a.db", OWNER)
    ACTIONS["logout"](sandbox.world, device)
    said = await neonize.happened("a", "LoggedOut")
    assert not said.get("OnConnect")
    assert not device.online


async def test_a_device_removed_while_away_is_refused_when_it_comes_back(
    sandbox: Sandbox, neonize: Neonize, tmp_path: Path
) -> None:
    device = await link(sandbox, neonize, "a", tmp_path / "a.db", OWNER)
    device.removed = True
    ACTIONS["drop"](sandbox.world, device)
    said = await neonize.happened("a", "LoggedOut")
    assert said["OnConnect"] is True


async def test_replaced_banned_and_outdated_are_said_as_whatsapp_says_them(
    sandbox: Sandbox, neonize: Neonize, tmp_path: Path
) -> None:
    world = sandbox.world
    replaced = await link(sandbox, neonize, "a", tmp_path / "a.db", OWNER)
    ACTIONS["replace"](world, replaced)
    await neonize.happened("a", "StreamReplaced")
    banned = await link(sandbox, neonize, "b", tmp_path / "b.db", "15550003333")
    world.faults.add("login", device="15550003333", reason=402, code=101, expire=3600, times=1)
    ACTIONS["drop"](world, banned)
    said = await neonize.happened("b", "TemporaryBan")
    assert said["Expire"] == "3600" or int(said["Expire"]) in (3600, 3600 * 10**9)
    outdated = await link(sandbox, neonize, "c", tmp_path / "c.db", "15550004444")
    world.faults.add("login", device="15550004444", reason=405, times=1)
    ACTIONS["drop"](world, outdated)
    await neonize.happened("c", "ClientOutdated")


async def test_malformed_stanzas_do_not_end_the_link(sandbox: Sandbox, neonize: Neonize, tmp_path: Path) -> None:
    device = await link(sandbox, neonize, "a", tmp_path / "a.db", OWNER)
    ACTIONS["malformed"](sandbox.world, device)
    sent = await neonize.call("a", "client.send_message(jid('15550002222'), 'still here')")
    [record] = sandbox.world.records.find(to="15550002222")
    assert record.id == sent["ID"]


async def test_a_device_can_unlink_itself_and_be_linked_again(sandbox: Sandbox, neonize: Neonize, tmp_path: Path) -> None:
    device = await link(sandbox, neonize, "a", tmp_path / "a.db", OWNER)
    await neonize.call("a", "client.logout()")
    assert await sandbox.world.wait_until(lambda: device.removed and not device.online, SECONDS)
    again = await link(sandbox, neonize, "b", tmp_path / "b.db", OWNER)
    assert again.number == 2
