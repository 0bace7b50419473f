"""A sealed database answers as a plain one does, whatever is done to it."""

from __future__ import annotations

import pytest

from tests.link.sealed.process import run

from .test_sealed_store import plain_text_in

WORKLOAD = """
    import random, sqlite3
    chance = random.Random({seed})
    path = here / "s.db"
    store.add(path, KEY)
    sealed, plain = sql(path), sqlite3.connect(":memory:", isolation_level=None)
    def both(statement, *values):
        ours = theirs = None
        try: ours = sealed.query(statement, *values)
        except SqliteError as error: ours = error.primary
        try: theirs = plain.execute(statement, values).fetchall()
        except sqlite3.Error as error: theirs = error.sqlite_errorcode & 0xFF
        assert ours == theirs, (statement, str(ours)[:200], str(theirs)[:200])
    def name(): return f"k{{chance.randrange(200)}}"
    def content(): return SECRET + chance.randbytes(chance.choice((10, 300, 3000, 4064, 9000, 60_000)))
    both("CREATE TABLE t (k TEXT PRIMARY KEY, b BLOB) WITHOUT ROWID")
    both("CREATE TABLE u (n INTEGER PRIMARY KEY, k TEXT, b BLOB)")
    both("CREATE INDEX uk ON u (k)")
    inside, done = False, 0
    for step in range({steps}):
        what = chance.random()
        if what < .45: both("INSERT INTO t VALUES (?, ?) ON CONFLICT DO UPDATE SET b = excluded.b", name(), content())
        elif what < .60: both("INSERT INTO u (k, b) VALUES (?, ?)", name(), content())
        elif what < .66: both("DELETE FROM t WHERE k < ?", name())
        elif what < .70: both("DELETE FROM u WHERE k > ?", name())
        elif what < .74: both("UPDATE u SET b = ? WHERE k < ?", content(), name())
        elif what < .80: both("SELECT k, length(b) FROM t ORDER BY b"); both("SELECT substr(b, -40) FROM u ORDER BY n")
        elif what < .88:
            both("COMMIT" if inside and chance.random() < .6 else "ROLLBACK" if inside else "BEGIN IMMEDIATE")
            inside = not inside
        elif what < .91: both("SAVEPOINT s"); both("DELETE FROM t"); both("ROLLBACK TO s"); both("RELEASE s")
        elif not inside and what < .94:
            sealed.query("PRAGMA journal_mode=" + chance.choice(("WAL", "WAL", "DELETE", "PERSIST", "TRUNCATE", "MEMORY")))
        elif not inside and what < .96:
            sealed.query("PRAGMA wal_checkpoint(%s)" % chance.choice(("PASSIVE", "RESTART", "TRUNCATE")))
        elif not inside and what < .97: sealed.query("VACUUM")
        elif not inside and what < .985:
            sealed.close(); sealed = sql(path); sealed.query("PRAGMA cache_size=%d" % chance.choice((5, 20, -2000)))
        done += 1
    if inside: both("COMMIT")
    both("SELECT * FROM t ORDER BY k"); both("SELECT * FROM u ORDER BY n")
    assert sealed.query("PRAGMA integrity_check") == [("ok",)]
    sealed.close()
    sealed = sql(path)
    both("SELECT * FROM t ORDER BY k"); both("SELECT * FROM u ORDER BY n")
    tell(done=done, failures=failures)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_a_sealed_database_answers_as_a_plain_one(tmp_path, seed):
    told = run(WORKLOAD.format(seed=seed, steps=400), tmp_path)
    assert told == {"done": 400, "failures": []}
    assert plain_text_in(tmp_path) == []


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(100, 106))
def test_a_sealed_database_answers_as_a_plain_one_for_long(tmp_path, seed):
    assert run(WORKLOAD.format(seed=seed, steps=3000), tmp_path, seconds=600)["failures"] == []
    assert plain_text_in(tmp_path) == []
