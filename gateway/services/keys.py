"""Who may ask, and how much: API keys with a scope and a plan."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateway.config import Plan
from gateway.errors import GatewayError, InvalidField
from gateway.store.database import Database, Transaction
from gateway.store.keys import SCOPES, Key
from gateway.store.keys import Keys as KeyRows
from gateway.store.usage import Usage, day_of

MINUTE, DAY = 60.0, 86_400.0
_NOTE_USE_EVERY = 60.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """Of requests a minute, as the X-RateLimit headers tell it. `reset`: unix seconds. `limit` 0: none."""

    limit: int
    remaining: int
    reset: int


@dataclass(frozen=True, slots=True)
class Quota:
    """Of messages; 0: no limit."""

    day_limit: int
    day_used: int
    month_limit: int
    month_used: int
    month_sent: int
    month_delivered: int
    month_failed: int
    month_start: float
    month_end: float


class Keys:
    def __init__(self, database: Database, plans: Mapping[str, Plan], clock: Callable[[], float] = time.time) -> None:
        self._database, self._rows, self._usage = database, KeyRows(database), Usage(database)
        self._plans, self._clock = plans, clock
        self._requests: dict[str, deque[float]] = {}
        self._noted: dict[str, float] = {}

    def plan(self, key: Key) -> Plan:
        """A plan that was taken out of the settings allows nothing more than the smallest one."""
        return self._plans.get(key.plan) or self._plans["free"]

    async def authenticate(self, text: str) -> Key:
        """Raises `unauthorized`; the same for a wrong, an unknown and a revoked key."""
        key = await self._rows.of_text(text)
        if key is None:
            raise GatewayError("unauthorized")
        now = self._clock()
        if not 0 <= now - self._noted.get(key.id, 0) <= _NOTE_USE_EVERY:
            self._noted[key.id] = now
            with contextlib.suppress(GatewayError):         # a full disk is no reason to refuse somebody who only looks
                await self._database.write(lambda tx: self._rows.used(tx, key.id, now))
        return key

    @staticmethod
    def check_scope(key: Key, scope: str) -> None:
        """`read` < `send` < `full` < `admin`."""
        order = SCOPES[::-1]
        if order.index(key.scope) < order.index(scope):
            raise GatewayError("forbidden", f"This needs a key of scope '{scope}'; yours has '{key.scope}'.", scope=key.scope)

    def spend_request(self, key: Key) -> Allowance:
        """Counts one request of the last minute. Raises `rate_limited`."""
        limit, now = self.plan(key).requests_per_minute, self._clock()
        if not limit:
            return Allowance(0, 0, int(now + MINUTE))
        times = self._requests.setdefault(key.owner, deque())
        while times and not now - MINUTE < times[0] <= now:     # later than now: the clock was set back
            times.popleft()
        reset = (times[0] if times else now) + MINUTE
        if len(times) >= limit:
            raise GatewayError("rate_limited", f"More than {limit} requests a minute.", retry_after=reset - now, limit=limit,
                               window="minute", remaining=0, reset=int(reset) + 1)
        times.append(now)
        return Allowance(limit, limit - len(times), int(reset) + 1)

    async def check_quota(self, key: Key, tx: Transaction | None = None) -> None:
        """Before a message is accepted. Raises `rate_limited` (a day's) or `quota_exceeded` (the month's)."""
        plan, now = self.plan(key), self._clock()
        if plan.messages_per_day:
            used, first = await self._usage.accepted_between(key.owner, now - DAY, now, tx)
            if used >= plan.messages_per_day:
                wait = (first or now) + DAY - now
                raise GatewayError("rate_limited", f"The plan '{key.plan}' allows {plan.messages_per_day} messages a day.",
                                   retry_after=wait, limit=plan.messages_per_day, window="day")
        if plan.messages_per_month:
            quota = await self.quota(key, tx)
            if quota.month_used >= plan.messages_per_month:
                raise GatewayError("quota_exceeded", f"The plan '{key.plan}' allows {plan.messages_per_month} messages a month.",
                                   retry_after=quota.month_end - now, limit=plan.messages_per_month, window="month")

    async def quota(self, key: Key, tx: Transaction | None = None) -> Quota:
        plan, now = self.plan(key), self._clock()
        start = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = (start + timedelta(days=32)).replace(day=1)
        month = await self._usage.totals(key.owner, day_of(start.timestamp()), day_of(end.timestamp() - 1), tx)
        day, _ = await self._usage.accepted_between(key.owner, now - DAY, now, tx)
        return Quota(plan.messages_per_day, day, plan.messages_per_month, month.accepted, month.sent, month.delivered,
                     month.failed, start.timestamp(), end.timestamp())

    # ------------------------------------------------------------------ keeping keys

    async def create(self, *, name: str, scope: str = "full", plan: str = "unlimited", shares: str = "") -> tuple[Key, str]:
        """The key and its text, shown once. It owns nothing yet, or, with the id or name of another key in `shares`, the sessions
        and messages of that one. Raises InvalidField."""
        if not name.strip() or len(name) > 100:
            raise InvalidField("name", "name: 1 to 100 characters")
        if scope not in SCOPES:
            raise InvalidField("scope", f"scope: one of {', '.join(SCOPES)}")
        if plan not in self._plans:
            raise InvalidField("plan", f"plan: one of {', '.join(self._plans)}")
        owner = (await self._shared(shares)).owner if shares else None
        return await self._database.write(
            lambda tx: self._rows.create(tx, name=name.strip(), scope=scope, plan=plan, at=self._clock(), owner=owner))

    async def _shared(self, named: str) -> Key:
        """By its id, else by a name that only those have who share already."""
        valid = [key for key in await self._rows.all() if key.revoked_at is None]
        found = [key for key in valid if key.id == named] or [key for key in valid if key.name == named]
        if not found:
            raise InvalidField("shares", "shares: there is no valid key of that id or name")
        if len({key.owner for key in found}) > 1:
            raise InvalidField("shares", "shares: several keys have that name; give the id of one")
        return found[0]

    async def rotate(self, id_: str) -> tuple[Key, str]:
        """A second text for the same owner; the old one works until it is revoked. Raises not_found."""
        old = await self._rows.one(id_)
        if old is None or old.revoked_at is not None:
            raise GatewayError("not_found", "There is no key of that id.")
        return await self._database.write(
            lambda tx: self._rows.create(tx, name=old.name, scope=old.scope, plan=old.plan, at=self._clock(), owner=old.owner,
                                         replaces=old.id))

    async def revoke(self, id_: str) -> None:
        """Raises not_found."""
        if not await self._database.write(lambda tx: self._rows.revoke(tx, id_, self._clock())):
            raise GatewayError("not_found", "There is no valid key of that id.")

    async def all(self) -> list[Key]:
        return await self._rows.all()
