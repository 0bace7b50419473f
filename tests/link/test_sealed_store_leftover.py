"""The core never closes its SQLite connections: it is done for it, when a session has stopped, and only to those at rest."""

from __future__ import annotations

import textwrap
from pathlib import Path

from tests.link.sealed.process import run

# A connection under the name that the core's have, so that the test says what goes on on it.
COMMON = """
import time
from gateway.link import sealed_store
sealed_store.REST_SECONDS = 0.02
path = here / "x.db"
store.add(path, KEY)
def core(path=path): return Connection(store.library, f"file:{store.dsn(path)}?_foreign_keys=on", create=True)
def rest(c):
    for statement in c._statements.values(): store.library.sqlite3_finalize(statement)
    c._statements.clear()
def left(until=0, seconds=5.0):
    end = time.monotonic() + seconds
    while store.connections(path) > until and time.monotonic() < end: time.sleep(0.01)
    return store.connections(path)
def descriptors():
    links = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
    return sum("x.db" in os.readlink(link) for link in links if os.path.lexists(link))
"""


def code(text: str) -> str:
    return COMMON + textwrap.dedent(text)


def test_what_go_left_open_is_closed_and_the_file_is_whole(tmp_path: Path) -> None:
    told = run(code("""
        go_schema(store.dsn(path)); put_device(path)
        go_client(store.dsn(path))
        assert go_put("1234567") == ""
        before, fds = store.connections(path), descriptors()
        store.close_left_open(path)
        tell(before=before, fds=fds, left=left(), after=descriptors(), go=go_put("7654321"), problems=S.integrity_check(path),
             failures=failures, counts=store.counts["left_open"])
        with S.connect(path) as c: tell(rows=c.one("SELECT count(*) FROM whatsmeow_chat_settings"))
        go_client(store.dsn(path), b"again")
        tell(again=go_put("2345678", name=b"again"))
        with S.connect(path) as c: tell(rows_after=c.one("SELECT count(*) FROM whatsmeow_chat_settings"))
    """), tmp_path)
    assert told["before"] >= 1 and told["fds"] >= 2
    assert told["left"] == told["after"] == told["counts"] == 0
    assert told["go"] != ""                                 # it finds no tables, and nothing worse happens
    assert told["problems"] == told["failures"] == []
    assert told["rows"] == 1
    assert told["again"] == "" and told["rows_after"] == 2


def test_one_in_use_is_waited_for_and_ours_is_left_alone(tmp_path: Path) -> None:
    told = run(code("""
        ours, c = sql(path), core()
        c.query("PRAGMA journal_mode=WAL"); c.query("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        c.query("BEGIN IMMEDIATE"); c.query("INSERT INTO t VALUES (1)")
        store.close_left_open(path)
        time.sleep(0.2); tell(in_transaction=store.connections(path))
        rest(c)
        time.sleep(0.2); tell(without_statements=store.connections(path))
        c.query("INSERT INTO t VALUES (2)"); c.query("COMMIT")
        time.sleep(0.2); tell(with_statements=store.connections(path))
        rest(c)
        tell(at_rest=left(until=1), rows=ours.one("SELECT count(*) FROM t"))
        try: c.query("SELECT * FROM t")
        except SqliteError as error: tell(error=str(error))
        c.close(); ours.close()
        tell(left=left(), failures=failures)
    """), tmp_path)
    assert (told["in_transaction"], told["without_statements"], told["with_statements"], told["at_rest"]) == (2, 2, 2, 1)
    assert told["rows"] == 2
    assert "no such table" in told["error"]
    assert told["left"] == 0 and told["failures"] == []


def test_those_that_are_opened_afterwards_are_not_meant(tmp_path: Path) -> None:
    told = run(code("""
        old = core(); old.query("PRAGMA journal_mode=WAL"); old.query("CREATE TABLE t (n)")
        store.close_left_open(path)
        new = core(); new.query("INSERT INTO t VALUES (1)"); rest(new)
        rest(old)
        tell(left=left(until=1)); time.sleep(0.2)
        new.query("INSERT INTO t VALUES (2)")
        tell(rows=new.one("SELECT count(*) FROM t"), still=store.connections(path), failures=failures)
    """), tmp_path)
    assert told == {"left": 1, "rows": 2, "still": 1, "failures": []}


def test_an_old_file_s_end_leaves_the_log_of_the_new_one_at_its_path_alone(tmp_path: Path) -> None:
    told = run(code("""
        old = core(); old.query("PRAGMA journal_mode=WAL"); old.query("CREATE TABLE t (n)"); rest(old)
        for suffix in ("", "-wal"): (here / f"x.db{suffix}").unlink()
        store.forget(path); store.add(path, OTHER)
        new = core(); new.query("PRAGMA journal_mode=WAL"); new.query("CREATE TABLE new (n)"); new.query("INSERT INTO new VALUES (1)")
        store.close_left_open(path)                     # the old one is at rest, the new one has statements
        tell(left=left(until=1), log=(here / "x.db-wal").stat().st_size > 0)
        new.query("INSERT INTO new VALUES (2)")
        tell(failures=failures)
        os._exit(0)                                     # no close: what is not in the log is lost
    """), tmp_path)
    assert told == {"left": 1, "log": True, "failures": []}
    after = run("""store.add(here / "x.db", OTHER); tell(rows=sql(here / "x.db").one("SELECT count(*) FROM new"))""", tmp_path)
    assert after["rows"] == 2


def test_go_may_be_writing_meanwhile_and_what_it_committed_is_there(tmp_path: Path) -> None:
    told = run(code("""
        import threading
        go_schema(store.dsn(path)); put_device(path)
        go_client(store.dsn(path))
        done, refused = [], []
        def write(start):
            for n in range(start, start + 400):
                (refused if go_put(str(1_000_000 + n)) else done).append(n)
                if len(refused) > 20: return
        writers = [threading.Thread(target=write, args=(1000 * n,)) for n in range(4)]
        for writer in writers: writer.start()
        while len(done) < 60: time.sleep(0.005)
        store.close_left_open(path)
        for writer in writers: writer.join()
        with S.connect(path) as c: rows = c.one("SELECT count(*) FROM whatsmeow_chat_settings")
        tell(done=len(done), refused=len(refused), left=store.connections(path), rows=rows)
        tell(problems=S.integrity_check(path), failures=failures)
    """), tmp_path)
    assert told["done"] == told["rows"] >= 60
    assert told["refused"] > 0 or told["left"] > 0          # it was closed in the midst of it, or never came to rest
    assert told["problems"] == told["failures"] == []


def test_what_the_core_keeps_in_memory_for_a_session_is_small(tmp_path: Path) -> None:
    told = run(code("""
        go_schema(store.dsn(path)); put_device(path); go_client(store.dsn(path))
        for number in range(2500): assert go_put(f"{number}{'0' * 100}") == ""
        status, now, most, seen = store.library.sqlite3_db_status, C.c_int(), C.c_int(), []
        status.argtypes = [C.c_void_p, C.c_int, C.c_void_p, C.c_void_p, C.c_int]
        for handle in [one.handle for one in store._vfs.cores._open.values()]:
            assert status(handle, 1, C.byref(now), C.byref(most), 0) == 0       # SQLITE_DBSTATUS_CACHE_USED
            cache = now.value
            assert status(handle, 4, C.byref(now), C.byref(most), 0) == 0       # SQLITE_DBSTATUS_LOOKASIDE_HIT
            seen.append([cache, most.value])
        tell(seen=seen)
    """), tmp_path)
    assert (tmp_path / "x.db").stat().st_size > 500_000
    assert max(cache for cache, _ in told["seen"]) > 100_000        # it is used
    assert all(cache < 400_000 and lookaside == 0 for cache, lookaside in told["seen"])


def test_a_connection_at_the_addresses_of_one_that_is_closed_is_another_one(tmp_path: Path) -> None:
    """The session was opened again, and malloc gave its first connection what an old one had."""
    told = run(code("""
        first = core(); first.query("CREATE TABLE t (a)"); first.close()
        for tries in range(100):
            old = core(); old.query("SELECT * FROM t")
            left = store._vfs.left_open(os.fsencode(path))
            rest(old); old.close()
            new = core(); new.query("SELECT * FROM t"); rest(new)
            now = store._vfs.left_open(os.fsencode(path))
            if [(one.name, one.handle) for one in left] == [(one.name, one.handle) for one in now]: break
            new.close()
        store._close(left)
        tell(tries=tries, connections=store.connections(path), rows=new.query("SELECT * FROM t"))
    """), tmp_path)
    assert told["tries"] < 99, "the addresses were never the same"
    assert told["connections"] == 1
    assert told["rows"] == []
