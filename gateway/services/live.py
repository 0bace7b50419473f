"""One session while the daemon runs: its state, and the one activity it has at a time: pairing, holding a link, or none.

State changes happen in one place (`_set_state`), are stored and told once, and everybody reads the same value.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from gateway import events
from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.jid import shorten
from gateway.link.base import Generations, Link, LinkError, Links, SessionFile, StoreDamaged
from gateway.services.feed import Feed
from gateway.services.ledger import Ledger
from gateway.services.pacing import Pace
from gateway.services.receiving import Receiving
from gateway.services.sending import Metrics, Prepare, Sender
from gateway.services.storing import is_storage, until_stored
from gateway.states import REASONS, SessionState, Status
from gateway.store.database import Transaction
from gateway.store.sessions import Session
from gateway.store.store import Store
from gateway.times import iso

log = structlog.get_logger("gateway.session")

DIAL_SECONDS = (1, 2, 4, 8, 15, 30, 60)         # between dials of our own; the core paces its reconnects itself
PAIRING_GIVES_UP = 600.0                        # WhatsApp unreachable for this long while linking
CLOSE_SECONDS = 12.0
CATCH_UP_SECONDS = 20.0                         # the offline sync's end is told; if it is not, this is the limit

# How holding a link ended: for good (None), or (reason, detail, seconds until the next dial, None: our own back-off).
Outcome = tuple[str, str, float | None] | None
GO_ON: Outcome = ("", "", None)


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


class LiveSession:
    """Use `start`, `relink`, `connect`, `disconnect`, `end`; look at `state`, `qr`, `code`."""

    def __init__(self, session: Session, around: Surroundings) -> None:
        self.session = session
        self._around = around
        self.state = session.state
        self.qr: events.QrCode | None = None
        self.code: events.PairingCode | None = None
        self.link: Link | None = None
        self.sender: Sender | None = None
        self.usable = asyncio.Event()                       # connected, as far as anyone can tell
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._switching = asyncio.Lock()
        self._stating = asyncio.Lock()
        self._unstored = False                              # the state is so, but the store could not be told
        self._commanding = asyncio.Lock()
        self._over = False                                  # the daemon stops, or the session is being deleted
        self._inbox: asyncio.Queue[events.LinkEvent] | None = None
        self._log = log.bind(session=session.id)

    # ------------------------------------------------------------------ commands

    async def start(self) -> None:
        """At the daemon's start: what the session was doing, unless that had come to an end."""
        if self.session.stopped:
            return
        if self.session.jid is not None and self.state.status is not Status.LOGGED_OUT:
            if self.state.is_terminal and self.state.status is Status.FAILED:
                self._log.info("session_tried_again", reason=self.state.reason.code)
            await self._become(self._hold())
        elif self.state.status is Status.LOGGED_OUT:
            await self.abandon("The session was logged out before the message left.")
        elif not self.state.is_terminal and not await self._find_paired():
            await self._set_state("qr_expired", detail="The daemon was restarted while a code waited.")

    async def _find_paired(self) -> bool:
        """The phone may have accepted in the moment in which the last process ended: then the keys are in the file."""
        file = self._file()
        if not file.path.exists():
            return False
        try:
            account = await self._around.links.link(file, lambda event: None).account()
        except LinkError as error:
            self._log.warning("session_file_not_read", error=error.text)
            return False
        if account is None:
            return False
        await self._update(jid=account.jid, lid=account.lid, push_name=account.push_name, platform=account.platform, generation=0)
        await self._become(self._hold())
        return True

    async def relink(self, phone: str | None = None) -> None:
        """A fresh attempt to link; whatever went on before ends first, on the phone's list of devices too. What still waits to
        be sent fails: another phone may be linked next, and what was handed over is no longer known to the new keys."""
        async with self._commanding:
            self._check_open()
            await self.logout()
            await self._become(None)
            self._check_open()                                  # the log-out may have taken long
            try:
                self.qr = self.code = None
                await self._update(stopped=False, jid=None, lid=None, push_name="", generation=0, restricted_until=None)
                await self.abandon("The session was linked anew before the message left.")
                await self._set_state("pairing")
            except GatewayError:
                await self._resume()
                raise
            await self._become(self._pair_and_hold(phone))

    async def connect(self) -> None:
        async with self._commanding:
            self._check_open()
            await self._update(stopped=False)
            if self.session.jid is not None and self.link is None:
                await self._become(self._hold())

    async def disconnect(self) -> None:
        async with self._commanding:
            self._check_open()
            await self._update(stopped=True)
            await self._become(None)
            self.qr = self.code = None
            await self._set_state("stopped" if self.session.jid else "qr_expired")

    async def _resume(self) -> None:
        """A command could not be carried through: the session is not left saying what it no longer is."""
        if self.session.jid is not None:
            await self._become(self._hold())
        else:
            with contextlib.suppress(GatewayError):
                await self._set_state("qr_expired")

    def _check_open(self) -> None:
        if self._over:
            raise GatewayError("stopping")

    async def end(self, grace_seconds: float) -> None:
        """The daemon stops, or the session is deleted: the send under way may end, the link closes, and nothing begins any more.
        The state stays as it was told last."""
        self._over = True
        if self.sender is not None:
            await self.sender.stop(grace_seconds)
        await self._become(None)

    async def reopen(self) -> None:
        """After `end`, when the deletion could not be carried through."""
        self._over = False
        await self._resume()

    async def logout(self) -> str:
        """Unlink on WhatsApp's side, if it can be reached. A sentence when that did not work, else ''."""
        if self.link is None or not self.usable.is_set():
            return "" if self.session.jid is None else "The session was not connected, so the phone still lists this device."
        try:
            await self.link.logout()
        except LinkError as error:
            return f"WhatsApp did not take the log-out: {error.text}"
        return ""

    async def _become(self, activity: Any) -> None:
        """Ends the present activity, then begins another (None: none)."""
        async with self._switching:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
                self._task = None
            if activity is not None and self._over:
                activity.close()
                raise GatewayError("stopping")
            if activity is not None:
                # A context of its own: the request that asked for it is over long before it ends.
                self._task = asyncio.create_task(self._guard(activity), name=f"session {self.session.id}",
                                                 context=contextvars.Context())

    @contextlib.asynccontextmanager
    async def file_at_rest(self, grace_seconds: float = 5.0) -> AsyncIterator[None]:
        """Nobody has the session's file open while the block runs, and no command begins anything; then the link is held as
        before, with the key that the row has by then."""
        if self.sender is not None:
            await self.sender.stop(grace_seconds)
        async with self._switching:
            held = self._task is not None and not self._task.done()
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
                self._task = None
            try:
                yield
            finally:
                await self._refresh()
                if held:
                    self._task = asyncio.create_task(self._guard(self._hold()), name=f"session {self.session.id}",
                                                     context=contextvars.Context())

    async def _guard(self, activity: Awaitable[None]) -> None:
        """One session's failure is that session's state."""
        try:
            await activity
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._log.exception("session_failed")
            with contextlib.suppress(Exception):
                await self._set_state("core_failed", detail=f"{type(error).__name__}: {error}"[:200])

    # ------------------------------------------------------------------ waiting for a code

    async def wait_until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Until something about this session changed so that `true()`; False when the time ran out."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(true)
        except TimeoutError:
            return False
        return True

    async def _tell_changed(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # ------------------------------------------------------------------ state

    async def _set_state(self, reason: str, *, detail: str = "", next_retry: float | None = None,
                         until: float | None = None, instead_of: str | None = None) -> None:
        """`instead_of`: only if the reason is that one until now. Raises storage_unavailable; a state that is no longer
        `connected` is shown all the same."""
        now = self._around.clock()
        async with self._stating:
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
        await self._tell_changed()

    async def _be(self, reason: str, **more: Any) -> None:
        """`_set_state`, as often as a full disk makes it necessary."""
        await until_stored(partial(self._set_state, reason, **more), self._log)

    async def _store_state(self, before: SessionState, state: SessionState, now: float) -> None:
        sessions, id_, public = self._around.store.sessions, self.session.id, state.public()

        async def store(tx: Transaction) -> None:
            # First of what the commit does: who subscribes right after it is not told of the change and has to see it.
            tx.on_commit(partial(setattr, self, "state", state))
            await sessions.set_state(tx, id_, state)
            await self._tell(tx, "status", now, public)
            if state.status is Status.CONNECTED:
                await sessions.update(tx, id_, last_connected_at=now, last_seen_at=now)
                await self._tell(tx, "connected", now, self._who())
            elif before.status is Status.CONNECTED:
                await sessions.update(tx, id_, last_seen_at=now)
                if state.status is Status.DISCONNECTED:
                    await self._tell(tx, "disconnected", now, public)
            if state.needs_somebody:
                await self._tell(tx, "error", now, {"code": state.reason.code, "message": state.reason.sentence,
                                                    "action": state.reason.action, "state": public})

        await self._around.store.database.write(store)
        await self._refresh()
        if before.status is not state.status or state.is_terminal:
            level = self._log.info if state.status in (Status.CONNECTED, Status.PENDING) else self._log.warning
            level("session_state", status=state.status.value, reason=state.reason.code, detail=state.detail)

    async def _tell(self, tx: Transaction, type: str, at: float, data: dict[str, Any]) -> None:
        await self._around.feed.tell(tx, owner=self.session.owner, session_id=self.session.id, type=type, at=at,
                                     data={"session": self.session.id, **data})

    def _who(self) -> dict[str, Any]:
        s = self.session
        return {"jid": str(s.jid) if s.jid else None, "lid": str(s.lid) if s.lid else None, "phone_number": s.phone_number,
                "push_name": s.push_name, "platform": s.platform}

    async def _update(self, **columns: Any) -> None:
        around = self._around.store
        await around.database.write(lambda tx: around.sessions.update(tx, self.session.id, **columns))
        await self._refresh()

    async def _refresh(self) -> None:
        row = await self._around.store.sessions.one(self.session.id)
        if row is not None:
            self.session = row

    async def reread(self) -> None:
        """The session's row was changed by somebody else (its settings, its name)."""
        await self._refresh()
        if self.sender is not None:
            self.sender.wake()

    # ------------------------------------------------------------------ linking

    def _file(self) -> SessionFile:
        store = self._around.store
        wrapped = self.session.wrapped_key
        assert wrapped is not None
        return SessionFile(self.session.id, store.session_path(self.session.id),
                           store.vault.unwrap(wrapped, f"session/{self.session.id}"))

    async def _pair_and_hold(self, phone: str | None) -> None:
        if await self._pair(phone):
            await self._hold()

    async def _pair(self, phone: str | None) -> bool:
        began, tries = self._around.clock(), 0
        while True:
            await self._be("pairing")
            ended = await self._pair_once(phone)
            if ended is None:
                return True
            now = self._around.clock()
            if ended.reason != "no_network_pairing" or now - began > PAIRING_GIVES_UP:
                await self._be(ended.reason, detail=ended.detail)
                return False
            delay = self._jitter(DIAL_SECONDS[min(tries, len(DIAL_SECONDS) - 1)])
            tries += 1
            await self._be("pairing", detail=f"WhatsApp cannot be reached: {ended.detail}", next_retry=now + delay)
            await asyncio.sleep(delay)

    async def _pair_once(self, phone: str | None) -> events.PairingEnded | None:
        """None when paired."""
        pairing = self._around.links.pair(self._file(), phone)
        try:
            async for event in pairing.events():
                match event:
                    case events.QrCode():
                        self.qr = event
                        await self._show("qr", event, "qr_waiting" if phone is None else None)
                    case events.PairingCode():
                        self.code = event
                        await self._show("pairing_code", event, "code_waiting")
                    case events.Paired():
                        self.qr = self.code = None
                        await until_stored(partial(self._update, jid=event.jid, lid=event.lid, platform=event.platform,
                                                   generation=0), self._log)
                        self._log.info("paired", jid=shorten(str(event.jid)))
                        await self._be("paired")
                        return None
                    case events.PairingEnded():
                        return event
        finally:
            self.qr = self.code = None
            await asyncio.shield(pairing.close())
        return events.PairingEnded("core_failed", "the attempt ended without a word")

    async def _show(self, type: str, code: events.QrCode | events.PairingCode, reason: str | None) -> None:
        if reason is not None:
            await self._be(reason)
        await until_stored(partial(self._tell_code, type, {"code": code.code, "expires_at": iso(code.expires_at)}), self._log)
        await self._tell_changed()

    async def _tell_code(self, type: str, data: dict[str, Any]) -> None:
        await self._around.store.database.write(lambda tx: self._tell(tx, type, self._around.clock(), data))

    # ------------------------------------------------------------------ holding a link

    def _jitter(self, seconds: float) -> float:
        return seconds * self._around.chance.uniform(0.75, 1.25)

    async def _hold(self) -> None:
        """Dials until connected, then follows the link's events until somebody has to act."""
        tries = 0
        until, now = self.state.until, self._around.clock()
        if self.state.status is Status.BANNED and until is not None and until > now:        # a restart does not end a ban
            self.state = replace(self.state, next_retry=until)
            await asyncio.sleep(until - now)
        while True:
            if self.state.status is not Status.PENDING:
                await self._be("starting")
            try:
                outcome = await self._hold_once()
            except GatewayError as error:
                if not is_storage(error):
                    raise
                outcome = "storage_unavailable", error.message, None
            if outcome is None:
                return
            reason, detail, wait = outcome
            delay = wait if wait is not None else self._jitter(DIAL_SECONDS[min(tries, len(DIAL_SECONDS) - 1)])
            tries += 1
            if self.state.status is not Status.BANNED:
                await self._be(reason, detail=detail, next_retry=self._around.clock() + delay)
            await asyncio.sleep(delay)

    async def _hold_once(self) -> Outcome:
        """One link, opened and closed. None: it ended for good; else (reason, detail, seconds or None) to dial again."""
        file = self._file()
        if self._around.generations is not None and not await self._check_generation(file, self._around.generations):
            return None
        inbox = self._inbox = asyncio.Queue()
        link = self._around.links.link(file, inbox.put_nowait)
        around = self._around
        sender = Sender(self.session.id, link, around.store, around.ledger, around.prepare, self, around.settings.sending,
                        clock=around.clock, chance=around.chance, metrics=around.metrics)
        self.link, self.sender = link, sender
        tasks: list[asyncio.Task[None]] = []
        in_hand: events.LinkEvent | None = None
        try:
            await link.open()
            tasks.append(asyncio.create_task(sender.run(), name=f"sender {self.session.id}"))
            while True:
                in_hand = await inbox.get()
                outcome = await until_stored(partial(self._handle, in_hand, link, sender, tasks), self._log)
                in_hand = None
                if outcome is not GO_ON:
                    return outcome
                tasks[:] = [task for task in tasks if not self._ended(task)]
        finally:
            self.usable.clear()
            sender.disconnected()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.link = self.sender = self._inbox = None
            try:
                await asyncio.wait_for(asyncio.shield(link.close()), CLOSE_SECONDS)
            except TimeoutError:
                self._log.error("link_did_not_close")
            await self._store_left(in_hand, inbox)

    async def _store_left(self, in_hand: events.LinkEvent | None, inbox: asyncio.Queue[events.LinkEvent]) -> None:
        """What had arrived before the end is not lost, nor what was being stored when somebody ended it."""
        left = [in_hand] if in_hand is not None else []
        while not inbox.empty():
            left.append(inbox.get_nowait())
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while left:
                    await until_stored(partial(self._store_event, left[0]), self._log)
                    del left[0]
        except TimeoutError:
            self._log.error("events_lost", count=len(left), why="the store could not be written")

    def _ended(self, task: asyncio.Task[None]) -> bool:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error
        return task.done()

    async def _check_generation(self, file: SessionFile, generations: Generations) -> bool:
        """A file that counts less than we remember was put back from a backup: its ratchets are behind what the other side
        has seen."""
        known = self.session.generation
        try:
            found = await generations.read(file)
            if found < known and not self._around.settings.whatsapp.accept_stale_restore:
                await self._set_state("stale_restore", detail=f"the keys' generation is {found}, the last one used {known}")
                return False
            await self._update(generation=await generations.bump(file, known))
        except StoreDamaged as error:
            await self._set_state("store_damaged", detail=str(error))
            return False
        return True

    async def _handle(self, event: events.LinkEvent, link: Link, sender: Sender, tasks: list[asyncio.Task[None]]) -> Outcome:
        """GO_ON, or what `_hold_once` returns."""
        match event:
            case events.Connected():
                await self._handle_connected(link)
                sender.connected()
                tasks.append(asyncio.create_task(self._catch_up(sender), name=f"catch up {self.session.id}"))
                tasks.append(asyncio.create_task(self._settle_in(link), name=f"settle in {self.session.id}"))
            case events.OfflineSyncCompleted():
                sender.caught_up()
            case events.Disconnected():
                sender.disconnected()
                await self._set_state("connection_lost", detail=event.detail)
            case events.KeepAliveTimeout():
                await self._set_state("keepalive_timeout")
            case events.KeepAliveRestored():
                await self._set_state("connected")
            case events.ConnectFailed() if event.detail.startswith("store_damaged: "):
                await self._set_state("store_damaged", detail=event.detail.removeprefix("store_damaged: "))
                return None
            case events.ConnectFailed():
                return "no_network", event.detail, None
            case events.StreamError():
                await self._set_state("connection_lost", detail=f"stream error {event.code}")
            case events.LoggedOut():
                await self._handle_logged_out(event)
                return None
            case events.StreamReplaced():
                await self._set_state("stream_replaced")
                return None
            case events.TemporaryBan():
                now = self._around.clock()
                await self._set_state("temporary_ban", detail=event.detail or f"code {event.code}", until=now + event.expires_in,
                                      next_retry=now + event.expires_in)
                return "temporary_ban", event.detail, max(event.expires_in, 1.0) + self._jitter(5)
            case events.LoginRefused():
                await self._set_state(event.reason, detail=event.detail)
                return None
            case _:
                await self._store_event(event)
        return GO_ON

    async def _store_event(self, event: events.LinkEvent) -> None:
        now = self._around.clock()
        match event:
            case events.Receipt():
                await self._around.receiving.handle_receipt(self.session, event, now)
                if self.sender is not None:
                    self.sender.wake()
            case events.MessageArrived():
                await self._around.receiving.handle_message(self.session, event, now)
            case events.Undecryptable():
                await self._around.receiving.handle_undecryptable(self.session, event, now)
            case _:
                pass

    async def _handle_connected(self, link: Link) -> None:
        await self._note_account(link)
        await self._set_state("connected")

    async def _note_account(self, link: Link) -> None:
        try:
            account = await link.account()
        except LinkError as error:
            self._log.warning("account_not_read", error=error.text)
            return
        s = self.session
        if account is not None and (account.jid, account.lid, account.push_name) != (s.jid, s.lid, s.push_name):
            await self._update(jid=account.jid, lid=account.lid, push_name=account.push_name,
                               platform=account.platform or s.platform)

    async def _catch_up(self, sender: Sender) -> None:
        await asyncio.sleep(CATCH_UP_SECONDS)
        if self.usable.is_set():
            sender.caught_up()

    async def _settle_in(self, link: Link) -> None:
        """Our presence is unavailable unless the session says otherwise, so that the owner's phone keeps notifying. Right
        after linking the core has no push name yet and refuses: it is told again until it takes it."""
        available = self.session.settings.get("presence") == "available"
        for pause in (0.0, 1.0, 2.0, 5.0, 15.0):
            await asyncio.sleep(pause)
            try:
                await link.set_presence(available)
                break
            except LinkError as error:
                self._log.debug("presence_not_told", error=error.text)
        await self._note_account(link)

    async def _handle_logged_out(self, event: events.LoggedOut) -> None:
        await self._set_state(event.reason, detail=event.detail)        # first: from here on nothing more is accepted
        await self.abandon("The session was logged out before the message left.")

    async def abandon(self, why: str) -> None:
        """Nothing that waits will be sent: the account that was to send it is gone."""
        around, now = self._around, self._around.clock()
        for waiting in await around.store.messages.queue(self.session.id, limit=-1):
            await around.store.database.write(partial(self._abandon, waiting.id, why, now))

    async def _abandon(self, id_: str, why: str, now: float, tx: Transaction) -> None:
        message = await self._around.store.messages.one(id_, tx)        # as it is now: it may have been handed over
        if message is not None:
            await self._around.ledger.fail(tx, message, "session_gone", why, now,
                                           may_have_been_delivered=message.stage in ("sending", "unconfirmed"))

    # ------------------------------------------------------------------ what the sender tells us (sending.Watch)

    def ack_missing(self) -> None:
        self._background(self._set_state("acks_missing", instead_of="connected"))

    def acked(self) -> None:
        if self.state.reason.code == "acks_missing":
            self._background(self._be("connected", instead_of="acks_missing"))

    def unconfirmed(self) -> None:
        if self.state.reason.code == "acks_missing" and self._inbox is not None:
            self._inbox.put_nowait(events.ConnectFailed("WhatsApp takes messages but does not confirm them"))

    def _background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        _running.add(task)
        task.add_done_callback(self._background_ended)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        _running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A full disk: what is missing is shown all the same, and stored with the next state.
            self._log.error("state_not_told", error=str(error), exc_info=None if is_storage(error) else error)

    async def restricted(self, until: float) -> None:
        await self._update(restricted_until=until)
        around = self._around
        await around.store.database.write(lambda tx: self._tell(tx, "warning", around.clock(), {
            "code": "restricted", "until": iso(until),
            "message": f"WhatsApp lets this account open no new chats; messages to them wait until {iso(until)}."}))

    @property
    def restricted_until(self) -> float | None:
        return self.session.restricted_until

    @property
    def pace(self) -> Pace:
        return Pace.of(self._around.settings.pacing, self.session.settings)


_running: set[asyncio.Task[None]] = set()       # asyncio keeps only weak references to tasks
