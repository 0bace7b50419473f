"""What sealing costs: the writes of a linked device, sealed and plain, in one run.

    python -m benchmarks.sealed_store [--folder DIR] [--writes 5000] [--rounds 3]

Go makes whatsmeow's schema; then come autocommit writes of its shapes: 812 pre-keys as at linking, then Signal sessions,
sender keys, identities and message secrets. Each set-up runs in a process of its own, the set-ups take turns, and the median
round counts. `stock` is what neonize does by itself: rollback journal, synchronous=NORMAL, and no key is sealed. The
disk decides the ratios: give the folder that will be used.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes as C
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import plot
from benchmarks.measuring import PLOTS, main
from gateway.link.sealed_store import SealedStore
from gateway.link.sealing.client import Connection, Value

JID = "10000000001:7@s.whatsapp.net"
SET_UPS = {"stock": ("unix", "DELETE", "NORMAL"),
           "plain WAL/FULL": ("unix", "WAL", "FULL"),
           "sealed WAL/FULL": ("wagateway", "WAL", "FULL")}
DEVICE = ("INSERT INTO whatsmeow_device (jid, lid, registration_id, noise_key, identity_key, signed_pre_key, signed_pre_key_id, "
          "signed_pre_key_sig, adv_key, adv_details, adv_account_sig, adv_account_sig_key, adv_device_sig, platform, push_name) "
          "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")
PRE_KEY = "INSERT INTO whatsmeow_pre_keys (jid, key_id, key, uploaded) VALUES (?,?,?,0)"
SESSION = ("INSERT INTO whatsmeow_sessions (our_jid, their_id, session) VALUES (?,?,?) "
           "ON CONFLICT (our_jid, their_id) DO UPDATE SET session = excluded.session")
SECRET = "INSERT INTO whatsmeow_message_secrets VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING"
SENDER_KEY = ("INSERT INTO whatsmeow_sender_keys VALUES (?,?,?,?) "
              "ON CONFLICT (our_jid, chat_id, sender_id) DO UPDATE SET sender_key = excluded.sender_key")
IDENTITY = ("INSERT INTO whatsmeow_identity_keys VALUES (?,?,?) "
            "ON CONFLICT (our_jid, their_id) DO UPDATE SET identity = excluded.identity")


def go_schema(library: C.CDLL, dsn: str) -> None:
    log_type = C.CFUNCTYPE(None, C.c_void_p, C.c_int)
    log = log_type(lambda text, length: None)
    library.GetAllDevices.restype, library.GetAllDevices.argtypes = C.c_void_p, [C.c_char_p, log_type]
    answer = C.string_at(library.GetAllDevices(dsn.encode(), log))
    if answer.startswith(b"error"):
        raise SystemExit(answer.decode())


def writes(count: int) -> list[tuple[str, tuple[Value, ...]]]:
    chance, made = random.Random(7), []
    for n in range(count):
        someone, kind = f"1{chance.randrange(400):010}_1:{chance.randrange(3)}", chance.random()
        statement: tuple[str, tuple[Value, ...]]
        if n < 812:
            statement = PRE_KEY, (JID, n + 1, os.urandom(32))
        elif kind < 0.6:
            statement = SESSION, (JID, someone, os.urandom(chance.randrange(400, 3500)))
        elif kind < 0.75:
            statement = SECRET, (JID, someone, someone, f"3EB0{n:016X}", os.urandom(32))
        elif kind < 0.9:
            statement = SENDER_KEY, (JID, f"g{chance.randrange(20)}@g.us", someone, os.urandom(900))
        else:
            statement = IDENTITY, (JID, someone, os.urandom(32))
        made.append(statement)
    return made


def one(name: str, path: Path, count: int) -> None:
    vfs, journal, sync = SET_UPS[name]
    store = SealedStore.install(default=False)
    if vfs != "unix":
        store.add(path, os.urandom(32))
    started = time.perf_counter()
    pragmas = f"_foreign_keys=on&_txlock=immediate&_journal_mode={journal}&_synchronous={sync}"
    go_schema(store.library, f"{path}?vfs={vfs}&{pragmas}&z=")
    schema = time.perf_counter() - started
    connection = Connection(store.library, f"file:{path}?vfs={vfs}")
    connection.query(f"PRAGMA synchronous={sync}")
    key, signature = os.urandom(32), os.urandom(64)
    connection.query(DEVICE, JID, "2@lid", 1, key, key, key, 1, signature, key, signature, signature, key, signature, "", "b")
    statements, taken = writes(count), []
    for sql, values in statements:
        before = time.perf_counter()
        connection.query(sql, *values)
        taken.append(time.perf_counter() - before)
    if connection.one("PRAGMA integrity_check") != "ok":
        raise SystemExit("the file is not sound")
    taken.sort()
    median, p99 = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    print(json.dumps({"schema": schema, "writes": sum(taken), "median": median, "p99": p99}), flush=True)
    os._exit(0)


async def run(given: argparse.Namespace) -> dict[str, Any]:
    results: dict[str, list[dict[str, float]]] = {name: [] for name in SET_UPS}
    for _ in range(given.rounds):
        for name, rounds in results.items():
            with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                command = [sys.executable, "-m", "benchmarks.sealed_store", "--one", name, f"{folder}/s.db", str(given.writes)]
                answer = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
                rounds.append(json.loads(answer.stdout))
    middle = {name: {k: statistics.median(r[k] for r in rounds) for k in rounds[0]} for name, rounds in results.items()}
    plot.bars(PLOTS / "sealed_store.svg", "One commit of a linked device, median", "µs", {
        name: row["median"] * 1e6 for name, row in middle.items()})
    return {"writes": given.writes, "rounds": given.rounds, "set_ups": {
        name: {"schema_ms": round(r["schema"] * 1e3, 1), "writes_seconds": round(r["writes"], 3),
               "median_us": round(r["median"] * 1e6), "p99_us": round(r["p99"] * 1e6)} for name, r in middle.items()}}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--writes", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] == "--one":
        one(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    main("sealed_store", __doc__ or "", run, options)
