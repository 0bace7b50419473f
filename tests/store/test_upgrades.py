"""Every released version's database comes forward; `released/VERSION.sql` is what that version made."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.store.database import Database, migrations
from gateway.store.sessions import Sessions

RELEASED = sorted((Path(__file__).parent / "released").glob("*.sql"))


def schema(path: Path) -> set[tuple[str, str]]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'").fetchall()
    connection.close()
    return {(name, "".join(sql.split())) for name, sql in rows}


@pytest.mark.parametrize("file", RELEASED, ids=lambda f: f.stem)
async def test_a_released_database_comes_forward_with_its_rows(tmp_path: Path, file: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    connection = sqlite3.connect(old)
    connection.executescript(file.read_text("utf-8"))
    connection.close()
    async with Database(new), Database(old) as database:
        (session,) = await Sessions(database).all()
        assert (session.session_key, session.generation, session.wrapped_key) == ("shop", 7, b"\x01\x02")
        row = await database.one("SELECT status FROM messages WHERE id = 'm1'")
        assert row is not None and row[0] == "delivered"
        version = await database.one("PRAGMA user_version")
        assert version is not None and version[0] == migrations()[-1][0]
        assert await database.integrity() == []
    assert schema(old) == schema(new)


async def test_what_is_deleted_is_overwritten(tmp_path: Path) -> None:
    mark = b"a wrapped key to look for" * 4
    async with Database(tmp_path / "x.db") as database:
        async with database.transaction() as tx:
            await tx.execute("INSERT INTO meta (name, value) VALUES ('gone', ?)", mark)
        await database.empty_log()
        assert mark in (tmp_path / "x.db").read_bytes()
        async with database.transaction() as tx:
            await tx.execute("DELETE FROM meta WHERE name = 'gone'")
        await database.empty_log()
        assert mark not in b"".join(f.read_bytes() for f in tmp_path.iterdir())
