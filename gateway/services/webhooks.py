"""Webhooks: who is told of what, and the couriers that carry it. One courier a webhook, so a receiver that is down holds up
nobody else's."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable, Mapping

import structlog

from gateway.errors import GatewayError, InvalidField
from gateway.media.fetch import Fetcher, Posted
from gateway.media.urls import parse_url
from gateway.services.courier import RETRY_SECONDS, TIMEOUT_SECONDS, Courier, Files, Wait
from gateway.services.feed import Feed
from gateway.services.waiting import wait
from gateway.services.webhook_formats import FORMATS
from gateway.services.webhook_telling import Formatter
from gateway.store.journal import TYPES, Event
from gateway.store.keys import Key
from gateway.store.sessions import Session
from gateway.store.store import Store
from gateway.store.webhooks import Delivery, Webhook

log = structlog.get_logger("gateway.webhooks")

MOST = 100                          # webhooks of one owner: each has a task of its own
STATUSES = ("waiting", "delivered", "parked")
_SECRET_CHARS = (16, 256)


class WebhookService:
    """`run` carries until it is cancelled; the rest may be called before, meanwhile and after."""

    def __init__(self, store: Store, feed: Feed, fetcher: Fetcher, clock: Callable[[], float] = time.time, *,
                 timeout_seconds: float = TIMEOUT_SECONDS, wait: Wait = wait,
                 formats: Mapping[str, Formatter] | None = None, base: str = "") -> None:
        self._store, self._feed, self._fetcher, self._clock = store, feed, fetcher, clock
        self._timeout, self._wait, self._base = timeout_seconds, wait, base
        self.formats = FORMATS if formats is None else formats
        self.files: Files | None = None             # set once there is an inbox
        self._couriers: dict[str, tuple[Webhook, Courier]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        feed.listen(self._handle_event)

    # ------------------------------------------------------------------ carrying

    async def run(self) -> None:
        """Until cancelled. What was on its way then is delivered again, under its id, after the next start."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for webhook in await self._store.webhooks.all():
                    self._begin(webhook)
                await asyncio.Event().wait()
        finally:
            self._tasks = None
            self._couriers.clear()

    def _begin(self, webhook: Webhook) -> None:
        if self._tasks is not None and webhook.id not in self._couriers:
            courier = Courier(webhook.id, self._store, self._post, self.formats, self._clock, self._wait, self._base,
                              self._file)
            self._couriers[webhook.id] = webhook, courier
            self._tasks.create_task(self._guard(webhook.id, courier), name=f"webhook {webhook.id}")

    async def _guard(self, webhook_id: str, courier: Courier) -> None:
        """One webhook's trouble is not the others'."""
        failures = 0
        while True:
            began = self._clock()
            try:
                await courier.run()
                self._couriers.pop(webhook_id, None)            # it was deleted
                return
            except GatewayError as error:
                log.error("webhook_interrupted", webhook=webhook_id, error=error.message)
            except Exception:
                log.exception("webhook_interrupted", webhook=webhook_id)
            failures = failures + 1 if self._clock() - began < RETRY_SECONDS[-1] else 1
            await self._wait(asyncio.Event(), RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1])

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        return await self._fetcher.post(url, body, headers, timeout=self._timeout)

    async def _file(self, id_: str) -> bytes:
        if self.files is None:
            raise GatewayError("media_unavailable")
        return await self.files(id_)

    def _handle_event(self, event: Event) -> None:
        for webhook, courier in self._couriers.values():
            if webhook.owner == event.owner and webhook.session_id in (None, event.session_id):
                courier.wake()

    def _wake(self, webhook_id: str) -> None:
        """It was changed: what was wrong with it may be put right."""
        if webhook_id in self._couriers:
            self._couriers[webhook_id][1].retry_now()

    def failing_since(self, webhook_id: str) -> float | None:
        """Since when its receiver has taken nothing; None while it takes what it gets."""
        return self._couriers[webhook_id][1].failing_since if webhook_id in self._couriers else None

    # ------------------------------------------------------------------ webhooks

    async def create(self, key: Key, *, session_id: str | None = None, url: str, types: tuple[str, ...] = (),
                     secret: str | None = None, format: str = "native") -> tuple[Webhook, str]:
        """From the next event on. The secret cannot be had again. Raises InvalidField, session_not_found."""
        check_url(url, "url")
        check_types(types)
        if format not in self.formats:
            raise InvalidField("format", f"format: one of {', '.join(self.formats)}")
        if session_id is not None:
            session = await self._store.sessions.one(session_id)
            if session is None or session.owner != key.owner:
                raise GatewayError("session_not_found")
        if await self._store.webhooks.count(key.owner) >= MOST:
            raise InvalidField("url", f"url: there are {MOST} webhooks already, and no more are taken")
        return await self._create(str(uuid.uuid4()), key.owner, session_id, url, types, check_secret(secret), format)

    async def _create(self, id_: str, owner: str, session_id: str | None, url: str, types: tuple[str, ...], secret: str,
                      format: str) -> tuple[Webhook, str]:
        position = await self._store.journal.last()
        async with self._store.database.transaction() as tx:
            webhook = await self._store.webhooks.create(tx, id=id_, owner=owner, session_id=session_id, url=url, format=format,
                                                        types=types, secret=secret, position=position, at=self._clock())
        self._begin(webhook)
        return webhook, secret

    async def all(self, key: Key) -> list[Webhook]:
        return await self._store.webhooks.all(key.owner)

    async def one(self, key: Key, id_: str) -> Webhook:
        """Raises webhook_not_found, also for another owner's."""
        webhook = await self._store.webhooks.one(id_)
        if webhook is None or webhook.owner != key.owner:
            raise GatewayError("webhook_not_found")
        return webhook

    async def counts(self, key: Key) -> dict[str, dict[str, int]]:
        """Webhook id -> how many of its deliveries are waiting and parked."""
        return await self._store.webhooks.counts(key.owner)

    async def update(self, key: Key, id_: str, *, url: str | None = None, types: tuple[str, ...] | None = None) -> Webhook:
        """What waits goes to the new URL. Raises webhook_not_found, InvalidField."""
        webhook = await self.one(key, id_)
        url = webhook.url if url is None else check_url(url, "url")
        types = webhook.types if types is None else check_types(types)
        async with self._store.database.transaction() as tx:
            await self._store.webhooks.update(tx, id_, url=url, types=types)
            if _is_of_session(webhook):
                await self._store.sessions.update(tx, webhook.session_id or "", webhook_url=url)
        self._wake(id_)
        return await self.one(key, id_)

    async def delete(self, key: Key, id_: str) -> Webhook:
        """With its deliveries; the webhook that was. Raises webhook_not_found."""
        webhook = await self.one(key, id_)
        async with self._store.database.transaction() as tx:
            await self._store.webhooks.delete(tx, id_)
            if _is_of_session(webhook):
                await self._store.sessions.update(tx, webhook.session_id or "", webhook_url="")
        self._wake(id_)
        return webhook

    async def rotate_secret(self, key: Key, id_: str, secret: str | None = None) -> str:
        """The new secret; it signs from the next try on. Raises webhook_not_found, InvalidField."""
        await self.one(key, id_)
        secret = check_secret(secret)
        async with self._store.database.transaction() as tx:
            await self._store.webhooks.set_secret(tx, id_, secret)
        return secret

    async def set_session_url(self, session: Session, url: str | None) -> Webhook | None:
        """A session's own `webhook_url`, which a webhook of that session stands for: made, moved, or deleted. Its secret is
        had by rotating it. Raises InvalidField."""
        id_ = session_webhook_id(session.id)
        webhook = await self._store.webhooks.one(id_)
        if url:
            check_url(url, "webhook_url")
        if url and webhook is None:
            webhook, _ = await self._create(id_, session.owner, session.id, url, (), check_secret(None), "native")
        elif webhook is not None and webhook.url != url:
            async with self._store.database.transaction() as tx:
                if url:
                    await self._store.webhooks.update(tx, id_, url=url, types=webhook.types)
                else:
                    await self._store.webhooks.delete(tx, id_)
        if session.webhook_url != (url or ""):
            async with self._store.database.transaction() as tx:
                await self._store.sessions.update(tx, session.id, webhook_url=url or "")
        self._wake(id_)
        return await self._store.webhooks.one(id_)

    # ------------------------------------------------------------------ deliveries

    async def deliveries(self, key: Key, *, before_seq: int | None = None, limit: int = 50, status: str | None = None,
                         webhook_id: str | None = None) -> list[tuple[Delivery, str | None]]:
        """Newest first, each with its event's type (None: the event is older than the journal keeps)."""
        rows = await self._store.webhooks.page(key.owner, before_seq=before_seq, limit=limit, status=status,
                                               webhook_id=webhook_id)
        types = await self._store.journal.types_of([row.journal_seq for row in rows])
        return [(row, types.get(row.journal_seq)) for row in rows]

    async def delivery(self, key: Key, id_: str) -> tuple[Delivery, str | None]:
        """Raises webhook_not_found."""
        row = await self._store.webhooks.delivery(key.owner, id_)
        if row is None:
            raise GatewayError("webhook_not_found")
        return row, (await self._store.journal.types_of([row.journal_seq])).get(row.journal_seq)

    async def replay(self, key: Key, *, id: str | None = None, status: str | None = None, webhook_id: str | None = None) -> int:
        """Deliveries go again, now, with all their retries before them: the one of an id, whatever its status, else those of a
        status (if none is named: the parked ones), of one webhook or of all. Raises webhook_not_found."""
        if webhook_id is not None:
            await self.one(key, webhook_id)
        async with self._store.database.transaction() as tx:
            count = await self._store.webhooks.replay(tx, owner=key.owner, at=self._clock(), id=id, webhook_id=webhook_id,
                                                      status=status if id is not None else status or "parked")
        if id is not None and not count:
            raise GatewayError("webhook_not_found")
        for webhook, courier in self._couriers.values():
            if webhook.owner == key.owner:
                courier.retry_now()
        return count


def session_webhook_id(session_id: str) -> str:
    """Of the webhook that stands for a session's own `webhook_url`."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"session/{session_id}/webhook_url"))


def _is_of_session(webhook: Webhook) -> bool:
    return webhook.session_id is not None and webhook.id == session_webhook_id(webhook.session_id)


def check_url(text: str, field: str) -> str:
    """Where it leads is checked at every delivery. Raises InvalidField."""
    try:
        parse_url(text)
    except ValueError as error:
        raise InvalidField(field, f"{field}: {error}") from None
    return text


def check_types(types: tuple[str, ...]) -> tuple[str, ...]:
    """Raises InvalidField."""
    for type_ in types:
        if type_ not in TYPES:
            raise InvalidField("types", f"types: {type_[:40]!r} is none of {', '.join(TYPES)}")
    return tuple(dict.fromkeys(types))


def check_secret(text: str | None) -> str:
    """A new one where none is given. Raises InvalidField."""
    if text is None:
        return f"whsec_{secrets.token_urlsafe(32)}"
    if not (_SECRET_CHARS[0] <= len(text) <= _SECRET_CHARS[1] and text.isascii() and text.isprintable()):
        raise InvalidField("secret", "secret: 16 to 256 printable ASCII characters")
    return text
