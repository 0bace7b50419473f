"""Closing what the core leaves open.

neonize opens a pool of SQLite connections each time a session is opened and never closes one: two descriptors each, locks, page
cache. Go keeps pointers to them for ever, so they cannot be freed. But SQLite's `sqlite3_deserialize` parts a connection from its
file and gives it an empty database in memory instead: descriptors, locks and cache go, the handle stays good, and whoever still
used it would find no tables. It is only done to a connection at rest: no statement exists on it and no transaction is open, looked
at with its mutex held.

Sources: sqlite3.h on sqlite3_deserialize, sqlite3_auto_extension, sqlite3_next_stmt, sqlite3_txn_state; memdb.c, attach.c.
"""

from __future__ import annotations

import ctypes as C
import threading
from collections.abc import Callable, Iterable
from ctypes import c_int, c_void_p
from dataclasses import dataclass

from gateway.link.sealing.capi import OK, SealingUnavailable

_EXTENSION = C.CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)
_READONLY = 4                       # SQLITE_DESERIALIZE_READONLY
_NO_TRANSACTION = 0                 # SQLITE_TXN_NONE
_CORES = b"_txlock"                 # a parameter of the name that the core is given, and of no other


@dataclass(frozen=True, slots=True, eq=False)
class CoreConnection:
    """One opening: the addresses of its database's name and of its `sqlite3`, good until it is closed."""

    name: int
    handle: int


class CoreConnections:
    """The core's connections in this process."""

    def __init__(self, library: C.CDLL) -> None:
        self._library = library
        self._open: dict[int, CoreConnection] = {}      # by name
        self._lock = threading.Lock()           # never held while SQLite is called
        self._parting = threading.RLock()       # held while one is looked at and parted, which closes it: the core waits so long
        self._callback = _EXTENSION(self._opened)
        if rc := library.sqlite3_auto_extension(C.cast(self._callback, c_void_p)):
            raise SealingUnavailable(f"sqlite3_auto_extension failed with code {rc}.")

    def _opened(self, handle: int, _error: int, _api: int) -> int:
        try:
            name = self._library.sqlite3_db_filename(handle, b"main")
            if name and self._library.sqlite3_uri_parameter(name, _CORES):
                with self._lock:
                    self._open[name] = CoreConnection(name, handle)
        except BaseException:                   # one that is not known is left open, as all once were
            pass
        return OK

    def closed(self, name: int) -> None:
        with self._parting, self._lock:
            self._open.pop(name, None)

    def among(self, names: Iterable[int]) -> list[CoreConnection]:
        """Of connections with these names, those that are the core's."""
        with self._lock:
            return [self._open[name] for name in names if name in self._open]

    def part(self, one: CoreConnection) -> bool:
        """From its file; False when it is being used."""
        with self._parting:
            with self._lock:
                if self._open.get(one.name) is not one:         # it is closed
                    return True
            return self._part(one.handle)

    def _part(self, handle: int) -> bool:
        library = self._library
        mutex = library.sqlite3_db_mutex(handle)
        if library.sqlite3_mutex_try(mutex) != OK:
            return False
        try:
            if (library.sqlite3_next_stmt(handle, None) or not library.sqlite3_get_autocommit(handle)
                    or library.sqlite3_txn_state(handle, None) != _NO_TRANSACTION):
                return False
            if library.sqlite3_deserialize(handle, b"main", None, 0, 0, _READONLY) != OK:
                return False
            library.sqlite3_db_release_memory(handle)
            return True
        finally:
            library.sqlite3_mutex_leave(mutex)


def part_all(connections: CoreConnections, left: list[CoreConnection], pause: Callable[[], object], tries: int) -> int:
    """As they come to rest; how many did not."""
    for _ in range(tries):
        left = [one for one in left if not connections.part(one)]
        if not left:
            break
        pause()
    return len(left)
