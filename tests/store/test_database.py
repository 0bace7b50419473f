from __future__ import annotations

import asyncio
import sqlite3
import threading

import pytest
import structlog

from gateway.errors import GatewayError
from gateway.store import database as module
from gateway.store.database import Database, StoreBroken, StoreTooNew, migrations

META = "INSERT INTO meta (name, value) VALUES (?, ?)"


async def names(database: Database) -> list[str]:
    return [row["name"] for row in await database.all("SELECT name FROM meta ORDER BY name")]


# ------------------------------------------------------------------ opening


async def test_the_migrations_have_numbers_without_gaps_and_the_last_one_is_the_databases_version(database):
    assert [number for number, _, _ in migrations()] == list(range(1, len(migrations()) + 1))
    row = await database.one("PRAGMA user_version")
    assert row[0] == len(migrations())


async def test_a_database_opened_again_keeps_what_it_held(tmp_path):
    async with Database(tmp_path / "a.db") as first, first.transaction() as tx:
        await tx.execute(META, "x", b"1")
    async with Database(tmp_path / "a.db") as second:
        assert await names(second) == ["x"]


async def test_a_database_of_the_first_version_is_brought_up_with_its_rows(tmp_path):
    path = tmp_path / "old.db"
    old = sqlite3.connect(path)
    old.executescript(f"{migrations()[0][2]} PRAGMA user_version = 1; INSERT INTO meta VALUES ('x', x'01');")
    old.close()
    async with Database(path) as database:
        assert await names(database) == ["x"]
        row = await database.one("PRAGMA user_version")
        assert row[0] == len(migrations())
        assert await database.integrity() == []


async def test_a_migration_that_fails_leaves_the_version_before_it_whole(tmp_path, monkeypatch):
    path, good = tmp_path / "a.db", migrations()
    bad = (len(good) + 1, "9999_bad.sql", "CREATE TABLE half (x); INSERT INTO nowhere VALUES (1);")
    monkeypatch.setattr(module, "migrations", lambda: [*good, bad])
    with pytest.raises(StoreBroken, match=r"9999_bad\.sql.*nowhere"):
        async with Database(path):
            pass
    monkeypatch.setattr(module, "migrations", lambda: good)
    async with Database(path) as database:
        row = await database.one("PRAGMA user_version")
        assert row[0] == len(good)
        assert await database.one("SELECT 1 FROM sqlite_master WHERE name = 'half'") is None


@pytest.mark.parametrize("mode", ["delete", "wal"])
async def test_a_newer_database_is_refused_and_not_touched(tmp_path, mode):
    path = tmp_path / "new.db"
    newer = sqlite3.connect(path)
    newer.executescript(f"PRAGMA journal_mode = {mode}; CREATE TABLE meta (name, value); PRAGMA user_version = 99;")
    newer.close()
    before = path.read_bytes()
    with pytest.raises(StoreTooNew, match="version 99"):
        async with Database(path):
            pass
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_with_its_name(tmp_path):
    path = tmp_path / "a.db"
    path.write_bytes(b"not a database at all, but long enough to look like one " * 40)
    with pytest.raises(StoreBroken, match=r"a\.db.*not a database"):
        async with Database(path):
            pass


async def test_the_file_is_the_owners_alone_and_commits_wait_for_the_disk(database):
    assert database.path.stat().st_mode & 0o777 == 0o600
    async with database.transaction() as tx:
        synchronous, mode = await tx.one("PRAGMA synchronous"), await tx.one("PRAGMA journal_mode")
    assert (synchronous[0], mode[0]) == (2, "wal")              # FULL


# ------------------------------------------------------------------ transactions


async def test_what_is_written_in_a_transaction_is_seen_after_it_and_not_before(database):
    async with database.transaction() as tx:
        await tx.execute(META, "x", b"1")
        assert await names(database) == []
    assert await names(database) == ["x"]


async def test_a_read_sees_what_was_committed_before_it_was_asked_whatever_else_is_being_read(database):
    """A query that is left half read keeps the connection in its past, and everybody else who reads there with it: so readers
    of the event stream once missed events that had been committed and told."""
    over = asyncio.Event()

    async def read() -> None:
        while not over.is_set():
            await database.one("SELECT value FROM meta ORDER BY name")

    async with database.transaction() as tx:
        for n in range(10):
            await tx.execute(META, f"{n}", b"")
    readers = [asyncio.create_task(read()) for _ in range(3)]
    try:
        for n in range(10, 60):
            async with database.transaction() as tx:
                await tx.execute(META, f"{n}", b"")
            assert len(await names(database)) == n + 1
    finally:
        over.set()
        await asyncio.gather(*readers)


async def test_any_exception_rolls_everything_back_and_calls_nobody(database):
    called = []
    with pytest.raises(ZeroDivisionError):        # noqa: PT012
        async with database.transaction() as tx:
            await tx.execute(META, "x", b"1")
            tx.on_commit(lambda: called.append(1))
            raise ZeroDivisionError
    assert await names(database) == []
    assert called == []
    async with database.transaction() as tx:
        await tx.execute(META, "y", b"1")
        tx.on_commit(lambda: called.append(2))
    assert called == [2]


async def test_a_constraint_that_fails_is_told_as_it_is(database):
    with pytest.raises(sqlite3.IntegrityError):        # noqa: PT012
        async with database.transaction() as tx:
            await tx.execute(META, "x", b"1")
            await tx.execute(META, "x", b"2")
    assert await names(database) == []


async def test_a_mistake_in_our_sql_is_not_told_as_a_full_disk(database):
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        async with database.transaction() as tx:
            await tx.execute("DELETE FROM nowhere")


async def test_writers_wait_for_each_other(database):
    order = []

    async def write(name: str) -> None:
        async with database.transaction() as tx:
            order.append(f"{name} begins")
            await tx.execute(META, name, b"1")
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    await asyncio.gather(*(write(name) for name in "abc"))
    assert order == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


async def test_the_reader_cannot_write(database):
    with pytest.raises(GatewayError, match="readonly"):
        await database.all("DELETE FROM meta")


async def test_a_commit_is_measured(database):
    seconds: list[float] = []
    database.commit_seconds = seconds.append
    async with database.transaction() as tx:
        await tx.execute(META, "x", b"1")
    assert len(seconds) == 1
    assert 0 <= seconds[0] < 10


# ------------------------------------------------------------------ cancelled at any moment


@pytest.mark.parametrize("turns", range(14))
async def test_a_transaction_cancelled_at_any_moment_is_told_if_and_only_if_it_was_committed(database, turns):
    told = []

    async def write() -> None:
        async with database.transaction() as tx:
            await tx.execute(META, "x", b"1")
            tx.on_commit(lambda: told.append("x"))

    task = asyncio.create_task(write())
    for _ in range(turns):
        await asyncio.sleep(0.0002)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await names(database) == told
    async with database.transaction() as tx:                    # and the writer is free again
        await tx.execute(META, "y", b"1")
    assert await names(database) == [*told, "y"]


async def test_a_cancellation_during_the_commit_does_not_undo_it(database, monkeypatch):
    """Found by reading: COMMIT was queued to SQLite's thread and then rolled back or, done, never told."""
    told, committing = [], asyncio.Event()
    execute = database._writer.execute

    def slow(sql, *values):
        async def late():
            committing.set()
            await asyncio.sleep(0.01)
            return await execute(sql, *values)

        return late() if sql == "COMMIT" else execute(sql, *values)

    monkeypatch.setattr(database._writer, "execute", slow)

    async def write() -> None:
        async with database.transaction() as tx:
            await tx.execute(META, "x", b"1")
            tx.on_commit(lambda: told.append("x"))

    task = asyncio.create_task(write())
    await committing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == ["x"]
    assert await names(database) == ["x"]


async def test_a_cancellation_while_the_log_is_emptied_is_not_swallowed(database):
    async with database._lock:
        task = asyncio.create_task(database.empty_log())
        await asyncio.sleep(0)
    await asyncio.sleep(0)                  # it has the lock now, and SQLite's thread the work
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_copy_that_takes_long_holds_up_no_write(database, tmp_path, monkeypatch):
    begun, go_on, vacuum = threading.Event(), threading.Event(), module._vacuum_into

    def slow(source, target):
        begun.set()
        go_on.wait(20)
        vacuum(source, target)

    monkeypatch.setattr(module, "_vacuum_into", slow)
    copying = asyncio.create_task(database.backup_into(tmp_path / "copy.db"))
    await asyncio.to_thread(begun.wait, 5)
    try:
        async with asyncio.timeout(5):
            await database.write(lambda tx: tx.execute(META, "x", b"1"))
    finally:
        go_on.set()
        await copying
    assert await names(database) == ["x"]


# ------------------------------------------------------------------ written in one go, together


def insert(name: str, value: bytes = b"1"):
    return lambda tx: tx.execute(META, name, value)


async def test_writes_that_wait_at_the_same_time_share_one_commit(database):
    commits: list[float] = []
    database.commit_seconds = commits.append
    assert await asyncio.gather(*(database.write(insert(f"{n:02}")) for n in range(40))) == [1] * 40
    assert len(await names(database)) == 40
    assert len(commits) == 1


async def test_more_writes_than_may_share_a_commit_take_several_in_order(database, monkeypatch):
    monkeypatch.setattr(module, "SHARE", 10)
    told: list[int] = []
    commits: list[float] = []
    database.commit_seconds = commits.append

    def write(number: int):
        async def work(tx):
            tx.on_commit(lambda: told.append(number))
            await tx.execute(META, f"{number:02}", b"1")
            return number

        return database.write(work)

    assert await asyncio.gather(*(write(number) for number in range(35))) == list(range(35))
    assert told == list(range(35))
    assert len(commits) == 4


async def test_a_write_that_fails_takes_nobody_along(database):
    async def fails(tx):
        await tx.execute(META, "half", b"1")
        tx.on_commit(lambda: pytest.fail("told"))
        raise ZeroDivisionError

    answers = await asyncio.gather(database.write(insert("a")), database.write(fails), database.write(insert("a", b"2")),
                                   database.write(insert("b")), return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, ZeroDivisionError, sqlite3.IntegrityError, int]
    assert await names(database) == ["a", "b"]


async def test_a_write_sees_those_before_it_and_nobody_else_does_until_the_commit(database):
    async def look(tx):
        return [row["name"] for row in await tx.all("SELECT name FROM meta")]

    first, seen = await asyncio.gather(database.write(insert("a")), database.write(look))
    assert seen == ["a"]


async def test_a_write_that_waits_for_something_else_is_refused_and_undone(database):
    async def work(tx):
        await tx.execute(META, "x", b"1")
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="must not wait"):
        await database.write(work)
    assert await names(database) == []
    await database.write(insert("y"))


async def test_writes_and_transactions_take_turns(database):
    async def transaction(name: str) -> None:
        async with database.transaction() as tx:
            await tx.execute(META, name, b"1")
            await asyncio.sleep(0)

    await asyncio.gather(*(transaction(f"t{n}") for n in range(5)), *(database.write(insert(f"w{n}")) for n in range(5)))
    assert len(await names(database)) == 10


async def test_a_listener_that_fails_fails_its_own_write_only(database):
    async def work(tx):
        await tx.execute(META, "x", b"1")
        tx.on_commit(lambda: 1 // 0)

    answers = await asyncio.gather(database.write(work), database.write(insert("y")), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ZeroDivisionError, int]
    assert await names(database) == ["x", "y"]


@pytest.mark.parametrize("turns", range(10))
async def test_a_write_cancelled_at_any_moment_is_told_if_and_only_if_it_was_committed(database, turns):
    told = []

    async def work(tx):
        await tx.execute(META, "x", b"1")
        tx.on_commit(lambda: told.append("x"))

    task = asyncio.create_task(database.write(work))
    for _ in range(turns):
        await asyncio.sleep(0.0001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await names(database) == told
    await database.write(insert("y"))
    assert await names(database) == [*told, "y"]


async def test_a_write_cancelled_before_its_turn_never_happens(database):
    async with database.transaction():
        task = asyncio.create_task(database.write(insert("x")))
        second = asyncio.create_task(database.write(insert("y")))
        third = asyncio.create_task(database.write(insert("z")))
        await asyncio.sleep(0)
        third.cancel()
        await asyncio.sleep(0)
    assert await asyncio.gather(task, second) == [1, 1]
    assert third.cancelled()
    assert await names(database) == ["x", "y"]


async def test_a_database_that_closes_ends_its_writes_first(tmp_path):
    async with Database(tmp_path / "a.db") as database:
        writes = [asyncio.create_task(database.write(insert(str(n)))) for n in range(9)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*writes) == [1] * 9


async def test_on_a_full_disk_whoever_shares_the_commit_is_told_and_nothing_stays_half(database):
    await database._writer.execute("PRAGMA max_page_count = 60")

    async def large(tx):
        await tx.execute(META, "small", b"1")
        await tx.execute(META, "large", bytes(1 << 20))

    answers = await asyncio.gather(database.write(insert("a")), database.write(large), database.write(insert("b")),
                                   return_exceptions=True)
    assert isinstance(answers[1], GatewayError)
    assert answers[1].code == "storage_unavailable"
    kept = [name for name, answer in zip(["a", "b"], (answers[0], answers[2]), strict=True) if answer == 1]
    assert await names(database) == kept
    assert all(answer == 1 or answer.code == "storage_unavailable" for answer in answers)
    await database._writer.execute("PRAGMA max_page_count = 1000000")
    await database.write(large)


async def test_a_write_to_a_database_somebody_else_holds_is_storage_unavailable(database):
    await database._writer.execute("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        answers = await asyncio.gather(*(database.write(insert(name)) for name in "ab"), return_exceptions=True)
        assert [answer.code for answer in answers] == ["storage_unavailable"] * 2
    finally:
        other.close()
    await database.write(insert("x"))


# ------------------------------------------------------------------ disks


async def test_a_full_disk_is_storage_unavailable_and_nothing_of_the_transaction_stays(database):
    await database._writer.execute("PRAGMA max_page_count = 60")
    with pytest.raises(GatewayError) as caught:         # noqa: PT012
        async with database.transaction() as tx:
            await tx.execute(META, "small", b"1")
            await tx.execute(META, "large", bytes(1 << 20))
    assert caught.value.code == "storage_unavailable"
    assert caught.value.status == 503
    assert "full" in caught.value.message
    assert await names(database) == []
    await database._writer.execute("PRAGMA max_page_count = 1000000")
    async with database.transaction() as tx:
        await tx.execute(META, "large", bytes(1 << 20))
    assert await names(database) == ["large"]


async def test_a_full_disk_is_in_the_log_once_a_minute(database, monkeypatch):
    async def large(tx):
        await tx.execute(META, "large", bytes(1 << 20))

    await database._writer.execute("PRAGMA max_page_count = 60")
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(GatewayError):
                await database.write(large)
        monkeypatch.setattr(module, "TELL_EVERY_SECONDS", 0.0)
        with pytest.raises(GatewayError):
            async with database.transaction() as tx:
                await large(tx)
    told = [(line["event"], line["log_level"], "full" in line["error"]) for line in lines]
    assert told == [("store_not_writable", "error", True)] * 2


async def test_a_database_somebody_else_holds_is_storage_unavailable_after_a_while(database):
    await database._writer.execute("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(GatewayError) as caught:
            async with database.transaction():
                pytest.fail("it began")
        assert caught.value.code == "storage_unavailable"
    finally:
        other.close()
    async with database.transaction() as tx:
        await tx.execute(META, "x", b"1")


# ------------------------------------------------------------------ backups


async def test_a_backup_is_whole_and_the_owners_alone(database, tmp_path):
    async with database.transaction() as tx:
        await tx.execute(META, "x", b"1")
    await database.backup_into(tmp_path / "copy.db")
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    async with Database(tmp_path / "copy.db") as copy:
        assert await names(copy) == ["x"]
        assert await copy.integrity() == []


async def test_a_backup_does_not_overwrite(database, tmp_path):
    target = tmp_path / "copy.db"
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        await database.backup_into(target)
    assert target.read_bytes() == b"mine"


async def test_a_backup_that_fails_leaves_no_file(database, tmp_path, monkeypatch):
    target = tmp_path / "gone" / "copy.db"
    with pytest.raises(FileNotFoundError):
        await database.backup_into(target)
    target.parent.mkdir()
    monkeypatch.setattr(database, "path", tmp_path / "not a folder" / "gateway.db")
    with pytest.raises(GatewayError, match="The backup cannot be written"):
        await database.backup_into(target)
    assert not target.exists()
