"""Our own look into a session's sealed file: who it is paired as, backups, checks, and its generation.

Every function opens and closes a connection of the library's SQLite; the file may be in use by neonize in this process meanwhile.
They block: call them on a worker thread. The path's key must have been given with `SealedStore.add`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.link.sealed_store import SealedStore
from gateway.link.sealing.capi import BUSY, CANTOPEN, FULL, NOMEM, READONLY
from gateway.link.sealing.client import Connection, SqliteError, Value


class SessionFileError(Exception):
    """`what`: busy (another process has the file), no_key, wrong_key, plaintext_refused, damaged, authentication_failed,
    full (the disk), system (no descriptors, no memory, no right to the file), or sqlite for the rest. Nothing was changed by the
    call that raised it."""

    def __init__(self, what: str, text: str) -> None:
        self.what = what
        super().__init__(text)

    @property
    def passes(self) -> bool:
        """It says nothing about the file, which may open later."""
        return self.what in ("busy", "full", "system")


@dataclass(frozen=True, slots=True)
class Device:
    """The row of whatsmeow's own device: JIDs as text (`123:4@s.whatsapp.net`, `456:4@lid`)."""

    jid: str
    lid: str | None
    registration_id: int
    platform: str
    business_name: str
    push_name: str


@contextmanager
def connect(path: Path, *, busy_ms: int = 10_000) -> Iterator[Connection]:
    """Commits as durably as neonize's own connections do. Raises SessionFileError."""
    store = SealedStore.installed()
    try:
        with Connection(store.library, store.uri(path), busy_ms=busy_ms) as connection:
            connection.query("PRAGMA journal_mode = WAL")
            connection.query("PRAGMA synchronous = FULL")
            connection.query("PRAGMA foreign_keys = ON")
            yield connection
    except SqliteError as error:
        raise _explained(store, path, error) from error


_KINDS = {FULL: "full", CANTOPEN: "system", NOMEM: "system", READONLY: "system"}


def _explained(store: SealedStore, path: Path, error: SqliteError) -> SessionFileError:
    refusal = store.last_refusal(path)
    if refusal is not None:
        return SessionFileError(refusal[0], f"{path}: {refusal[1]}")
    if error.primary == BUSY:
        if store.connections(path) == 0:
            return SessionFileError("busy", f"{path} is in use by another process: only one gateway may have it open.")
        return SessionFileError("busy", f"{path} is in use by another process, or by this one for longer than allowed.")
    return SessionFileError(_KINDS.get(error.primary, "sqlite"), f"{path}: {error}")


_DEVICE = "SELECT jid, lid, registration_id, platform, business_name, push_name FROM whatsmeow_device LIMIT 1"
_HAS_TABLE = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?"


def device(path: Path) -> Device | None:
    """Who this session is paired as; None when it is not. Raises SessionFileError."""
    if _empty(path):
        return None
    with connect(path) as connection:
        if not connection.one(_HAS_TABLE, "whatsmeow_device"):
            return None
        rows = connection.query(_DEVICE)
    if not rows:
        return None
    jid, lid, registration_id, platform, business_name, push_name = rows[0]
    return Device(_text(jid), _text(lid) or None, _number(registration_id), _text(platform), _text(business_name),
                  _text(push_name))


def backup_into(path: Path, target: Path, data_key: bytes) -> None:
    """A consistent copy of the sealed file in `target`, sealed with `data_key` (another key is a re-keying), on disk when this
    returns. The session may go on writing. Raises FileExistsError, SessionFileError."""
    store = SealedStore.installed()
    if target.exists():
        raise FileExistsError(target)
    store.add(target, data_key)
    try:
        with connect(path) as connection:
            connection.query("VACUUM INTO ?", store.uri(target))
        # VACUUM INTO does not sync. Nobody has the copy open any more, so it may be opened by other means.
        for place in (target, target.parent):
            fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        store.forget(target)


def integrity_check(path: Path) -> list[str]:
    """What SQLite finds wrong, at most 100 lines; nothing when all is well. Every page's seal is checked on the way.
    Raises SessionFileError, for damage too large to go on."""
    if _empty(path):
        return []
    with connect(path) as connection:
        found = [_text(row[0]) for row in connection.query("PRAGMA integrity_check(100)")]
        found += [f"foreign key: {row[0]!r} row {row[1]!r}" for row in connection.query("PRAGMA foreign_key_check")][:100]
    return [line for line in found if line != "ok"]


# The generation: a number inside the sealed file that grows with each opening by the daemon, which also keeps it in its own
# database. A file that is put back from an older copy has a smaller one. whatsmeow ignores tables that are not its own.
_GENERATION_TABLE = ("CREATE TABLE IF NOT EXISTS wagateway_generation "
                     "(id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL)")
_BUMP = ("INSERT INTO wagateway_generation VALUES (1, ?) "
         "ON CONFLICT (id) DO UPDATE SET number = max(number + 1, ?) RETURNING number")
_GENERATION = "SELECT number FROM wagateway_generation"


def read_generation(path: Path) -> int:
    """0 for a file that does not exist or was never bumped. Raises SessionFileError."""
    if _empty(path):
        return 0
    with connect(path) as connection:
        return _number(connection.one(_GENERATION)) if connection.one(_HAS_TABLE, "wagateway_generation") else 0


def bump_generation(path: Path, *, at_least: int = 0) -> int:
    """The new generation, durable when this returns: one more than before, and more than `at_least` (when a stale file is taken
    on purpose, so that the number never repeats). Raises SessionFileError."""
    with connect(path) as connection:
        connection.query(_GENERATION_TABLE)
        return _number(connection.one(_BUMP, at_least + 1, at_least + 1))


def _number(value: Value) -> int:
    return value if isinstance(value, int) else 0


def _empty(path: Path) -> bool:
    """Also for a file that is missing. By stat: opening it would drop the process's locks on close."""
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def _text(value: Value) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
