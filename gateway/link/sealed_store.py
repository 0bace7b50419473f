"""WhatsApp's session keys, sealed on disk: every page, journal record and log frame of whatsmeow's SQLite is AES-256-GCM.

The SQLite is the one compiled into neonize's library; we register a VFS in it (see `sealing/`). Each session has a file and
a data key of its own, handed over with `add` before the file is opened. A path without a key is refused: there is no way to
a plain file.

Two rules for everyone in this process. Never open() and close() a session's file by other means while it is in use: POSIX
then drops the process's locks on it. And nothing may open a file before `install`.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from gateway.link.sealing import capi
from gateway.link.sealing.capi import SealingUnavailable, library_path
from gateway.link.sealing.client import Connection, SqliteError
from gateway.link.sealing.leftover import CoreConnection, part_all
from gateway.link.sealing.pages import KEY
from gateway.link.sealing.vfs import SealingVfs

__all__ = ["SealedStore", "SealingUnavailable", "library_path"]

VFS = "wagateway"
REST_SECONDS, TRIES = 1.0, 100
"""Between looks at a stopped session's connections. A call that the core still holds may take 75 s."""

# What neonize gets as the database's name. It is pasted into `file:%s?_foreign_keys=on`, which the trailing `z=` swallows.
#   vfs           read by go-sqlite3 and by SQLite itself
#   _foreign_keys whatsmeow refuses to run without
#   _synchronous  go-sqlite3 sets NORMAL otherwise, and in WAL that syncs at checkpoints only: the last commits would be lost
#   _journal_mode one sync a commit, and readers do not block
#   _txlock       no read transaction that fails when it wants to write; with _busy_timeout, no "database is locked"
#   _cache_size   in KiB: 2 MB otherwise, for each of the two or three connections that the core keeps for a session
_DSN = "?vfs={}&_foreign_keys=on&_busy_timeout=10000&_txlock=immediate&_journal_mode=WAL&_synchronous=FULL&_cache_size=-256&z="

_installed: dict[Path, SealedStore] = {}        # for ever: SQLite holds pointers into the VFS
_install_lock = threading.Lock()


class SealedStore:
    """One for each library in a process; made by `install`. Any thread may use it.

    `counts` has, among others: authentication_failed, wrong_key, no_key, plaintext_refused, damaged, callback_failed, refused
    (SQLite did something unforeseen), wal_tail_rejected and journal_tail_rejected (torn or foreign records at recovery).
    `on_failure(what, sentence)` hears of each failure, on a thread of SQLite's choosing, and must only pass it on."""

    def __init__(self, library: Path, *, default: bool) -> None:
        self.library = capi.load(library)
        self.on_failure: Callable[[str, str], None] | None = None
        self._keys: dict[bytes, bytes] = {}
        self._under_test: set[bytes] = set()
        self._vfs = SealingVfs(self.library, self._keys.get, self._tell, name=VFS, default=default)

    @classmethod
    def install(cls, library: Path | None = None, *, default: bool = True) -> SealedStore:
        """Registers the VFS, once; later calls return the same store. Call it before neonize opens anything. `default`: a
        database opened without naming a VFS is sealed too, or refused. Raises SealingUnavailable."""
        path = (library or library_path()).resolve()
        with _install_lock:
            store = _installed.get(path)
            if store is None:
                store = _installed[path] = cls(path, default=default)
            return store

    @staticmethod
    def installed() -> SealedStore:
        """The store of this process. Raises SealingUnavailable when `install` was not called."""
        with _install_lock:
            if len(_installed) != 1:
                raise SealingUnavailable("The sealed store is not installed in this process.")
            return next(iter(_installed.values()))

    @property
    def counts(self) -> Counter[str]:
        return self._vfs.counts

    def _tell(self, what: str, path: bytes, sentence: str) -> None:
        if self.on_failure is not None and path not in self._under_test:
            self.on_failure(what, f"{os.fsdecode(path)}: {sentence}")

    # -- keys

    def add(self, path: Path, data_key: bytes) -> None:
        """Allows `path` to be opened, with this key. A file that does not exist is made empty, with mode 0600, because SQLite
        would make it readable for others; its WAL and journal take the mode over."""
        if len(data_key) != KEY:
            raise ValueError(f"a data key has {KEY} bytes")
        name = _absolute(path)
        self._keys[name] = bytes(data_key)
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            pass

    def forget(self, path: Path) -> int:
        """`path` cannot be opened any more. Returns how many connections still have it open (those keep their keys)."""
        name = _absolute(path)
        self._keys.pop(name, None)
        self._vfs.last_refusal.pop(name, None)
        return self._vfs.connections(name)

    def connections(self, path: Path) -> int:
        return self._vfs.connections(_absolute(path))

    def close_left_open(self, path: Path) -> None:
        """The core has stopped a session for good and will use its connections no more; it never closes them, so we do, once
        what it had in hand has come to rest. Returns at once; those that the core opens from now on are not meant."""
        left = self._vfs.left_open(_absolute(path))
        if left:
            threading.Thread(target=self._close, args=(left,), name="close left open", daemon=True).start()

    def _close(self, left: list[CoreConnection]) -> None:
        time.sleep(REST_SECONDS)
        self.counts["left_open"] += part_all(self._vfs.cores, left, lambda: time.sleep(REST_SECONDS), TRIES)

    def last_refusal(self, path: Path) -> tuple[str, str] | None:
        """What was refused last at this path, and the sentence; None when nothing was. Asking forgets it."""
        return self._vfs.last_refusal.pop(_absolute(path), None)

    # -- names

    @staticmethod
    def dsn(path: Path) -> str:
        """The database name to hand to neonize."""
        return quote(_absolute(path)) + _DSN.format(VFS)

    @staticmethod
    def uri(path: Path) -> str:
        """The SQLite URI for a `Connection` of our own."""
        return f"file:{quote(_absolute(path))}?vfs={VFS}"

    # -- trust, but look

    def self_test(self, directory: Path) -> None:
        """Writes a marker into a new sealed file in `directory` and looks at the bytes. Raises SealingUnavailable when anything
        but ciphertext is found, a wrong key opens it, or the right one does not."""
        path = directory / f".sealed-{secrets.token_hex(8)}.db"
        self._under_test.add(_absolute(path))
        try:
            self._self_test(path)
        except (SqliteError, OSError) as error:
            raise SealingUnavailable(f"the sealing self-test in {directory} failed: {error}") from error
        finally:
            self.forget(path)
            self._under_test.discard(_absolute(path))
            for suffix in ("", "-wal", "-journal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)

    def _self_test(self, path: Path) -> None:
        key, marker = secrets.token_bytes(KEY), secrets.token_hex(32).encode()

        def look() -> None:
            for file in path.parent.glob(path.name + "*"):
                content = file.read_bytes()
                if marker in content or b"SQLite format" in content or b"self_test" in content:
                    raise SealingUnavailable(f"the sealing self-test found plain text in {file}")
                if file.name.endswith("-shm"):
                    raise SealingUnavailable(f"the sealing self-test found shared memory on disk: {file}")

        self.add(path, key)
        with Connection(self.library, self.uri(path)) as connection:
            if connection.one("PRAGMA journal_mode=WAL") != "wal":
                raise SealingUnavailable("the library's SQLite has no write-ahead log")
            connection.query("CREATE TABLE self_test (marker BLOB)")
            connection.query("INSERT INTO self_test VALUES (?)", marker)
            look()
        look()
        self._keys[_absolute(path)] = secrets.token_bytes(KEY)
        try:
            with Connection(self.library, self.uri(path)) as connection:
                connection.query("SELECT marker FROM self_test")
            raise SealingUnavailable("the sealing self-test opened a file with the wrong key")
        except SqliteError:
            self.counts["wrong_key"] -= 1
        self._keys[_absolute(path)] = key
        with Connection(self.library, self.uri(path)) as connection:
            if connection.one("SELECT marker FROM self_test") != marker:
                raise SealingUnavailable("the sealing self-test did not read back what it wrote")


def _absolute(path: Path) -> bytes:
    """As SQLite names it: absolute, symbolic links resolved."""
    return os.fsencode(os.path.realpath(path))
