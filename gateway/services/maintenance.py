"""What time does: messages that nobody got are told, those that waited too long expire, and what is old goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.services.ledger import Ledger
from gateway.store.database import Transaction
from gateway.store.store import Store

log = structlog.get_logger("gateway.maintenance")

EVERY_SECONDS = 30.0
FORGET_EVERY_SECONDS = 3600.0
HOUR, DAY = 3600.0, 86_400.0
_NOT_HANDED_OVER = ("queued", "preparing", "waiting")


class Maintenance:
    def __init__(self, store: Store, ledger: Ledger, settings: Settings, clock: Callable[[], float] = time.time,
                 sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._store, self._ledger, self._settings, self._clock, self._sleep = store, ledger, settings, clock, sleep
        self._forgot_at: float | None = None

    async def run(self) -> None:
        """Until cancelled. A pass that fails (the disk is full) is told and tried again."""
        while True:
            try:
                await self.sweep(self._clock())
            except GatewayError as error:
                log.error("maintenance_failed", error=error.message)
            except Exception:
                log.exception("maintenance_failed")
            await self._sleep(EVERY_SECONDS)

    async def sweep(self, now: float) -> None:
        """One pass. Retention is looked at in the first one and then hourly."""
        sending = self._settings.sending
        if sending.not_delivered_seconds:
            await self._warn_of_late(now, sending.not_delivered_seconds)
        if sending.expire_hours:
            await self._expire(now, sending.expire_hours)
        if self._forgot_at is None or not 0 <= now - self._forgot_at < FORGET_EVERY_SECONDS:
            await self._forget(now)
            self._forgot_at = now

    async def _warn_of_late(self, now: float, seconds: float) -> None:
        messages = self._store.messages
        while late := await messages.late(now - seconds):
            for message in late:
                async with self._store.database.transaction() as tx:
                    await messages.told_late(tx, message.id)
                    current = await messages.one(message.id, tx)
                    if current is not None and current.status == "sent":
                        await self._ledger.warn(tx, current, "not_delivered", "WhatsApp took the message, but no device of the "
                                                f"recipient has got it for {_duration(seconds)}: the phone may be off, or the "
                                                "recipient may have blocked this number.", now)

    async def _expire(self, now: float, hours: float) -> None:
        messages = self._store.messages
        while overdue := await messages.overdue(now - hours * HOUR):
            for message in overdue:
                async with self._store.database.transaction() as tx:
                    current = await messages.one(message.id, tx)
                    if current is not None and current.stage in _NOT_HANDED_OVER:       # the sender may just have taken it
                        await self._ledger.fail(tx, current, "expired", "The message could not be sent for "
                                                f"{_duration(hours * HOUR)} and has expired.", now)
                        log.info("message_expired", message=message.id, session=message.session_id)

    async def _forget(self, now: float) -> None:
        keep, store = self._settings.retention, self._store
        await self._all_of("deliveries", store.webhooks.forget, now - keep.journal_days * DAY)
        await self._all_of("events", store.journal.forget, now - keep.journal_days * DAY)
        await self._all_of("deliveries never taken", store.webhooks.set_aside, now - keep.journal_days * DAY)
        await self._all_of("messages", store.messages.forget, now - keep.messages_days * DAY)
        await self._all_of("answers", store.idempotency.forget, now - keep.idempotency_hours * HOUR)
        await self._all_of("files", store.media.forget, now)

    async def _all_of(self, what: str, forget: Callable[[Transaction, float], Awaitable[int]], before: float) -> None:
        total, count = 0, 1
        while count:                    # in small transactions: sends do not wait for a big one
            async with self._store.database.transaction() as tx:
                count = await forget(tx, before)
            total += count
        if total:
            log.info("forgotten", what=what, count=total)


def _duration(seconds: float) -> str:
    for unit, name in ((HOUR, "hour"), (60.0, "minute"), (1.0, "second")):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}{'' if seconds == unit else 's'}"
    return f"{seconds:g} seconds"
