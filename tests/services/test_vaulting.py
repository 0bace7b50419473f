"""Rotation and re-keying, cut off at every step."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.link.base import SessionFile
from gateway.services import storing
from gateway.services.vaulting import NobodyRuns, Vaulting, settle
from gateway.states import REASONS, SessionState
from gateway.store import keyring
from gateway.store.store import Store, check_master_key, open_store
from gateway.store.vault import Vault, VaultError
from tests.running import run_gateway

SECRET = b"what a session keeps"

# A process that does the work and is killed at the n-th call that changes something on disk.
KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from gateway.link.sealed_store import SealedStore
from gateway.link.session_files import SealedFiles
from gateway.services import vaulting
from gateway.services.vaulting import NobodyRuns, Vaulting
from gateway.store import keyring
from gateway.store.store import open_store
from gateway.store.vault import Vault

state, work, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
count = 0

def watched(event, args):
    global count
    if event in ("os.rename", "os.remove", "os.link", "aiosqlite") or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)):
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with open_store(state, Vault.load(state, create=False)) as store:
        await vaulting.settle(store)
        files = SealedFiles(SealedStore.install())
        execute = store.database._writer.execute
        async def told(sql, *rest):
            watched("aiosqlite", ())
            return await execute(sql, *rest)
        store.database._writer.execute = told
        sys.addaudithook(watched)
        it = Vaulting(store, files, NobodyRuns())
        if work == "rotate":
            await it.rotate()
        else:
            await it.rekey((await store.sessions.all())[0])
    print("done", flush=True)
    os._exit(0)

asyncio.run(main())
"""


def row(state: Path) -> bytes:
    connection = sqlite3.connect(state / "gateway.db")
    wrapped = connection.execute("SELECT wrapped_key FROM sessions").fetchone()[0]
    connection.close()
    return bytes(wrapped)


async def make(state: Path, files: int = 1) -> None:
    """A state folder with linked sessions; their files hold SECRET."""
    state.mkdir(mode=0o700)
    async with open_store(state, Vault.load(state)) as store:
        for i in range(files):
            async with store.database.transaction() as tx:
                await store.sessions.create(
                    tx, id=f"s{i}", owner="o", session_key=f"k{i}", name="", state=SessionState(REASONS["connected"], 1.0),
                    webhook_url="", wrapped_key=store.vault.wrap(bytes([i + 1]) * 32, f"session/s{i}"), settings={}, at=1.0)
                await tx.execute("UPDATE sessions SET jid = '15550001111:1@s.whatsapp.net'")
    await python(WRITE, state)


WRITE = """
import os, sys
from pathlib import Path
from gateway.link import session_sqlite as S
from gateway.link.sealed_store import SealedStore
store = SealedStore.install()
for file in range(1):
    path = Path(sys.argv[1]) / "sessions" / "s0.db"
    store.add(path, bytes([1]) * 32)
    with S.connect(path) as c:
        c.query("CREATE TABLE t (x)")
        c.query("INSERT INTO t VALUES (?)", b"what a session keeps")
    os._exit(0)
"""

# As the daemon starts: what was cut off is settled, then the file is opened with the row's key.
LOOK = """
import asyncio, os, sys
from pathlib import Path
from gateway.link import session_sqlite as S
from gateway.link.sealed_store import SealedStore
from gateway.services import vaulting
from gateway.store.store import open_store
from gateway.store.vault import Vault
state = Path(sys.argv[1])
async def main():
    async with open_store(state, Vault.load(state, create=False)) as store:
        await vaulting.settle(store)
        assert not store.vault.rotating
        session = (await store.sessions.all())[0]
        sealed = SealedStore.install()
        path = store.session_path("s0")
        sealed.add(path, store.vault.unwrap(session.wrapped_key, "session/s0"))
        with S.connect(path) as c:
            assert c.one("SELECT x FROM t") == b"what a session keeps"
        assert S.integrity_check(path) == []
    assert sorted(os.listdir(path.parent)) == ["s0.db"], os.listdir(path.parent)
    assert not [f for f in os.listdir(state) if "master.key" in f and f != "master.key"], os.listdir(state)
    print("whole", flush=True)
asyncio.run(main())
os._exit(0)
"""


async def python(code: str, *words: object) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, *map(str, words), stdout=asyncio.subprocess.PIPE,
                                                   stderr=asyncio.subprocess.STDOUT)
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("work", ["rotate", "rekey"])
async def test_a_kill_at_any_step_leaves_a_state_that_opens(tmp_path: Path, work: str, every: int) -> None:
    """`every`: which steps are tried; all of them by hand."""
    steps = 0
    await make(tmp_path / "made")
    for at in range(1 if every == 1 else 2, 200, every):
        state = shutil.copytree(tmp_path / "made", tmp_path / str(at))
        before, key = row(state), (state / "master.key").read_bytes()
        code, out = await python(KILLED, state, work, at)
        assert code in (0, -9), out
        if code == 0:
            assert row(state) != before
            assert ((state / "master.key").read_bytes() != key) == (work == "rotate")
            break
        steps += 1
        code, out = await python(LOOK, state)
        assert code == 0 and out.endswith("whole\n"), f"after a kill at step {at}: {out}"
    assert steps > 1, "the kills hit something"
    assert (await python(LOOK, state))[1].endswith("whole\n")


async def test_a_rotation_wraps_everything_anew_and_the_old_key_opens_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    await make(state, 3)
    old = (state / "master.key").read_bytes()
    async with open_store(state, Vault.load(state)) as store:
        assert await Vaulting(store, None, NobodyRuns()).rotate() == 4          # the store's and three sessions'
        assert store.vault.unwrap((await store.sessions.all())[1].wrapped_key or b"", "session/s1") == bytes([2]) * 32
    (state / "master.key").write_bytes(old)
    with pytest.raises(VaultError, match="does not belong to"):
        check_master_key(state, Vault.load(state))


async def test_the_wrappings_of_the_old_key_are_nowhere_on_disk_after_a_rotation(tmp_path: Path) -> None:
    state = tmp_path / "state"
    await make(state, 3)
    before = [bytes(r[0]) for r in sqlite3.connect(state / "gateway.db").execute("SELECT wrapped_key FROM sessions")]
    async with open_store(state, Vault.load(state)) as store:
        await Vaulting(store, None, NobodyRuns()).rotate()
        found = b"".join(f.read_bytes() for f in state.glob("gateway.db*"))
    assert not any(wrapped in found for wrapped in before)


async def test_a_key_that_cannot_be_changed_is_told_and_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, credentials = tmp_path / "state", tmp_path / "credentials"
    await make(state)
    credentials.mkdir()
    (state / "master.key").rename(credentials / "master-key")
    before = row(state)
    async with open_store(state, Vault.load(state, credentials_dir=credentials)) as store:
        it = Vaulting(store, None, NobodyRuns())
        assert not (await it.status()).can_rotate
        with pytest.raises(GatewayError, match=r"master-key\.previous") as refused:
            await it.rotate()
        assert refused.value.code == "vault_refused"
    assert row(state) == before
    # The operator's way: a new credential, the old one beside it. The next start does the rest.
    (credentials / "master-key").rename(credentials / "master-key.previous")
    (credentials / "master-key").write_text("ab" * 31 + "cd")
    async with open_store(state, Vault.load(state, credentials_dir=credentials)) as store:
        await settle(store)
        assert not store.vault.rotating
    (credentials / "master-key.previous").unlink()
    async with open_store(state, Vault.load(state, credentials_dir=credentials)) as store:
        assert store.vault.unwrap((await store.sessions.all())[0].wrapped_key or b"", "session/s0") == bytes([1]) * 32


async def test_a_lost_key_is_explained_and_not_replaced(tmp_path: Path) -> None:
    state = tmp_path / "state"
    await make(state)
    (state / "master.key").unlink()
    with pytest.raises(VaultError, match="Restore the key from a backup; without it the data cannot be read"):
        Vault.load(state)
    with pytest.raises(VaultError, match="Restore the key from a backup"):
        Vault.load(state, create=False)
    assert not (state / "master.key").exists()


async def test_sessions_made_during_a_rotation_and_after_it_open(tmp_path: Path) -> None:
    async with run_gateway(tmp_path / "state") as it:
        id_, _ = await it.linked()
        made = asyncio.gather(*(it.client.post("/api/v1/sessions", {"session_key": f"s{i}"}) for i in range(5)))
        for _ in range(3):
            answer = await it.client.post("/api/v1/admin/vault/rotate")
            assert answer.status == 200, answer.body
        await made
        status = (await it.client.get("/api/v1/admin/vault")).body
        assert status["fingerprint"] == answer.body["fingerprint"] and not status["rotating"] and status["sessions"] == 6
        for session in await it.gateway.store.sessions.all():
            assert session.wrapped_key
            it.gateway.store.vault.unwrap(session.wrapped_key, f"session/{session.id}")
        for live in it.gateway.sessions.live():
            live._standing.file()
        assert (await (await it.another_client("full")).post("/api/v1/admin/vault/rotate")).status == 403
        assert id_


class Files:
    """Sessions' files that are what was written into them."""

    async def copy(self, file: SessionFile, target: Path, data_key: bytes) -> None:
        target.write_bytes(data_key)

    async def check(self, file: SessionFile) -> list[str]:
        return []

    async def empty_log(self, file: SessionFile) -> None:
        pass

    def forget(self, path: Path) -> None:
        pass


async def test_a_disk_that_is_full_when_the_new_file_is_in_place_does_not_part_it_from_its_key(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "PAUSES", (0.01,))
    state = tmp_path / "state"
    await make(state)
    refused = 0
    async with open_store(state, Vault.load(state)) as store:
        settled = keyring.settle_rekeys

        async def full(store: Store) -> None:
            nonlocal refused
            refused += 1
            if refused < 3:
                raise GatewayError("storage_unavailable")
            await settled(store)

        monkeypatch.setattr(keyring, "settle_rekeys", full)
        await Vaulting(store, Files(), NobodyRuns()).rekey((await store.sessions.all())[0])
        wrapped = (await store.sessions.all())[0].wrapped_key
        assert store.vault.unwrap(wrapped or b"", "session/s0") == store.session_path("s0").read_bytes()
