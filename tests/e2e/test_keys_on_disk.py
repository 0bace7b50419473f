"""At no time is key material readable on disk."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.world import World

pytestmark = pytest.mark.e2e

# Opens the session's file with its own key, as the daemon does, and prints every secret in it.
_READ = """
import json, sys
from pathlib import Path
from gateway.link import session_sqlite
from gateway.link.sealed_store import SealedStore
from gateway.store.vault import Vault
import sqlite3
state, id_ = Path(sys.argv[1]), sys.argv[2]
vault = Vault.load(state)
row = sqlite3.connect(state / "gateway.db").execute("SELECT wrapped_key FROM sessions WHERE id = ?", (id_,)).fetchone()
store = SealedStore.install()
path = state / "sessions" / f"{id_}.db"
data_key = vault.unwrap(row[0], f"session/{id_}")
store.add(path, data_key)
out = {"data_key": data_key.hex()}
with session_sqlite.connect(path) as c:
    for column in ("noise_key", "identity_key", "signed_pre_key", "adv_key"):
        out[column] = c.one(f"SELECT {column} FROM whatsmeow_device").hex()
    for i, (key,) in enumerate(c.query("SELECT key FROM whatsmeow_pre_keys LIMIT 50")):
        out[f"prekey{i}"] = key.hex()
    for i, (record,) in enumerate(c.query("SELECT session FROM whatsmeow_sessions")):
        out[f"session{i}"] = record[40:80].hex()
print(json.dumps(out))
"""


def everything(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file() and not f.is_symlink()}


async def test_the_keys_of_a_live_session_are_nowhere_on_disk(world: World, tmp_path: Path) -> None:
    """What lies in the state folder and in the temporary folder while the session lives, and what a kill leaves, is searched for
    the session's own keys, read afterwards from its sealed file."""
    temp = tmp_path / "tmp"
    temp.mkdir()
    world.environment["TMPDIR"] = str(temp)
    await world.stop()
    await world.start()
    id_ = await world.link()
    snapshots = [everything(world.state)]
    for i in range(5):
        await world.until_message(await world.send(f"1555000222{i}", f"a body to look for {i}"), "delivered")
        snapshots.append(everything(world.state))
    await world.kill()
    snapshots += [everything(world.state), everything(temp)]
    assert any(name.endswith("-wal") for name in snapshots[-2]), "the kill leaves a live log"

    copy = tmp_path / "copy"
    shutil.copytree(world.state, copy)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _READ, str(copy), id_, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    keys = {name: bytes.fromhex(value) for name, value in json.loads(out).items()}
    assert len(keys) > 50
    assert all(len(key) >= 32 for key in keys.values())

    forbidden = dict(keys)
    for name in ("noise_key", "identity_key", "adv_key"):
        forbidden[f"{name} in base64"] = base64.b64encode(keys[name])
    forbidden |= {"whatsmeow's tables": b"whatsmeow_", "a plain SQLite header": b"SQLite format 3", "a body": b"a body to look"}
    for snapshot in snapshots:
        for file, content in snapshot.items():
            for name, needle in forbidden.items():
                if file.startswith("gateway.db") and name == "a plain SQLite header":
                    continue                # the gateway's own database is plain SQLite with sealed columns
                assert needle not in content, f"{name} is readable in {file}"
    log = world.log.read_bytes()
    assert not any(needle in log for needle in forbidden.values()), "a secret is in the log"


async def test_a_wrong_master_key_is_refused_and_nothing_changes(world: World) -> None:
    await world.link()
    assert await world.stop() == 0
    key = world.state / "master.key"
    right = key.read_bytes()
    key.write_text(secrets.token_hex(32))
    before = everything(world.state)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", env=world.environment, stderr=asyncio.subprocess.PIPE)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert b"does not belong to" in err
    assert everything(world.state) == before
    key.write_bytes(right)
    await world.start()
    sessions = (await world.client.get("/api/v1/sessions")).body["sessions"]
    await world.until_session(sessions[0]["id"], "connected")


async def test_keys_put_back_from_a_backup_are_recognised(world: World) -> None:
    id_ = await world.link()
    await world.stop()
    file = world.state / "sessions" / f"{id_}.db"
    old = file.read_bytes()
    await world.start()
    await world.until_session(id_, "connected")
    await world.stop()
    for suffix in ("-wal", "-journal"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    file.write_bytes(old)
    await world.start()
    stale = await world.until_session(id_, "stale_restore")
    assert (stale["status"], stale["action"]) == ("failed", "relink_or_force")
    await world.stop()
    world.environment["WAGATEWAY_WHATSAPP_ACCEPT_STALE_RESTORE"] = "true"
    await world.start()
    await world.until_session(id_, "connected")
