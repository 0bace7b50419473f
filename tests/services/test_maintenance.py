from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Retention, Sending, Settings
from gateway.errors import GatewayError
from gateway.jid import JID
from gateway.services.feed import Feed
from gateway.services.ledger import Ledger
from gateway.services.maintenance import EVERY_SECONDS, FORGET_EVERY_SECONDS, Maintenance
from gateway.store.store import Store, open_store
from gateway.store.usage import Answer
from gateway.store.vault import Vault
from gateway.store.webhooks import NEVER

NOW, HOUR, DAY = 1_700_000_000.0, 3600.0, 86_400.0
ANNA = JID("4915112345678", "s.whatsapp.net")


class World:
    def __init__(self, store: Store) -> None:
        self.store, self.feed = store, Feed(store.journal)
        self.ledger = Ledger(store.messages, store.usage, self.feed)
        self.maintenance = self.new()

    def new(self, settings: Settings | None = None, **named: Any) -> Maintenance:
        return Maintenance(self.store, self.ledger, settings or Settings(), **named)

    async def message(self, id_: str, at: float, *, stage: str = "", status: str = "", kind: str = "ptt") -> None:
        async with self.store.database.transaction() as tx:
            message = await self.ledger.accept(tx, id=id_, owner="o", session_id="s", kind=kind, chat=ANNA, facts={},
                                               payload=b"x", at=at)
            if stage:
                await self.store.messages.set_stage(tx, id_, stage)
            if status:
                await self.ledger.advance(tx, message, status, at, "W")

    async def events(self, type_: str) -> list[dict[str, Any]]:
        return [event.data for event in await self.store.journal.after(0) if event.type == type_]

    async def get(self, id_: str) -> Any:
        return await self.store.messages.one(id_)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_store(tmp_path, Vault(bytes(32))) as store:
        yield World(store)


# ------------------------------------------------------------------ late and overdue messages


async def test_a_message_nobody_has_got_for_an_hour_is_told_once(world):
    await world.message("late", NOW - HOUR - 1, status="sent")
    await world.message("fresh", NOW - HOUR + 1, status="sent")
    await world.message("got", NOW - 2 * HOUR, status="delivered")
    await world.maintenance.sweep(NOW)
    (warning,) = await world.events("warning")
    assert (warning["code"], warning["id"], warning["to"]) == ("not_delivered", "late", str(ANNA))
    assert "1 hour" in warning["message"]
    assert (await world.get("late")).status == "sent"
    await world.maintenance.sweep(NOW)
    assert len(await world.events("warning")) == 1
    await world.maintenance.sweep(NOW + 10)
    assert [w["id"] for w in await world.events("warning")] == ["late", "fresh"]


async def test_more_late_messages_than_one_look_shows_are_all_told(world):
    for n in range(120):
        await world.message(f"m{n}", NOW - 2 * HOUR, status="sent")
    await world.maintenance.sweep(NOW)
    assert len(await world.events("warning")) == 120


async def test_a_message_that_could_not_be_sent_for_a_day_expires(world):
    for stage in ("queued", "preparing", "waiting", "sending", "unconfirmed"):
        await world.message(stage, NOW - DAY - 1, stage=stage)
    await world.message("fresh", NOW - DAY + 1)
    await world.maintenance.sweep(NOW)
    for id_ in ("queued", "preparing", "waiting"):
        message = await world.get(id_)
        assert (message.status, message.stage, message.error_code, message.failed_at) == ("failed", "done", "expired", NOW)
        assert not message.may_have_been_delivered
    for id_ in ("sending", "unconfirmed", "fresh"):                 # these are not ours to settle
        assert (await world.get(id_)).status == "pending"
    failed = [data for data in await world.events("receipt") if data["status"] == "failed"]
    assert [data["id"] for data in failed] == ["queued", "preparing", "waiting"]
    assert "24 hours" in failed[0]["error"]["message"]
    assert (await world.store.usage.totals("o", "2000-01-01")).failed == 3


async def test_zero_means_never(world):
    settings = Settings(sending=Sending(not_delivered_seconds=0.0, expire_hours=0.0))
    await world.message("late", NOW - 30 * DAY, status="sent")
    await world.message("queued", NOW - 30 * DAY)
    await world.new(settings).sweep(NOW)
    assert await world.events("warning") == []
    assert (await world.get("queued")).stage == "queued"


# ------------------------------------------------------------------ retention


async def fill(world: World, at: float, name: str) -> None:
    await world.message(name, at, status="delivered")
    store = world.store
    async with store.database.transaction() as tx:
        await store.idempotency.keep(tx, "o", name, Answer(b"r", 202, b"{}"), at)
        await store.media.keep(tx, name, b"file", at + 7 * DAY)


async def kept(world: World) -> dict[str, int]:
    rows = {table: await world.store.database.one(f"SELECT count(*) FROM {table}")
            for table in ("messages", "journal", "idempotency", "media")}
    return {table: row[0] for table, row in rows.items()}


async def test_everything_is_kept_for_as_long_as_the_settings_say(world):
    await fill(world, NOW, "m")
    assert await kept(world) == {"messages": 1, "journal": 2, "idempotency": 1, "media": 1}
    ages = {"idempotency": 2 * DAY, "media": 7 * DAY, "journal": 30 * DAY, "messages": 90 * DAY}
    expected = await kept(world)
    for table, age in ages.items():
        await world.maintenance.sweep(NOW + age - 1)
        assert await kept(world) == expected, table
        world.maintenance = world.new()                                 # so that retention is looked at again
        await world.maintenance.sweep(NOW + age + 1)
        expected[table] = 0
        assert await kept(world) == expected, table
        world.maintenance = world.new()


async def test_the_settings_are_followed(world):
    settings = Settings(retention=Retention(journal_days=1.0, messages_days=2.0, idempotency_hours=24.0))
    await fill(world, NOW, "m")
    await world.new(settings).sweep(NOW + DAY + 1)
    assert await kept(world) == {"messages": 1, "journal": 0, "idempotency": 0, "media": 1}
    await world.new(settings).sweep(NOW + 2 * DAY + 1)
    assert await kept(world) == {"messages": 0, "journal": 0, "idempotency": 0, "media": 1}


async def test_a_message_still_in_the_outbox_is_not_forgotten(world):
    settings = Settings(sending=Sending(expire_hours=0.0))
    await world.message("m", NOW - 365 * DAY)
    await world.new(settings).sweep(NOW)
    assert (await world.get("m")).stage == "queued"


async def test_deliveries_go_with_the_journal_unless_they_still_wait(world):
    store, id_ = world.store, str(uuid.uuid4())
    async with store.database.transaction() as tx:
        webhook = await store.webhooks.create(tx, id=id_, owner="o", session_id=None, url="https://example.com/", types=(),
                                              format="native", secret="s", position=0, at=NOW)
        for n, name in enumerate(("delivered", "parked", "waiting")):
            await store.webhooks.make(tx, webhook, id=name, journal_seq=n, chat=name, at=NOW)
    for delivery in await store.webhooks.page("o"):
        if delivery.id != "waiting":
            async with store.database.transaction() as tx:
                await store.webhooks.tried(tx, delivery, status=delivery.id, at=NOW, next_at=NEVER, last_status=1,
                                           last_error=None)
    await world.maintenance.sweep(NOW + 30 * DAY + 1)
    assert [(delivery.id, delivery.status) for delivery in await store.webhooks.page("o")] == [("waiting", "parked")]


async def test_what_a_receiver_did_not_take_in_time_is_set_aside_and_does_not_pile_up(world):
    store, id_ = world.store, str(uuid.uuid4())
    async with store.database.transaction() as tx:
        webhook = await store.webhooks.create(tx, id=id_, owner="o", session_id=None, url="https://example.com/", types=(),
                                              format="native", secret="s", position=0, at=NOW)
        for at in (NOW, NOW + DAY):
            event = await store.journal.append(tx, owner="o", session_id="s", type="status", at=at, data={})
            await store.webhooks.make(tx, webhook, id=f"{event.seq}", journal_seq=event.seq, chat="", at=at)
    await world.maintenance.sweep(NOW + 30 * DAY + 1)
    still, aside = await store.webhooks.page("o")
    assert (still.status, aside.status, aside.next_at, aside.last_error) == (
        "waiting", "parked", NEVER, "The event is older than the journal keeps.")
    await world.maintenance.sweep(NOW + 30 * DAY + 1 + FORGET_EVERY_SECONDS)
    assert [delivery.id for delivery in await store.webhooks.page("o")] == [still.id]


async def test_a_lot_is_forgotten_in_small_transactions(world):
    async with world.store.database.transaction() as tx:
        for _ in range(2500):
            await world.store.journal.append(tx, owner="o", session_id="s", type="status", at=NOW, data={})
    commits: list[float] = []
    world.store.database.commit_seconds = commits.append
    await world.maintenance.sweep(NOW + 31 * DAY)
    assert (await kept(world))["journal"] == 0
    assert len(commits) >= 4


async def test_retention_is_looked_at_hourly_and_after_the_clock_was_set_back(world):
    await world.maintenance.sweep(NOW)
    await fill(world, NOW - 60 * DAY, "old")
    await world.maintenance.sweep(NOW + FORGET_EVERY_SECONDS - 1)
    assert (await kept(world))["journal"] == 2
    await world.maintenance.sweep(NOW + FORGET_EVERY_SECONDS)
    assert (await kept(world))["journal"] == 0
    await fill(world, NOW - 60 * DAY, "older")
    await world.maintenance.sweep(NOW - DAY)
    assert (await kept(world))["journal"] == 0


# ------------------------------------------------------------------ the loop


async def test_it_sweeps_every_half_minute_and_goes_on_after_a_failure(world):
    now, pauses, ended = NOW, [], asyncio.Event()

    async def sleep(seconds: float) -> None:
        nonlocal now
        pauses.append(seconds)
        now += seconds
        if len(pauses) == 1:
            assert await world.events("warning") == []
            await world.store.database._writer.execute("PRAGMA max_page_count = 1000000")
        if len(pauses) == 3:
            ended.set()
            await asyncio.Event().wait()

    await world.message("late", NOW - 2 * HOUR, status="sent")
    await fill_the_disk(world)
    task = asyncio.create_task(world.new(clock=lambda: now, sleep=sleep).run())
    await asyncio.wait_for(ended.wait(), 10)
    assert pauses == [EVERY_SECONDS] * 3
    assert [w["id"] for w in await world.events("warning")] == ["late"]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def fill_the_disk(world: World) -> None:
    """Until not even a small row fits."""
    (row,) = await world.store.database.all("PRAGMA page_count")
    await world.store.database._writer.execute(f"PRAGMA max_page_count = {row[0]}")
    for size in (2000, 200, 20):
        with pytest.raises(GatewayError, match="storage_unavailable"):          # noqa: PT012
            while True:
                async with world.store.database.transaction() as tx:
                    await world.store.journal.append(tx, owner="o", session_id="s", type="status", at=NOW, data={"x": "y" * size})
