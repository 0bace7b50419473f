"""The data keys as the database keeps them: wrapped anew when the master key changes, replaced when a session gets another.

A session's file and its key lie in two files, which no commit changes together. So the new key is noted first (`rekey/ID` in the
table meta), the file is put in place by one rename, and the row follows. Whether the copy still lies beside the file tells at the
next start on which side of the rename the work was cut off: `settle_rekeys` goes back or goes on, and the session works either way.
"""

from __future__ import annotations

from pathlib import Path

from gateway.store.durable import sync_folder
from gateway.store.store import STORE_KEY, Store, write_check

COPY = ".rekey"                         # beside a session's file: its copy under the new key
_PENDING = "rekey/"

_META = "SELECT name, value FROM meta WHERE name = ? OR name LIKE 'rekey/%'"
_PUT_META = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_DROP_META = "DELETE FROM meta WHERE name = ?"
_WRAPPED = "SELECT id, wrapped_key FROM sessions WHERE wrapped_key IS NOT NULL"
_PUT_KEY = "UPDATE sessions SET wrapped_key = ? WHERE id = ? AND wrapped_key IS NOT NULL"


async def rewrap(store: Store) -> int:
    """Every data key under the vault's current master key, and the check value too. How many were changed. Raises VaultError,
    GatewayError('storage_unavailable')."""
    vault, changed = store.vault, 0
    async with store.database.transaction() as tx:
        for name, value in [(row[0], row[1]) for row in await tx.all(_META, STORE_KEY)]:
            place = "store" if name == STORE_KEY else f"session/{name.removeprefix(_PENDING)}"
            changed += vault.needs_rewrap(value)
            await tx.execute(_PUT_META, name, vault.rewrap(value, place))
        for id_, wrapped in [(row[0], row[1]) for row in await tx.all(_WRAPPED)]:
            changed += vault.needs_rewrap(wrapped)
            await tx.execute(_PUT_KEY, vault.rewrap(wrapped, f"session/{id_}"), id_)
    await store.database.empty_log()    # the old wrappings are overwritten in the file: not in the log only
    write_check(store.folder.parent, vault)
    return changed


async def note_rekey(store: Store, session_id: str, wrapped: bytes) -> None:
    async with store.database.transaction() as tx:
        await tx.execute(_PUT_META, _PENDING + session_id, wrapped)


def put_in_place(file: Path) -> None:
    """The copy becomes the session's file. Its log must be empty: it is removed first."""
    for suffix in ("-wal", "-journal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    file.with_name(file.name + COPY).replace(file)
    sync_folder(file.parent)


async def settle_rekeys(store: Store) -> None:
    """What a rekeying left undone is undone, or done. Call before any session's file is opened, and to end one."""
    async with store.database.transaction() as tx:
        for name, wrapped in [(row[0], row[1]) for row in await tx.all(_META, "")]:
            id_ = name.removeprefix(_PENDING)
            file = store.session_path(id_)
            if not file.with_name(file.name + COPY).exists():       # it has become the file
                await tx.execute(_PUT_KEY, wrapped, id_)
            await tx.execute(_DROP_META, name)
    for left in store.folder.glob(f"*{COPY}*"):
        left.unlink()
    await store.database.empty_log()
