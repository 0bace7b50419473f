"""Holding a link: dialling until it is connected, then following what it tells, until somebody has to act."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from gateway import events
from gateway.cancelling import to_the_end
from gateway.errors import GatewayError
from gateway.link.base import Generations, Link, LinkError, SessionFile, StoreDamaged
from gateway.services.pacing import Pace
from gateway.services.sending import Sender
from gateway.services.standing import Standing
from gateway.services.storing import is_storage, until_stored
from gateway.states import Status
from gateway.store.database import Transaction
from gateway.times import iso

LONGEST_RESTRICTION = 90 * 86_400.0
CLOSE_SECONDS = 20.0                            # more than a link takes by itself: until then its file is not opened again
STORE_SECONDS = 12.0                            # for what had arrived before the end
CATCH_UP_SECONDS = 20.0                         # the offline sync's end is told; if it is not, this is the limit

# How holding a link ended: for good (None), or (reason, detail, seconds until the next dial, None: our own back-off).
Outcome = tuple[str, str, float | None] | None
GO_ON: Outcome = ("", "", None)


class Holder:
    """`link` and `sender`: those of the link that is held now. It is what its sender tells (`sending.Watch`)."""

    def __init__(self, standing: Standing) -> None:
        self._standing, self._around, self._log = standing, standing.around, standing.log
        self.link: Link | None = None
        self.sender: Sender | None = None
        self._inbox: asyncio.Queue[events.LinkEvent] | None = None
        self._connected = False                 # since it was dialled last

    async def hold(self) -> None:
        """Dials until connected, then follows the link's events until somebody has to act."""
        tries = 0
        state, now = self._standing.state, self._around.clock()
        if state.status is Status.BANNED and state.until is not None:                  # a restart does not end a ban
            until = state.until - max(0.0, state.since - now)                           # told later than now: the clock was set back
            if until > now:
                self._standing.state = replace(state, next_retry=until)
                await asyncio.sleep(until - now)
        while True:
            if self._standing.state.status is not Status.PENDING:
                await self._standing.be("starting")
            try:
                outcome = await self._hold_once()
            except GatewayError as error:
                if not is_storage(error):
                    raise
                outcome = "storage_unavailable", error.message, None
            if outcome is None:
                return
            reason, detail, wait = outcome
            if self._connected:
                tries = 0
            delay = wait if wait is not None else self._around.pause(tries)
            tries += 1
            if self._standing.state.status is not Status.BANNED:
                await self._standing.be(reason, detail=detail, next_retry=self._around.clock() + delay)
            await asyncio.sleep(delay)

    async def _hold_once(self) -> Outcome:
        """One link, opened and closed. None: it ended for good; else (reason, detail, seconds or None) to dial again."""
        file = self._standing.file()
        if self._around.generations is not None and not await self._check_generation(file, self._around.generations):
            return None
        inbox = self._inbox = asyncio.Queue()
        self._connected = False
        link = self._around.links.link(file, inbox.put_nowait)
        around = self._around
        sender = Sender(self._standing.session.id, link, around.store, around.ledger, around.prepare, self, around.settings.sending,
                        clock=around.clock, chance=around.chance, metrics=around.metrics)
        self.link, self.sender = link, sender
        tasks: list[asyncio.Task[None]] = []
        in_hand: events.LinkEvent | None = None
        try:
            await link.open()
            tasks.append(asyncio.create_task(sender.run(), name=f"sender {self._standing.session.id}"))
            while True:
                in_hand = await inbox.get()
                outcome = await until_stored(partial(self._handle, in_hand, link, sender, tasks), self._log)
                in_hand = None
                if outcome is not GO_ON:
                    return outcome
                tasks[:] = [task for task in tasks if not self._ended(task)]
        finally:
            self._standing.usable.clear()
            # Whoever ends us meanwhile waits too: the session's file is not opened again before it is closed.
            if cancelled := await to_the_end(self._close(link, sender, tasks, in_hand, inbox)):
                raise cancelled

    async def _close(self, link: Link, sender: Sender, tasks: list[asyncio.Task[None]], in_hand: events.LinkEvent | None,
                     inbox: asyncio.Queue[events.LinkEvent]) -> None:
        sender.disconnected()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.link = self.sender = self._inbox = None
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.shield(link.close())
        except TimeoutError:
            self._log.error("link_did_not_close")
        except Exception:
            self._log.exception("link_did_not_close")
        await self._store_left(in_hand, inbox)

    async def _store_left(self, in_hand: events.LinkEvent | None, inbox: asyncio.Queue[events.LinkEvent]) -> None:
        """What had arrived before the end is not lost, nor what was being stored when somebody ended it."""
        left = [in_hand] if in_hand is not None else []
        while not inbox.empty():
            left.append(inbox.get_nowait())
        try:
            async with asyncio.timeout(STORE_SECONDS):
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
        known = self._standing.session.generation
        try:
            found = await generations.read(file)
            if found < known and not self._around.settings.whatsapp.accept_stale_restore:
                if found == 0:
                    await self._standing.set("store_damaged", detail="the session's file is missing, or holds nothing")
                else:
                    await self._standing.set("stale_restore", detail=f"the keys' generation is {found}, the last one used {known}")
                return False
            await self._standing.update(generation=await generations.bump(file, known))
        except StoreDamaged as error:
            await self._standing.set("store_damaged", detail=str(error))
            return False
        return True

    async def _handle(self, event: events.LinkEvent, link: Link, sender: Sender, tasks: list[asyncio.Task[None]]) -> Outcome:
        """GO_ON, or what `_hold_once` returns."""
        match event:
            case events.Connected():
                await self._handle_connected(link)
                sender.connected()
                tasks.append(asyncio.create_task(self._catch_up(sender), name=f"catch up {self._standing.session.id}"))
                tasks.append(asyncio.create_task(self._settle_in(link), name=f"settle in {self._standing.session.id}"))
            case events.OfflineSyncCompleted():
                sender.caught_up()
            case events.Disconnected():
                sender.disconnected()
                await self._standing.set("connection_lost", detail=event.detail)
            case events.KeepAliveTimeout():
                await self._standing.set("keepalive_timeout")
            case events.KeepAliveRestored():
                await self._standing.set("connected")
            case events.ConnectFailed() if event.detail.startswith("store_damaged: "):
                await self._standing.set("store_damaged", detail=event.detail.removeprefix("store_damaged: "))
                return None
            case events.ConnectFailed():
                return "no_network", event.detail, None
            case events.StreamError():
                await self._standing.set("connection_lost", detail=f"stream error {event.code}")
            case events.LoggedOut():
                await self._handle_logged_out(event)
                return None
            case events.StreamReplaced():
                await self._standing.set("stream_replaced")
                return None
            case events.TemporaryBan():
                now = self._around.clock()
                await self._standing.set("temporary_ban", detail=event.detail or f"code {event.code}",
                                         until=now + event.expires_in, next_retry=now + event.expires_in)
                return "temporary_ban", event.detail, max(event.expires_in, 1.0) + self._around.jitter(5)
            case events.LoginRefused():
                await self._standing.set(event.reason, detail=event.detail)
                return None
            case _:
                await self._store_event(event)
        return GO_ON

    async def _store_event(self, event: events.LinkEvent) -> None:
        """Raises storage_unavailable. What else goes wrong with one event is not the others' fault."""
        receiving, session, now = self._around.receiving, self._standing.session, self._around.clock()
        try:
            match event:
                case events.Receipt():
                    await receiving.handle_receipt(session, event, now)
                    if self.sender is not None:
                        self.sender.wake()
                case events.MessageArrived():
                    await receiving.handle_message(session, event, now)
                case events.Undecryptable():
                    await receiving.handle_undecryptable(session, event, now)
        except GatewayError:
            raise
        except Exception:
            self._log.exception("event_not_handled", type=type(event).__name__)

    async def _handle_connected(self, link: Link) -> None:
        self._connected = True
        await self._note_account(link)
        await self._standing.set("connected")

    async def _note_account(self, link: Link) -> None:
        try:
            account = await link.account()
        except LinkError as error:
            self._log.warning("account_not_read", error=error.text)
            return
        s = self._standing.session
        if account is not None and (account.jid, account.lid, account.push_name) != (s.jid, s.lid, s.push_name):
            await self._standing.update(jid=account.jid, lid=account.lid, push_name=account.push_name,
                                        platform=account.platform or s.platform)

    async def _catch_up(self, sender: Sender) -> None:
        await asyncio.sleep(CATCH_UP_SECONDS)
        if self._standing.usable.is_set():
            sender.caught_up()

    async def _settle_in(self, link: Link) -> None:
        """Our presence is unavailable unless the session says otherwise, so that the owner's phone keeps notifying. Right
        after linking the core has no push name yet and refuses: it is told again until it takes it."""
        for pause in (0.0, 1.0, 2.0, 5.0, 15.0):
            await asyncio.sleep(pause)
            if await self.tell_presence(link):
                break
        await self._note_account(link)

    @property
    def available(self) -> bool:
        return bool(self._standing.session.settings.get("presence") == "available")

    async def tell_presence(self, link: Link) -> bool:
        try:
            await link.set_presence(self.available)
        except LinkError as error:
            self._log.debug("presence_not_told", error=error.text)
            return False
        return True

    async def _handle_logged_out(self, event: events.LoggedOut) -> None:
        await self._standing.set(event.reason, detail=event.detail)        # first: from here on nothing more is accepted
        await abandon(self._standing, "The session was logged out before the message left.")

    # ------------------------------------------------------------------ what the sender tells us (sending.Watch)

    def ack_missing(self) -> None:
        self._standing.in_background(self._standing.set("acks_missing", instead_of="connected"))

    def acked(self) -> None:
        if self._standing.state.reason.code == "acks_missing":
            self._standing.in_background(self._standing.be("connected", instead_of="acks_missing"))

    def unconfirmed(self) -> None:
        if self._standing.state.reason.code == "acks_missing" and self._inbox is not None:
            self._inbox.put_nowait(events.ConnectFailed("WhatsApp takes messages but does not confirm them"))

    async def restricted(self, until: float) -> None:
        await self._standing.update(restricted_until=until)
        around = self._around
        await around.store.database.write(lambda tx: self._standing.tell(tx, "warning", around.clock(), {
            "code": "restricted", "until": iso(until),
            "message": f"WhatsApp lets this account open no new chats; messages to them wait until {iso(until)}."}))

    @property
    def restricted_until(self) -> float | None:
        """What lies further ahead than any restriction lasts is of a clock that was set back since."""
        until = self._standing.session.restricted_until
        return until if until is not None and until <= self._around.clock() + LONGEST_RESTRICTION else None

    @property
    def pace(self) -> Pace:
        return Pace.of(self._around.settings.pacing, self._standing.session.settings)


async def abandon(standing: Standing, why: str) -> None:
    """Nothing that waits will be sent: the account that was to send it is gone."""
    store, ledger, now = standing.around.store, standing.around.ledger, standing.around.clock()

    async def fail(id_: str, tx: Transaction) -> None:
        message = await store.messages.one(id_, tx)         # as it is now: it may have been handed over
        if message is not None:
            await ledger.fail(tx, message, "session_gone", why, now,
                              may_have_been_delivered=message.stage in ("sending", "unconfirmed"))

    for waiting in await store.messages.queue(standing.session.id, limit=-1):
        await store.database.write(partial(fail, waiting.id))
