"""The shim over SQLite's own `unix-excl` VFS: it opens the real file in place, then puts reading and writing in between.

xOpen lets unix-excl fill the sqlite3_file and exchanges its method table for a copy in which only xRead, xWrite and xClose are
ours. Locks, syncs, truncation, sizes and shared memory stay C calling C, without the GIL. unix-excl, because it keeps the index
of the WAL on the heap (a `-shm` file would hold checksums of plaintext) and locks other processes out.

Temporary files, sorters and statement journals go to the library's `memdb` VFS: they never reach a disk.

A ctypes callback that raises returns 0, which is SQLITE_OK. Hence every callback here catches everything.
"""

from __future__ import annotations

import ctypes as C
import os
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from ctypes import c_void_p
from typing import Any

from gateway.link.sealing.capi import (
    CANTOPEN,
    CLOSE_CALLBACK,
    CLOSE_FUNCTION,
    IOERR_CLOSE,
    IOERR_DATA,
    IOERR_READ,
    IOERR_SHORT_READ,
    IOERR_WRITE,
    NOTADB,
    OK,
    OPEN_CALLBACK,
    OPEN_FUNCTION,
    OPEN_MAIN_DB,
    OPEN_MAIN_JOURNAL,
    OPEN_TEMPORARY,
    OPEN_WAL,
    SIZE_FUNCTION,
    TRANSFER_CALLBACK,
    TRANSFER_FUNCTION,
    IoMethods,
    SealingUnavailable,
    Vfs,
)
from gateway.link.sealing.files import MAGIC, DatabaseFile, JournalFile, RawFile, SealedFile, WalFile
from gateway.link.sealing.leftover import CoreConnection, CoreConnections
from gateway.link.sealing.pages import DATABASE, JOURNAL, PAGE, SALT, WAL, DatabaseKeys, NotAuthentic, made_with, new_salt


class MethodTable:
    """Our copy of one io_methods table, and the functions of the original."""

    def __init__(self, address: int, read: Any, write: Any, close: Any) -> None:
        original = IoMethods.from_address(address)
        self.read, self.write = TRANSFER_FUNCTION(original.xRead), TRANSFER_FUNCTION(original.xWrite)
        self.size, self.close = SIZE_FUNCTION(original.xFileSize), CLOSE_FUNCTION(original.xClose)
        self.original, self.patched = original, IoMethods()
        fetch = 2 * C.sizeof(c_void_p)
        C.memmove(C.byref(self.patched), address, C.sizeof(IoMethods) - (0 if original.iVersion >= 3 else fetch))
        self.patched.iVersion = 2                       # no xFetch: whatever mmap_size says, nothing is mapped past us
        self.patched.xFetch = self.patched.xUnfetch = None
        for name, callback in (("xRead", read), ("xWrite", write), ("xClose", close)):
            setattr(self.patched, name, C.cast(callback, c_void_p).value)


class _Opened:
    """A database file with connections open: the keys they share and how many there are."""

    def __init__(self, path: bytes, keys: DatabaseKeys) -> None:
        self.path, self.keys, self.connections = path, keys, 0


class SealingVfs:
    """Registered in `library` under `name`, for ever: SQLite keeps pointers into this object, so keep it too.

    `key_for(path)` gives the 32-byte data key of an absolute database path, or None: then it is not opened.
    `tell(what, path, sentence)` hears of every refusal and failure, on whatever thread SQLite happens to run."""

    def __init__(self, library: C.CDLL, key_for: Callable[[bytes], bytes | None], tell: Callable[[str, bytes, str], None], *,
                 name: str, default: bool = False) -> None:
        self._library, self._key_for, self._tell = library, key_for, tell
        self.counts: Counter[str] = Counter()
        self.last_refusal: dict[bytes, tuple[str, str]] = {}        # by database path: what, and the sentence
        self._files: dict[int, SealedFile] = {}         # by sqlite3_file*
        self._closing: dict[int, tuple[MethodTable, int]] = {}      # the table, and of a database its name's address
        # By device and inode, as SQLite's locks are: neonize leaves connections open for ever, and a session that is linked
        # anew gets a new file at the same path.
        self._opened: dict[tuple[int, int], _Opened] = {}
        self._named: dict[int, tuple[tuple[int, int], _Opened]] = {}    # by the address of a connection's database name
        self._tables: dict[int, MethodTable] = {}       # by the original table's address
        self._lock = threading.Lock()                   # never held while SQLite is called
        self._base, self._memory = (library.sqlite3_vfs_find(n) for n in (b"unix-excl", b"memdb"))
        if not self._base or not self._memory:
            raise SealingUnavailable("the library's SQLite has no unix-excl or no memdb VFS.")
        base, memory = Vfs.from_address(self._base), Vfs.from_address(self._memory)
        self._open_base, self._open_memory = OPEN_FUNCTION(base.xOpen), OPEN_FUNCTION(memory.xOpen)
        self._callbacks = (TRANSFER_CALLBACK(self._on_read), TRANSFER_CALLBACK(self._on_write), CLOSE_CALLBACK(self._on_close))
        self._on_open_callback = OPEN_CALLBACK(self._on_open)
        self._name = C.create_string_buffer(name.encode())
        self.struct = Vfs()
        C.memmove(C.byref(self.struct), self._base, C.sizeof(Vfs))
        self.struct.zName, self.struct.pNext = C.addressof(self._name), None
        self.struct.szOsFile = max(base.szOsFile, memory.szOsFile)
        self.struct.xOpen = C.cast(self._on_open_callback, c_void_p).value
        if rc := library.sqlite3_vfs_register(C.byref(self.struct), int(default)):
            raise SealingUnavailable(f"sqlite3_vfs_register failed with code {rc}.")
        self.cores = CoreConnections(library)

    def connections(self, path: bytes) -> int:
        with self._lock:
            return sum(opened.connections for opened in self._opened.values() if opened.path == path)

    def left_open(self, path: bytes) -> list[CoreConnection]:
        """The core's connections to `path`, for `CoreConnections.part`."""
        with self._lock:
            names = [name for name, (_, opened) in self._named.items() if opened.path == path]
        return self.cores.among(names)

    def note(self, what: str, path: bytes, sentence: str) -> None:
        self.counts[what] += 1
        if sentence:
            self.last_refusal[path] = (what, sentence)
            try:
                self._tell(what, path, sentence)
            except BaseException:                       # a listener's fault must not change what SQLite is told
                self.counts["listener_failed"] += 1

    # -- open and close

    def _on_open(self, vfs: int, name: int | None, file: int, flags: int, out: int | None) -> int:
        try:
            c_void_p.from_address(file).value = None
            if flags & OPEN_TEMPORARY or not name:
                self.counts["temporary_in_memory"] += 1
                return int(self._open_memory(self._memory, None, file, flags, out))
            return self._open_file(name, file, flags, out)
        except BaseException as error:
            self.note("callback_failed", b"", f"xOpen: {error!r}")
            return CANTOPEN

    def _open_file(self, name: int, file: int, flags: int, out: int | None) -> int:
        main_name = int(self._library.sqlite3_filename_database(name))      # the very pointer the database was opened with
        main = C.string_at(main_name)
        if not flags & (OPEN_MAIN_DB | OPEN_MAIN_JOURNAL | OPEN_WAL):
            # A super-journal, which only a commit over attached databases has, names files in plain text.
            self.note("refused", main, f"a file of kind {flags:#x}")
            return CANTOPEN
        key = self._key_for(main) if flags & OPEN_MAIN_DB else None
        if flags & OPEN_MAIN_DB and key is None:
            self.note("no_key", main, "refused, no key was given for this path")
            return CANTOPEN
        # `name` goes on as the pointer it is: URI parameters follow it in memory.
        if rc := self._open_base(self._base, name, file, flags, out):
            return int(rc)
        address = c_void_p.from_address(file).value or 0
        try:
            table = self._table(address)
            raw = RawFile(main, file, table.read, table.write, table.size)
            if key is not None and (rc := self._attach(main, main_name, key, raw)):
                table.close(file)
                c_void_p.from_address(file).value = None
                return rc
            self._files[file] = self.make_file(flags, raw, self._named[main_name][1].keys)
            self._closing[file] = (table, main_name if key is not None else 0)
            c_void_p.from_address(file).value = C.addressof(table.patched)
        except BaseException:
            self._files.pop(file, None)
            if key is not None and main_name in self._named:
                self._detach(main_name)
            CLOSE_FUNCTION(IoMethods.from_address(address).xClose)(file)
            c_void_p.from_address(file).value = None
            raise
        return OK

    def make_file(self, flags: int, raw: RawFile, keys: DatabaseKeys) -> SealedFile:
        kind = DatabaseFile if flags & OPEN_MAIN_DB else JournalFile if flags & OPEN_MAIN_JOURNAL else WalFile
        self.counts["opened_" + kind.kind.decode()] += 1
        return kind(raw, keys, self.note)

    def _table(self, address: int) -> MethodTable:
        with self._lock:
            table = self._tables.get(address)
            if table is None:
                table = self._tables[address] = self.make_table(address)
            return table

    def make_table(self, address: int) -> MethodTable:
        return MethodTable(address, *self._callbacks)

    def _attach(self, path: bytes, name: int, key: bytes, raw: RawFile) -> int:
        """Gives the connection its keys, or answers why not. The key is checked BEFORE SQLite looks at a hot journal or WAL:
        with a wrong one their records would look torn, and recovery would throw committed transactions away."""
        rc, salt = raw.bytes_at(SALT, 0)
        if rc not in (OK, IOERR_SHORT_READ):
            return rc
        if rc == IOERR_SHORT_READ:                      # new, or so short that it never held a page
            salt = bytes(SALT)
        if salt == MAGIC:
            self.note("plaintext_refused", path, "a plain SQLite database, refused")
            return NOTADB
        fresh = not salt.strip(b"\0")                   # empty, or growth whose data never arrived
        if not fresh and not made_with(key, salt):
            self.note("wrong_key", path, "wrong key, or the file's first bytes are damaged; nothing was touched")
            return NOTADB
        if fresh and raw.size() and _has_content(path + b"-wal"):
            # A WAL begins only after page 1 is durable: these first bytes were wiped, and recovery would wipe the log.
            self.note("damaged", path, "the first bytes are zero but there is a write-ahead log; nothing was touched")
            return NOTADB
        status = os.stat(path)
        inode = (status.st_dev, status.st_ino)
        with self._lock:
            opened = self._opened.get(inode)
            if opened is None:
                opened = self._opened[inode] = _Opened(path, DatabaseKeys(key, new_salt(key) if fresh else salt))
            if opened.keys.data_key == key and (fresh or opened.keys.salt == salt):
                opened.connections += 1
                self._named[name] = (inode, opened)
                return OK
        self.note("refused", path, "open already, with another key or before its content was exchanged")
        return CANTOPEN

    def _on_close(self, file: int) -> int:
        try:
            del self._files[file]
            table, name = self._closing.pop(file)
            if name:
                self._detach(name)
            return int(table.close(file))
        except BaseException as error:
            self.note("callback_failed", b"", f"xClose: {error!r}")
            return IOERR_CLOSE

    def _detach(self, name: int) -> None:
        self.cores.closed(name)
        with self._lock:
            inode, opened = self._named.pop(name)
            opened.connections -= 1
            if not opened.connections:
                del self._opened[inode]

    # -- read and write

    def _on_read(self, file: int, buffer: int, length: int, offset: int) -> int:
        try:
            return self._files[file].read(buffer, length, offset)
        except NotAuthentic:
            return self._not_authentic(file, offset)
        except BaseException as error:
            return self._failed(file, "xRead", error, IOERR_READ)

    def _not_authentic(self, file: int, offset: int) -> int:
        try:
            opened = self._files[file]
            place = {DATABASE: "database", WAL: "WAL", JOURNAL: "journal"}[opened.kind]
            self.note("authentication_failed", opened.raw.path,
                      f"{place}: authentication failed at offset {offset} (tampering or a media error)")
            return NOTADB if opened.kind == DATABASE and offset < PAGE else IOERR_DATA
        except BaseException:
            return IOERR_DATA

    def _failed(self, file: int, callback: str, error: BaseException, rc: int) -> int:
        try:
            path = self._files[file].raw.path
            self.note("callback_failed", path, f"{callback}: {error!r}\n{''.join(traceback.format_exception(error))}")
        except BaseException:
            self.counts["callback_failed"] += 1
        return rc

    def _on_write(self, file: int, buffer: int, length: int, offset: int) -> int:
        try:
            return self._files[file].write(buffer, length, offset)
        except BaseException as error:
            return self._failed(file, "xWrite", error, IOERR_WRITE)


def _has_content(path: bytes) -> bool:
    try:
        return os.stat(path).st_size > 0                # stat, not open: closing would drop the process's locks
    except FileNotFoundError:
        return False
