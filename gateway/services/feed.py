"""The journal as it grows: stored first, told second. Readers get every event after their own last number, in order;
one that does not keep up is let go, never waited for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import structlog

from gateway.store.database import Transaction
from gateway.store.journal import Event, Journal

log = structlog.get_logger("gateway.feed")

QUEUE = 1000            # events a reader may lag behind before it is let go
AT_ONCE = 100           # readers woken in one turn of the event loop: thousands would hold up everybody else


class SlowReader(Exception):
    """The reader was let go; it can come back with its last number."""


class Stopping(Exception):
    """The daemon ends the stream."""


class Revoked(Exception):
    """The reader's API key was revoked."""


class Subscription:
    """One reader. Iterate over it; the end is always an exception that says why."""

    def __init__(self, feed: Feed, after: int | None, wants: Callable[[Event], bool], scope: dict[str, str],
                 key_id: str | None) -> None:
        self._feed, self._after, self._wants = feed, after, wants
        self.scope, self.key_id = scope, key_id
        self._queue: deque[Event] = deque()
        self.wake = asyncio.Event()
        self.waits_to_be_woken = False
        self._ended: Exception | None = None

    def offer(self, event: Event) -> None:
        if self._ended is None and self._wants(event):
            if len(self._queue) >= QUEUE:
                self.end(SlowReader(f"more than {QUEUE} events behind"))
                return
            self._queue.append(event)
            self._feed.wake_later(self)

    def end(self, why: Exception) -> None:
        self._ended = self._ended or why
        self.wake.set()

    async def events(self, *, follow: bool = True) -> AsyncIterator[Event]:
        """Ends only without `follow`, after what is there already. Raises SlowReader, Stopping, Revoked, …"""
        last = self._after
        if last is not None:
            head = self._feed.head
            while last < head:
                page = await self._feed.journal.after(last, 500, **self.scope)
                for event in page:
                    if self._ended is not None and not isinstance(self._ended, SlowReader):
                        raise self._ended               # a revoked key's reader gets no more of the past either
                    if self._wants(event):
                        yield event
                    last = event.seq
                if len(page) < 500:
                    break
            last = max(last, head)
        while follow:
            while self._queue:
                event = self._queue.popleft()
                if last is None or event.seq > last:
                    yield event
            if self._ended is not None:
                raise self._ended
            self.wake.clear()
            await self.wake.wait()


class Feed:
    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.head = 0
        self._subscriptions: set[Subscription] = set()
        self._listeners: list[Callable[[Event], None]] = []
        self._stopped = False
        self._to_wake: deque[Subscription] = deque()
        self._waking = False

    async def start(self) -> None:
        self.head = await self.journal.last()

    async def tell(self, tx: Transaction, *, owner: str, session_id: str, type: str, at: float, data: dict[str, Any]) -> None:
        """Within the transaction that makes it true; readers hear of it once that is committed."""
        event = await self.journal.append(tx, owner=owner, session_id=session_id, type=type, at=at, data=data)
        tx.callbacks.append(lambda: self._publish(event))

    def _publish(self, event: Event) -> None:
        self.head = event.seq
        for subscription in self._subscriptions:
            subscription.offer(event)
        if not self._waking:
            self._wake_some()
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:               # it is committed: who waits for that must not be told otherwise
                log.exception("listener_failed", type=event.type)

    def wake_later(self, subscription: Subscription) -> None:
        if not subscription.waits_to_be_woken:
            subscription.waits_to_be_woken = True
            self._to_wake.append(subscription)

    def _wake_some(self) -> None:
        """The first of them now, the others in turns of the loop in which everybody else has his, too."""
        for _ in range(min(AT_ONCE, len(self._to_wake))):
            subscription = self._to_wake.popleft()
            subscription.waits_to_be_woken = False
            subscription.wake.set()
        self._waking = bool(self._to_wake)
        if self._waking:
            asyncio.get_running_loop().call_soon(self._wake_some)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """A callback for every event, which must not block (metrics, the webhooks' wake-up)."""
        self._listeners.append(listener)

    def subscribe(self, *, owner: str | None = None, session_id: str | None = None, types: Iterable[str] = (),
                  after: int | None = None, key_id: str | None = None) -> Subscription:
        """Events of an owner or a session, of the named types (none named: all), after a journal number (None: from now on).
        `key_id`: the key that reads, whose revocation ends it. `close` it when done."""
        wanted = frozenset(types)

        def wants(event: Event) -> bool:
            return ((owner is None or event.owner == owner) and (session_id is None or event.session_id == session_id)
                    and (not wanted or event.type in wanted))

        scope = {"session_id": session_id} if session_id else {"owner": owner} if owner else {}
        subscription = Subscription(self, after, wants, scope, key_id)
        if self._stopped:
            subscription.end(Stopping())
        self._subscriptions.add(subscription)
        return subscription

    def close(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)

    @property
    def readers(self) -> int:
        return len(self._subscriptions)

    def end_session(self, session_id: str, subscription_end: Exception) -> None:
        """The session is gone: its own streams end (those of the whole key go on)."""
        for subscription in list(self._subscriptions):
            if subscription.scope.get("session_id") == session_id:
                subscription.end(subscription_end)

    def end_key(self, key_id: str) -> None:
        for subscription in self._subscriptions:
            if subscription.key_id == key_id:
                subscription.end(Revoked())

    def stop(self) -> None:
        """Every reader gets its end; new ones get it at once."""
        self._stopped = True
        for subscription in self._subscriptions:
            subscription.end(Stopping())
