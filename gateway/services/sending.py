"""The sending half of a session: takes what the outbox holds, in each chat's order, prepares ahead, keeps the pace, hands
over, and settles what was cut off.

A send is written down as `sending`, with its secret, before the core is called. The core commits that secret together with
the message's id before the first byte leaves. So after a crash: no id under the secret means the message certainly never
left, and it is sent again; an id means it may have, and receipts under that id are awaited before the policy decides.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from gateway.config import Sending as SendingSettings
from gateway.errors import GatewayError
from gateway.jid import shorten
from gateway.link.base import Link, LinkError, SendError
from gateway.services.drafts import Draft
from gateway.services.ledger import Ledger
from gateway.services.pacing import HOUR, Pace
from gateway.services.preparing import Prepared
from gateway.services.storing import is_storage, until_stored
from gateway.services.waiting import wait
from gateway.store.database import Transaction
from gateway.store.messages import Message, Messages
from gateway.store.store import Store

log = structlog.get_logger("gateway.sending")

AHEAD = 6                       # messages of a session prepared at once, ahead of their turn
AHEAD_BYTES = 32 << 20          # of files that lie ready in memory; beyond, only what is first in its chat
RETRY_SECONDS = (1, 2, 5, 15, 30, 60)
RESTRICTED_SECONDS = HOUR       # when WhatsApp does not say for how long
PRESENCE_SECONDS = (0.6, 1.6)   # how long 'recording audio…' is shown


class Prepare(Protocol):
    async def __call__(self, draft: Draft) -> Prepared:
        """Raises GatewayError."""


class Watch(Protocol):
    """What a sender tells its session."""

    def ack_missing(self) -> None: ...
    def acked(self) -> None: ...
    def unconfirmed(self) -> None: ...
    async def restricted(self, until: float) -> None: ...
    @property
    def restricted_until(self) -> float | None: ...
    @property
    def pace(self) -> Pace: ...


@dataclass(frozen=True, slots=True)
class Metrics:
    """Callbacks with seconds; what measures them is up to who builds the program."""

    ack: Callable[[float], None] = lambda seconds: None
    prepared: Callable[[str, float], None] = lambda kind, seconds: None


class Sender:
    """Empties one session's outbox while its link is usable. `run` until cancelled; `stop` lets the send under way end."""

    def __init__(self, session_id: str, link: Link, store: Store, ledger: Ledger, prepare: Prepare, watch: Watch,
                 settings: SendingSettings, *, clock: Callable[[], float] = time.time,
                 chance: random.Random | None = None, metrics: Metrics = Metrics()) -> None:
        self._session_id, self._link, self._store, self._ledger = session_id, link, store, ledger
        self._prepare, self._watch, self._settings, self._clock = prepare, watch, settings, clock
        self._chance, self._metrics = chance or random.Random(), metrics
        self._messages: Messages = store.messages
        self._write = store.database.write
        self._connected = False
        self._settle_from: float | None = None
        self._wake = asyncio.Event()
        self._preparing: dict[str, asyncio.Task[Prepared]] = {}
        self._last_handed: float | None = None
        self._next_at: float | None = None          # of the pace, kept so that its jitter is drawn once a message
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._log = log.bind(session=session_id)

    # ------------------------------------------------------------------ what the session tells us

    def wake(self) -> None:
        """Something was accepted, changed or settled."""
        self._wake.set()

    def connected(self) -> None:
        self._connected = True
        self._wake.set()

    def disconnected(self) -> None:
        self._connected = False
        self._settle_from = None

    def caught_up(self) -> None:
        """WhatsApp has delivered what waited for us: receipts that exist have arrived or are on their way."""
        self._settle_from = self._clock()
        self._wake.set()

    async def stop(self, grace_seconds: float) -> None:
        """No new send; the one under way may end within the time."""
        self._stopping = True
        self._wake.set()
        await wait(self._idle, grace_seconds)

    # ------------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Until stopped or cancelled. What goes wrong here (the disk is full) is tried again: nobody else empties the outbox."""
        self._failures = 0
        try:
            while not self._stopping:
                try:
                    await self._recover()
                    await self._work()
                except GatewayError as error:
                    self._log.error("sending_interrupted", error=error.message)
                except Exception:
                    self._log.exception("sending_interrupted")
                if not self._stopping:
                    await asyncio.sleep(RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)])
                    self._failures += 1
        finally:
            for task in self._preparing.values():
                task.cancel()
            await asyncio.gather(*self._preparing.values(), return_exceptions=True)

    async def _work(self) -> None:
        while not self._stopping:
            self._wake.clear()
            pause = await self._step() if self._connected else None
            self._failures = 0
            if pause != 0:
                await wait(self._wake, pause)

    async def _recover(self) -> None:
        """What was being handed over when the last process ended."""
        for message in await self._messages.handed_over(self._session_id):
            await self._settle_handed_over(message)

    async def _settle_handed_over(self, message: Message) -> None:
        now = self._clock()
        secret = await self._messages.secret(message.id)
        try:
            wa_id = await self._link.find_sent(secret) if secret else None
        except LinkError as error:
            if error.code == "storage_unavailable":     # asked again later
                raise GatewayError(error.code, error.text) from error
            why = f"Its fate cannot be told: {error.text}"
            await self._write(lambda tx: self._ledger.fail(tx, message, "send_unconfirmed", why, now,
                                                           may_have_been_delivered=True))
            return
        await self._write(lambda tx: self._ledger.requeue(tx, message, now) if wa_id is None
                          else self._ledger.unconfirmed(tx, message, wa_id, now))
        self._log.info("send_recovered", message=message.id, handed_over=wa_id is not None)

    async def _step(self) -> float | None:
        """Sends at most one message. Seconds until there is something to do again: 0 now, None when woken."""
        now, until = self._clock(), self._watch.restricted_until or 0
        heads = await self._messages.heads(self._session_id, new_chats=until <= now)     # WhatsApp may hold those up
        following = await self._messages.queue(self._session_id, AHEAD)
        for id_ in self._preparing.keys() - {message.id for message in (*heads, *following)}:
            self._preparing.pop(id_).cancel()       # cancelled, or settled by somebody else
        waits = [until] if until > now else []
        latest = max(now + RETRY_SECONDS[-1], until)        # what lies further ahead is of a clock that was set back since
        for message in heads:
            if message.stage == "unconfirmed":
                due = await self._settle(message, now)
                if due is None:
                    return 0
                waits.append(due)
            elif message.not_before and now < message.not_before <= latest:
                waits.append(message.not_before)
            else:
                task = self._prepared_ahead(message)
                if task is not None and task.done():
                    for later in following:
                        if self._lying_ready((*heads, *following)) < AHEAD_BYTES:
                            self._prepared_ahead(later)
                    if await self._send_in_pace(message, task, now, waits):
                        return 0
                    break                           # the pace is the session's: nobody goes before
        return max(0.01, min(waits) - self._clock()) if waits else None

    def _lying_ready(self, waiting: Iterable[Message]) -> int:
        """Bytes of what is ready, and of what is being made so, as far as its size is known."""
        known = {message.id: int(message.facts.get("size", 0)) for message in waiting}
        return sum(max(_bytes_of(task), known.get(id_, 0)) for id_, task in self._preparing.items())

    def _prepared_ahead(self, message: Message) -> asyncio.Task[Prepared] | None:
        """Some at a time, so that one slow URL holds up its own chat only."""
        task = self._preparing.get(message.id)
        if task is None and message.stage in ("queued", "preparing", "waiting") \
                and sum(not other.done() for other in self._preparing.values()) < AHEAD:
            task = self._begin_preparing(message)
        return task

    def _begin_preparing(self, message: Message) -> asyncio.Task[Prepared]:
        async def prepare() -> Prepared:
            payload = await self._messages.payload(message.id)
            if payload is None:
                raise GatewayError("internal_error", "The message's content is gone.")
            draft = Draft.decode(payload)
            if draft.ready:
                return Prepared(draft, message.facts)
            await self._write(lambda tx: self._messages.set_stage(tx, message.id, "preparing"))
            started = time.perf_counter()
            prepared = await self._prepare(draft)
            self._metrics.prepared(str(prepared.facts.get("input_codec", draft.kind)), time.perf_counter() - started)
            return prepared

        task = asyncio.create_task(prepare(), name=f"prepare {message.id}")
        task.add_done_callback(self._handle_prepared)
        self._preparing[message.id] = task
        return task

    def _handle_prepared(self, task: asyncio.Task[Prepared]) -> None:
        if not task.cancelled():
            task.exception()                        # seen, also where the message was cancelled and nobody asks
        self._wake.set()

    async def _send_in_pace(self, message: Message, task: asyncio.Task[Prepared], now: float, waits: list[float]) -> bool:
        """True when the message was dealt with; False when it has to wait for its turn."""
        if (error := task.exception()) is not None:
            del self._preparing[message.id]
            if is_storage(error):
                raise error                         # not the message's fault: it is prepared again
            await self._fail_preparing(message, error)
            return True
        pace = self._watch.pace
        if self._next_at is None:
            sent, first = await self._messages.sent_between(self._session_id, now - HOUR, now)
            self._next_at = pace.next_at(now, self._last_handed, sent, first, self._chance)
        if self._next_at > now:
            at, self._next_at = self._next_at, None if self._next_at - now > 10 else self._next_at
            waits.append(min(at, now + 60))         # looked at again: settings change, clocks too
            if message.stage != "waiting":
                await self._write(lambda tx: self._messages.set_stage(tx, message.id, "waiting"))
            return False
        if self._stopping:
            return False
        self._next_at = None
        prepared = task.result()
        self._idle.clear()
        try:
            await self._send(message, prepared, pace)
        finally:
            self._idle.set()
        return True

    async def _fail_preparing(self, message: Message, error: BaseException) -> None:
        if isinstance(error, GatewayError):
            code, text = error.code, error.message
        else:
            self._log.error("preparing_failed", message=message.id, exc_info=error)
            code, text = "internal_error", "The gateway could not prepare the message; its log says why."
        await self._write(lambda tx: self._ledger.fail(tx, message, code, text, self._clock()))

    # ------------------------------------------------------------------ one send

    async def _send(self, message: Message, prepared: Prepared, pace: Pace) -> None:
        if not await self._exists(message):
            return
        if pace.recording_presence and prepared.draft.kind not in ("reaction", "revoke"):
            await self._show_presence(message, prepared)
        secret = os.urandom(32)

        async def hand_over(tx: Transaction) -> bool:
            if (facts := {**message.facts, **prepared.facts}) != message.facts:
                await self._messages.set_facts(tx, message.id, facts)
            return await self._ledger.hand_over(tx, message, secret, self._clock())

        if not await self._write(hand_over):                         # cancelled while its presence was shown
            self._preparing.pop(message.id, None)
            return
        self._last_handed = self._clock()
        started = time.perf_counter()
        warning = asyncio.create_task(self._warn_no_ack(message), name=f"ack of {message.id}")
        try:
            receipt = await self._link.send(message.chat, prepared.draft.outgoing(), secret)
        except SendError as error:
            await until_stored(partial(self._handle_send_error, message, error), self._log)
        except Exception:
            self._log.exception("send_failed", message=message.id)
            await until_stored(partial(self._handle_accident, message), self._log)
        else:
            self._metrics.ack(time.perf_counter() - started)
            self._watch.acked()
            self._preparing.pop(message.id, None)
            await until_stored(partial(self._handle_sent, message, receipt.id, prepared.draft), self._log)
            self._log.info("sent", message=message.id, kind=message.kind, to=shorten(str(message.chat)))
        finally:
            warning.cancel()

    async def _handle_sent(self, message: Message, wa_id: str, draft: Draft) -> None:
        async def sent(tx: Transaction) -> None:
            current = await self._messages.one(message.id, tx)
            assert current is not None
            await self._ledger.sent(tx, current, wa_id, self._clock())
            if draft.data:                      # the file is WhatsApp's now; its caption stays
                await self._messages.set_payload(tx, message.id, draft.without_file().encode())

        await self._write(sent)

    async def _handle_accident(self, message: Message) -> None:
        """A mistake of ours in the middle of a send: once is enough, if it has certainly not left."""
        self._preparing.pop(message.id, None)
        current = await self._messages.one(message.id)
        assert current is not None
        secret = await self._messages.secret(message.id)
        try:
            handed_over = secret is None or await self._link.find_sent(secret) is not None
        except LinkError:
            handed_over = True
        if handed_over:
            await self._settle_handed_over(current)
            return
        await self._write(lambda tx: self._ledger.fail(
            tx, current, "internal_error", "The gateway could not send the message; its log says why.", self._clock()))

    async def _exists(self, message: Message) -> bool:
        """A number that is not on WhatsApp fails before a chat is opened with it: asking costs less than sending."""
        if not self._settings.check_numbers or message.chat.phone is None:
            return True
        if await self._messages.knows_chat(message.owner, self._session_id, message.chat):
            return True
        try:
            found = await self._link.is_on_whatsapp([message.chat.user])
        except LinkError as error:
            self._log.info("number_check_failed", message=message.id, error=error.text)
            return True                             # the send itself will tell
        if found.get(message.chat.user) is not None:
            return True
        self._preparing.pop(message.id, None)
        await self._write(lambda tx: self._ledger.fail(tx, message, "not_on_whatsapp", "That number is not on WhatsApp.",
                                                       self._clock()))
        return False

    async def _show_presence(self, message: Message, prepared: Prepared) -> None:
        if message.chat.server == "newsletter":
            return
        state = "recording" if prepared.draft.kind == "ptt" else "composing"
        try:
            await self._link.chat_presence(message.chat, state)         # type: ignore[arg-type]
        except LinkError as error:
            self._log.debug("presence_failed", error=error.text)
        else:
            await asyncio.sleep(self._chance.uniform(*PRESENCE_SECONDS))

    async def _warn_no_ack(self, message: Message) -> None:
        await asyncio.sleep(self._settings.no_ack_seconds)
        self._watch.ack_missing()
        now, seconds = self._clock(), self._settings.no_ack_seconds

        async def warn(tx: Transaction) -> None:
            await self._ledger.warn(tx, message, "no_ack", f"WhatsApp has not acknowledged the message for {seconds:g} s.", now)

        await until_stored(lambda: self._write(warn), self._log)

    async def _handle_send_error(self, message: Message, error: SendError) -> None:
        now = self._clock()
        current = await self._messages.one(message.id)
        assert current is not None
        self._log.warning("send_failed", message=message.id, code=error.code, certain=error.certain, text=error.text)
        if not error.certain:
            await self._settle_handed_over(current)
            self._watch.unconfirmed()
            return
        until = error.restricted_until or now + RESTRICTED_SECONDS
        if error.code == "account_restricted":
            await self._watch.restricted(until)

        async def settle(tx: Transaction) -> None:
            if error.code == "account_restricted":
                # This one was refused, even if its chat is not new: knocking on would make the restriction longer.
                await self._ledger.requeue(tx, current, now, not_before=until)
            elif error.retry:
                delay = RETRY_SECONDS[min(current.attempts, len(RETRY_SECONDS)) - 1]
                await self._ledger.requeue(tx, current, now, not_before=now + delay)
            else:
                await self._ledger.fail(tx, current, error.code, error.text, now)

        if not (error.retry or error.code == "account_restricted"):
            self._preparing.pop(message.id, None)
        await self._write(settle)

    async def _settle(self, message: Message, now: float) -> float | None:
        """An unconfirmed send: None when it is settled, else when to look again."""
        if self._settle_from is None:
            return now + 5
        self._settle_from = min(self._settle_from, now)         # later: the clock was set back since
        handed = message.handed_at if message.handed_at is not None and message.handed_at <= now else 0
        due = max(self._settle_from, handed) + self._settings.settle_seconds
        if now < due:
            return due
        self._preparing.pop(message.id, None)
        if self._settings.unconfirmed == "resend":
            await self._write(lambda tx: self._ledger.requeue(tx, message, now, may_have_been_delivered=True))
        else:
            await self._write(lambda tx: self._ledger.fail(
                tx, message, "send_unconfirmed", "The connection was cut before WhatsApp confirmed the message, and no receipt "
                "has come since.", now, may_have_been_delivered=True))
        return None


def _bytes_of(task: asyncio.Task[Prepared]) -> int:
    """What a message that lies ready takes up."""
    return len(task.result().draft.data) if task.done() and not task.cancelled() and task.exception() is None else 0
