"""Putting a backup back, with the daemon stopped: whether it may be, and the steps in an order that any crash may cut."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.link.base import SessionFile, StoreDamaged
from gateway.link.session_files import Contents
from gateway.services import backup as backups
from gateway.services.feed import Feed
from gateway.services.ledger import Ledger
from gateway.store import backup, keyring
from gateway.store.backup import BackupUnusable, Manifest, SavedSession, SessionRow
from gateway.store.store import DATABASE, SESSIONS, Store, open_store
from gateway.store.vault import Vault, VaultError

WHAT_WHATSAPP_WOULD_DO = (
    "WhatsApp's servers and everybody you chat with have seen the newer keys. With older ones, messages that arrive cannot be "
    "decrypted until the senders' phones have sent them again (some never do), one-time keys that were used up are offered again, "
    "and WhatsApp may log the device out. Linking the session anew is safer than an old backup. With --force it is restored all "
    "the same.")


class Files(backups.SessionFiles, Protocol):
    async def bump(self, file: SessionFile, at_least: int) -> int: ...


class RestoreRefused(Exception):
    """`objections`: a sentence for each session whose newer keys would be lost. Nothing was changed."""

    def __init__(self, objections: list[str]) -> None:
        self.objections = objections
        super().__init__("The backup was not restored. " + " ".join(objections) + " " + WHAT_WHATSAPP_WOULD_DO)


@dataclass(frozen=True, slots=True)
class Restored:
    """`overridden`: the objections that were forced. `settled`: messages that still waited in the backup, now failed. `kept`: where
    what was there before is; None when there was nothing, or nothing of it is lost."""

    manifest: Manifest
    overridden: list[str]
    settled: int
    kept: Path | None


async def restore(state: Path, source: Path, vault: Vault, files: Files, *, now: float, older_key: Vault | None = None,
                  force: bool = False, send_queued: bool = False) -> Restored:
    """The caller holds the daemon's lock, and `vault` is the one that the folder is to be used with. `older_key` opens a backup
    from before a rotation. Raises RestoreRefused, BackupUnusable, VaultError, StoreTooNew, StoreBroken, OSError."""
    staging = state / backup.STAGING
    await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
    opener = older_key or vault
    try:
        manifest = await backups.verify(source, staging, opener, files)
        objections, generations = await _judge(state, vault, files, manifest)
        if objections and not force:
            raise RestoreRefused(objections)
        async with open_store(staging, older_key or vault) as store:
            await _accept(store, files, manifest, generations)
            if older_key is not None:
                store.vault.adopt(Vault.both(vault, older_key))
                await keyring.rewrap(store)
            settled = 0 if send_queued else await _settle_queue(store, now)
            await store.database.empty_log()
        _forget(files, staging / SESSIONS, manifest.sessions)
        await asyncio.to_thread(backup.commit_restore, state)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    kept = await asyncio.to_thread(backup.finish_restore, state)
    if kept is not None and not objections:
        await asyncio.to_thread(shutil.rmtree, kept)
        kept = None
    return Restored(manifest, objections, settled, kept)


async def _judge(state: Path, vault: Vault, files: Files, manifest: Manifest) -> tuple[list[str], dict[str, int]]:
    """What speaks against it, and the present generation of each session."""
    if not (state / DATABASE).exists():
        return [], {}
    try:
        rows = await asyncio.to_thread(backup.session_rows, state / DATABASE)
    except BackupUnusable as error:
        return [f"The present database does not open, so nobody can tell whether its keys are newer than the backup's: {error}."], {}
    saved = {session.id: session for session in manifest.sessions}
    linked = [row for row in rows if row.jid is not None and row.wrapped_key is not None]
    objections = [text for row in linked if (text := await _objection(state, vault, files, row, saved.get(row.id)))]
    return objections, {row.id: row.generation for row in rows}


async def _objection(state: Path, vault: Vault, files: Files, row: SessionRow, saved: SavedSession | None) -> str:
    path, name = state / SESSIONS / f"{row.id}.db", f"Session {row.session_key}"
    if not path.exists():
        return ""
    assert row.wrapped_key is not None
    copy = state / backup.STAGING / "present" / path.name       # looked at, with its log: the file itself stays as it is
    copy.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        for suffix in ("", "-wal", "-journal"):
            if (part := path.with_name(path.name + suffix)).exists():
                await asyncio.to_thread(shutil.copyfile, part, copy.with_name(copy.name + suffix))
        present = await files.contents(SessionFile(row.id, copy, vault.unwrap(row.wrapped_key, f"session/{row.id}")))
    except (StoreDamaged, VaultError) as error:
        if saved is not None and saved.generation > row.generation:
            return ""
        return f"{name} has a file that does not open ({error}), so nobody can tell whether the backup is older."
    finally:
        files.forget(copy)
        shutil.rmtree(copy.parent, ignore_errors=True)
    return objection(name, present, saved)


def objection(name: str, present: Contents, saved: SavedSession | None) -> str:
    """Why the backup's keys must not replace the present ones; '' when they may."""
    if present.jid is None:
        return ""                       # nobody is linked: nothing is lost
    if saved is None:
        return f"{name} was linked after the backup was made: it would be gone, and has to be linked again."
    if saved.jid.partition("@")[0] != present.jid.partition("@")[0]:
        return f"{name} was linked anew after the backup was made; the backup's keys are those of a device that is gone."
    if saved.digest == present.digest or saved.generation > present.generation:
        return ""
    since = (f"was started {present.generation - saved.generation} times" if present.generation > saved.generation
             else "has sent or received")
    return f"{name} {since} since the backup was made: its keys have moved on."


async def _accept(store: Store, files: Files, manifest: Manifest, generations: dict[str, int]) -> None:
    """The files count on from the highest number there ever was, and the rows agree: the daemon takes them, and would know either
    of the two states if it were put back once more."""
    for saved in manifest.sessions:
        session = await store.sessions.one(saved.id)
        assert session is not None, "verified"
        assert session.wrapped_key is not None, "verified"
        path = store.session_path(saved.id)
        key = store.vault.unwrap(session.wrapped_key, f"session/{saved.id}")
        number = await files.bump(SessionFile(saved.id, path, key), generations.get(saved.id, 0))
        async with store.database.transaction() as tx:
            await store.sessions.update(tx, saved.id, generation=number)


async def _settle_queue(store: Store, now: float) -> int:
    """What waited to be sent when the backup was made may have been sent since: it is not sent again by itself."""
    feed = Feed(store.journal)
    await feed.start()
    ledger, count = Ledger(store.messages, store.usage, feed), 0
    for session in await store.sessions.all():
        for message in await store.messages.queue(session.id, limit=1_000_000):
            async with store.database.transaction() as tx:
                await ledger.fail(tx, message, "cancelled", "The gateway was restored from a backup in which this message still "
                                  "waited; it may have been sent since then.", now, may_have_been_delivered=True)
            count += 1
    return count


def _forget(files: Files, folder: Path, sessions: Iterable[SavedSession]) -> None:
    for session in sessions:
        files.forget(folder / f"{session.id}.db")
