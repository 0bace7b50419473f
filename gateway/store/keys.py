"""API keys: shown once, kept as hashes. A key's secret part is 32 random bytes, so a plain SHA-256 is enough: there is
nothing to guess that a slow hash would protect."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from gateway.store.database import Database, Row, Transaction

SCOPES = ("admin", "full", "send", "read")
PREFIX = "wag"


@dataclass(frozen=True, slots=True)
class Key:
    id: str
    name: str
    scope: str
    plan: str
    owner: str
    created_at: float
    last_used_at: float | None
    revoked_at: float | None
    replaces: str | None


_INSERT = "INSERT INTO keys (id, name, scope, plan, hash, created_at, replaces, owner) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_ONE = "SELECT * FROM keys WHERE id = ?"
_ALL = "SELECT * FROM keys ORDER BY created_at, id"
_REVOKE = "UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
_DELETE = "DELETE FROM keys WHERE id = ?"
_USED = "UPDATE keys SET last_used_at = ? WHERE id = ?"


def _key(row: Row) -> Key:
    return Key(row["id"], row["name"], row["scope"], row["plan"], row["owner"], row["created_at"], row["last_used_at"],
               row["revoked_at"], row["replaces"])


class Keys:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, tx: Transaction, *, name: str, scope: str, plan: str, at: float, owner: str | None = None,
                     replaces: str | None = None) -> tuple[Key, str]:
        """The key and its text, which cannot be had again. With another key's `owner` it owns what that one owns."""
        assert scope in SCOPES, scope
        id_, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        owner = owner or id_
        await tx.execute(_INSERT, id_, name, scope, plan, hashlib.sha256(secret.encode()).digest(), at, replaces, owner)
        return Key(id_, name, scope, plan, owner, at, None, None, replaces), f"{PREFIX}_{id_}_{secret}"

    async def of_text(self, text: str) -> Key | None:
        """The key a caller presents, if it is valid and not revoked. Compared in constant time."""
        prefix, _, rest = text.partition("_")
        id_, _, secret = rest.partition("_")
        if not id_.isascii():               # JSON can hold lone surrogates, which SQLite does not take
            return None
        row = await self._database.one(_ONE, id_)
        hashed = hashlib.sha256(secret.encode("utf-8", "replace")).digest()
        if not hmac.compare_digest(row["hash"] if row else bytes(32), hashed) or row is None or prefix != PREFIX:
            return None
        return _key(row) if row["revoked_at"] is None else None

    async def one(self, id_: str) -> Key | None:
        row = await self._database.one(_ONE, id_)
        return _key(row) if row else None

    async def all(self) -> list[Key]:
        return [_key(row) for row in await self._database.all(_ALL)]

    async def revoke(self, tx: Transaction, id_: str, at: float) -> bool:
        """False when there is none, or it was revoked already."""
        return await tx.execute(_REVOKE, at, id_) == 1

    async def delete(self, tx: Transaction, id_: str) -> None:
        """For a key that never owned anything; others are revoked."""
        await tx.execute(_DELETE, id_)

    async def used(self, tx: Transaction, id_: str, at: float) -> None:
        await tx.execute(_USED, at, id_)
