"""Carries one webhook's events to its receiver: nothing is lost while the receiver is down, and every chat keeps its order.

Three things may be wrong, and they look alike from here: the receiver is down, it is stumbling, or it does not like this one
delivery. So whenever a delivery fails, no new ones start until *another* delivery has been tried: if that one is taken, only
the first is held back, with its chat behind it; if not, the receiver is down and everything waits in line, the oldest being
tried at the times of RETRY_SECONDS and then every ten minutes. A delivery whose retries are used up is parked. It keeps its
place in line as long as the receiver takes nothing else; once it does, the delivery has one more try and is then set aside.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from gateway.errors import GatewayError
from gateway.media.fetch import FetchError, Posted
from gateway.services.waiting import wait
from gateway.services.webhook_telling import WITH_FILE, Formatter, Telling, Written
from gateway.store.database import Transaction
from gateway.store.journal import Event
from gateway.store.store import Store
from gateway.store.webhooks import NEVER, TOO_OLD, Delivery, Webhook

log = structlog.get_logger("gateway.webhooks")

RETRY_SECONDS = (1.0, 5.0, 30.0, 120.0, 600.0)
TRIES = len(RETRY_SECONDS) + 1
TIMEOUT_SECONDS = 10.0
AT_ONCE = 8                             # chats of one webhook served at the same time
SECRETS = ("qr", "pairing_code")        # they link a phone: only for a webhook that names them
MOST_FILE = 16 << 20                    # bytes of a file that goes with a webhook
FILES_AT_ONCE = 2                       # of one webhook: each is in memory several times, also as base64
_GONE = 410
_OWN_WORDS = ("native", "svara")        # formats that say nothing of the session but its id
_MAKE = 200                             # events turned into deliveries in one transaction

Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[Posted]]
"""(url, body, headers). Raises FetchError."""
Files = Callable[[str], Awaitable[bytes]]
"""The file of a message, by our id. Raises GatewayError."""
Wait = Callable[[asyncio.Event, float | None], Awaitable[None]]
"""Until the event is set, or so many seconds have passed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one try. `status` None: the receiver did not answer, `error` says why."""

    status: int | None
    error: str | None

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def wants(webhook: Webhook, type_: str) -> bool:
    return type_ in webhook.types if webhook.types or type_ in SECRETS else True


def chat_of(event: Event) -> str:
    """Events of one chat go one after the other; so do those of a session that belong to no chat."""
    return f"{event.session_id}/{event.data.get('chat') or event.data.get('to') or ''}"


class Courier:
    """`run` until cancelled, or until the webhook is deleted. `wake` whenever there may be something to do."""

    def __init__(self, webhook_id: str, store: Store, post: Post, formats: Mapping[str, Formatter],
                 clock: Callable[[], float], wait: Wait = wait, base: str = "", files: Files | None = None) -> None:
        self._id, self._store, self._post, self._formats = webhook_id, store, post, formats
        self._clock, self._wait, self._base, self._files = clock, wait, base, files
        self._wake, self._room = asyncio.Event(), asyncio.Semaphore(FILES_AT_ONCE)
        self._flying: dict[int, asyncio.Task[bool]] = {}
        self._alarm: float | None = 0.0         # when the next delivery that waits for its time is due
        self._held = True                       # there may be parked ones that kept their place (from before a restart)
        # What the receiver does:
        self.failing_since: float | None = None
        self.retry_at = 0.0
        self._down = False                      # more than one delivery has failed since the last one that was taken
        self._rounds = 0
        self._taken = 0
        self._failed: set[int] = set()          # since the last one that was taken
        self._blamed: set[int] = set()          # failed, while the receiver took others
        self._log = log.bind(webhook=webhook_id)

    def wake(self) -> None:
        self._wake.set()

    def retry_now(self) -> None:
        """Somebody asked for a delivery again, or changed the webhook: a receiver that was down is tried at once."""
        self.retry_at = 0.0
        self._wake.set()

    async def run(self) -> None:
        try:
            while True:
                self._wake.clear()
                webhook = await self._store.webhooks.one(self._id)
                if webhook is None:
                    return
                await self._make(webhook)
                pause = await (self._start_due(webhook) if self.failing_since is None else self._probe(webhook))
                if pause != 0:
                    await self._wait(self._wake, pause)
                self._land()
        finally:
            for task in self._flying.values():
                task.cancel()
            await asyncio.gather(*self._flying.values(), return_exceptions=True)
            self._flying.clear()

    # ------------------------------------------------------------------ from the journal

    async def _make(self, webhook: Webhook) -> None:
        """Journal events become deliveries, and the position moves with them, in one transaction."""
        scope = {"session_id": webhook.session_id} if webhook.session_id else {"owner": webhook.owner}
        position = webhook.position
        while events := await self._store.journal.after(position, _MAKE, **scope):
            secret = await self._store.webhooks.secret(webhook.id)
            if secret is None:
                return                          # deleted just now
            position = events[-1].seq
            ids = {event.seq: await self._delivery_id(webhook, event, secret) for event in events if wants(webhook, event.type)}
            await self._store.database.write(partial(self._deliveries_of, webhook, events, ids))

    async def _deliveries_of(self, webhook: Webhook, events: list[Event], ids: Mapping[int, str | None], tx: Transaction) -> None:
        for event in events:
            if id_ := ids.get(event.seq):
                await self._store.webhooks.make(tx, webhook, id=id_, journal_seq=event.seq, chat=chat_of(event), at=self._clock())
        await self._store.webhooks.advance(tx, webhook.id, events[-1].seq)

    async def _delivery_id(self, webhook: Webhook, event: Event, secret: str) -> str | None:
        """The same words for the same webhook are one delivery, so its id is made of them."""
        draft = Delivery(0, "", webhook.id, event.seq, "", "waiting", 0, 0, None, None, 0, None)
        written = await self._written(webhook, draft, event, secret, 0)
        return str(uuid.uuid5(uuid.UUID(webhook.id), written[0].decode())) if written else None

    async def _written(self, webhook: Webhook, delivery: Delivery, event: Event, secret: str, now: float,
                       file: bytes | None = None) -> Written | None:
        session = None if webhook.format in _OWN_WORDS else await self._store.sessions.one(event.session_id)
        write = self._formats[webhook.format]
        telling = Telling(event, delivery, secret, now, session, webhook.url, self._base, file)
        try:
            return await asyncio.to_thread(write, telling) if file else write(telling)
        except (LookupError, TypeError, ValueError):        # one event that cannot be worded does not hold up the others
            self._log.exception("event_not_worded", format=webhook.format, seq=event.seq)
            return None

    async def _file(self, webhook: Webhook, event: Event) -> bytes | None:
        """Without it, where WhatsApp does not have it any more or it is large, the message is told all the same."""
        if self._files is None or webhook.format not in WITH_FILE or not 0 < event.data.get("size", 0) <= MOST_FILE:
            return None
        try:
            return await self._files(event.data["id"])
        except GatewayError as error:
            self._log.info("webhook_without_file", seq=event.seq, error=error.message)
            return None

    # ------------------------------------------------------------------ while the receiver takes what it gets

    async def _start_due(self, webhook: Webhook) -> float | None:
        """Starts what is due, as far as there is room. Seconds until something else will be; None: when woken."""
        now = self._clock()
        due = await self._store.webhooks.due(webhook.id, now, RETRY_SECONDS[-1], 2 * AT_ONCE)
        for delivery in [d for d in due if d.seq not in self._flying][:AT_ONCE - len(self._flying)]:
            task = asyncio.create_task(self._carry(webhook, delivery), name=f"delivery {delivery.id}")
            task.add_done_callback(lambda _: self._wake.set())
            self._flying[delivery.seq] = task
        if self._alarm is not None and self._alarm <= now:
            self._alarm = await self._store.webhooks.next_due(webhook.id, now)
        return min(max(0.001, self._alarm - now), RETRY_SECONDS[-1]) if self._alarm is not None else None

    def _land(self) -> None:
        """Raises what a delivery raised: the store could not be written."""
        for seq, task in list(self._flying.items()):
            if task.done():
                del self._flying[seq]
                task.result()

    # ------------------------------------------------------------------ while it does not

    async def _probe(self, webhook: Webhook) -> float | None:
        """One at a time, until the receiver takes one. Seconds until the next try; None: when woken."""
        if self._flying:
            return None
        first = await self._store.webhooks.first(webhook.id, self._blamed)
        if first is None:
            self._recover()                     # what failed is deleted, delivered by replay, or set aside
            return 0
        now = self._clock()
        if self.retry_at > now + RETRY_SECONDS[-1]:
            self.retry_at = now                 # the clock was set back
        if again := now >= self.retry_at:
            if await self._carry(webhook, first):
                return 0
            tried, first = first, await self._store.webhooks.first(webhook.id, self._blamed)
            if first is None or first.seq != tried.seq:
                return 0                        # it is out of the line: the next one's turn
            self._rounds += 1
            self.retry_at = self._clock() + _delay(self._rounds)
            self._down = False
        if not self._down and (other := await self._another(first, again)) is not None:
            if await self._carry(webhook, other, counted=False):
                return 0
            self._down = True
        return max(0.001, self.retry_at - self._clock())

    async def _another(self, first: Delivery, again: bool) -> Delivery | None:
        """One that has not failed yet, or after a while `again` one that has."""
        # A receiver that does not answer at all is down, whatever it is sent: its chats need not lose their order to learn it.
        same_chat = first.status == "parked" and first.last_status is not None
        other = await self._store.webhooks.other(first, self._failed, same_chat=same_chat)
        if other is None and again:
            other = await self._store.webhooks.other(first, (), same_chat=same_chat)
        return other

    # ------------------------------------------------------------------ one delivery

    async def _carry(self, webhook: Webhook, delivery: Delivery, *, counted: bool = True) -> bool:
        """True when the receiver took it."""
        taken_before = self._taken
        event = await self._store.journal.one(delivery.journal_seq)
        if event is None:
            await self._write(delivery, Answer(None, TOO_OLD), "parked", NEVER)
            return False
        answer = await self._try(webhook, delivery, event)
        if answer.taken:
            await self._write(delivery, answer, "delivered", 0)
            self._taken += 1
            self._blamed |= self._failed
            self._failed.clear()
            self._blamed.discard(delivery.seq)
            self._recover()
            if self._held:
                await self._store.database.write(
                    lambda tx: self._store.webhooks.release(tx, webhook.id, self._clock(), TRIES - 1))
                self._held = False
        elif answer.status == _GONE:
            await self._write(delivery, answer, "parked", NEVER)
        else:
            await self._handle_failure(delivery, answer, counted, blamed=delivery.seq in self._blamed
                                       or self._taken > taken_before)
        return answer.taken

    async def _try(self, webhook: Webhook, delivery: Delivery, event: Event) -> Answer:
        async with self._room if webhook.format in WITH_FILE else contextlib.nullcontext():
            return await self._post_words(webhook, delivery, event)

    async def _post_words(self, webhook: Webhook, delivery: Delivery, event: Event) -> Answer:
        secret = await self._store.webhooks.secret(webhook.id)
        file = await self._file(webhook, event)
        if secret is None or (written := await self._written(webhook, delivery, event, secret, self._clock(), file)) is None:
            return Answer(204, None)            # the webhook is deleted, or its format has no words for it: nothing to tell
        body, headers = written
        try:
            posted = await self._post(webhook.url, body, {"Content-Type": "application/json", **headers})
        except FetchError as error:
            return Answer(None, error.text)
        return Answer(posted.status, None if 200 <= posted.status < 300 else f"HTTP {posted.status}: "
                      f"{' '.join(posted.body_excerpt.split())[:300]}".removesuffix(": "))

    async def _handle_failure(self, delivery: Delivery, answer: Answer, counted: bool, *, blamed: bool) -> None:
        now = self._clock()
        attempts = delivery.attempts + counted
        if not counted:
            status, next_at = delivery.status, delivery.next_at
        elif attempts < TRIES:
            status, next_at = "waiting", now + _delay(attempts)
        else:
            status, next_at = "parked", NEVER if blamed else now + RETRY_SECONDS[-1]
            self._held = self._held or not blamed
        await self._write(delivery, answer, status, next_at, counted)
        if next_at < NEVER and counted:
            self._alarm = next_at if self._alarm is None else min(self._alarm, next_at)
        if blamed:
            self._blamed.add(delivery.seq)
            if next_at == NEVER:
                self._blamed.discard(delivery.seq)
                self._log.warning("delivery_set_aside", delivery=delivery.id, error=answer.error)
            return
        self._failed.add(delivery.seq)
        if self.failing_since is None:
            self.failing_since, self._rounds, self.retry_at, self._down = now, 1, now + _delay(1), False
            self._log.warning("webhook_failing", error=answer.error)
        elif counted and len(self._failed) > 1:
            self._down = True                   # several were under way, and none of them was taken

    def _recover(self) -> None:
        if self.failing_since is not None:
            self._log.info("webhook_recovered", seconds=round(self._clock() - self.failing_since, 1))
        self.failing_since, self._down, self._rounds = None, False, 0

    async def _write(self, delivery: Delivery, answer: Answer, status: str, next_at: float, counted: bool = True) -> None:
        await self._store.database.write(lambda tx: self._store.webhooks.tried(
            tx, delivery, status=status, at=self._clock(), next_at=next_at, last_status=answer.status, last_error=answer.error,
            counted=counted))


def _delay(failures: int) -> float:
    return RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1]
