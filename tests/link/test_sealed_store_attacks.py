"""What a wrong key, a changed file or a failing callback can do to a sealed file: be refused, and nothing else."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.link.sealed.process import run

from .test_sealed_store import SECRET, files, plain_text_in

PAGE, FRAME = 4096, 4120

BUILD = """
    store.add(here / "x.db", KEY)
    connection = sql(here / "x.db")
    fill(connection)
    if {close}: connection.close()
"""
READ = """
    store.add(here / "{name}", {key})
    try:
        with sql(here / "{name}") as c:
            tell(rows=c.one("SELECT count(*) FROM t"), big=c.one("SELECT length(hex(b)) FROM big"),
                 check=c.one("PRAGMA integrity_check"))
    except SqliteError as error:
        tell(error=error.code, message=str(error))
    tell(counts=dict(store.counts), failures=failures)
"""


def build(folder: Path, *, close: bool = True) -> Path:
    """Closed: everything is in the database. Not closed: the process is gone, and its commits are in the WAL."""
    run(BUILD.format(close=close), folder)
    return folder / "x.db"


def read(folder: Path, name: str = "x.db", key: str = "KEY") -> dict:
    return run(READ.format(name=name, key=key), folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture
def copy(built, tmp_path) -> Path:
    shutil.copy(built, tmp_path / "x.db")
    return tmp_path / "x.db"


def test_the_right_key_reads_everything(copy):
    told = read(copy.parent)
    assert (told["rows"], told["big"], told["check"], told["failures"]) == (300, 80_000, "ok", [])


def test_a_wrong_key_is_told_and_leaves_the_file_as_it_was(copy):
    before = files(copy.parent)
    told = read(copy.parent, key="OTHER")
    assert told["error"] == 26
    assert told["counts"]["wrong_key"] > 0
    assert "wrong key" in told["failures"][0]
    assert files(copy.parent) == before


def test_a_wrong_key_leaves_a_hot_log_as_it_was_and_the_right_one_recovers_it(tmp_path):
    build(tmp_path, close=False)
    before = files(tmp_path)
    assert len(before["x.db-wal"]) > 100 * FRAME
    assert plain_text_in(tmp_path) == []
    assert read(tmp_path, key="OTHER")["error"] == 26
    answer = run("""
        store.add(here / "x.db", OTHER)
        tell(answer=go_schema(store.dsn(here / "x.db"), check=False))
    """, tmp_path)["answer"]
    assert "file is not a database" in answer
    assert files(tmp_path) == before
    told = read(tmp_path)
    assert (told["rows"], told["check"], told["failures"]) == (300, "ok", [])


def test_wiped_first_bytes_beside_a_log_are_refused_and_the_log_stays(tmp_path):
    path = build(tmp_path, close=False)
    path.write_bytes(bytes(16) + path.read_bytes()[16:])
    before = files(tmp_path)
    told = read(tmp_path)
    assert told["error"] == 26
    assert told["counts"]["damaged"] > 0
    assert files(tmp_path) == before


def test_every_flipped_bit_is_noticed(copy):
    told = run("""
        import random
        good, chance = (here / "x.db").read_bytes(), random.Random(5)
        noticed, unnoticed, codes = 0, [], set()
        for i in range(400):
            changed, at = bytearray(good), chance.randrange(len(good))
            changed[at] ^= 1 << chance.randrange(8)
            path = here / f"{i}.db"
            path.write_bytes(changed)
            store.add(path, KEY)
            try:
                with sql(path) as c:
                    c.query("SELECT count(*), sum(length(b)) FROM t")
                    sound = c.query("PRAGMA integrity_check") == [("ok",)]
                    c.query("SELECT hex(b) FROM big")
                if sound: unnoticed.append(at)
                else: noticed += 1
            except SqliteError as error:
                noticed += 1
                codes.add(error.code)
            path.unlink()
        tell(noticed=noticed, unnoticed=unnoticed, codes=sorted(codes))
    """, copy.parent)
    assert told == {"noticed": 400, "unnoticed": [], "codes": [26, 8202]}


def change(path: Path, how: str, other: Path) -> None:
    content = bytearray(path.read_bytes())
    page = slice(5 * PAGE, 6 * PAGE)
    if how == "swapped":
        content[page], content[6 * PAGE : 7 * PAGE] = content[6 * PAGE : 7 * PAGE], content[page]
    elif how == "foreign":
        content[page] = other.read_bytes()[page]
    elif how == "zeroed":
        content[page] = bytes(PAGE)
    elif how == "truncated":
        del content[20 * PAGE :]
    elif how == "header of another":
        content[:PAGE] = other.read_bytes()[:PAGE]
    elif how == "salt of another":
        content[:16] = other.read_bytes()[:16]
    path.write_bytes(content)


@pytest.fixture(scope="module")
def another(tmp_path_factory) -> Path:
    """A second file with the same key."""
    return build(tmp_path_factory.mktemp("another"))


@pytest.mark.parametrize("how", ["swapped", "foreign", "zeroed", "truncated", "header of another", "salt of another"])
def test_a_page_in_another_place_does_not_open(copy, another, how):
    change(copy, how, another)
    told = read(copy.parent)
    assert told.get("error") in {11, 26, 8202} or told["check"] != "ok", told
    if how != "truncated":
        assert told["counts"]["authentication_failed"] > 0


def test_a_plain_database_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "plain.db") as plain:
        plain.execute("CREATE TABLE t (n, b)")
    plain.close()
    before = files(tmp_path)
    told = read(tmp_path, "plain.db")
    assert told["error"] == 26
    assert told["counts"]["plaintext_refused"] > 0
    assert files(tmp_path) == before


def test_a_changed_frame_is_an_error_for_a_live_reader(copy):
    told = run("""
        store.add(here / "x.db", KEY)
        c = sql(here / "x.db")
        c.query("PRAGMA wal_autocheckpoint=0")
        for _ in range(5): c.query("INSERT INTO t (b) VALUES (randomblob(3000))")
        fd = os.open(here / "x.db-wal", os.O_RDWR)
        for at in range(32 + 24 + 100, os.fstat(fd).st_size, 4120):
            byte = os.pread(fd, 1, at)
            os.pwrite(fd, bytes([byte[0] ^ 1]), at)
        try:
            tell(rows=sql(here / "x.db").query("SELECT count(*) FROM t"))
        except SqliteError as error:
            tell(error=error.code)
        tell(counts=dict(store.counts), failures=failures)
    """, copy.parent)
    assert told["error"] in {26, 8202}
    assert told["counts"]["authentication_failed"] > 0
    assert "WAL" in told["failures"][0]


def test_recovery_ends_at_a_changed_frame_as_in_a_plain_log(tmp_path):
    build(tmp_path, close=False)
    log = bytearray((tmp_path / "x.db-wal").read_bytes())
    log[32 + FRAME * 40 + 500] ^= 4
    (tmp_path / "x.db-wal").write_bytes(log)
    told = read(tmp_path)
    assert told.get("rows", 0) < 300
    assert told["counts"]["wal_tail_rejected"] == 1


@pytest.mark.parametrize("at", [0, 4, 8, 12, 16, 23])
def test_a_changed_frame_header_ends_recovery_too(tmp_path, at):
    build(tmp_path, close=False)
    log = bytearray((tmp_path / "x.db-wal").read_bytes())
    log[32 + FRAME * 100 + at] ^= 4
    (tmp_path / "x.db-wal").write_bytes(log)
    told = read(tmp_path)
    assert 0 < told["rows"] < 300
    assert told["check"] == "ok"


def test_what_does_not_fit_in_memory_spills_into_memory(copy):
    told = run("""
        store.add(here / "x.db", KEY)
        c = sql(here / "x.db")
        c.query("PRAGMA cache_size=5")
        c.query("CREATE TEMP TABLE tt AS SELECT randomblob(2000) b FROM t, t LIMIT 3000")
        c.query("SELECT count(*) FROM (SELECT b FROM tt ORDER BY b)")
        c.query("BEGIN")
        c.query("UPDATE t SET b = randomblob(3000)")
        c.query("SAVEPOINT a")
        c.query("UPDATE t SET b = randomblob(3500)")
        c.query("ROLLBACK TO a")
        open_files = []
        for fd in os.listdir("/proc/self/fd"):
            try: open_files.append(os.readlink(f"/proc/self/fd/{fd}"))
            except FileNotFoundError: pass
        c.query("COMMIT")
        tell(temporary=store.counts["temporary_in_memory"], on_disk=[f for f in open_files if "etilqs" in f or "deleted" in f],
             check=c.one("PRAGMA integrity_check"), failures=failures)
    """, copy.parent)
    assert told["temporary"] > 0
    assert told["on_disk"] == []
    assert (told["check"], told["failures"]) == ("ok", [])


def test_an_exception_in_a_callback_is_an_error_for_sqlite_and_never_a_success(copy):
    told = run("""
        from gateway.link.sealing.pages import DatabaseKeys
        store.add(here / "x.db", KEY)
        c = sql(here / "x.db")
        seal, open_, codes = DatabaseKeys.seal, DatabaseKeys.open, []
        def fail(*a): raise MemoryError("injected")
        def attempt(sql, connection):
            try: connection().query(sql); codes.append(0)
            except SqliteError as error: codes.append(error.code)
        DatabaseKeys.seal = fail
        attempt("INSERT INTO t (b) VALUES (1)", lambda: c)
        DatabaseKeys.seal = seal
        c.query("INSERT INTO t (b) VALUES (2)")
        DatabaseKeys.open = fail
        attempt("SELECT count(*) FROM t", lambda: sql(here / "x.db"))
        DatabaseKeys.open = open_
        class Gone(BaseException): pass
        def leave(*a): raise Gone
        DatabaseKeys.seal = leave
        attempt("INSERT INTO t (b) VALUES (3)", lambda: c)
        DatabaseKeys.seal = seal
        def loud(*a): raise RuntimeError("a listener's fault")
        store.on_failure = loud
        DatabaseKeys.seal = fail
        attempt("INSERT INTO t (b) VALUES (4)", lambda: c)
        DatabaseKeys.seal = seal
        again = sql(here / "x.db")
        tell(codes=codes, rows=again.one("SELECT count(*) FROM t"), check=again.one("PRAGMA integrity_check"),
             counts=dict(store.counts))
    """, copy.parent)
    assert told["codes"] == [778, 266, 778, 778]
    assert (told["rows"], told["check"]) == (301, "ok")
    assert told["counts"]["callback_failed"] >= 4
    assert told["counts"]["listener_failed"] == 1


def test_a_commit_over_attached_databases_is_refused_because_its_journal_names_them(copy):
    told = run("""
        store.add(here / "x.db", KEY)
        store.add(here / "y.db", OTHER)
        c = sql(here / "x.db")
        c.query("PRAGMA journal_mode=DELETE")
        c.query("ATTACH ? AS y", store.uri(here / "y.db"))
        c.query("CREATE TABLE y.t (a)")
        c.query("BEGIN")
        c.query("INSERT INTO main.t (b) VALUES (1)")
        c.query("INSERT INTO y.t VALUES (1)")
        try: c.query("COMMIT")
        except SqliteError as error: tell(error=error.code)
        tell(rows=c.one("SELECT count(*) FROM t"), counts=dict(store.counts))
    """, copy.parent)
    assert told["error"] == 14
    assert told["rows"] == 300
    assert told["counts"]["refused"] > 0


def test_a_file_whose_content_was_exchanged_while_open_is_refused(copy, another):
    told = run(f"""
        import shutil
        store.add(here / "x.db", KEY)
        c = sql(here / "x.db")
        c.query("SELECT count(*) FROM t")
        shutil.copyfile({str(another)!r}, here / "x.db")
        try: sql(here / "x.db").query("SELECT count(*) FROM t")
        except SqliteError as error: tell(error=error.code, failures=failures)
    """, copy.parent)
    assert told["error"] == 14
    assert "exchanged" in told["failures"][0]


def test_a_new_file_at_the_path_of_one_that_is_still_open_is_a_file_of_its_own(copy):
    """neonize never closes its connections; a session that is linked anew, by a process of its own, has a new file there."""
    told = run("""
        store.add(here / "x.db", KEY)
        old = sql(here / "x.db")
        old.query("INSERT INTO t (b) VALUES (1)")
        for suffix in ("", "-wal"):
            (here / f"x.db{suffix}").unlink()
        store.forget(here / "x.db")
        from tests.link.sealed.process import run
        run("store.add(here / 'x.db', OTHER); c = sql(here / 'x.db'); c.query('PRAGMA journal_mode=WAL'); "
            "c.query('CREATE TABLE new (a)')", here)
        store.add(here / "x.db", OTHER)
        new = sql(here / "x.db")
        new.query("INSERT INTO new VALUES (1)")
        tell(old=old.one("SELECT count(*) FROM t"), new=new.one("SELECT count(*) FROM new"),
             connections=store.connections(here / "x.db"))
        old.query("INSERT INTO t (b) VALUES (2)")
        old.close()
        new.query("INSERT INTO new VALUES (2)")
        tell(log=(here / "x.db-wal").exists(), failures=failures, left=store.connections(here / "x.db"))
    """, copy.parent)
    assert told == {"old": 301, "new": 1, "connections": 2, "log": True, "failures": [], "left": 1}
    after = run("""store.add(here / "x.db", OTHER); tell(rows=sql(here / "x.db").one("SELECT count(*) FROM new"))""", copy.parent)
    assert after["rows"] == 2


def test_pages_that_sqlite_never_wrote_are_sealed_too(tmp_path):
    told = run("""
        store.add(here / "x.db", KEY)
        c = sql(here / "x.db")
        c.query("PRAGMA journal_mode=DELETE")
        c.query("CREATE TABLE t (b BLOB)")
        c.query("BEGIN")
        for _ in range(40): c.query("INSERT INTO t VALUES (randomblob(9000))")
        c.query("DELETE FROM t WHERE rowid > 3")
        c.query("COMMIT")
        c.query("INSERT INTO t VALUES (randomblob(200000))")
        tell(check=c.one("PRAGMA integrity_check"), gaps=store.counts["gap_page"], failures=failures)
        from gateway.link.sealing.pages import DatabaseKeys
        content = (here / "x.db").read_bytes()
        keys = DatabaseKeys(KEY, content[:16])
        for at in range(4096, len(content), 4096):
            keys.open(b"D", at // 4096 + 1, at, content[at:at + 4096])
        tell(pages=len(content) // 4096)
    """, tmp_path)
    assert told["gaps"] > 0
    assert (told["check"], told["failures"]) == ("ok", [])
    assert told["pages"] > 50


def test_random_bytes_for_a_file_are_refused(tmp_path):
    content = random.Random(3).randbytes(3 * PAGE)
    (tmp_path / "x.db").write_bytes(content)
    assert read(tmp_path)["error"] == 26
    assert (tmp_path / "x.db").read_bytes() == content


def test_the_planted_secret_would_have_been_found(tmp_path):
    """The control for every search above: in a plain database it is there."""
    with sqlite3.connect(tmp_path / "plain.db") as plain:
        plain.execute("CREATE TABLE t (b BLOB)")
        plain.execute("INSERT INTO t VALUES (?)", (SECRET + os.urandom(400),))
    plain.close()
    assert len(plain_text_in(tmp_path)) == 3
