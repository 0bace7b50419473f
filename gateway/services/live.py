"""One session while the daemon runs: the commands it takes, and the one activity it has at a time: pairing, holding a link, or
none. How it stands is `standing`'s, what the activities do is `pairing`'s and `holding`'s."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from gateway import events
from gateway.errors import GatewayError
from gateway.link.base import Link, LinkError
from gateway.services.holding import Holder, abandon
from gateway.services.pacing import Pace
from gateway.services.pairing import Pairer
from gateway.services.sending import Sender
from gateway.services.standing import Standing, Surroundings
from gateway.services.storing import until_stored
from gateway.states import SessionState, Status
from gateway.store.sessions import Session

T = TypeVar("T")
GRACE_SECONDS = 5.0                     # for the send under way, where nobody is in a hurry


class LiveSession:
    """Use `start`, `relink`, `connect`, `disconnect`, `end`; look at `state`, `qr`, `code`."""

    def __init__(self, session: Session, around: Surroundings) -> None:
        self._standing = Standing(session, around)
        self._pairer, self._holder = Pairer(self._standing), Holder(self._standing)
        self._around, self._log = around, self._standing.log
        self._task: asyncio.Task[None] | None = None
        self._switching = asyncio.Lock()
        self._commanding = asyncio.Lock()
        self._over = False                                  # the daemon stops, or the session is being deleted

    # ------------------------------------------------------------------ how it stands

    @property
    def session(self) -> Session:
        return self._standing.session

    @property
    def state(self) -> SessionState:
        return self._standing.state

    @property
    def usable(self) -> asyncio.Event:
        """Set while it is connected, as far as anyone can tell."""
        return self._standing.usable

    @property
    def qr(self) -> events.QrCode | None:
        return self._pairer.qr

    @property
    def code(self) -> events.PairingCode | None:
        return self._pairer.code

    @property
    def link(self) -> Link | None:
        return self._holder.link

    @property
    def sender(self) -> Sender | None:
        return self._holder.sender

    @property
    def restricted_until(self) -> float | None:
        return self._holder.restricted_until

    @property
    def pace(self) -> Pace:
        return self._holder.pace

    async def wait_until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Until something about this session changed so that `true()`; False when the time ran out."""
        return await self._standing.wait_until(true, seconds)

    async def reread(self) -> None:
        """The session's row was changed by somebody else (its settings, its name)."""
        shown = self._holder.available
        await self._standing.refresh()
        if self.sender is not None:
            self.sender.wake()
        if self._holder.available != shown and self.usable.is_set() and self.link is not None:
            await self._holder.tell_presence(self.link)

    async def ask(self, what: Callable[[Link], Awaitable[T]]) -> T:
        """A call over the link there is. Raises session_not_connected, or what became of the call."""
        if self.link is None or not self.usable.is_set():
            raise GatewayError("session_not_connected", f"The session is {self.state.status.value}: {self.state.reason.sentence}",
                               session=self.session.id, state=self.state.public())
        try:
            return await what(self.link)
        except LinkError as error:
            raise GatewayError(error.code, error.text) from error

    # ------------------------------------------------------------------ commands

    async def start(self) -> None:
        """At the daemon's start: what the session was doing, unless that had come to an end."""
        if self.session.stopped:
            return
        if self.session.jid is not None and self.state.status is not Status.LOGGED_OUT:
            if self.state.is_terminal and self.state.status is Status.FAILED:
                self._log.info("session_tried_again", reason=self.state.reason.code)
            await self._become(self._holder.hold())
        elif self.state.status is Status.LOGGED_OUT:
            await self.abandon("The session was logged out before the message left.")
        elif not self.state.is_terminal and not await self._find_paired():
            await self._standing.set("qr_expired", detail="The daemon was restarted while a code waited.")

    async def _find_paired(self) -> bool:
        """The phone may have accepted in the moment in which the last process ended: then the keys are in the file."""
        file = self._standing.file()
        if not file.path.exists():
            return False
        try:
            account = await self._around.links.link(file, lambda event: None).account()
        except LinkError as error:
            self._log.warning("session_file_not_read", error=error.text)
            return False
        if account is None:
            return False
        await self._standing.update(jid=account.jid, lid=account.lid, push_name=account.push_name, platform=account.platform,
                                    generation=0)
        await self._become(self._holder.hold())
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
                self._pairer.qr = self._pairer.code = None
                await self._standing.update(stopped=False, jid=None, lid=None, push_name="", generation=0, restricted_until=None)
                await self.abandon("The session was linked anew before the message left.")
                await self._standing.set("pairing")
            except GatewayError:
                await self._resume()
                raise
            await self._become(self._pair_and_hold(phone))

    async def connect(self) -> None:
        async with self._commanding:
            self._check_open()
            await self._standing.update(stopped=False)
            if self.session.jid is not None and self.link is None:
                await self._become(self._holder.hold())

    async def disconnect(self) -> None:
        async with self._commanding:
            self._check_open()
            await self._standing.update(stopped=True)
            await self._become(None, GRACE_SECONDS)
            self._pairer.qr = self._pairer.code = None
            await self._standing.set("stopped" if self.session.jid else "qr_expired")

    async def _resume(self) -> None:
        """A command could not be carried through: the session is not left saying what it no longer is. One that had come to its
        end, or was stopped, stays so; a ban is sat out."""
        if self.session.jid is not None:
            if not self.state.is_terminal or self.state.status is Status.BANNED:
                await self._become(self._holder.hold())
        else:
            with contextlib.suppress(GatewayError):
                await self._standing.set("qr_expired")

    def _check_open(self) -> None:
        if self._over:
            raise GatewayError("stopping")

    async def end(self, grace_seconds: float) -> None:
        """The daemon stops, or the session is deleted: the send under way may end, the link closes, and nothing begins any more.
        The state stays as it was told last."""
        self._over = True
        await self._become(None, grace_seconds)

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

    async def _become(self, activity: Any, grace_seconds: float = 0) -> None:
        """Ends the present activity, then begins another (None: none)."""
        async with self._switching:
            await self._end_activity(grace_seconds)
            if activity is not None and self._over:
                activity.close()
                raise GatewayError("stopping")
            if activity is not None:
                self._begin(activity)

    def _begin(self, activity: Any) -> None:
        # A context of its own: the request that asked for it is over long before it ends.
        self._task = asyncio.create_task(self._guard(activity), name=f"session {self.session.id}", context=contextvars.Context())

    async def _end_activity(self, grace_seconds: float) -> bool:
        """The send under way may end within the time. Whether there was an activity."""
        if self.sender is not None:
            await self.sender.stop(grace_seconds)
        if self._task is None:
            return False
        ended_before = self._task.done()
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        return not ended_before

    @contextlib.asynccontextmanager
    async def file_at_rest(self) -> AsyncIterator[None]:
        """Nobody has the session's file open while the block runs, and no command begins anything; then the link is held as
        before, with the key that the row has by then. Raises vault_refused where no device is linked."""
        async with self._commanding, self._switching:
            self._check_open()
            if self.session.jid is None:
                raise GatewayError("vault_refused", "The session is not linked: it gets a new file when it is.")
            held = await self._end_activity(GRACE_SECONDS)
            try:
                yield
            finally:
                if held:
                    self._begin(self._hold_again())

    async def _hold_again(self) -> None:
        await until_stored(self._standing.refresh, self._log)
        await self._holder.hold()

    async def _guard(self, activity: Awaitable[None]) -> None:
        """One session's failure is that session's state."""
        try:
            await activity
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._log.exception("session_failed")
            with contextlib.suppress(Exception):
                await self._standing.set("core_failed", detail=f"{type(error).__name__}: {error}"[:200])

    async def _pair_and_hold(self, phone: str | None) -> None:
        if await self._pairer.pair(phone):
            await self._holder.hold()

    async def abandon(self, why: str) -> None:
        """Nothing that waits will be sent: the account that was to send it is gone."""
        await abandon(self._standing, why)
