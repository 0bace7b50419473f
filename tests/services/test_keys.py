"""Keys, plans and quotas, with the time in hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.config import Plan
from gateway.errors import GatewayError
from gateway.jid import JID
from gateway.services.keys import Keys
from gateway.store.keys import Key
from gateway.store.store import Store

PLANS = {"free": Plan(messages_per_day=2, messages_per_month=3, requests_per_minute=2), "unlimited": Plan()}


class Clock:
    now = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(store: Store, clock: Clock) -> Keys:
    return Keys(store.database, PLANS, clock)


async def accept(store: Store, key: Key, number: int, at: float) -> None:
    async with store.database.transaction() as tx:
        await store.messages.accept(tx, id=str(number), owner=key.owner, session_id="s", kind="text",
                                    chat=JID.parse("237612345678@s.whatsapp.net"), facts={}, payload=b"", at=at)
        await store.usage.count(tx, key.owner, "accepted", at)


async def test_a_minute_is_the_last_sixty_seconds(keys: Keys, clock: Clock) -> None:
    key, _ = await keys.create(name="x", plan="free")
    assert keys.spend_request(key).remaining == 1
    clock.now += 40
    assert keys.spend_request(key).remaining == 0
    with pytest.raises(GatewayError) as refused:
        keys.spend_request(key)
    assert refused.value.retry_after == pytest.approx(20)
    clock.now += 20
    assert keys.spend_request(key).remaining == 0
    unlimited, _ = await keys.create(name="y")
    assert {keys.spend_request(unlimited).limit for _ in range(100)} == {0}


async def test_a_clock_that_is_set_back_does_not_shut_a_key_out_until_it_is_there_again(keys: Keys, clock: Clock) -> None:
    key, _ = await keys.create(name="x", plan="free")
    for _ in range(2):
        keys.spend_request(key)
    clock.now -= 86_400
    assert keys.spend_request(key).remaining == 1


async def test_rotated_keys_share_one_limit(keys: Keys) -> None:
    key, _ = await keys.create(name="x", plan="free")
    new, _ = await keys.rotate(key.id)
    keys.spend_request(key)
    keys.spend_request(new)
    with pytest.raises(GatewayError, match="rate_limited"):
        keys.spend_request(key)


async def test_a_day_is_the_last_24_hours_and_a_month_is_the_calendars(store: Store, keys: Keys, clock: Clock) -> None:
    key, _ = await keys.create(name="x", plan="free")
    await accept(store, key, 1, clock.now)
    clock.now += 3600
    await accept(store, key, 2, clock.now)
    with pytest.raises(GatewayError, match="rate_limited") as refused:
        await keys.check_quota(key)
    assert refused.value.retry_after == pytest.approx(23 * 3600)
    clock.now += 23 * 3600 + 1                          # 1 February
    await keys.check_quota(key)
    quota = await keys.quota(key)
    assert (quota.day_used, quota.month_used) == (1, 0)
    assert datetime.fromtimestamp(quota.month_end, UTC) == datetime(2026, 3, 1, tzinfo=UTC)


async def test_a_months_quota_is_told_with_the_months_end(store: Store, keys: Keys, clock: Clock) -> None:
    key, _ = await keys.create(name="x", plan="free")
    clock.now = datetime(2026, 12, 30, tzinfo=UTC).timestamp()
    for number in range(3):
        await accept(store, key, number, clock.now - 25 * 3600)
    with pytest.raises(GatewayError, match="quota_exceeded") as refused:
        await keys.check_quota(key)
    assert refused.value.retry_after == pytest.approx(2 * 86_400)


async def test_messages_of_a_future_that_a_clock_took_back_use_nothing_up(store: Store, keys: Keys, clock: Clock) -> None:
    key, _ = await keys.create(name="x", plan="free")
    for number in range(3):
        await accept(store, key, number, clock.now + 400 * 86_400)
    await keys.check_quota(key)
    quota = await keys.quota(key)
    assert (quota.day_used, quota.month_used) == (0, 0)


async def test_when_a_key_was_used_is_noted_after_the_clock_was_set_back_too(keys: Keys, clock: Clock) -> None:
    _, text = await keys.create(name="x")
    for _ in range(2):
        await keys.authenticate(text)
        clock.now -= 86_400
    key, = await keys.all()
    assert key.last_used_at == clock.now + 86_400


async def test_a_plan_that_is_gone_from_the_settings_allows_what_the_smallest_does(store: Store, keys: Keys) -> None:
    async with store.database.transaction() as tx:
        key, _ = await store.keys.create(tx, name="x", scope="full", plan="gold", at=1.0)
    assert keys.plan(key) == PLANS["free"]


async def test_a_wrong_an_unknown_and_a_revoked_key_are_refused_alike(keys: Keys) -> None:
    key, text = await keys.create(name="x")
    assert (await keys.authenticate(text)).id == key.id
    await keys.revoke(key.id)
    said = set()
    for wrong in (text, text + "x", text[:-1], "wag_0_0", "", "é" * 50, text.replace("wag_", "gaw_")):
        with pytest.raises(GatewayError) as refused:
            await keys.authenticate(wrong)
        said.add((refused.value.code, refused.value.message, str(refused.value.details)))
    assert len(said) == 1


async def test_a_store_that_cannot_be_written_still_lets_a_key_in(store: Store, keys: Keys) -> None:
    _, text = await keys.create(name="x")
    await store.database._writer.execute("PRAGMA query_only = ON")
    assert (await keys.authenticate(text)).last_used_at is None


async def test_last_use_is_noted_at_most_once_a_minute(store: Store, keys: Keys, clock: Clock) -> None:
    key, text = await keys.create(name="x")
    begin = clock.now
    for later in (0, 30, 59):
        clock.now = begin + later
        await keys.authenticate(text)
    noted = await store.keys.one(key.id)
    assert noted is not None
    assert noted.last_used_at == begin
