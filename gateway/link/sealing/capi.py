"""SQLite's C interface as we need it: result codes, structures, function types, and the library that holds it.

Sources: sqlite3.h and the documentation of sqlite3_vfs and sqlite3_io_methods.
"""

from __future__ import annotations

import ctypes as C
import importlib.util
import platform
from ctypes import c_char_p, c_int, c_longlong, c_void_p
from pathlib import Path

OK, BUSY, NOMEM, READONLY, FULL, CANTOPEN, NOTADB, ROW, DONE = 0, 5, 7, 8, 13, 14, 26, 100, 101
IOERR_READ, IOERR_SHORT_READ, IOERR_WRITE, IOERR_CLOSE, IOERR_DATA = 266, 522, 778, 4106, 8202

CONFIG_LOOKASIDE = 13
OPEN_READWRITE, OPEN_CREATE, OPEN_URI, OPEN_FULLMUTEX = 0x2, 0x4, 0x40, 0x10000
OPEN_MAIN_DB, OPEN_MAIN_JOURNAL, OPEN_WAL = 0x100, 0x800, 0x80000
OPEN_TEMPORARY = 0x200 | 0x400 | 0x1000 | 0x2000       # TEMP_DB, TRANSIENT_DB, TEMP_JOURNAL, SUBJOURNAL

# Our callbacks take the GIL when SQLite calls them. Of SQLite's own functions, those that are microseconds of pread, pwrite and
# fstat are called with the GIL kept (PYFUNCTYPE): giving it up would let any computing thread hold the commit for a whole switch
# interval. Those that take SQLite's mutexes must give it up (CFUNCTYPE), or two locks could be taken in opposite order.
OPEN_CALLBACK = C.CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
TRANSFER_CALLBACK = C.CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_longlong)
CLOSE_CALLBACK = C.CFUNCTYPE(c_int, c_void_p)
OPEN_FUNCTION, CLOSE_FUNCTION = OPEN_CALLBACK, CLOSE_CALLBACK
TRANSFER_FUNCTION = C.PYFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_longlong)
SIZE_FUNCTION = C.PYFUNCTYPE(c_int, c_void_p, c_void_p)


class Vfs(C.Structure):
    """sqlite3_vfs, version 3."""

    _fields_ = [("iVersion", c_int), ("szOsFile", c_int), ("mxPathname", c_int), ("pNext", c_void_p), ("zName", c_void_p),
                ("pAppData", c_void_p), *((name, c_void_p) for name in (
                    "xOpen", "xDelete", "xAccess", "xFullPathname", "xDlOpen", "xDlError", "xDlSym", "xDlClose", "xRandomness",
                    "xSleep", "xCurrentTime", "xGetLastError", "xCurrentTimeInt64", "xSetSystemCall", "xGetSystemCall",
                    "xNextSystemCall"))]


class IoMethods(C.Structure):
    """sqlite3_io_methods, version 3."""

    _fields_ = [("iVersion", c_int), *((name, c_void_p) for name in (
        "xClose", "xRead", "xWrite", "xTruncate", "xSync", "xFileSize", "xLock", "xUnlock", "xCheckReservedLock", "xFileControl",
        "xSectorSize", "xDeviceCharacteristics", "xShmMap", "xShmLock", "xShmBarrier", "xShmUnmap", "xFetch", "xUnfetch"))]


class SealingUnavailable(Exception):
    """Session keys cannot be kept sealed here; the text says why. The daemon must not start."""


_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "sqlite3_config": (c_int, [c_int]),             # variadic
    "sqlite3_initialize": (c_int, []),
    "sqlite3_libversion": (c_char_p, []),
    "sqlite3_vfs_find": (c_void_p, [c_char_p]),
    "sqlite3_vfs_register": (c_int, [c_void_p, c_int]),
    "sqlite3_filename_database": (c_void_p, [c_void_p]),
    "sqlite3_open_v2": (c_int, [c_char_p, c_void_p, c_int, c_char_p]),
    "sqlite3_close": (c_int, [c_void_p]),
    "sqlite3_close_v2": (c_int, [c_void_p]),
    "sqlite3_errmsg": (c_char_p, [c_void_p]),
    "sqlite3_extended_errcode": (c_int, [c_void_p]),
    "sqlite3_busy_timeout": (c_int, [c_void_p, c_int]),
    "sqlite3_prepare_v2": (c_int, [c_void_p, c_char_p, c_int, c_void_p, c_void_p]),
    "sqlite3_step": (c_int, [c_void_p]),
    "sqlite3_reset": (c_int, [c_void_p]),
    "sqlite3_finalize": (c_int, [c_void_p]),
    "sqlite3_bind_null": (c_int, [c_void_p, c_int]),
    "sqlite3_bind_int64": (c_int, [c_void_p, c_int, c_longlong]),
    "sqlite3_bind_double": (c_int, [c_void_p, c_int, C.c_double]),
    "sqlite3_bind_text": (c_int, [c_void_p, c_int, c_char_p, c_int, c_void_p]),
    "sqlite3_bind_blob": (c_int, [c_void_p, c_int, c_char_p, c_int, c_void_p]),
    "sqlite3_column_count": (c_int, [c_void_p]),
    "sqlite3_column_type": (c_int, [c_void_p, c_int]),
    "sqlite3_column_bytes": (c_int, [c_void_p, c_int]),
    "sqlite3_column_int64": (c_longlong, [c_void_p, c_int]),
    "sqlite3_column_double": (C.c_double, [c_void_p, c_int]),
    "sqlite3_column_blob": (c_void_p, [c_void_p, c_int]),
    "sqlite3_auto_extension": (c_int, [c_void_p]),
    "sqlite3_db_filename": (c_void_p, [c_void_p, c_char_p]),
    "sqlite3_uri_parameter": (c_char_p, [c_void_p, c_char_p]),
    "sqlite3_db_mutex": (c_void_p, [c_void_p]),
    "sqlite3_mutex_try": (c_int, [c_void_p]),
    "sqlite3_mutex_leave": (None, [c_void_p]),
    "sqlite3_next_stmt": (c_void_p, [c_void_p, c_void_p]),
    "sqlite3_get_autocommit": (c_int, [c_void_p]),
    "sqlite3_txn_state": (c_int, [c_void_p, c_char_p]),
    "sqlite3_deserialize": (c_int, [c_void_p, c_char_p, c_void_p, c_longlong, c_longlong, C.c_uint]),
    "sqlite3_db_release_memory": (c_int, [c_void_p]),
}


def library_path() -> Path:
    """The shared library of the installed neonize, found without importing it. Raises SealingUnavailable."""
    spec = importlib.util.find_spec("neonize")
    if spec is None or not spec.submodule_search_locations:
        raise SealingUnavailable("neonize is not installed.")
    machine = platform.machine().lower()
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    path = Path(spec.submodule_search_locations[0]) / f"neonize-linux-{arch}.so"
    if not path.is_file():
        raise SealingUnavailable(f"neonize has no library for this machine: {path} does not exist.")
    return path


def load(path: Path) -> C.CDLL:
    """A handle of our own to the library: the signatures set here do not leak into neonize's. Raises SealingUnavailable."""
    try:
        library = C.CDLL(str(path))
    except OSError as error:
        raise SealingUnavailable(f"{path} cannot be loaded: {error}") from error
    missing = []
    for name, (result, arguments) in _SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            missing.append(name)
            continue
        function.restype, function.argtypes = result, arguments
    if missing:
        raise SealingUnavailable(f"{path} does not export {', '.join(missing)}: session keys could not be sealed. "
                                 "Install the neonize version that this gateway pins.")
    # No lookaside: 48 KB for each connection, and the core keeps the handles of its connections for ever. It can only be said
    # before the first initialize of a process; after it this does nothing.
    library.sqlite3_config(CONFIG_LOOKASIDE, C.c_int(0), C.c_int(0))
    if rc := library.sqlite3_initialize():
        raise SealingUnavailable(f"sqlite3_initialize of {path} failed with code {rc}.")
    return library
