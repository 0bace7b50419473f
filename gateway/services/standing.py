"""How a session stands: its row and its state, stored and told once, in one place. Everybody reads the same values."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.link.base import Generations, Links, SessionFile
from gateway.services.feed import Feed
from gateway.services.ledger import Ledger
from gateway.services.receiving import Receiving
from gateway.services.sending import Metrics, Prepare
from gateway.services.storing import is_storage, until_stored
from gateway.states import REASONS, SessionState, Status
from gateway.store.database import Transaction
from gateway.store.sessions import Session
from gateway.store.store import Store

log = structlog.get_logger("gateway.session")

DIAL_SECONDS = (1, 2, 4, 8, 15, 30, 60)         # between dials of our own; the core paces its reconnects itself


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every live session works with."""

    settings: Settings
    store: Store
    links: Links
    feed: Feed
    ledger: Ledger
    receiving: Receiving
    prepare: Prepare
    clock: Callable[[], float]
    chance: random.Random
    generations: Generations | None = None
    metrics: Metrics = field(default_factory=Metrics)

    def pause(self, tries: int) -> float:
        """Seconds before the next dial, after so many in vain."""
        return self.jitter(DIAL_SECONDS[min(tries, len(DIAL_SECONDS) - 1)])

    def jitter(self, seconds: float) -> float:
        return seconds * self.chance.uniform(0.75, 1.25)


class Standing:
    """`usable` is set while the session is connected, as far as anyone can tell."""

    def __init__(self, session: Session, around: Surroundings) -> None:
        self.session, self.around = session, around
        self.state = session.state
        self.usable = asyncio.Event()
        self.log = log.bind(session=session.id)
        self._changed = asyncio.Condition()
        self._setting = asyncio.Lock()
        self._unstored = False                              # the state is so, but the store could not be told

    def file(self) -> SessionFile:
        store = self.around.store
        wrapped = self.session.wrapped_key
        assert wrapped is not None
        return SessionFile(self.session.id, store.session_path(self.session.id),
                           store.vault.unwrap(wrapped, f"session/{self.session.id}"))

    # ------------------------------------------------------------------ waiting for a change

    async def wait_until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Until something about this session changed so that `true()`; False when the time ran out."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(true)
        except TimeoutError:
            return False
        return True

    async def tell_changed(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # ------------------------------------------------------------------ the state

    async def set(self, reason: str, *, detail: str = "", next_retry: float | None = None, until: float | None = None,
                  instead_of: str | None = None) -> None:
        """`instead_of`: only if the reason is that one until now. Raises storage_unavailable; a state that is no longer
        `connected` is shown all the same."""
        now = self.around.clock()
        async with self._setting:
            if instead_of is not None and self.state.reason.code != instead_of:
                return
            before, state = self.state, SessionState(REASONS[reason], now, detail, next_retry, until)
            if state.status is not Status.CONNECTED:
                self.usable.clear()
            if (state.reason, state.detail, state.until) == (before.reason, before.detail, before.until) and not self._unstored:
                self.state = replace(state, since=before.since)
            else:
                try:
                    await self._store_state(before, state, now)
                except GatewayError:
                    if state.status is not Status.CONNECTED:
                        self.state, self._unstored = state, True
                    raise
                self._unstored = False
            if state.status is Status.CONNECTED:
                self.usable.set()
        await self.tell_changed()

    async def be(self, reason: str, **more: Any) -> None:
        """`set`, as often as a full disk makes it necessary."""
        await until_stored(partial(self.set, reason, **more), self.log)

    async def _store_state(self, before: SessionState, state: SessionState, now: float) -> None:
        sessions, id_, public = self.around.store.sessions, self.session.id, state.public()

        async def store(tx: Transaction) -> None:
            # First of what the commit does: who subscribes right after it is not told of the change and has to see it.
            tx.on_commit(partial(setattr, self, "state", state))
            await sessions.set_state(tx, id_, state)
            await self.tell(tx, "status", now, public)
            if state.status is Status.CONNECTED:
                await sessions.update(tx, id_, last_connected_at=now, last_seen_at=now)
                await self.tell(tx, "connected", now, self._who())
            elif before.status is Status.CONNECTED:
                await sessions.update(tx, id_, last_seen_at=now)
                if state.status is Status.DISCONNECTED:
                    await self.tell(tx, "disconnected", now, public)
            if state.needs_somebody:
                await self.tell(tx, "error", now, {"code": state.reason.code, "message": state.reason.sentence,
                                                   "action": state.reason.action, "state": public})

        await self.around.store.database.write(store)
        await self.refresh()
        if before.status is not state.status or state.is_terminal:
            level = self.log.info if state.status in (Status.CONNECTED, Status.PENDING) else self.log.warning
            level("session_state", status=state.status.value, reason=state.reason.code, detail=state.detail)

    async def tell(self, tx: Transaction, type: str, at: float, data: dict[str, Any]) -> None:
        await self.around.feed.tell(tx, owner=self.session.owner, session_id=self.session.id, type=type, at=at,
                                    data={"session": self.session.id, **data})

    def _who(self) -> dict[str, Any]:
        s = self.session
        return {"jid": str(s.jid) if s.jid else None, "lid": str(s.lid) if s.lid else None, "phone_number": s.phone_number,
                "push_name": s.push_name, "platform": s.platform}

    async def update(self, **columns: Any) -> None:
        around = self.around.store
        await around.database.write(lambda tx: around.sessions.update(tx, self.session.id, **columns))
        await self.refresh()

    async def refresh(self) -> None:
        row = await self.around.store.sessions.one(self.session.id)
        if row is not None:
            self.session = row

    # ------------------------------------------------------------------ on the side

    def in_background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        _running.add(task)
        task.add_done_callback(self._background_ended)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        _running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A full disk: what is missing is shown all the same, and stored with the next state.
            self.log.error("state_not_told", error=str(error), exc_info=None if is_storage(error) else error)


_running: set[asyncio.Task[None]] = set()       # asyncio keeps only weak references to tasks
