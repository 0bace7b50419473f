"""What the code of `process.run` finds around it. Runs in the fresh interpreter only; never imports neonize."""

from __future__ import annotations

import ctypes as C
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from gateway.link import session_sqlite as S
from gateway.link.sealed_store import SealedStore
from gateway.link.sealing.client import Connection, SqliteError  # noqa: F401  (for the code that is run)

KEY, OTHER = bytes(range(32)), bytes(range(7, 39))
SECRET = b"PLANTED-SECRET-KEY-MATERIAL"
JID = "10000000001:7@s.whatsapp.net"
DEVICE = ("INSERT INTO whatsmeow_device (jid, lid, registration_id, noise_key, identity_key, signed_pre_key, signed_pre_key_id, "
          "signed_pre_key_sig, adv_key, adv_details, adv_account_sig, adv_account_sig_key, adv_device_sig, platform, "
          "business_name, push_name) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")
UPSERT = ("INSERT INTO whatsmeow_sessions (our_jid, their_id, session) VALUES (?,?,?) ON CONFLICT (our_jid, their_id) "
          "DO UPDATE SET session = excluded.session")

_LOG = C.CFUNCTYPE(None, C.c_void_p, C.c_int)
_log = _LOG(lambda text, length: None)
_ignore_string = C.CFUNCTYPE(None, C.c_void_p, C.c_void_p)(lambda a, b: None)
_ignore_event = C.CFUNCTYPE(None, C.c_char_p, C.c_void_p, C.c_int, C.c_int)(lambda a, b, c, d: None)


def tell(**values: Any) -> None:
    os.write(1, json.dumps(values).encode() + b"\n")


def go_schema(dsn: str, check: bool = True) -> str:
    """whatsmeow's own Go code opens the database and updates its schema; the answer starts with "error" if it cannot."""
    library = SealedStore.installed().library
    library.GetAllDevices.restype, library.GetAllDevices.argtypes = C.c_void_p, [C.c_char_p, _LOG]
    library.FreeString.argtypes = [C.c_void_p]
    pointer = library.GetAllDevices(dsn.encode(), _log)
    answer = C.string_at(pointer).decode(errors="replace")
    library.FreeString(pointer)
    if check:
        assert not answer.startswith("error"), answer
    return answer


def put_device(path: Path, mark: bytes = b"") -> None:
    def key(length: int) -> bytes:
        return (mark + os.urandom(length))[:length]

    with S.connect(path) as connection:
        connection.query(DEVICE, JID, "20000000002@lid", 4242, key(32), key(32), key(32), 1, key(64), key(32), key(80), key(64),
                         key(32), key(64), "android", "", "bench")


class _Proxy(C.Structure):
    _fields_ = [("address", C.c_char_p), ("no_websocket", C.c_bool), ("only_login", C.c_bool), ("no_media", C.c_bool)]


def go_client(dsn: str, name: bytes = b"bench") -> None:
    """A client of whatsmeow's with a paired device, whose dial failed: its proxy is a closed port of this machine. Its calls that
    only write to the store work."""
    library = SealedStore.installed().library
    library.Neonize.restype = C.c_void_p
    library.Neonize.argtypes = [C.c_char_p, C.c_char_p, C.c_char_p, C.c_int, C.c_int, C.c_char_p, *[C.c_void_p] * 4, C.c_char_p,
                                C.c_int, C.c_char_p, C.c_int, C.c_char_p, C.c_int, C.c_void_p]
    library.PutPinned.restype, library.PutPinned.argtypes = C.c_void_p, [C.c_char_p, C.c_char_p, C.c_int, C.c_bool]
    proxy = _Proxy(b"http://127.0.0.1:9", False, False, False)
    ignore = [C.cast(f, C.c_void_p) for f in (_ignore_string, _ignore_string, _ignore_event, _log)]
    answer = library.Neonize(dsn.encode(), name, b"", 0, 0, b"ERROR", *ignore, b"", 0, b"", 0, b"", 0, C.byref(proxy))
    assert answer, "the dial should have failed"


def go_put(user: str, pinned: bool = True, name: bytes = b"bench") -> str:
    """One commit by Go (a chat setting of `user`); the error, or nothing."""
    jid = b"".join((_field(1, user.encode()), b"\x10\0\x18\0\x20\0", _field(5, b"s.whatsapp.net"), b"\x30\0"))
    library = SealedStore.installed().library
    pointer = library.PutPinned(name, jid, len(jid), pinned)
    if not pointer:
        return ""
    answer = C.string_at(pointer).decode(errors="replace")
    library.FreeString(pointer)
    return answer


def _field(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | 2, len(content))) + content


def fill(connection: Connection, rows: int = 300) -> None:
    """Tables `t` (rows with the planted secret) and `big` (a row over many overflow pages)."""
    connection.query("PRAGMA journal_mode=WAL")
    connection.query("PRAGMA synchronous=FULL")
    connection.query("CREATE TABLE t (n INTEGER PRIMARY KEY, b BLOB)")
    connection.query("CREATE TABLE big (b BLOB)")
    for _ in range(rows):
        connection.query("INSERT INTO t (b) VALUES (?)", SECRET + os.urandom(400))
    connection.query("INSERT INTO big VALUES (?)", os.urandom(40_000))


def main(folder: str, code: str) -> None:
    store = SealedStore.install()
    failures: list[str] = []
    store.on_failure = lambda what, sentence: failures.append(sentence)

    def sql(path: Path, **options: Any) -> Connection:
        return Connection(store.library, store.uri(path), create=True, **options)

    names = globals() | {"store": store, "here": Path(folder), "failures": failures, "sql": sql}
    try:
        exec(compile(code, "<inside>", "exec"), names)
        status = 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)            # Go's threads and the library's pools are not waited for
