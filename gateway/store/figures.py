"""Numbers about the store as a whole, for who watches the gateway. No session, person or key is told apart here."""

from __future__ import annotations

from gateway.store.database import Database

# Every stage and status that can wait, so that a reader sees a zero and not a gap.
STAGES = ("queued", "preparing", "waiting", "sending", "unconfirmed")
_QUEUE = "SELECT stage, count(*), min(created_at) FROM messages WHERE stage <> 'done' AND direction = 'out' GROUP BY stage"
_DELIVERIES = "SELECT status, count(*), min(created_at) FROM deliveries WHERE status <> 'delivered' GROUP BY status"


class Figures:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def queue(self) -> dict[str, tuple[int, float | None]]:
        """By stage: how many messages wait, and since when the oldest does (unix seconds)."""
        return dict.fromkeys(STAGES, (0, None)) | {
            row[0]: (row[1], row[2]) for row in await self._database.all(_QUEUE)}

    async def deliveries(self) -> dict[str, tuple[int, float | None]]:
        """Webhook deliveries that wait or were parked, likewise."""
        return dict.fromkeys(("waiting", "parked"), (0, None)) | {
            row[0]: (row[1], row[2]) for row in await self._database.all(_DELIVERIES)}
