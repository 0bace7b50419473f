"""Inbound files that somebody downloaded, sealed, for as long as the settings say."""

from __future__ import annotations

from gateway.store.database import Database, Transaction
from gateway.store.vault import Sealer


class Media:
    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database, self._sealer = database, sealer

    async def keep(self, tx: Transaction, message_id: str, body: bytes, until: float) -> None:
        await tx.execute("INSERT OR REPLACE INTO media (message_id, body_sealed, kept_until) VALUES (?, ?, ?)",
                         message_id, self._sealer.seal(body, f"media/{message_id}"), until)

    async def find(self, message_id: str) -> bytes | None:
        row = await self._database.one("SELECT body_sealed FROM media WHERE message_id = ?", message_id)
        return self._sealer.open(row[0], f"media/{message_id}") if row else None

    async def forget(self, tx: Transaction, at: float) -> int:
        return await tx.execute("DELETE FROM media WHERE kept_until < ?", at)
