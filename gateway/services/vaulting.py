"""The keys' upkeep while the daemon runs or is stopped: a new master key, a new data key for one session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from gateway.errors import GatewayError
from gateway.link.base import SessionFile, StoreDamaged
from gateway.services.storing import until_stored
from gateway.store import keyring
from gateway.store.sessions import Session
from gateway.store.store import Store
from gateway.store.vault import VaultError

log = structlog.get_logger("gateway.vault")

SETTLE_SECONDS = 10.0


class SessionFiles(Protocol):
    """See `link.session_files.SealedFiles`."""

    async def copy(self, file: SessionFile, target: Path, data_key: bytes) -> None: ...

    async def check(self, file: SessionFile) -> list[str]: ...

    async def empty_log(self, file: SessionFile) -> None: ...

    def forget(self, path: Path) -> None: ...


class Running(Protocol):
    """The sessions as the daemon holds them; `file_at_rest` keeps one's file out of use while the block runs."""

    def file_at_rest(self, session_id: str) -> AbstractAsyncContextManager[None]: ...

    async def reread(self) -> None:
        """The sessions' rows were changed."""


class NobodyRuns:
    """The daemon is stopped, and we hold its lock."""

    @asynccontextmanager
    async def file_at_rest(self, session_id: str) -> AsyncIterator[None]:
        yield

    async def reread(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class VaultStatus:
    """`source`: file, credential or memory. `fingerprint` identifies the master key and reveals nothing."""

    fingerprint: str
    source: str
    path: str
    rotating: bool
    sessions: int
    can_rotate: bool


async def settle(store: Store) -> None:
    """At the start, before any session's file is opened: what a crash cut off is brought to its end. Raises VaultError."""
    await keyring.settle_rekeys(store)
    if store.vault.rotating:
        changed = await keyring.rewrap(store)
        store.vault.adopt(store.vault.finish_rotation())
        log.warning("rotation_finished", fingerprint=store.vault.fingerprint, rewrapped=changed)
    else:
        store.vault.finish_rotation()       # one that was cut off before it began has left a copy of the key


class Vaulting:
    """`lock` is held while keys change: a backup takes it too, so that it never sees half a rotation."""

    def __init__(self, store: Store, files: SessionFiles | None, running: Running) -> None:
        self._store, self._files, self._running = store, files, running
        self.lock = asyncio.Lock()

    async def status(self) -> VaultStatus:
        vault = self._store.vault
        sessions = [s for s in await self._store.sessions.all() if s.wrapped_key is not None]
        return VaultStatus(vault.fingerprint, "credential" if vault.is_credential else "file" if vault.source else "memory",
                           str(vault.source or ""), vault.rotating, len(sessions), vault.source is not None
                           and not vault.is_credential)

    async def rotate(self) -> int:
        """A new master key; how many data keys were wrapped anew. Links stay up. A crash at any moment leaves both keys, and the
        next start goes on. Raises GatewayError('vault_refused', 'storage_unavailable')."""
        async with self.lock:
            vault = self._store.vault
            try:
                if not vault.rotating:          # else one that failed half-way (a full disk) is finished
                    vault.adopt(vault.rotate())
                changed = await keyring.rewrap(self._store)
                await self._running.reread()
                vault.adopt(vault.finish_rotation())
            except VaultError as error:
                raise GatewayError("vault_refused", error.text, reason=error.code) from error
            except OSError as error:
                raise GatewayError("storage_unavailable", f"The rotation is not finished: {error.strerror}. Both keys are kept; "
                                   "rotate again, or start again, when the disk can be written.") from error
            log.info("rotated", fingerprint=vault.fingerprint, rewrapped=changed)
            return changed

    async def rekey(self, session: Session) -> None:
        """A new data key for the session's file, which is written anew under it; its link is down meanwhile (a second or two).
        A crash at any moment leaves the file with the old key or the new one. Raises GatewayError('vault_refused',
        'storage_unavailable')."""
        if session.wrapped_key is None or session.jid is None or self._files is None:
            raise GatewayError("vault_refused", "The session is not linked: it gets a new file when it is.")
        async with self.lock, self._running.file_at_rest(session.id):
            try:
                try:
                    await self._rekey(session.id, self._files)
                finally:
                    await self._settle()
            except StoreDamaged as error:
                raise GatewayError("vault_refused", f"The session's file cannot be written anew: {error}") from error
            except OSError as error:
                raise GatewayError("storage_unavailable", f"The session keeps its key: {error.strerror}.") from error
        log.info("session_rekeyed", session=session.id)

    async def _settle(self) -> None:
        """A file that is in place already, while the row cannot be given its key, would not open."""
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await until_stored(partial(keyring.settle_rekeys, self._store), log)
        except TimeoutError:
            raise GatewayError("storage_unavailable", "The session's new key is not noted yet: start the gateway again when the "
                               "disk can be written.") from None

    async def _rekey(self, id_: str, files: SessionFiles) -> None:
        store, place = self._store, f"session/{id_}"
        session = await store.sessions.one(id_)
        if session is None or session.wrapped_key is None:
            raise GatewayError("session_not_found")
        path = store.session_path(id_)
        old, fresh = SessionFile(id_, path, store.vault.unwrap(session.wrapped_key, place)), store.vault.new_data_key()
        copy = path.with_name(path.name + keyring.COPY)
        try:
            await files.copy(old, copy, fresh)
            if wrong := await files.check(SessionFile(id_, copy, fresh)):
                raise StoreDamaged(f"the copy has errors: {wrong[0]}")
            await files.empty_log(SessionFile(id_, copy, fresh))
            await files.empty_log(old)
        finally:
            files.forget(copy)
            files.forget(path)
        for suffix in ("-wal", "-journal", "-shm"):
            copy.with_name(copy.name + suffix).unlink(missing_ok=True)
        await keyring.note_rekey(store, id_, store.vault.wrap(fresh, place))
        keyring.put_in_place(path)

