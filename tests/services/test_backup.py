"""The backup's file, the schedule, the swap, and what a restore objects to. Real sealed files are in tests/e2e/test_backup.py."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from pathlib import Path

import pytest

from gateway.config import Backup
from gateway.errors import GatewayError
from gateway.jid import JID
from gateway.link.session_files import Contents
from gateway.services.backup import Backups, Schedule
from gateway.services.restoring import objection
from gateway.states import REASONS, SessionState
from gateway.store import backup
from gateway.store.backup import BackupUnusable, SavedSession
from gateway.store.store import open_store
from gateway.store.vault import Vault, VaultError
from tests.running import run_gateway

KEY = bytes(range(32))


class NoFiles:
    def forget(self, path: Path) -> None:
        pass


async def make(state: Path, target: Path) -> None:
    state.mkdir(exist_ok=True)
    async with open_store(state, Vault(KEY)) as store:
        await Backups(store, None, asyncio.Lock(), "1", lambda: 5.0).make(target)


async def test_a_backup_is_private_whole_and_opens_with_its_key_only(tmp_path: Path) -> None:
    target = tmp_path / "b.backup"
    await make(tmp_path / "state", target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert b"SQLite" not in target.read_bytes() and b"CREATE TABLE" not in target.read_bytes()
    manifest = backup.unpack(target, tmp_path / "out", Vault(KEY))
    assert sorted(manifest.files) == ["gateway.db", "vault.check"]
    assert not (tmp_path / "state" / "backup.tmp").exists()
    with pytest.raises(VaultError, match="another master key"):
        backup.unpack(target, tmp_path / "none", Vault(bytes(reversed(KEY))))
    with pytest.raises(GatewayError, match="not overwritten"):
        await make(tmp_path / "state", target)


async def test_what_a_killed_process_left_of_a_backup_is_removed_at_the_next_start(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "backup.tmp" / "sessions").mkdir(parents=True)
    for name in ("backup-0011aabb.out", ".backup-0011aabb.out.77889900", "backup.tmp/gateway.db", "backup-notes.txt"):
        (state / name).write_bytes(b"x")
    async with run_gateway(state):
        left = {path.name for path in state.iterdir() if "backup" in path.name}
    assert left == {"backup-notes.txt"}


async def test_an_unfinished_scheduled_backup_is_removed_by_the_next_one(tmp_path: Path) -> None:
    folder, now = tmp_path / "backups", time.time()
    folder.mkdir()
    old, young = (folder / f".wagateway-20260101T000000Z.backup.{name}" for name in ("old", "young"))
    for path, age in ((old, 2 * 3600), (young, 60)):
        path.write_bytes(b"x")
        os.utime(path, (now - age, now - age))
    (tmp_path / "state").mkdir()
    async with open_store(tmp_path / "state", Vault(KEY)) as store:
        backups = Backups(store, None, asyncio.Lock(), "1", lambda: now)
        await Schedule(backups, Backup(directory=str(folder)), lambda: now).make()
    assert (old.exists(), young.exists()) == (False, True)


async def test_a_backup_that_was_changed_anywhere_or_cut_off_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "b.backup"
    await make(tmp_path / "state", target)
    whole = target.read_bytes()
    damaged = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), len(whole) // 40)]
    damaged += [whole[:-1], whole[: len(whole) // 2], whole[:90], whole[:10], whole + b"x", b""]
    for number, raw in enumerate(damaged):
        target.write_bytes(raw)
        with pytest.raises((BackupUnusable, VaultError)):
            backup.unpack(target, tmp_path / f"out{number}", Vault(KEY))


async def test_a_backup_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    with pytest.raises(GatewayError) as refused:
        await make(tmp_path / "state", folder / "b.backup")
    assert refused.value.code == "storage_unavailable"
    assert not list((tmp_path / "state").glob("backup*"))


async def test_the_schedule_keeps_so_many_and_a_clock_that_jumps_back_does_not_stop_it(tmp_path: Path) -> None:
    now = 1_800_000_000.0
    (tmp_path / "state").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.backup").write_text("somebody's")
    async with open_store(tmp_path / "state", Vault(KEY)) as store:
        schedule = Schedule(Backups(store, None, asyncio.Lock(), "1"), Backup(str(tmp_path / "b"), 24.0, 2), lambda: now)
        assert schedule.due(now)
        for _ in range(4):
            await schedule.make()
            assert not schedule.due(now + 3600)
            now += 24 * 3600
            assert schedule.due(now)
        assert schedule.due(now - 10 * 24 * 3600), "the newest is from the future"
        made = [path.name for _, path in schedule.files()]
    assert made == ["wagateway-20270117T080000Z.backup", "wagateway-20270118T080000Z.backup"]
    assert (tmp_path / "b" / "notes.backup").exists()


async def test_a_session_whose_key_does_not_open_costs_the_others_no_backup(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    async with open_store(tmp_path / "state", Vault(KEY)) as store:
        async with store.database.transaction() as tx:
            await store.sessions.create(tx, id="s", owner="o", session_key="shop", name="", webhook_url="", settings={}, at=1.0,
                                        state=SessionState(REASONS["connected"], 1.0), wrapped_key=b"damaged")
            await store.sessions.update(tx, "s", jid=JID("15550001111", "s.whatsapp.net", 1))
        store.session_path("s").touch()
        manifest = await Backups(store, NoFiles(), asyncio.Lock(), "1").make(tmp_path / "b.backup")       # type: ignore[arg-type]
    [left_out] = manifest.left_out
    assert left_out.startswith("session shop cannot be read: session/s: ")


async def test_a_backup_from_the_future_does_not_make_every_look_another(tmp_path: Path) -> None:
    """Of a clock that was wrong then: until that time comes, each look would find the newest from the future again."""
    now, folder = 1_800_000_000.0, tmp_path / "b"
    for path in (tmp_path / "state", folder):
        path.mkdir()
    for year in (2040, 2041):
        (folder / f"wagateway-{year}0101T000000Z.backup").write_text("")
    async with open_store(tmp_path / "state", Vault(KEY)) as store:
        schedule = Schedule(Backups(store, None, asyncio.Lock(), "1"), Backup(str(folder), 24.0, 2), lambda: now)
        assert schedule.due(now)
        for _ in range(2):
            await schedule.make()
            assert not schedule.due(now + 60)
            now += 24 * 3600
            assert schedule.due(now)
    assert sorted(path.name for path in folder.iterdir()) == [
        "wagateway-20270115T080000Z.backup", "wagateway-20270116T080000Z.backup"]


def prepare(state: Path) -> None:
    """A present state, and a restored one that is committed."""
    for folder, mark in ((state, "old"), (state / backup.STAGING, "new")):
        (folder / "sessions").mkdir(parents=True)
        (folder / "gateway.db").write_text(mark)
        (folder / "vault.check").write_text(mark)
        (folder / "sessions" / "s.db").write_text(mark)
    (state / "gateway.db-wal").write_text("old")


def contents(state: Path) -> set[str]:
    return {(state / name).read_text() for name in ("gateway.db", "vault.check", "sessions/s.db")}


def test_a_swap_that_is_cut_off_anywhere_is_finished_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, steps = os.replace, 0
    for at in range(1, 30):
        state, count = tmp_path / str(at), 0
        prepare(state)

        def cut(self: Path, target: Path, at: int = at) -> Path:
            nonlocal count
            count += 1
            if count == at:
                raise KeyboardInterrupt
            replace(self, target)
            return target

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", cut)
            try:
                backup.commit_restore(state)
                backup.finish_restore(state)
            except KeyboardInterrupt:
                steps += 1
        kept = backup.finish_restore(state)
        committed = at > 1
        assert contents(state) == ({"new"} if committed else {"old"}), at
        assert (state / "gateway.db-wal").exists() == (not committed)
        assert not (state / backup.READY).exists() and not (state / backup.STAGING).exists()
        if count < at:
            break
        if committed:
            assert kept is not None and contents(kept) == {"old"}
    assert steps >= 8


def test_what_an_earlier_restore_put_aside_does_not_stop_the_next(tmp_path: Path) -> None:
    prepare(tmp_path)
    backup.commit_restore(tmp_path)
    first = backup.finish_restore(tmp_path)
    (tmp_path / backup.STAGING / "sessions").mkdir(parents=True)
    for name in ("gateway.db", "vault.check", "sessions/s.db"):
        (tmp_path / backup.STAGING / name).write_text("newer")
    backup.commit_restore(tmp_path)
    second = backup.finish_restore(tmp_path)
    assert contents(tmp_path) == {"newer"}
    assert first is not None and second is not None
    assert contents(second) == {"new"}
    assert [contents(path) for path in tmp_path.glob("before-restore-*")] == [{"old"}]


@pytest.mark.parametrize(("present", "saved", "says"), [
    (Contents(None, 3, "a"), ("1:1@s", 1, "b"), ""),
    (Contents("1:1@s", 3, "a"), ("1:1@s", 3, "a"), ""),
    (Contents("1:1@s", 3, "a"), ("1:1@s", 4, "b"), ""),
    (Contents("1:1@s", 3, "a"), ("1:1@s", 3, "b"), "has sent or received"),
    (Contents("1:1@s", 5, "a"), ("1:1@s", 3, "b"), "was started 2 times"),
    (Contents("1:2@s", 1, "a"), ("1:1@s", 9, "b"), "linked anew"),
    (Contents("1:1@s", 1, "a"), None, "would be gone"),
])
def test_a_restore_objects_where_newer_keys_would_be_lost(
        present: Contents, saved: tuple[str, int, str] | None, says: str) -> None:
    session = SavedSession("s", "shop", *saved) if saved else None
    said = objection("Session shop", present, session)
    assert says in said and bool(said) == bool(says)
