from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import sqlite3
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import GatewayError, InvalidField
from gateway.jid import JID
from gateway.media.fetch import Fetcher
from gateway.services.courier import AT_ONCE, RETRY_SECONDS
from gateway.services.feed import Feed
from gateway.services.ledger import Ledger
from gateway.services.webhook_formats import FORMATS
from gateway.services.webhooks import MOST, WebhookService
from gateway.states import REASONS, SessionState
from gateway.store.keys import Key
from gateway.store.store import Store, open_store
from gateway.store.vault import Vault
from gateway.store.webhooks import NEVER, Webhook
from gateway.times import iso
from tests.services.receiver import Receiver, Time, carrying, receiving

HOUR = 3600.0
SECRET = "a secret of the test's own"
ANNA = JID("4915112345678", "s.whatsapp.net")


class World:
    """A store, a feed, a receiver and a service that carries; `key` owns the session `s`."""

    def __init__(self, store: Store, feed: Feed, time: Time, receiver: Receiver, fetcher: Fetcher, key: Key, other: Key) -> None:
        self.store, self.feed, self.time, self.receiver, self.fetcher = store, feed, time, receiver, fetcher
        self.key, self.other = key, other
        self.service, self.stack = self.new_service(), AsyncExitStack()
        self.ledger = Ledger(store.messages, store.usage, feed)

    def new_service(self, **named: Any) -> WebhookService:
        return WebhookService(self.store, self.feed, self.fetcher, self.time.clock, wait=self.time.wait, **named)

    async def stop(self) -> None:
        await self.stack.aclose()

    async def restart(self, **named: Any) -> None:
        await self.stop()
        self.service = await self.stack.enter_async_context(carrying(self.new_service(**named)))

    async def hook(self, **named: Any) -> Webhook:
        webhook, _ = await self.service.create(self.key, **{"url": self.receiver.url, "secret": SECRET, **named})
        return webhook

    async def tell(self, n: Any = 0, chat: str = "a", type: str = "message", *, owner: str | None = None,
                   session: str = "s") -> None:
        async with self.store.database.transaction() as tx:
            await self.feed.tell(tx, owner=owner or self.key.owner, session_id=session, type=type, at=self.time.now,
                                 data={"session": session, "chat": chat, "n": n})

    async def settle(self) -> None:
        await self.time.settle(self.service)

    async def pass_(self, seconds: float) -> None:
        await self.time.pass_(self.service, seconds)

    async def statuses(self) -> list[str]:
        """Oldest first."""
        return [d.status for d, _ in await self.service.deliveries(self.key, limit=500)][::-1]

    async def session(self, id_: str = "s", owner: str | None = None, webhook_url: str = "") -> Any:
        async with self.store.database.transaction() as tx:
            return await self.store.sessions.create(
                tx, id=id_, owner=owner or self.key.owner, session_key=id_, name=id_, webhook_url=webhook_url, wrapped_key=b"k",
                state=SessionState(REASONS["connected"], self.time.now), settings={}, at=self.time.now)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    time = Time()
    async with open_store(tmp_path, Vault(bytes(32))) as store, receiving(time) as receiver, Fetcher(("127.0.0.0/8",)) as fetcher:
        feed = Feed(store.journal)
        await feed.start()
        async with store.database.transaction() as tx:
            key, _ = await store.keys.create(tx, name="a", scope="full", plan="free", at=time.now)
            other, _ = await store.keys.create(tx, name="b", scope="full", plan="free", at=time.now)
        world = World(store, feed, time, receiver, fetcher, key, other)
        await world.session()
        async with world.stack:
            await world.restart()
            yield world


def numbers(receiver: Receiver) -> list[Any]:
    return [request.n for request in receiver.taken]


# ------------------------------------------------------------------ what is sent


async def test_an_event_is_posted_signed_over_its_time_and_raw_body(world):
    webhook = await world.hook()
    await world.tell(7)
    await world.settle()
    (request,) = world.receiver.got
    (delivery, type_), = await world.service.deliveries(world.key)
    assert request.body == {"id": delivery.id, "seq": 1, "type": "message", "session": "s", "at": iso(world.time.now),
                            "data": {"session": "s", "chat": "a", "n": 7}}
    t, v1 = (part.partition("=")[2] for part in request.headers["x-gateway-signature"].split(","))
    assert int(t) == int(world.time.now)
    assert v1 == hmac.new(SECRET.encode(), t.encode() + b"." + request.raw, hashlib.sha256).hexdigest()
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "wagateway"
    assert (request.headers["x-gateway-event"], request.headers["x-gateway-delivery"]) == ("message", delivery.id)
    assert (delivery.status, delivery.attempts, delivery.last_status, delivery.webhook_id, type_) \
        == ("delivered", 1, 200, webhook.id, "message")
    assert delivery.delivered_at == world.time.now


async def test_events_before_the_webhook_was_made_are_not_sent(world):
    await world.tell(1)
    await world.hook()
    await world.tell(2)
    await world.settle()
    assert numbers(world.receiver) == [2]


async def test_a_webhook_gets_its_owners_events_of_its_session_and_types(world):
    await world.session("t")
    await world.hook(session_id="s", types=("message", "status"))
    for n, (type_, owner, session) in enumerate((("message", None, "s"), ("receipt", None, "s"), ("status", None, "s"),
                                                 ("message", None, "t"), ("message", world.other.owner, "s2"))):
        await world.tell(n, type=type_, owner=owner, session=session)
    await world.settle()
    assert numbers(world.receiver) == [0, 2]


async def test_linking_codes_go_only_to_a_webhook_that_names_them(world):
    await world.hook()
    for n, type_ in enumerate(("qr", "pairing_code", "connected")):
        await world.tell(n, type=type_)
    await world.settle()
    assert numbers(world.receiver) == [2]
    await world.hook(types=("qr",))
    await world.tell(3, type="qr")
    await world.tell(4, type="pairing_code")
    await world.settle()
    assert numbers(world.receiver) == [2, 3]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_success(world, status):
    world.receiver.reply = lambda request: status
    await world.hook()
    await world.tell()
    await world.pass_(HOUR)
    assert len(world.receiver.got) == 1
    assert await world.statuses() == ["delivered"]


# ------------------------------------------------------------------ retries


async def test_a_delivery_nobody_takes_is_retried_after_1_5_30_120_and_600_seconds_and_parked(world):
    world.receiver.reply = lambda request: 500
    await world.hook()
    await world.tell()
    await world.pass_(sum(RETRY_SECONDS) - 1)
    assert await world.statuses() == ["waiting"]
    await world.pass_(1)
    times = [request.at for request in world.receiver.got]
    assert [round(b - a, 3) for a, b in itertools.pairwise(times)] == [1, 5, 30, 120, 600]
    ((delivery, _),) = await world.service.deliveries(world.key, status="parked")
    assert (delivery.attempts, delivery.last_status, delivery.last_error) == (6, 500, "HTTP 500")
    bodies = {request.raw for request in world.receiver.got}
    assert len(bodies) == 1
    assert len({request.headers["x-gateway-signature"] for request in world.receiver.got}) == 6


async def test_a_receiver_that_stumbles_once_gets_the_delivery_a_second_later(world):
    answers = iter([503, 200])
    world.receiver.reply = lambda request: next(answers)
    await world.hook()
    await world.tell(1)
    await world.settle()
    await world.pass_(1)
    assert numbers(world.receiver) == [1]
    assert await world.statuses() == ["delivered"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_is_set_back_by_a_day_holds_up_no_delivery(world, restarted):
    answers = iter([503])
    world.receiver.reply = lambda request: next(answers, 200)
    await world.hook()
    await world.tell(1)
    await world.settle()
    assert world.receiver.taken == []
    world.time.now -= 24 * HOUR
    if restarted:
        await world.restart()
    await world.tell(2)
    await world.settle()
    assert numbers(world.receiver) == [1, 2]


@pytest.mark.parametrize("how", ["refused", 503, 404, "silent"])
async def test_a_receiver_that_was_down_for_an_hour_loses_nothing_and_gets_each_chat_in_order(world, how):
    """Also what came after everything else had failed for long, and with few requests while it was down."""
    if how == "silent":
        await world.restart(timeout_seconds=0.1)
    await world.hook()
    if how == "refused":
        await world.receiver.stop()
    elif how == "silent":
        async def hang(request):
            await asyncio.sleep(30)
            return 200
        world.receiver.reply = hang
    else:
        world.receiver.reply = lambda request: how
    for n in range(30):
        await world.tell(n, chat="abc"[n % 3])
        await world.pass_(HOUR / 30)
    assert world.receiver.taken == []
    assert len(world.receiver.got) < 40
    if how == "refused":
        await world.receiver.start()
    world.receiver.reply = lambda request: 200
    await world.pass_(RETRY_SECONDS[-1])
    assert sorted(numbers(world.receiver)) == list(range(30))
    for chat in range(3):
        assert [n for n in numbers(world.receiver) if n % 3 == chat] == list(range(chat, 30, 3))
    assert await world.statuses() == ["delivered"] * 30
    assert world.service.failing_since((await world.service.all(world.key))[0].id) is None


async def test_while_a_receiver_is_down_only_the_oldest_delivery_uses_its_retries(world):
    webhook = await world.hook()
    await world.receiver.stop()
    began = world.time.now
    for n in range(6):
        await world.tell(n, chat=str(n))
        await world.settle()
    await world.pass_(HOUR)
    attempts = [d.attempts for d, _ in await world.service.deliveries(world.key)][::-1]
    assert attempts[0] == 10                        # at 0, 1, 6, 36, 156 and 756 seconds, then every 600
    assert all(n <= 1 for n in attempts[1:])
    assert await world.statuses() == ["parked"] + ["waiting"] * 5
    assert world.service.failing_since(webhook.id) == began


async def test_an_event_its_receiver_does_not_like_holds_back_its_own_chat_only(world):
    world.receiver.reply = lambda request: 500 if request.n == "bad" else 200
    await world.hook()
    await world.tell("before", chat="a")
    await world.settle()
    await world.tell("bad", chat="a")
    await world.tell("after", chat="a")
    for n in range(3):
        await world.tell(n, chat="b")
        await world.settle()
    assert numbers(world.receiver) == ["before", 0, 1, 2]           # no waiting at all
    await world.pass_(HOUR)
    assert numbers(world.receiver) == ["before", 0, 1, 2, "after"]
    assert sum(request.n == "bad" for request in world.receiver.got) == 6
    ((delivery, _),) = await world.service.deliveries(world.key, status="parked")
    assert delivery.next_at == NEVER


async def test_two_stumbles_in_a_row_do_not_let_an_event_overtake_the_one_before_it_in_its_chat(world):
    """The first stumble holds back chat a alone, the second makes the courier look for the oldest that it may try."""
    await world.hook()
    world.receiver.reply = lambda request: 500 if request.n == 0 else 200
    await world.tell(0, chat="a")
    await world.settle()
    await world.tell(1, chat="b")
    await world.settle()
    assert numbers(world.receiver) == [1]
    await world.tell(2, chat="a")
    world.receiver.reply = lambda request: 500
    await world.tell(3, chat="c")
    await world.settle()
    world.receiver.reply = lambda request: 200
    await world.pass_(10)
    taken = numbers(world.receiver)
    assert sorted(taken) == [0, 1, 2, 3]
    assert taken.index(0) < taken.index(2)


async def test_a_bad_event_delays_an_event_of_another_chat_that_comes_long_after_not_at_all(world):
    """A courier that took the receiver for down would have let it wait up to ten minutes."""
    world.receiver.reply = lambda request: 500 if request.n == "bad" else 200
    await world.hook()
    await world.tell("bad", chat="a")
    await world.pass_(300)
    assert numbers(world.receiver) == []
    await world.tell("good", chat="b")
    await world.settle()
    assert numbers(world.receiver) == ["good"]


async def test_a_bad_event_in_the_only_chat_is_set_aside_once_its_retries_are_used_up(world):
    world.receiver.reply = lambda request: 422 if request.n == "bad" else 200
    await world.hook()
    for n in ("bad", 1, 2):
        await world.tell(n)
    await world.pass_(sum(RETRY_SECONDS) - 1)
    assert numbers(world.receiver) == []
    await world.pass_(2)
    assert numbers(world.receiver) == [1, 2]
    assert await world.statuses() == ["parked", "delivered", "delivered"]
    tries = len(world.receiver.got)
    await world.pass_(HOUR)
    assert len(world.receiver.got) == tries


async def test_several_bad_events_do_not_keep_the_good_ones_for_ever(world):
    world.receiver.reply = lambda request: 500 if str(request.n).startswith("bad") else 200
    await world.hook()
    for n in range(4):
        await world.tell(f"bad {n}", chat=f"bad {n}")
    await world.tell("good", chat="good")
    await world.pass_(2 * HOUR)
    assert numbers(world.receiver) == ["good"]
    assert await world.statuses() == ["parked"] * 4 + ["delivered"]
    assert all(count <= 12 for count in Counter(request.n for request in world.receiver.got).values())


async def test_gone_parks_at_once(world):
    world.receiver.reply = lambda request: 410
    await world.hook()
    await world.tell(1)
    await world.tell(2)
    await world.pass_(HOUR)
    assert await world.statuses() == ["parked", "parked"]
    assert len(world.receiver.got) == 2


async def test_gone_after_other_failures_ends_them(world):
    world.receiver.reply = lambda request: 500
    webhook = await world.hook()
    await world.tell(1)
    await world.tell(2)
    await world.pass_(2)
    world.receiver.reply = lambda request: 410
    await world.pass_(HOUR)
    assert await world.statuses() == ["parked", "parked"]
    assert world.service.failing_since(webhook.id) is None


async def test_a_redirect_is_not_followed(world):
    world.receiver.reply = lambda request: 307
    world.receiver.location = "/elsewhere"
    await world.hook()
    await world.tell()
    await world.settle()
    ((delivery, _),) = await world.service.deliveries(world.key)
    assert (delivery.status, delivery.last_status, len(world.receiver.got)) == ("waiting", 307, 1)


async def test_a_private_address_is_refused_at_delivery_and_said_without_the_urls_secrets(world):
    async with Fetcher() as strict:
        service = WebhookService(world.store, world.feed, strict, world.time.clock, wait=world.time.wait)
        async with carrying(service):
            await service.create(world.other, url=world.receiver.url)
            await world.tell(owner=world.other.owner)
            await world.time.settle(service)
            ((delivery, _),) = await service.deliveries(world.other)
    assert world.receiver.got == []
    assert delivery.last_status is None
    assert "may not be fetched" in delivery.last_error
    assert "secret-in-url" not in delivery.last_error


# ------------------------------------------------------------------ at the same time


async def test_a_slow_chat_does_not_hold_up_the_others(world):
    gate = asyncio.Event()

    async def slow(request):
        if request.n == "slow":
            await gate.wait()
        return 200

    world.receiver.reply = slow
    await world.hook()
    await world.tell("slow", chat="a")
    await world.tell("behind", chat="a")
    for n in range(5):
        await world.tell(n, chat="b")
    async with asyncio.timeout(5):
        while len(world.receiver.taken) < 5:
            await asyncio.sleep(0.005)
    assert numbers(world.receiver) == [0, 1, 2, 3, 4]
    gate.set()
    await world.settle()
    assert numbers(world.receiver) == [0, 1, 2, 3, 4, "slow", "behind"]


async def test_a_receiver_gets_a_bounded_number_of_requests_at_once(world):
    open_, most, gate = 0, 0, asyncio.Event()

    async def count(request):
        nonlocal open_, most
        open_ += 1
        most = max(most, open_)
        if open_ == AT_ONCE:
            gate.set()
        await gate.wait()
        open_ -= 1
        return 200

    world.receiver.reply = count
    await world.hook()
    for n in range(3 * AT_ONCE):
        await world.tell(n, chat=str(n))
    await world.settle()
    assert most == AT_ONCE
    assert sorted(numbers(world.receiver)) == list(range(3 * AT_ONCE))


async def test_one_receiver_that_is_down_holds_up_nobody_elses_webhook(world):
    await world.hook(url="http://127.0.0.1:1/nobody")
    await world.hook()
    await world.tell(1)
    await world.settle()
    assert numbers(world.receiver) == [1]


# ------------------------------------------------------------------ restarts and trouble


async def test_a_restart_goes_on_where_it_was_and_catches_up_with_the_journal(world):
    world.receiver.reply = lambda request: 500
    await world.hook()
    await world.tell(1)
    await world.settle()
    await world.stop()
    world.receiver.reply = lambda request: 200
    await world.tell(2)
    await world.tell(3, type="qr")
    await world.restart()
    await world.pass_(2)
    assert numbers(world.receiver) == [1, 2]
    assert await world.statuses() == ["delivered", "delivered"]


async def test_a_stop_in_the_middle_of_a_delivery_repeats_it_under_the_same_id(tmp_path):
    time, began = Time(), asyncio.Event()
    async with open_store(tmp_path, Vault(bytes(32))) as store, receiving(time) as receiver, Fetcher(("127.0.0.0/8",)) as fetcher:
        feed = Feed(store.journal)
        async with store.database.transaction() as tx:
            key, _ = await store.keys.create(tx, name="a", scope="full", plan="free", at=time.now)

        async def hang(request):
            began.set()
            await asyncio.sleep(30)
            return 200

        receiver.reply = hang
        service = WebhookService(store, feed, fetcher, time.clock, wait=time.wait)
        async with carrying(service):
            await service.create(key, url=receiver.url)
            async with store.database.transaction() as tx:
                await feed.tell(tx, owner=key.owner, session_id="s", type="message", at=time.now, data={"n": 1})
            await asyncio.wait_for(began.wait(), 5)
        receiver.reply = lambda request: 200
        service = WebhookService(store, feed, fetcher, time.clock, wait=time.wait)
        async with carrying(service):
            await time.settle(service)
        assert len({request.body["id"] for request in receiver.got}) == 1
        assert len(receiver.got) == 2
        ((delivery, _),) = await service.deliveries(key)
        assert (delivery.status, delivery.attempts) == ("delivered", 1)


async def test_a_failure_inside_the_gateway_is_survived(world):
    """A full disk, or a mistake of ours: the courier begins again, and the delivery is not lost."""
    calls = 0

    def stumbling(it):
        nonlocal calls
        calls += 1
        if calls in (1, 3):
            raise sqlite3.OperationalError("disk I/O error") if calls == 3 else ZeroDivisionError
        return FORMATS["native"](it)

    world.service.formats = {"native": stumbling}
    await world.hook()
    await world.tell(1)
    await world.pass_(20)
    assert numbers(world.receiver) == [1]
    assert calls == 4


async def test_an_event_the_journal_has_forgotten_is_set_aside_with_the_reason(world):
    world.receiver.reply = lambda request: 500
    await world.hook()
    await world.tell(1)
    await world.settle()
    async with world.store.database.transaction() as tx:
        await world.store.journal.forget(tx, world.time.now + 1)
    await world.pass_(2)
    ((delivery, type_),) = await world.service.deliveries(world.key)
    assert (delivery.status, delivery.next_at, type_) == ("parked", NEVER, None)
    assert "journal" in delivery.last_error


# ------------------------------------------------------------------ replay


async def test_what_was_parked_goes_again_by_id_by_webhook_or_all_of_it_in_its_chats_order(world):
    world.receiver.reply = lambda request: 410
    webhook = await world.hook()
    for n in range(4):
        await world.tell(n)
    await world.settle()
    world.receiver.reply = lambda request: 200
    rows = [d for d, _ in await world.service.deliveries(world.key)][::-1]
    assert await world.service.replay(world.key, id=rows[2].id) == 1
    await world.settle()
    assert numbers(world.receiver) == [2]
    assert await world.service.replay(world.key, webhook_id=webhook.id) == 3
    await world.settle()
    assert numbers(world.receiver) == [2, 0, 1, 3]
    assert await world.service.replay(world.key) == 0
    assert await world.service.replay(world.key, id=rows[0].id) == 1            # a delivered one goes once more, if asked by id
    await world.settle()
    assert numbers(world.receiver) == [2, 0, 1, 3, 0]
    assert world.receiver.taken[-1].body["id"] == rows[0].id


async def test_a_replay_tries_a_receiver_that_was_down_at_once(world):
    await world.hook()
    await world.receiver.stop()
    await world.tell(1)
    await world.pass_(HOUR)
    assert await world.statuses() == ["parked"]
    await world.receiver.start()
    assert await world.service.replay(world.key) == 1
    await world.settle()
    assert numbers(world.receiver) == [1]


async def test_another_owners_deliveries_and_webhooks_are_not_found(world):
    webhook = await world.hook()
    await world.tell(1)
    await world.settle()
    ((delivery, _),) = await world.service.deliveries(world.key)
    service, other = world.service, world.other
    assert await service.deliveries(other) == []
    assert await service.all(other) == []
    assert await service.counts(other) == {}
    for call in (service.one(other, webhook.id), service.delete(other, webhook.id), service.rotate_secret(other, webhook.id),
                 service.update(other, webhook.id, types=()), service.delivery(other, delivery.id),
                 service.replay(other, id=delivery.id), service.replay(other, webhook_id=webhook.id)):
        with pytest.raises(GatewayError) as caught:
            await call
        assert caught.value.code == "webhook_not_found"
    assert await service.replay(other) == 0


# ------------------------------------------------------------------ keeping webhooks


@pytest.mark.parametrize(("named", "field"), [
    ({"url": "ftp://example.com/"}, "url"), ({"url": "https://user:pw@example.com/"}, "url"), ({"url": "http://0x7f.1/"}, "url"),
    ({"types": ("gossip",)}, "types"), ({"format": "morse"}, "format"), ({"secret": "short"}, "secret"),
    ({"secret": "x" * 257}, "secret"), ({"secret": "ümlaut" * 5}, "secret")])
async def test_what_a_webhook_cannot_be_is_refused_by_field(world, named, field):
    with pytest.raises(InvalidField) as caught:
        await world.hook(**named)
    assert caught.value.details["field"] == field
    assert await world.service.all(world.key) == []


async def test_a_webhook_of_a_session_that_is_not_ones_own_is_refused(world):
    await world.session("theirs", world.other.owner)
    for id_ in ("theirs", "nobody"):
        with pytest.raises(GatewayError) as caught:
            await world.hook(session_id=id_)
        assert caught.value.code == "session_not_found"


async def test_there_is_a_limit_to_the_number_of_webhooks(world):
    async with world.store.database.transaction() as tx:
        for n in range(MOST):
            await world.store.webhooks.create(tx, id=str(uuid.UUID(int=n)), owner=world.key.owner, session_id=None, types=(),
                                              format="native", url="http://127.0.0.1:1/", secret="s", position=0, at=0.0)
    with pytest.raises(InvalidField, match="100"):
        await world.hook()


async def test_a_secret_is_made_if_none_is_given_and_a_new_one_signs_from_then_on(world):
    webhook, first = await world.service.create(world.key, url=world.receiver.url)
    assert first.startswith("whsec_")
    second = await world.service.rotate_secret(world.key, webhook.id)
    third = await world.service.rotate_secret(world.key, webhook.id, SECRET)
    assert len({first, second, third}) == 3
    assert third == SECRET
    await world.tell()
    await world.settle()
    (request,) = world.receiver.got
    t, v1 = (part.partition("=")[2] for part in request.headers["x-gateway-signature"].split(","))
    assert v1 == hmac.new(SECRET.encode(), t.encode() + b"." + request.raw, hashlib.sha256).hexdigest()


async def test_a_new_url_gets_what_was_waiting_for_the_old_one(world):
    webhook = await world.hook(url="http://127.0.0.1:1/nobody")
    await world.tell(1)
    await world.settle()
    changed = await world.service.update(world.key, webhook.id, url=world.receiver.url)
    assert changed.url == world.receiver.url
    await world.pass_(2)
    assert numbers(world.receiver) == [1]
    with pytest.raises(InvalidField):
        await world.service.update(world.key, webhook.id, url="nonsense")


async def test_a_deleted_webhook_is_silent_and_its_courier_goes_home(world):
    world.receiver.reply = lambda request: 500
    webhook = await world.hook()
    await world.tell(1)
    await world.settle()
    await world.service.delete(world.key, webhook.id)
    await world.settle()
    assert world.service._couriers == {}
    tries = len(world.receiver.got)
    await world.tell(2)
    await world.pass_(HOUR)
    assert len(world.receiver.got) == tries
    assert await world.service.deliveries(world.key) == []


async def test_a_sessions_own_url_is_a_webhook_that_is_made_moved_and_deleted(world):
    session = await world.store.sessions.one("s")
    webhook = await world.service.set_session_url(session, world.receiver.url)
    assert (webhook.session_id, webhook.types, webhook.format) == ("s", (), "native")
    session = await world.store.sessions.one("s")
    assert session.webhook_url == world.receiver.url
    assert await world.service.set_session_url(session, world.receiver.url) == webhook
    await world.tell(1)
    await world.tell(2, session="t")
    await world.settle()
    assert numbers(world.receiver) == [1]
    moved = await world.service.set_session_url(session, world.receiver.url + "&moved")
    assert (moved.id, moved.url) == (webhook.id, world.receiver.url + "&moved")
    assert await world.service.set_session_url(await world.store.sessions.one("s"), None) is None
    assert (await world.store.sessions.one("s")).webhook_url == ""
    assert await world.service.all(world.key) == []
    with pytest.raises(InvalidField) as caught:
        await world.service.set_session_url(session, "nonsense")
    assert caught.value.details["field"] == "webhook_url"


async def test_changing_a_sessions_webhook_changes_what_the_session_shows(world):
    webhook = await world.service.set_session_url(await world.store.sessions.one("s"), world.receiver.url)
    await world.service.update(world.key, webhook.id, url="https://example.com/b")
    assert (await world.store.sessions.one("s")).webhook_url == "https://example.com/b"
    await world.service.delete(world.key, webhook.id)
    assert (await world.store.sessions.one("s")).webhook_url == ""


async def test_a_session_made_with_its_url_already_in_the_row_gets_its_webhook(world):
    session = await world.session("u", webhook_url=world.receiver.url)
    assert (await world.service.set_session_url(session, session.webhook_url)).session_id == "u"


# ------------------------------------------------------------------ Svara's words


async def test_svara_hears_of_voice_notes_in_its_own_words(world):
    await world.hook(format="svara")
    ids = {kind: str(uuid.uuid4()) for kind in ("ptt", "text", "failing")}
    for kind, id_ in ids.items():
        async with world.store.database.transaction() as tx:
            await world.ledger.accept(tx, id=id_, owner=world.key.owner, session_id="s", kind="text" if kind == "text" else "ptt",
                                      chat=ANNA, facts={}, payload=b"", at=world.time.now)
    created = iso(world.time.now)

    async def advance(kind: str, status: str) -> None:
        async with world.store.database.transaction() as tx:
            await world.ledger.advance(tx, await world.store.messages.one(ids[kind], tx), status, world.time.now, "W1")
        await world.settle()
        world.time.now += 1

    await advance("ptt", "sent")
    await advance("text", "sent")
    delivered = iso(world.time.now)
    for status in ("delivered", "read", "played"):
        await advance("ptt", status)
    async with world.store.database.transaction() as tx:
        await world.ledger.fail(tx, await world.store.messages.one(ids["failing"], tx), "not_audio", "That is no audio.",
                                world.time.now)
    await world.settle()
    common = {"id": f"msg_{ids['ptt'].replace('-', '')}", "platform": "whatsapp", "recipient": "4915112345678",
              "created_at": created, "error": None}
    sent, got, failed = (request.body for request in world.receiver.got)
    assert sent == {"event": "voice_note.sent", "timestamp": created, "data": {**common, "status": "sent", "delivered_at": None}}
    assert got == {"event": "voice_note.delivered", "timestamp": delivered,
                   "data": {**common, "status": "delivered", "delivered_at": delivered}}
    assert failed["event"] == "voice_note.failed"
    assert failed["data"]["error"] == {"code": "not_audio", "message": "That is no audio."}
    for request in world.receiver.got:
        assert request.headers["x-svara-signature"] == hmac.new(SECRET.encode(), request.raw, hashlib.sha256).hexdigest()
        assert "x-gateway-signature" not in request.headers


async def test_svara_hears_once_of_a_voice_note_that_is_delivered_and_played_in_the_same_second(world):
    await world.hook(format="svara")
    id_ = str(uuid.uuid4())
    async with world.store.database.transaction() as tx:
        await world.ledger.accept(tx, id=id_, owner=world.key.owner, session_id="s", kind="ptt", chat=ANNA, facts={}, payload=b"",
                                  at=world.time.now)
    for status in ("delivered", "read", "played"):
        async with world.store.database.transaction() as tx:
            await world.ledger.advance(tx, await world.store.messages.one(id_, tx), status, world.time.now)
    await world.settle()
    assert [request.body["event"] for request in world.receiver.got] == ["voice_note.delivered"]


async def test_svara_hears_that_a_voice_note_was_delivered_also_where_the_first_receipt_says_played(world):
    await world.hook(format="svara")
    id_ = str(uuid.uuid4())
    async with world.store.database.transaction() as tx:
        await world.ledger.accept(tx, id=id_, owner=world.key.owner, session_id="s", kind="ptt", chat=ANNA, facts={}, payload=b"",
                                  at=world.time.now)
    for status in ("sent", "played"):
        async with world.store.database.transaction() as tx:
            await world.ledger.advance(tx, await world.store.messages.one(id_, tx), status, world.time.now)
    await world.settle()
    assert [request.body["event"] for request in world.receiver.got] == ["voice_note.sent", "voice_note.delivered"]


async def test_a_url_that_was_put_right_is_tried_at_once(world):
    webhook = await world.hook(url="http://127.0.0.1:9/")
    await world.tell(1)
    await world.settle()
    await world.pass_(3 * HOUR)
    assert await world.statuses() == ["parked"]
    await world.service.update(world.key, webhook.id, url=world.receiver.url)
    await world.settle()
    assert numbers(world.receiver) == [1]
