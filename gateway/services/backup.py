"""Backups while the daemon runs, on a schedule or asked for."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from gateway.config import Backup as BackupSettings
from gateway.errors import GatewayError
from gateway.link.base import SessionFile, StoreDamaged
from gateway.link.session_files import Contents
from gateway.store import backup
from gateway.store.backup import BackupUnusable, Manifest, SavedSession, SessionRow
from gateway.store.store import CHECK, DATABASE, SESSIONS, Store
from gateway.store.vault import Vault, VaultError

log = structlog.get_logger("gateway.backup")

HOUR = 3600.0
FOLDER = "backup.tmp"                   # in the state folder, while a backup is made or checked
_DRAFT = "backup-{}.out"                # there too, while one is made to be sent to whoever asked for it
TRIES = 5
RETRY_SECONDS, LOOK_SECONDS = 600.0, 60.0
_NAME, _ENDING = "wagateway-", ".backup"


class SessionFiles(Protocol):
    """See `link.session_files.SealedFiles`."""

    async def copy(self, file: SessionFile, target: Path, data_key: bytes) -> None: ...

    async def contents(self, file: SessionFile) -> Contents: ...

    async def check(self, file: SessionFile) -> list[str]: ...

    def forget(self, path: Path) -> None: ...


class Moved(Exception):
    """A session was opened or linked between the copies: they do not belong together."""


class Backups:
    """One at a time; `keys_change` is the lock of `vaulting.Vaulting`."""

    def __init__(self, store: Store, files: SessionFiles | None, keys_change: asyncio.Lock, version: str,
                 clock: Callable[[], float] = time.time) -> None:
        self._store, self._files, self._lock, self._version, self._clock = store, files, keys_change, version, clock
        self._folder = store.folder.parent / FOLDER
        self.last_at: float | None = None
        self.last_error = ""

    def draft(self) -> Path:
        """A name beside the data for a backup that is sent away; whoever makes it removes it."""
        return self._folder.with_name(_DRAFT.format(secrets.token_hex(4)))

    def sweep(self) -> None:
        """At the start: what a process left behind that was killed while it made or sent a backup."""
        names = _DRAFT.format("*")
        left = [path for pattern in (names, f".{names}.*") for path in self._folder.parent.glob(pattern)]
        _remove(left)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def make(self, target: Path) -> Manifest:
        """A new sealed file with all databases at one generation, reopened and checked. Raises GatewayError('backup_failed',
        'storage_unavailable')."""
        async with self._lock:
            try:
                manifest = await self._make(target)
            except (GatewayError, BackupUnusable, StoreDamaged, OSError) as error:
                told = _told(error)
                self.last_error = told.message
                if told is error:
                    raise
                raise told from error
            finally:
                await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        self.last_at, self.last_error = self._clock(), ""
        log.info("backup_made", file=str(target), sessions=len(manifest.sessions), bytes=target.stat().st_size)
        return manifest

    async def _make(self, target: Path) -> Manifest:
        if target.exists():
            raise FileExistsError(17, "the file exists already", str(target))
        for attempt in range(TRIES):
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
            (self._folder / SESSIONS).mkdir(mode=0o700, parents=True)
            try:
                manifest = await self._copy()
                break
            except Moved as error:
                if attempt == TRIES - 1:
                    raise BackupUnusable(f"sessions are being opened all the time: {error}") from error
                await asyncio.sleep(0.2 * (attempt + 1))
        try:
            await asyncio.to_thread(backup.pack, self._folder, manifest, target, self._store.vault)
            await asyncio.to_thread(shutil.rmtree, self._folder)
            await verify(target, self._folder, self._store.vault, self._files)
        except FileExistsError:
            raise
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return manifest

    async def _copy(self) -> Manifest:
        """The gateway's database first: no session file may be older than what it knows of it."""
        folder, store = self._folder, self._store
        await store.database.backup_into(folder / DATABASE)
        (folder / CHECK).write_bytes((store.folder.parent / CHECK).read_bytes())
        saved: list[SavedSession] = []
        left_out: list[str] = []
        for row in await asyncio.to_thread(backup.session_rows, folder / DATABASE):
            if row.jid is not None and row.wrapped_key is not None and self._files is not None:
                one = await self._copy_session(row, self._files)
                left_out.append(one) if isinstance(one, str) else saved.append(one)
        files = {name: await asyncio.to_thread(backup.digest_of, folder / name) for name in backup.members(folder)}
        schema = await asyncio.to_thread(backup.check_database, folder / DATABASE)
        return Manifest(self._version, self._clock(), schema, store.vault.fingerprint, tuple(saved), tuple(left_out),
                        files)

    async def _copy_session(self, row: SessionRow, files: SessionFiles) -> SavedSession | str:
        """A sentence for one that has nothing to save, or cannot be."""
        assert row.wrapped_key is not None
        assert row.jid is not None
        target = self._folder / SESSIONS / f"{row.id}.db"
        path = self._store.session_path(row.id)
        if not path.exists():
            return f"session {row.session_key} has no file"
        try:
            key = self._store.vault.unwrap(row.wrapped_key, f"session/{row.id}")
            await files.copy(SessionFile(row.id, path, key), target, key)
            contents = await files.contents(SessionFile(row.id, target, key))
        except (StoreDamaged, VaultError) as error:
            now = await self._store.sessions.one(row.id)
            if now is None or now.wrapped_key != row.wrapped_key or now.jid is None:
                raise Moved(str(error)) from error          # deleted or linked anew meanwhile
            log.error("session_not_in_backup", session=row.id, error=str(error))
            target.unlink(missing_ok=True)
            return f"session {row.session_key} cannot be read: {error}"
        finally:
            files.forget(target)
        if contents.jid is None:
            target.unlink()
            return f"session {row.session_key} is not linked any more"
        if contents.generation != row.generation:
            raise Moved(f"session {row.session_key} was opened meanwhile")
        return SavedSession(row.id, row.session_key, row.jid, contents.generation, contents.digest)


async def verify(source: Path, folder: Path, vault: Vault, files: SessionFiles | None) -> Manifest:
    """Unpacks into `folder` (which stays) and checks every database in it. Raises BackupUnusable, VaultError."""
    manifest = await asyncio.to_thread(backup.unpack, source, folder, vault)
    await asyncio.to_thread(backup.check_database, folder / DATABASE)
    rows = {row.id: row for row in await asyncio.to_thread(backup.session_rows, folder / DATABASE)}
    for saved in manifest.sessions:
        row, path = rows.get(saved.id), folder / SESSIONS / f"{saved.id}.db"
        if row is None or row.wrapped_key is None or files is None:
            raise BackupUnusable(f"{source}: the key of session {saved.session_key} is missing")
        try:
            wrong = await files.check(SessionFile(saved.id, path, vault.unwrap(row.wrapped_key, f"session/{saved.id}")))
        except StoreDamaged as error:
            raise BackupUnusable(f"{source}: session {saved.session_key}: {error}") from error
        finally:
            files.forget(path)
        if wrong:
            raise BackupUnusable(f"{source}: session {saved.session_key} is damaged: {wrong[0]}")
    return manifest


def _remove(left: list[Path]) -> None:
    for path in left:
        with contextlib.suppress(OSError):
            path.unlink()
    if left:
        log.info("backup_remains_removed", files=[path.name for path in left])


def _told(error: Exception) -> GatewayError:
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, FileExistsError):
        return GatewayError("backup_failed", f"{error.filename} exists already; it is not overwritten.")
    if isinstance(error, OSError):
        return GatewayError("storage_unavailable", f"The backup cannot be written: {error.strerror} ({error.filename}).")
    return GatewayError("backup_failed", f"No backup was made: {error}")


# ------------------------------------------------------------------ on a schedule


class Schedule:
    """A backup every so often into a directory, the oldest beyond `keep` removed after each."""

    def __init__(self, backups: Backups, settings: BackupSettings, clock: Callable[[], float] = time.time,
                 sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._backups, self._settings, self._clock, self._sleep = backups, settings, clock, sleep
        self._directory = Path(settings.directory).expanduser()

    async def run(self) -> None:
        """Until cancelled. A backup that fails is told and tried again."""
        while self._settings.directory:
            pause = LOOK_SECONDS
            try:
                if self.due(self._clock()):
                    await self.make()
            except (GatewayError, OSError) as error:
                pause = RETRY_SECONDS
                log.error("scheduled_backup_failed", error=getattr(error, "message", str(error)))
            except Exception:
                pause = RETRY_SECONDS
                log.exception("scheduled_backup_failed")
            await self._sleep(pause)

    def sweep(self) -> None:
        """Unfinished ones of a process that was killed; one that is being written now is younger."""
        old = self._clock() - HOUR
        _remove([path for path in self._directory.glob(f".{_NAME}*{_ENDING}.*") if path.stat().st_mtime < old])

    def due(self, now: float) -> bool:
        """One from the future does not count: the clock was wrong then, or is now."""
        made = [at for at, _ in self.files() if at <= now]
        return not made or now - made[-1] >= self._settings.every_hours * HOUR

    async def make(self) -> Path:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(self.sweep)
        now = self._clock()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        target = self._directory / f"{_NAME}{stamp}{_ENDING}"
        await self._backups.make(target)
        if self._settings.keep:
            others = sorted((at <= now, at, old) for at, old in self.files() if old != target)     # those of the future go first
            for _, _, old in others[: -(self._settings.keep - 1) or None]:
                old.unlink(missing_ok=True)
        return target

    def files(self) -> list[tuple[float, Path]]:
        """(unix seconds, file) by the time in the name, the oldest first."""
        found = []
        for path in self._directory.glob(f"{_NAME}*{_ENDING}"):
            try:
                at = datetime.strptime(path.name, f"{_NAME}%Y%m%dT%H%M%SZ{_ENDING}").replace(tzinfo=UTC)
            except ValueError:
                continue                # not one of ours
            found.append((at.timestamp(), path))
        return sorted(found)
