"""The vault and backups of a daemon that runs, with the real core and sealed files."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest

from tests.e2e.world import World

pytestmark = pytest.mark.e2e
FRIEND = "15550002222"


async def cli(world: World, *words: str | Path) -> tuple[int, str]:
    """Exit code, and what was printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *map(str, words), env=world.environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def say(world: World, text: str) -> None:
    await world.until_message(await world.send(FRIEND, text), "delivered")


async def test_the_master_key_is_rotated_while_a_link_is_up(world: World) -> None:
    id_ = await world.link()
    key, since = (world.state / "master.key").read_bytes(), (await world.client.get(f"/api/v1/sessions/{id_}")).body["since"]
    code, out = await cli(world, "vault", "rotate")
    assert code == 0, out
    assert (world.state / "master.key").read_bytes() != key
    assert not (world.state / "master.key.previous").exists()
    assert (await world.client.get(f"/api/v1/sessions/{id_}")).body["since"] == since, "the link stayed up"
    await say(world, "after the rotation")
    await world.kill()
    await world.start()
    await world.until_session(id_, "connected")
    keys = (await world.client.get("/api/v1/keys")).body["keys"]
    assert [k["name"] for k in keys] == ["e2e"], "the command's own key is gone"
    await world.stop()
    code, out = await cli(world, "vault", "rotate")
    assert code == 0, out
    await world.start()
    await world.until_session(id_, "connected")
    await say(world, "after the second")


async def test_a_session_gets_a_new_data_key_and_goes_on(world: World) -> None:
    id_ = await world.link()
    file = world.state / "sessions" / f"{id_}.db"
    await say(world, "before")
    inode = file.stat().st_ino
    code, out = await cli(world, "vault", "rekey-session", "main")
    assert code == 0, out
    assert file.stat().st_ino != inode
    await world.until_session(id_, "connected")
    await say(world, "after")
    await world.kill()
    await world.start()
    await world.until_session(id_, "connected")
    await say(world, "after a kill")
    await world.stop()
    code, out = await cli(world, "vault", "rekey-session", id_)
    assert code == 0, out
    assert sorted(f.name for f in file.parent.iterdir()) == [f"{id_}.db"]
    await world.start()
    await world.until_session(id_, "connected")
    await say(world, "after the second")


async def test_a_backup_of_a_running_daemon_is_restored(world: World, tmp_path: Path) -> None:
    id_ = await world.link()
    await say(world, "before the backup")
    saved = tmp_path / "now.backup"
    code, out = await cli(world, "backup", saved)
    assert code == 0, out
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert b"SQLite" not in saved.read_bytes()
    assert (await cli(world, "backup", saved))[0] == 1, "nothing is overwritten"
    code, out = await cli(world, "restore", saved)
    assert code == 1 and "stop it first" in out

    # As it was when it was made: nothing newer would be lost.
    await world.kill()
    code, out = await cli(world, "restore", saved)
    assert code == 0, out
    await world.start()
    await world.until_session(id_, "connected")
    await say(world, "after the restore")

    # Used since then: refused, unless forced.
    await world.stop()
    before = {f.name: f.read_bytes() for f in world.state.rglob("*") if f.is_file()}
    code, out = await cli(world, "restore", saved)
    assert code == 1 and "its keys have moved on" in out and "cannot be decrypted" in out
    assert {f.name: f.read_bytes() for f in world.state.rglob("*") if f.is_file()} == before
    code, out = await cli(world, "restore", "--force", saved)
    assert code == 0 and "Forced: Session main" in out and "before-restore" in out, out
    await world.start()
    await world.until_session(id_, "connected")


async def test_a_backup_moves_to_another_machine_with_its_key_only(world: World, tmp_path: Path) -> None:
    id_ = await world.link()
    await world.stop()
    saved, key = tmp_path / "moved.backup", world.state / "master.key"
    code, out = await cli(world, "backup", saved)
    assert code == 0, out
    await world.start()
    await cli(world, "vault", "rotate")
    await world.stop()
    world.state.rename(tmp_path / "old machine")
    code, out = await cli(world, "restore", saved)
    assert code == 1 and "There is no master key" in out, out
    assert not (world.state / "gateway.db").exists()
    new = (tmp_path / "old machine" / "master.key").read_bytes()
    key.write_bytes(new)
    key.chmod(0o600)
    code, out = await cli(world, "restore", saved)
    assert code == 1 and "another master key" in out, out
    assert sorted(os.listdir(world.state)) == ["daemon.lock", "master.key"]
    # The key was rotated after the backup was made: with the one of that time it opens, and is the new one's from then on.
    older = tmp_path / "older.key"
    older.write_bytes(b"00" * 31 + b"01\n")
    older.chmod(0o600)
    code, out = await cli(world, "restore", saved, "--backup-key-file", older)
    assert code == 1 and "another master key" in out, out
    assert id_


async def test_a_backup_from_before_a_rotation_opens_with_the_key_of_that_time(world: World, tmp_path: Path) -> None:
    id_ = await world.link()
    saved, older = tmp_path / "old.backup", tmp_path / "older.key"
    assert (await cli(world, "backup", saved))[0] == 0
    older.write_bytes((world.state / "master.key").read_bytes())
    older.chmod(0o600)
    assert (await cli(world, "vault", "rotate"))[0] == 0
    await world.stop()
    code, out = await cli(world, "restore", saved)
    assert code == 1 and "--backup-key-file" in out, out
    code, out = await cli(world, "restore", saved, "--backup-key-file", older)
    assert code == 0, out
    await world.start()
    await world.until_session(id_, "connected")
    await say(world, "under the new key")
