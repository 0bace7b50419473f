"""The gateway's own database with its sealing, opened as one: `async with open_store(state, vault) as store`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.store.database import Database
from gateway.store.durable import sync_folder
from gateway.store.journal import Journal
from gateway.store.keys import Keys
from gateway.store.media import Media
from gateway.store.messages import Messages
from gateway.store.sessions import Sessions
from gateway.store.usage import Idempotency, Usage
from gateway.store.vault import Vault, VaultError
from gateway.store.webhooks import Webhooks

DATABASE, CHECK, SESSIONS = "gateway.db", "vault.check", "sessions"
STORE_KEY = "store_key"              # in the table meta; its place is "store"
_PLACE = "store"


@dataclass(frozen=True, slots=True)
class Store:
    database: Database
    journal: Journal
    keys: Keys
    sessions: Sessions
    messages: Messages
    usage: Usage
    idempotency: Idempotency
    media: Media
    webhooks: Webhooks
    vault: Vault
    folder: Path                        # of the sessions' sealed files

    async def probe(self, now: float) -> None:
        """Writes and reads. Raises GatewayError('storage_unavailable')."""
        async with self.database.transaction() as tx:
            await tx.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('written', ?)", b"%d" % now)
        await self.database.one("SELECT value FROM meta WHERE name = 'written'")

    def session_path(self, session_id: str) -> Path:
        return self.folder / f"{session_id}.db"


def check_master_key(state: Path, vault: Vault) -> None:
    """Refuses a master key that is not this state folder's, before anything is opened or written. Raises VaultError."""
    check = state / CHECK
    if check.exists():
        if not vault.matches(check.read_bytes()):
            raise VaultError("wrong_key", f"The master key does not belong to {state}: nothing was touched. Give the key that "
                             "was used when this state folder was made, or move the folder away to begin anew.")
    elif (state / DATABASE).exists():
        raise VaultError("wrong_key", f"{check} is missing beside {DATABASE}, so the master key cannot be checked. Restore it "
                         "from the same backup as the database.")


@asynccontextmanager
async def open_store(state: Path, vault: Vault) -> AsyncIterator[Store]:
    """Raises VaultError, StoreTooNew, StoreBroken."""
    check_master_key(state, vault)
    folder = state / SESSIONS
    folder.mkdir(mode=0o700, exist_ok=True)
    if not (state / CHECK).exists():
        write_check(state, vault)       # before the database: one without a check is refused
    async with Database(state / DATABASE) as database:
        async with database.transaction() as tx:
            row = await tx.one("SELECT value FROM meta WHERE name = 'store_key'")
            if row is None:
                wrapped = vault.wrap(vault.new_data_key(), _PLACE)
                await tx.execute("INSERT INTO meta (name, value) VALUES ('store_key', ?)", wrapped)
            else:
                wrapped = row[0]
        sealer = vault.open_envelope(wrapped, _PLACE)
        yield Store(database, Journal(database, sealer), Keys(database), Sessions(database), Messages(database, sealer),
                    Usage(database), Idempotency(database, sealer), Media(database, sealer), Webhooks(database, sealer), vault,
                    folder)


def write_check(state: Path, vault: Vault) -> None:
    """Atomically, so that a power failure leaves the old check or the new one."""
    new = state / f"{CHECK}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, vault.check_value())
        os.fsync(fd)
    finally:
        os.close(fd)
    new.replace(state / CHECK)
    sync_folder(state)
