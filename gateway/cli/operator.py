"""How an operator's command reaches the data: through the running daemon, or by itself when none runs.

A command on the daemon's own machine needs no API key: whoever may write the state folder may make one. So it makes an admin
key, which nobody ever sees, uses it for this one command, and removes it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gateway import log as logging
from gateway.cli.client import Daemon, Where, run, where
from gateway.cli.exits import FAILED, leave, plainly, read_settings
from gateway.config import Settings
from gateway.link.session_files import SealedFiles
from gateway.store.database import Database
from gateway.store.keys import Keys
from gateway.store.store import DATABASE, Store, check_master_key, open_store
from gateway.store.vault import Vault, VaultError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stopped:
    """No daemon runs, and none can start: we hold its lock."""

    settings: Settings

    @property
    def state(self) -> Path:
        return self.settings.state

    def vault(self) -> Vault:
        """The master key that there is; none is ever made. Raises VaultError."""
        file = self.settings.vault.master_key_file
        try:
            vault = Vault.load(self.state, Path(file).expanduser() if file else None, create=False)
        except VaultError as error:
            if error.code != "key_missing":
                raise
            raise VaultError(error.code, f"{error.text} If the service manager gives the daemon its key, start the daemon and "
                                         "repeat this: then the daemon does it.") from None
        check_master_key(self.state, vault)
        return vault

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        from gateway.services import vaulting

        if not (self.state / DATABASE).exists():
            leave(FAILED, f"{self.state} holds no data")
        async with open_store(self.state, self.vault()) as store:
            await vaulting.settle(store)
            yield store

    def files(self) -> SealedFiles:
        from gateway.link.library import installed_library
        from gateway.link.sealed_store import SealedStore

        return SealedFiles(SealedStore.install(installed_library()))


def operate(url: str | None, key: str | None, config: Path | None, running: Callable[[Daemon], Awaitable[T]],
            stopped: Callable[[Stopped], Awaitable[T]]) -> T:
    """One of the two, to its end."""
    from gateway.daemon import AlreadyRunning

    settings = read_settings(config)
    logging.configure("warning", "console")
    if url is None:
        with plainly():
            try:
                with _held(settings):
                    return asyncio.run(_await(stopped(Stopped(settings))))
            except AlreadyRunning:
                pass
            if not key:
                return with_own_key(settings, config, running)
    result: T = run(where(url, key, config), running)
    return result


async def _await(work: Awaitable[T]) -> T:
    return await work


@contextmanager
def _held(settings: Settings) -> Iterator[None]:
    from gateway.daemon import state_folder
    from gateway.store.backup import finish_restore

    if not os.path.isdir(settings.state):           # also no, where another user's folder is in the way
        leave(FAILED, f"there is no state folder {settings.state}: is it another user's, or in another place (--config)?")
    with state_folder(settings.state) as state:
        finish_restore(state)
        yield


def with_own_key(settings: Settings, config: Path | None, work: Callable[[Daemon], Awaitable[T]]) -> T:
    """What the running daemon answers to an admin key that is made for this and removed afterwards."""
    async def make() -> tuple[str, str]:
        async with Database(settings.state / DATABASE) as database, database.transaction() as tx:
            key, text = await Keys(database).create(tx, name="the command line", scope="admin", plan="unlimited", at=time.time())
            return key.id, text

    async def remove(id_: str) -> None:
        async with Database(settings.state / DATABASE) as database, database.transaction() as tx:
            await Keys(database).delete(tx, id_)

    id_, text = asyncio.run(make())
    try:
        at: Where = where(None, text, config)
        result: T = run(at, work)
        return result
    finally:
        asyncio.run(remove(id_))
