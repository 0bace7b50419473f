"""A look at a gateway's database from outside, whether a daemon has it open or not; nothing is written or migrated."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gateway.store.database import StoreBroken

SQLITE_VERSION = sqlite3.sqlite_version


@dataclass(frozen=True, slots=True)
class Glance:
    """`version` of its tables; `damage` is SQLite's own word, '' when it is intact; sessions by status."""

    version: int
    damage: str
    sessions: dict[str, int]


def glance(path: Path) -> Glance:
    """Raises StoreBroken."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            sessions = connection.execute("SELECT status, count(*) FROM sessions GROUP BY status ORDER BY status").fetchall()
    except sqlite3.Error as error:
        raise StoreBroken(f"cannot read {path}: {error}") from error
    return Glance(version, "" if answer == "ok" else answer, dict(sessions))
