"""One SQLite file, one writer, explicit transactions, numbered migrations that commit together with their number.

WAL with synchronous=FULL: a transaction that has returned survives a power failure.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
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
        cursor = await self._connection.execute(sql, values)
        seq = cursor.lastrowid or 0
        await cursor.close()
        return seq

    async def one(self, sql: str, *values: Any) -> Row | None:
        cursor = await self._connection.execute(sql, values)
        row = await cursor.fetchone()
        await cursor.close()
        return row

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
        try:
            connection = await aiosqlite.connect(self.path, isolation_level=None, cached_statements=256)
            connection.row_factory = sqlite3.Row
            await connection.execute("PRAGMA busy_timeout = 10000")
            await connection.execute("PRAGMA journal_mode = WAL")
            await connection.execute("PRAGMA synchronous = FULL")
            await connection.execute("PRAGMA foreign_keys = ON")
            await connection.execute("PRAGMA temp_store = MEMORY")
        except sqlite3.Error as error:
            raise StoreBroken(f"cannot open {self.path}: {error}") from error
        return connection

    async def __aexit__(self, *exc: object) -> None:
        async with self._lock:
            await self._reader.close()
            await self._writer.close()

    async def _migrate(self) -> None:
        row = await (await self._writer.execute("PRAGMA user_version")).fetchone()
        version = row[0] if row else 0
        known = migrations()
        if version > known[-1][0]:
            raise StoreTooNew(f"{self.path} has version {version}, this gateway knows {known[-1][0]}. It was written by a "
                              "newer gateway: install that one, or restore a backup from before the upgrade.")
        for number, name, sql in known:
            if number <= version:
                continue
            try:
                await self._writer.executescript(f"BEGIN EXCLUSIVE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")
            except sqlite3.Error as error:
                if self._writer.in_transaction:
                    await self._writer.execute("ROLLBACK")
                raise StoreBroken(f"migration {name} of {self.path} failed: {error}") from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """One writer at a time; commits at the end, rolls back on any exception. A full disk or a read-only file system
        raises GatewayError('storage_unavailable')."""
        async with self._lock:
            tx = Transaction(self._writer)
            try:
                await self._writer.execute("BEGIN IMMEDIATE")
                yield tx
                started = time.perf_counter()
                await self._writer.execute("COMMIT")
                self.commit_seconds(time.perf_counter() - started)
            except BaseException as error:
                if self._writer.in_transaction:
                    await asyncio.shield(self._writer.execute("ROLLBACK"))
                if isinstance(error, sqlite3.OperationalError):
                    raise GatewayError("storage_unavailable", f"The gateway's store cannot be written: {error}.") from error
                raise
        for callback in tx.callbacks:
            callback()

    async def one(self, sql: str, *values: Any) -> Row | None:
        cursor = await self._reader.execute(sql, values)
        row = await cursor.fetchone()
        await cursor.close()
        return row

    async def all(self, sql: str, *values: Any) -> list[Row]:
        return list(await self._reader.execute_fetchall(sql, values))

    async def backup_into(self, target: Path) -> None:
        """A consistent copy while running (VACUUM INTO)."""
        async with self._lock:
            await self._writer.execute("VACUUM INTO ?", (str(target),))

    async def integrity(self) -> list[str]:
        """Empty when all is well."""
        rows: Iterable[Row] = await self.all("PRAGMA quick_check")
        return [row[0] for row in rows if row[0] != "ok"]
