"""One SQLite file, one writer, explicit transactions, numbered migrations that commit together with their number.

WAL with synchronous=FULL: a transaction that has returned survives a power failure.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import aiosqlite

from gateway.errors import GatewayError

Row = sqlite3.Row


class StoreTooNew(Exception):
    """The database was written by a newer version; nothing was touched."""


class StoreBroken(Exception):
    """The database cannot be opened; the text says why."""


# What the disk or the file does to us. Anything else SQLite says is a mistake of ours and stays what it is.
_STORAGE_ERRORS = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL,
                             sqlite3.SQLITE_IOERR, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY})


def _of_storage(error: BaseException) -> bool:
    return isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _STORAGE_ERRORS


@contextmanager
def _of_the_store(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if _of_storage(error):
            raise GatewayError("storage_unavailable", f"The gateway's store cannot be {what}: {error}.") from error
        raise


async def _to_the_end(work: Awaitable[Any]) -> asyncio.CancelledError | None:
    """Awaits `work` even if we are cancelled: what was queued to SQLite's thread happens anyway, and its outcome must be
    known. The cancellation that came meanwhile is returned; the work's own exception is raised."""
    task = asyncio.ensure_future(work)
    cancelled = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    return cancelled


def migrations() -> list[tuple[int, str, str]]:
    """(number, name, SQL) in order. Forward only."""
    folder = resources.files("gateway.store.migrations")
    files = sorted(f.name for f in folder.iterdir() if f.name.endswith(".sql"))
    return [(int(name[:4]), name, (folder / name).read_text("utf-8")) for name in files]


class Transaction:
    """Writes that commit together. `on_commit` runs its callback after the commit, never after a rollback."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self.callbacks: list[Callable[[], None]] = []

    async def execute(self, sql: str, *values: Any) -> int:
        """The number of rows changed."""
        cursor = await self._connection.execute(sql, values)
        count = cursor.rowcount
        await cursor.close()
        return count

    async def insert(self, sql: str, *values: Any) -> int:
        """The new row's number."""
        row = await self._connection.execute_insert(sql, values)
        return int(row[0]) if row else 0

    async def one(self, sql: str, *values: Any) -> Row | None:
        # One trip to the connection's thread instead of three: queries for one row name one.
        return next(iter(await self._connection.execute_fetchall(sql, values)), None)

    async def all(self, sql: str, *values: Any) -> list[Row]:
        return list(await self._connection.execute_fetchall(sql, values))

    def on_commit(self, callback: Callable[[], None]) -> None:
        if callback not in self.callbacks:
            self.callbacks.append(callback)


class Database:
    """`async with Database(path) as db`. Raises StoreTooNew, StoreBroken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commit_seconds: Callable[[float], None] = lambda seconds: None     # a metric, set by who wants it
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Database:
        self.path.touch(mode=0o600, exist_ok=True)
        self._writer = await self._open()
        try:
            await self._migrate()
            self._reader = await self._open()
            await self._reader.execute("PRAGMA query_only = ON")
        except BaseException:
            await self._writer.close()
            raise
        return self

    async def _open(self) -> aiosqlite.Connection:
        connection = None
        try:
            connection = await aiosqlite.connect(self.path, isolation_level=None, cached_statements=256)
            connection.row_factory = sqlite3.Row
            await connection.execute("PRAGMA busy_timeout = 10000")
            await self._check_version(connection)               # before anything that could change the file
            await connection.execute("PRAGMA journal_mode = WAL")
            await connection.execute("PRAGMA synchronous = FULL")
            await connection.execute("PRAGMA foreign_keys = ON")
            await connection.execute("PRAGMA temp_store = MEMORY")
            await connection.execute("PRAGMA secure_delete = ON")       # a destroyed data key leaves no trace in free pages
        except BaseException as error:
            if connection is not None:
                await connection.close()
            if isinstance(error, sqlite3.Error):
                raise StoreBroken(f"cannot open {self.path}: {error}") from error
            raise
        return connection

    async def __aexit__(self, *exc: object) -> None:
        async with self._lock:
            await self._reader.close()
            await self._writer.close()

    async def _check_version(self, connection: aiosqlite.Connection) -> int:
        (row,) = await connection.execute_fetchall("PRAGMA user_version")
        version, newest = int(row[0]), migrations()[-1][0]
        if version > newest:
            raise StoreTooNew(f"{self.path} has version {version}, this gateway knows {newest}. It was written by a newer "
                              "gateway: install that one, or restore a backup from before the upgrade.")
        return version

    async def _migrate(self) -> None:
        version = await self._check_version(self._writer)
        for number, name, sql in migrations():
            if number <= version:
                continue
            try:
                await self._writer.executescript(f"BEGIN EXCLUSIVE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")
            except sqlite3.Error as error:
                await self._roll_back()
                raise StoreBroken(f"migration {name} of {self.path} failed: {error}") from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """One writer at a time; commits at the end, rolls back on any exception. A full disk, a read-only file system and the
        like raise GatewayError('storage_unavailable'). Not to be nested: the inner one would wait for the outer for ever.

        A cancellation never cuts BEGIN, COMMIT or ROLLBACK short: a transaction that was committed is also told."""
        async with self._lock:
            tx = Transaction(self._writer)
            try:
                if cancelled := await _to_the_end(self._writer.execute("BEGIN IMMEDIATE")):
                    raise cancelled
                yield tx
                started = time.perf_counter()
                cancelled = await _to_the_end(self._writer.execute("COMMIT"))
                self.commit_seconds(time.perf_counter() - started)
            except BaseException as error:
                if late := await _to_the_end(self._roll_back()):
                    raise late from error
                if _of_storage(error):
                    raise GatewayError("storage_unavailable", f"The gateway's store cannot be written: {error}.") from error
                raise
        for callback in tx.callbacks:
            callback()
        if cancelled is not None:
            raise cancelled

    async def _roll_back(self) -> None:
        try:
            await self._writer.execute("ROLLBACK")
        except sqlite3.OperationalError:
            pass            # none is open: SQLite has rolled back by itself (a full disk), or it never began

    async def one(self, sql: str, *values: Any) -> Row | None:
        """Raises GatewayError('storage_unavailable')."""
        with _of_the_store("read"):
            return next(iter(await self._reader.execute_fetchall(sql, values)), None)

    async def all(self, sql: str, *values: Any) -> list[Row]:
        """Raises GatewayError('storage_unavailable')."""
        with _of_the_store("read"):
            return list(await self._reader.execute_fetchall(sql, values))

    async def backup_into(self, target: Path) -> None:
        """A consistent copy while running (VACUUM INTO), readable by the owner alone. Raises FileExistsError,
        GatewayError('storage_unavailable')."""
        target.touch(mode=0o600, exist_ok=False)        # SQLite writes into a file that is empty, and keeps its mode
        try:
            async with self._lock:
                if cancelled := await _to_the_end(self._writer.execute("VACUUM INTO ?", (str(target),))):
                    raise cancelled
        except BaseException as error:
            target.unlink(missing_ok=True)
            if _of_storage(error):
                raise GatewayError("storage_unavailable", f"The backup cannot be written: {error}.") from error
            raise

    async def empty_log(self) -> None:
        """Moves the write-ahead log into the file, as far as readers let it: what was overwritten is then gone from both."""
        async with self._lock:
            await _to_the_end(self._writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)"))

    async def integrity(self) -> list[str]:
        """Empty when all is well."""
        rows: Iterable[Row] = await self.all("PRAGMA quick_check")
        return [row[0] for row in rows if row[0] != "ok"]
