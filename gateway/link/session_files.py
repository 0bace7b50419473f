"""Sessions' sealed files as a whole: copied, checked, compared. What a backup and a new data key need."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gateway.errors import GatewayError
from gateway.link import session_sqlite
from gateway.link.base import SessionFile, StoreDamaged
from gateway.link.sealed_store import SealedStore
from gateway.link.session_sqlite import SessionFileError

T = TypeVar("T")

_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('wagateway_generation', 'sqlite_stat1') ORDER BY name"


@dataclass(frozen=True, slots=True)
class Contents:
    """`jid`: the linked device, None when there is none. `digest`: hex SHA-256 over every row but the generation's; two files
    with the same one hold the same keys and ratchets."""

    jid: str | None
    generation: int
    digest: str


@contextmanager
def told() -> Iterator[None]:
    """A file's trouble in the words of `base`: what passes is not the file's."""
    try:
        yield
    except SessionFileError as error:
        if error.passes:
            raise GatewayError("storage_unavailable", str(error)) from error
        raise StoreDamaged(str(error)) from error
    except ValueError as error:
        raise StoreDamaged(str(error)) from error
    except FileExistsError:
        raise
    except OSError as error:
        raise GatewayError("storage_unavailable", f"The session's file cannot be used: {error}.") from error


class SealedFiles:
    """Every method works on a thread, and raises StoreDamaged, GatewayError('storage_unavailable')."""

    def __init__(self, sealed: SealedStore) -> None:
        self._sealed = sealed

    async def copy(self, file: SessionFile, target: Path, data_key: bytes) -> None:
        """A consistent copy, durable, sealed with `data_key`. The session may be in use. Raises FileExistsError too."""
        await self._with(file, lambda: session_sqlite.backup_into(file.path, target, data_key))

    async def contents(self, file: SessionFile) -> Contents:
        return await self._with(file, lambda: _contents(file.path))

    async def check(self, file: SessionFile) -> list[str]:
        """What is wrong with it: every page is opened and SQLite's integrity check runs."""
        return await self._with(file, lambda: session_sqlite.integrity_check(file.path))

    async def bump(self, file: SessionFile, at_least: int) -> int:
        return await self._with(file, lambda: session_sqlite.bump_generation(file.path, at_least=at_least))

    async def empty_log(self, file: SessionFile) -> None:
        """Moves the write-ahead log into the file, all of it."""
        await self._with(file, lambda: _empty_log(file.path))

    def forget(self, path: Path) -> None:
        self._sealed.forget(path)

    async def _with(self, file: SessionFile, work: Callable[[], T]) -> T:
        with told():
            self._sealed.add(file.path, file.data_key)
            return await asyncio.to_thread(work)


def _contents(path: Path) -> Contents:
    device = session_sqlite.device(path)
    digest = hashlib.sha256()
    if path.stat().st_size:
        with session_sqlite.connect(path) as connection:
            connection.query("BEGIN")
            for name in [str(row[0]) for row in connection.query(_TABLES) if isinstance(row[0], str)]:
                digest.update(f"\n{name}\n".encode())
                rows = (repr(row).encode() for row in connection.query(f'SELECT * FROM "{name}"'))
                for row in sorted(hashlib.sha256(row).digest() for row in rows):
                    digest.update(row)
            connection.query("COMMIT")
    return Contents(device.jid if device else None, session_sqlite.read_generation(path), digest.hexdigest())


def _empty_log(path: Path) -> None:
    with session_sqlite.connect(path) as connection:
        ((busy, frames, _),) = connection.query("PRAGMA wal_checkpoint(TRUNCATE)")
    if busy or frames:
        raise SessionFileError("busy", f"{path} is in use: its log cannot be emptied now.")
