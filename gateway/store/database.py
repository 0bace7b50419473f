"""One SQLite file, one writer, explicit transactions, numbered migrations that commit together with their number.

WAL with synchronous=FULL: a transaction that has returned survives a power failure.

There are two ways to write. `write(work)` runs the whole of `work` on the writer's thread in one go, and several that wait
at the same time share one commit and its fsync, each in a savepoint of its own: the way of everything that happens with
every message. `transaction()` is for work that has to wait for other things in between.
"""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Protocol, TypeVar

import aiosqlite
import structlog

from gateway.cancelling import to_the_end
from gateway.errors import GatewayError

log = structlog.get_logger("gateway.store")

Row = sqlite3.Row
T = TypeVar("T")
SHARE = 64              # works that share a commit at most: the first of them waits for the last
TELL_EVERY_SECONDS = 60.0       # of a disk that is full, in the log; who asked for the write is told each time


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


def _vacuum_into(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source, timeout=10, isolation_level=None)) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))


def migrations() -> list[tuple[int, str, str]]:
    """(number, name, SQL) in order. Forward only."""
    folder = resources.files("gateway.store.migrations")
    files = sorted(f.name for f in folder.iterdir() if f.name.endswith(".sql"))
    return [(int(name[:4]), name, (folder / name).read_text("utf-8")) for name in files]


class _Connection(aiosqlite.Connection):
    """Which also runs a function on its thread: one trip for many statements."""

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        return await self._execute(function, self._conn)        # type: ignore[no-any-return, no-untyped-call]


class _Statements(Protocol):
    """What a transaction asks of a connection: aiosqlite's, or sqlite3's where we are on its thread."""

    async def changed(self, sql: str, values: tuple[Any, ...]) -> int: ...
    async def inserted(self, sql: str, values: tuple[Any, ...]) -> int: ...
    async def rows(self, sql: str, values: tuple[Any, ...]) -> list[Row]: ...


class _FromAfar:
    """A trip to the connection's thread each."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def changed(self, sql: str, values: tuple[Any, ...]) -> int:
        cursor = await self._connection.execute(sql, values)
        count = cursor.rowcount
        await cursor.close()
        return count

    async def inserted(self, sql: str, values: tuple[Any, ...]) -> int:
        row = await self._connection.execute_insert(sql, values)
        return int(row[0]) if row else 0

    async def rows(self, sql: str, values: tuple[Any, ...]) -> list[Row]:
        return list(await self._connection.execute_fetchall(sql, values))


class _OnTheSpot:
    """On the connection's thread: nothing is waited for."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def changed(self, sql: str, values: tuple[Any, ...]) -> int:
        return self._connection.execute(sql, values).rowcount

    async def inserted(self, sql: str, values: tuple[Any, ...]) -> int:
        return self._connection.execute(sql, values).lastrowid or 0

    async def rows(self, sql: str, values: tuple[Any, ...]) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()


class Transaction:
    """Writes that commit together. `on_commit` runs its callback after the commit, never after a rollback."""

    def __init__(self, statements: _Statements) -> None:
        self._statements = statements
        self.callbacks: list[Callable[[], None]] = []

    async def execute(self, sql: str, *values: Any) -> int:
        """The number of rows changed."""
        return await self._statements.changed(sql, values)

    async def insert(self, sql: str, *values: Any) -> int:
        """The new row's number."""
        return await self._statements.inserted(sql, values)

    async def one(self, sql: str, *values: Any) -> Row | None:
        """For a query that names one row."""
        return next(iter(await self._statements.rows(sql, values)), None)

    async def all(self, sql: str, *values: Any) -> list[Row]:
        return await self._statements.rows(sql, values)

    def on_commit(self, callback: Callable[[], None]) -> None:
        if callback not in self.callbacks:
            self.callbacks.append(callback)


Work = Callable[[Transaction], Coroutine[Any, Any, T]]


@dataclass(slots=True, eq=False)
class _Waiting:
    """A work that waits for its turn, and what came of it."""

    work: Work[Any]
    done: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None
    callbacks: Iterable[Callable[[], None]] = ()


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that waits for nothing but its transaction, which never lets it wait."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value           # type: ignore[no-any-return]
    work.close()
    raise RuntimeError("What is written in one go must not wait for anything but its transaction.")


def _write_together(connection: sqlite3.Connection, works: list[_Waiting]) -> float:
    """On the connection's thread: one transaction, a savepoint each, so that one that fails takes nobody along. The seconds the
    commit took. Raises where nothing was committed."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for waiting in works:
            tx = Transaction(_OnTheSpot(connection))
            connection.execute("SAVEPOINT work")
            try:
                waiting.result, waiting.callbacks = _at_once(waiting.work(tx)), tx.callbacks
            except BaseException as error:
                if not connection.in_transaction:       # SQLite has rolled back everything by itself: the disk is full
                    raise
                connection.execute("ROLLBACK TO work")
                waiting.error = error
            connection.execute("RELEASE work")
        started = time.perf_counter()
        connection.execute("COMMIT")
        return time.perf_counter() - started
    except BaseException:
        with suppress(sqlite3.OperationalError):        # none is open any more
            connection.execute("ROLLBACK")
        raise


def _tell(waiting: _Waiting) -> None:
    """Who listens for the commit, and who waits for it."""
    error = waiting.error
    if error is None:
        try:
            for callback in waiting.callbacks:
                callback()
        except Exception as mistake:        # it is committed all the same; the others' turn comes
            error = mistake
    elif _of_storage(error):
        told = GatewayError("storage_unavailable", f"The gateway's store cannot be written: {error}.")
        told.__cause__ = error
        error = told
    if waiting.done.done():
        return
    if error is None:
        waiting.done.set_result(waiting.result)
    else:
        waiting.done.set_exception(error)


class Database:
    """`async with Database(path) as db`. Raises StoreTooNew, StoreBroken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commit_seconds: Callable[[float], None] = lambda seconds: None     # a metric, set by who wants it
        self._lock = asyncio.Lock()
        self._waiting: list[_Waiting] = []
        self._committer: asyncio.Task[None] | None = None
        self._told = float("-inf")              # monotonic

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

    async def _open(self) -> _Connection:
        connection = None
        try:
            connection = _Connection(partial(sqlite3.connect, self.path, isolation_level=None, cached_statements=256), 64)
            await connection
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
        if self._committer is not None:
            await asyncio.wait([self._committer])
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
            tx = Transaction(_FromAfar(self._writer))
            try:
                if cancelled := await to_the_end(self._writer.execute("BEGIN IMMEDIATE")):
                    raise cancelled
                yield tx
                started = time.perf_counter()
                cancelled = await to_the_end(self._writer.execute("COMMIT"))
                self.commit_seconds(time.perf_counter() - started)
            except BaseException as error:
                if late := await to_the_end(self._roll_back()):
                    raise late from error
                if _of_storage(error):
                    self._tell_trouble(error)
                    raise GatewayError("storage_unavailable", f"The gateway's store cannot be written: {error}.") from error
                raise
        for callback in tx.callbacks:
            callback()
        if cancelled is not None:
            raise cancelled

    async def write(self, work: Work[T]) -> T:
        """What `work` returns, once it is committed, perhaps together with others; an exception of its own undoes its own
        writes only. It runs on another thread and may wait for nothing but its transaction. Raises
        GatewayError('storage_unavailable'), which nothing was written with, and what `work` raises.

        Cancelled before its turn, it never happens. Afterwards its end is awaited first."""
        waiting = _Waiting(work, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit_waiting(), name="commits", context=contextvars.Context())
        try:
            return await asyncio.shield(waiting.done)
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            else:
                with suppress(Exception):
                    await to_the_end(waiting.done)
            raise

    async def _commit_waiting(self) -> None:
        try:
            while self._waiting:
                async with self._lock:
                    works, self._waiting = self._waiting[:SHARE], self._waiting[SHARE:]
                    writing = asyncio.ensure_future(self._writer.run(partial(_write_together, works=works)))
                    try:
                        await to_the_end(writing)
                        self.commit_seconds(writing.result())
                    except Exception as error:
                        for waiting in works:
                            waiting.error = error
                for waiting in works:
                    if waiting.error is not None and _of_storage(waiting.error):
                        self._tell_trouble(waiting.error)
                    _tell(waiting)
        finally:
            self._committer = None

    def _tell_trouble(self, error: BaseException) -> None:
        now = time.monotonic()
        if now - self._told > TELL_EVERY_SECONDS:
            self._told = now
            log.error("store_not_writable", file=str(self.path), error=str(error))

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
        """A consistent copy while running (VACUUM INTO), readable by the owner alone. On a connection of its own: it may take
        minutes, in which others write. Raises FileExistsError, GatewayError('storage_unavailable')."""
        target.touch(mode=0o600, exist_ok=False)        # SQLite writes into a file that is empty, and keeps its mode
        try:
            if cancelled := await to_the_end(asyncio.to_thread(_vacuum_into, self.path, target)):
                raise cancelled
        except BaseException as error:
            target.unlink(missing_ok=True)
            if _of_storage(error):
                raise GatewayError("storage_unavailable", f"The backup cannot be written: {error}.") from error
            raise

    async def empty_log(self) -> None:
        """Moves the write-ahead log into the file, as far as readers let it: what was overwritten is then gone from both. Raises
        GatewayError('storage_unavailable')."""
        async with self._lock:
            with _of_the_store("written"):
                if cancelled := await to_the_end(self._writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")):
                    raise cancelled

    async def integrity(self) -> list[str]:
        """Empty when all is well."""
        rows: Iterable[Row] = await self.all("PRAGMA quick_check")
        return [row[0] for row in rows if row[0] != "ok"]
