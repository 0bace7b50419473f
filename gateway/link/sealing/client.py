"""A small client of the SQLite inside the WhatsApp library, for our own look at session files.

Python's sqlite3 module is another SQLite: it does not know the sealing VFS, and a second SQLite on a file in the same process
would drop the first one's locks. All calls give up the GIL (CDLL): keeping it while SQLite waits for a mutex could deadlock
with our own callbacks. A connection belongs to one thread at a time; keep it off a main thread whose signal handlers raise.
"""

from __future__ import annotations

import ctypes as C
from ctypes import c_void_p
from types import TracebackType

from gateway.link.sealing.capi import DONE, OPEN_CREATE, OPEN_FULLMUTEX, OPEN_READWRITE, OPEN_URI, ROW

Value = int | float | str | bytes | None
_COPY = c_void_p(-1)                    # SQLITE_TRANSIENT: SQLite keeps a copy of what is bound


class SqliteError(Exception):
    """`code` is SQLite's extended result code, `primary` its lower byte."""

    def __init__(self, code: int, message: str) -> None:
        self.code, self.primary = code, code & 0xFF
        super().__init__(f"{message} [{code}]")


class Connection:
    """`uri` is SQLite's (`file:/path?vfs=…`). Raises SqliteError."""

    def __init__(self, library: C.CDLL, uri: str, *, create: bool = False, busy_ms: int = 10_000) -> None:
        self._library, self._handle = library, c_void_p()
        self._statements: dict[str, c_void_p] = {}
        flags = OPEN_READWRITE | OPEN_URI | OPEN_FULLMUTEX | (OPEN_CREATE if create else 0)
        if library.sqlite3_open_v2(uri.encode(), C.byref(self._handle), flags, None):
            error = self._error()
            library.sqlite3_close_v2(self._handle)
            raise error
        library.sqlite3_busy_timeout(self._handle, busy_ms)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _error(self) -> SqliteError:
        message = self._library.sqlite3_errmsg(self._handle) or b""
        return SqliteError(self._library.sqlite3_extended_errcode(self._handle), message.decode(errors="replace"))

    def query(self, sql: str, *values: Value) -> list[tuple[Value, ...]]:
        """Runs one statement to its end and returns its rows. Statements are kept prepared."""
        library, statement = self._library, self._prepare(sql)
        rows = []
        try:
            for index, value in enumerate(values, 1):
                self._bind(statement, index, value)
            while (rc := library.sqlite3_step(statement)) == ROW:
                rows.append(tuple(self._column(statement, i) for i in range(library.sqlite3_column_count(statement))))
            if rc != DONE:
                raise self._error()
        finally:
            library.sqlite3_reset(statement)
        return rows

    def one(self, sql: str, *values: Value) -> Value:
        """The first column of the first row, or None."""
        rows = self.query(sql, *values)
        return rows[0][0] if rows else None

    def _prepare(self, sql: str) -> c_void_p:
        statement = self._statements.get(sql)
        if statement is None:
            statement = c_void_p()
            if self._library.sqlite3_prepare_v2(self._handle, sql.encode(), -1, C.byref(statement), None):
                raise self._error()
            self._statements[sql] = statement
        return statement

    def _bind(self, statement: c_void_p, index: int, value: Value) -> None:
        library = self._library
        if value is None:
            rc = library.sqlite3_bind_null(statement, index)
        elif isinstance(value, int):
            rc = library.sqlite3_bind_int64(statement, index, value)
        elif isinstance(value, float):
            rc = library.sqlite3_bind_double(statement, index, value)
        elif isinstance(value, str):
            text = value.encode()
            rc = library.sqlite3_bind_text(statement, index, text, len(text), _COPY)
        else:
            rc = library.sqlite3_bind_blob(statement, index, value, len(value), _COPY)
        if rc:
            raise self._error()

    def _column(self, statement: c_void_p, index: int) -> Value:
        library = self._library
        kind = library.sqlite3_column_type(statement, index)
        if kind == 1:
            return int(library.sqlite3_column_int64(statement, index))
        if kind == 2:
            return float(library.sqlite3_column_double(statement, index))
        if kind == 5:
            return None
        start = library.sqlite3_column_blob(statement, index)
        value = C.string_at(start, library.sqlite3_column_bytes(statement, index)) if start else b""
        return value.decode(errors="replace") if kind == 3 else value

    def close(self) -> None:
        """Idempotent. Raises SqliteError when SQLite does not let go."""
        for statement in self._statements.values():
            self._library.sqlite3_finalize(statement)
        self._statements.clear()
        handle, self._handle = self._handle, c_void_p()
        if handle and (rc := self._library.sqlite3_close(handle)):
            raise SqliteError(rc, "the connection cannot be closed")
