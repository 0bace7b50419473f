"""A writer to be killed at any moment, and what is left of its commits. `python -m tests.link.sealed.kill9 WHAT FOLDER …`

It acknowledges each commit by a line on stdout after the commit has returned."""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import threading
from pathlib import Path

from gateway.link import session_sqlite as S
from gateway.link.sealed_store import SealedStore
from gateway.link.sealing.client import Connection
from tests.link.sealed.inside import JID, KEY, SECRET, UPSERT, go_client, go_put, go_schema, put_device


def opened(folder: Path) -> tuple[SealedStore, Path]:
    store, path = SealedStore.install(), folder / "k.db"
    store.on_failure = lambda what, sentence: (os.write(2, sentence.encode()), os._exit(3))
    store.add(path, KEY)
    return store, path


def write(folder: Path, journal: str, sync: str, start: int) -> None:
    store, path = opened(folder)
    go_schema(store.dsn(path).replace("_journal_mode=WAL", f"_journal_mode={journal}").replace("=FULL", f"={sync}"))
    c = Connection(store.library, store.uri(path))
    c.query(f"PRAGMA synchronous={sync}")
    c.query("PRAGMA cache_size=20")             # spills: writes in the middle of a transaction
    c.query("PRAGMA wal_autocheckpoint=40")     # checkpoints inside the window of the kill
    c.query("CREATE TABLE IF NOT EXISTS ack (n INTEGER PRIMARY KEY, b BLOB)")
    if not c.query("SELECT 1 FROM whatsmeow_device"):
        put_device(path, SECRET)
    chance = random.Random(start)
    for n in itertools.count(start + 1):
        c.query("BEGIN IMMEDIATE")
        c.query("INSERT INTO ack VALUES (?, ?)", n, SECRET + os.urandom(chance.randrange(9000)))
        for _ in range(chance.choice((1, 1, 1, 60))):
            c.query(UPSERT, JID, f"a{chance.randrange(300)}", SECRET + os.urandom(chance.randrange(5000)))
        c.query("COMMIT")
        os.write(1, b"%d\n" % n)


def write_go(folder: Path, round_: int) -> None:
    """Four threads of Go's writing; each pins chats of its own, in order."""
    store, path = opened(folder)
    go_schema(store.dsn(path))
    if S.device(path) is None:
        put_device(path, SECRET)
    go_client(store.dsn(path))

    def work(thread: int) -> None:
        for n in itertools.count():
            user = f"{thread}{round_:04}{n:07}"
            error = go_put(user)
            if error:
                os.write(2, error.encode())
                os._exit(4)
            os.write(1, user.encode() + b"\n")

    for thread in range(1, 5):
        threading.Thread(target=work, args=(thread,), daemon=True).start()
    threading.Event().wait()


def verify(folder: Path) -> None:
    failures: list[str] = []
    store, path = opened(folder)
    store.on_failure = lambda what, sentence: failures.append(sentence)
    with Connection(store.library, store.uri(path)) as c:
        sound = c.query("PRAGMA integrity_check") == [("ok",)] and not c.query("PRAGMA foreign_key_check")
        has = c.one("SELECT count(*) FROM sqlite_schema WHERE name = 'ack'")
        last, count = c.query("SELECT coalesce(max(n), 0), count(*) FROM ack")[0] if has else (0, 0)
        chats = [str(row[0]).split("@")[0] for row in c.query("SELECT chat_jid FROM whatsmeow_chat_settings")]
    os.write(1, json.dumps({"sound": sound, "last": last, "count": count, "chats": chats, "failures": failures,
                            "rejected": store.counts["wal_tail_rejected"] + store.counts["journal_tail_rejected"]}).encode())


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "write":
        write(folder, sys.argv[3], sys.argv[4], int(sys.argv[5]))
    elif what == "write-go":
        write_go(folder, int(sys.argv[3]))
    else:
        verify(folder)
    os._exit(0)
