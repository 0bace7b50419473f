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
from gateway.link.sealing.client import Connection, SqliteError

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
