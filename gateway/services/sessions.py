"""All sessions: made, found, started, stopped and deleted here. A key sees its own; another's is not found."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from gateway.errors import GatewayError, InvalidField
from gateway.jid import JID
from gateway.services.feed import Stopping
from gateway.services.live import LiveSession
from gateway.services.standing import Surroundings
from gateway.services.storing import until_stored
from gateway.services.webhooks import WebhookService, check_url
from gateway.states import REASONS, SessionState, Status
from gateway.store.keys import Key
from gateway.store.sessions import Taken
from gateway.times import iso

log = structlog.get_logger("gateway.sessions")

_SESSION_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FIRST_CODE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Linking:
    """A code that waits now."""

    qr: str
    expires_at: float


class Sessions:
    """`start` after the store is open; `stop` before it closes."""

    def __init__(self, around: Surroundings, plan_sessions: Any, webhooks: WebhookService) -> None:
        self._around, self._webhooks = around, webhooks
        self._plan_sessions = plan_sessions     # Key -> its plan's number of sessions, 0: no limit
        self._live: dict[str, LiveSession] = {}
        self._creating = asyncio.Lock()
        self._deleting: set[str] = set()
        self._stopping = False

    # ------------------------------------------------------------------ the daemon's life

    async def start(self) -> None:
        """Begins to open every session that was linked. Returns at once; they connect one after the other."""
        for session in await self._around.store.sessions.all():
            live = LiveSession(session, self._around)
            try:
                if session.wrapped_key is None:
                    await self._finish_delete(live)     # a deletion that was cut off
                else:
                    self._live[session.id] = live
                    await live.start()
            except Exception:                           # one session's trouble is not the others'
                log.exception("session_not_started", session=session.id)

    async def stop(self, grace_seconds: float) -> None:
        self._stopping = True
        await asyncio.gather(*(live.end(grace_seconds) for live in self._live.values()), return_exceptions=True)

    def live(self) -> list[LiveSession]:
        return list(self._live.values())

    @asynccontextmanager
    async def file_at_rest(self, session_id: str) -> AsyncIterator[None]:
        """See `vaulting.Running`."""
        async with AsyncExitStack() as stack:
            if (live := self._live.get(session_id)) is not None:
                await stack.enter_async_context(live.file_at_rest())
            yield

    async def reread(self) -> None:
        for live in self.live():
            await live.reread()

    # ------------------------------------------------------------------ finding

    async def find(self, key: Key, id_or_key: str) -> LiveSession:
        """Raises session_not_found, also for another owner's."""
        session = await self._around.store.sessions.named(key.owner, id_or_key)
        live = self._live.get(session.id) if session else None
        if live is None or live.session.wrapped_key is None:
            raise GatewayError("session_not_found")
        return live

    async def of(self, key: Key) -> list[LiveSession]:
        rows = await self._around.store.sessions.page(key.owner, limit=1_000_000)
        return [self._live[row.id] for row in rows if row.id in self._live]

    async def to_send(self, key: Key, named: str | None) -> LiveSession:
        """The session that sends: the one named, else the only one that can. Raises session_not_found, session_ambiguous,
        no_session, session_not_connected."""
        if named:
            live = await self.find(key, named)
        else:
            mine = await self.of(key)
            able = [live for live in mine if can_send(live)]
            if len(able) > 1:
                raise GatewayError("session_ambiguous", sessions=[live.session.session_key for live in able])
            if not able:
                if not mine:
                    raise GatewayError("no_session")
                if len(mine) > 1:
                    raise GatewayError("session_not_connected", "None of your sessions is connected.")
            live = (able or mine)[0]
        if not can_send(live):
            raise GatewayError("session_not_connected", f"The session is {live.state.status.value}: "
                               f"{live.state.reason.sentence}", session=live.session.id, state=live.state.public())
        return live

    # ------------------------------------------------------------------ changing

    async def create(self, key: Key, *, session_key: str | None = None, name: str = "", webhook_url: str = "",
                     pairing_phone: JID | None = None, settings: dict[str, Any] | None = None,
                     pair: bool = True) -> LiveSession:
        """A new slot; linking begins at once (unless `pair` is False). Raises session_exists, session_limit, InvalidField."""
        if self._stopping:
            raise GatewayError("stopping")
        around, now = self._around, self._around.clock()
        id_ = str(uuid.uuid4())
        session_key = id_ if session_key is None else session_key
        self.check_session_key(session_key)
        if webhook_url:
            check_url(webhook_url, "webhook_url")
        vault = around.store.vault
        async with self._creating:
            limit = self._plan_sessions(key)
            if limit and await around.store.sessions.count(key.owner) >= limit:
                raise GatewayError("session_limit", f"The plan '{key.plan}' allows {limit} sessions.")
            try:
                async with around.store.database.transaction() as tx:
                    session = await around.store.sessions.create(
                        tx, id=id_, owner=key.owner, session_key=session_key, name=name or session_key,
                        state=SessionState(REASONS["pairing" if pair else "qr_expired"], now), webhook_url=webhook_url,
                        wrapped_key=vault.wrap(vault.new_data_key(), f"session/{id_}"), settings=settings or {}, at=now)
            except Taken:
                raise GatewayError("session_exists", f"A session of the key '{session_key}' exists already.",
                                   session_key=session_key) from None
        live = self._live[id_] = LiveSession(session, around)
        if self._stopping:
            raise GatewayError("stopping")
        if webhook_url:
            try:
                await self._webhooks.set_session_url(session, webhook_url)     # before the first thing happens
            except GatewayError:
                await live.reopen()                                            # it is there, but nobody links it
                raise
        log.info("session_created", session=id_)
        if pair:
            await live.relink(pairing_phone.user if pairing_phone else None)
        return live

    @staticmethod
    def check_session_key(text: str) -> str:
        """Raises InvalidField."""
        if not _SESSION_KEY.fullmatch(text):
            raise InvalidField("session_key", "session_key: 1 to 64 letters, digits, dots, dashes or underscores, beginning "
                               "with a letter or digit")
        return text

    async def update(self, live: LiveSession, **columns: Any) -> None:
        """Raises session_exists, InvalidField."""
        moved, webhook_url = "webhook_url" in columns, columns.pop("webhook_url", None)
        if webhook_url:
            check_url(webhook_url, "webhook_url")               # before anything is changed
        try:
            async with self._around.store.database.transaction() as tx:
                await self._around.store.sessions.update(tx, live.session.id, **columns)
        except Taken:
            raise GatewayError("session_exists") from None
        if moved:
            await self._webhooks.set_session_url(live.session, webhook_url)
        await live.reread()

    async def delete(self, live: LiveSession) -> str:
        """Logs out on WhatsApp, destroys the data key, then the file, then the row. A sentence where the log-out could not be
        done, else ''."""
        if live.session.id in self._deleting or self._stopping:
            raise GatewayError("stopping" if self._stopping else "session_not_found")
        self._deleting.add(live.session.id)
        try:
            note = await live.logout()
            try:
                await live.end(0)
                async with self._around.store.database.transaction() as tx:
                    await self._around.store.sessions.update(tx, live.session.id, wrapped_key=None)
            except BaseException:
                if not self._stopping:
                    await live.reopen()
                raise
            await until_stored(partial(self._finish_delete, live), log)
        finally:
            self._deleting.discard(live.session.id)
        log.info("session_deleted", session=live.session.id, note=note)
        return note

    async def _finish_delete(self, live: LiveSession) -> None:
        around = self._around
        await live.reread()                             # from here on nobody finds it
        session = live.session
        path = around.store.session_path(session.id)
        for suffix in ("", "-wal", "-journal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        await live.abandon("The session was deleted before the message left.")
        async with around.store.database.transaction() as tx:
            await around.store.webhooks.delete_of_session(tx, session.id)
            await around.store.sessions.delete(tx, session.id)
            await around.feed.tell(tx, owner=session.owner, session_id=session.id, type="deleted", at=around.clock(),
                                   data={"session": session.id})
        self._live.pop(session.id, None)
        around.feed.end_session(session.id, Stopping())

    # ------------------------------------------------------------------ linking

    async def code_to_scan(self, live: LiveSession, *, fresh: bool = False, seconds: float = FIRST_CODE_SECONDS) -> Linking:
        """The QR that waits; a new attempt begins where the last one ran out (or with `fresh`, where the old code no longer
        links). Raises already_paired, pairing_failed."""
        if live.session.jid is not None and live.state.status is not Status.LOGGED_OUT:
            raise GatewayError("already_paired")
        old = live.qr
        if fresh or live.state.status is not Status.PENDING:
            await live.relink()
            old = None
        if live.qr is None or (live.qr is old and live.qr.expires_at <= self._around.clock()):
            await live.wait_until(lambda: live.qr is not None or live.state.status is not Status.PENDING
                                  or bool(live.state.detail) or live.session.jid is not None, seconds)
        if live.qr is None:
            if live.session.jid is not None:
                raise GatewayError("already_paired")
            raise GatewayError("pairing_failed", f"WhatsApp gave no code: {live.state.detail or live.state.reason.sentence}",
                               state=live.state.public())
        return Linking(live.qr.code, live.qr.expires_at)


def can_send(live: LiveSession) -> bool:
    """Connected, or coming back by itself."""
    return live.session.jid is not None and not live.state.is_terminal and live.state.status is not Status.BANNED


def public(live: LiveSession) -> dict[str, Any]:
    """A session as the API shows it."""
    s = live.session
    return {"id": s.id, "session_key": s.session_key, "name": s.name, **live.state.public(), "phone_number": s.phone_number,
            "jid": str(s.jid) if s.jid else None, "lid": str(s.lid) if s.lid else None, "push_name": s.push_name,
            "platform": s.platform, "webhook_url": s.webhook_url or None, "settings": s.settings,
            "restricted_until": iso(live.restricted_until), "created_at": iso(s.created_at),
            "last_connected_at": iso(s.last_connected_at), "last_seen_at": iso(s.last_seen_at)}
