"""The journal, the webhooks and the keys, as they change."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import expect

from tests.console.conftest import Opens
from tests.running import Running, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

TO = "+237612345678"


async def test_the_journal_shows_what_was_and_what_comes_and_can_be_paused(console: Opens, running: Running) -> None:
    _, link = await running.linked("main")
    async with console() as shown:
        page = shown.page
        await shown.go("events")
        journal = page.get_by_role("list", name="Events, newest first")
        await expect(journal.get_by_text("Connected as +15550001111")).to_be_visible()       # from before
        before = await journal.locator("> li").count()
        await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})
        await expect(journal.get_by_text(f"text to {TO}: sent")).to_have_count(1)
        await page.get_by_role("button", name="Pause").click()
        shown_now = await journal.locator("> li").count()
        assert shown_now > before
        await running.client.post("/api/v1/messages", {"to": TO, "message": "2"})
        await expect(page.get_by_text("Paused; 2 events since.")).to_be_visible()
        assert await journal.locator("> li").count() == shown_now
        await page.get_by_role("button", name="Go on").click()
        await expect(journal.get_by_text(f"text to {TO}: sent")).to_have_count(2)
        await page.locator(".chip.type-connected").click()
        await expect(journal.locator("> li")).to_have_count(1)
        await page.get_by_role("button", name="Copy").first.click()
        copied = json.loads(await page.evaluate("navigator.clipboard.readText()"))
        assert (copied["type"], copied["phone_number"]) == ("connected", "+15550001111")


async def test_a_stream_that_ended_comes_back_and_misses_nothing(console: Opens, running: Running) -> None:
    from gateway.services.feed import SlowReader

    await running.linked("main")
    async with console() as shown:
        await shown.go("events")
        for subscription in list(running.gateway.feed._subscriptions):
            subscription.end(SlowReader("too far behind"))
        await until(lambda: running.gateway.feed.readers == 0)
        id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
        await running.message(id_, "sent")
        await expect(shown.page.get_by_text(f"text to {TO}: sent")).to_be_visible()
        await expect(shown.page.locator(".live[data-state=live]")).to_be_visible()


async def test_a_webhook_is_added_and_its_secret_shown_once(console: Opens, running: Running) -> None:
    async with console() as shown:
        page = shown.page
        await shown.go("webhooks")
        await expect(page.get_by_role("heading", name="Nobody is told yet")).to_be_visible()
        await page.get_by_role("button", name="Add").click()
        await page.get_by_label("URL").fill("http://127.0.0.1:9/hook")
        await page.get_by_role("button", name="Add the webhook").click()
        await expect(page.get_by_role("heading", name="The webhook's secret")).to_be_visible()
        await page.keyboard.press("Escape")
        await running.linked("main")
        await expect(page.get_by_role("cell", name="waiting").first).to_be_visible()
        await page.get_by_role("button", name="Remove http://127.0.0.1:9/hook").click()
        await page.get_by_role("button", name="Remove", exact=True).click()
        await expect(page.get_by_role("heading", name="Nobody is told yet")).to_be_visible()


async def test_a_key_is_made_shown_once_and_revoked(console: Opens, running: Running) -> None:
    async with console() as shown:
        page = shown.page
        await shown.go("access")
        await page.get_by_role("button", name="New key").click()
        await page.get_by_label("Name").fill("my shop")
        await page.get_by_label("Scope").select_option("send")
        await page.get_by_label("Its sessions").select_option(running.key.id)
        await page.get_by_role("button", name="Make the key").click()
        secret = await page.locator(".secret code").inner_text()
        assert (await running.client.get("/api/v1/usage", headers={"Authorization": f"Bearer {secret}"})).body["scope"] == "send"
        assert (await running.gateway.keys.authenticate(secret)).owner == running.key.owner
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Revoke my shop").click()
        await page.get_by_role("button", name="Revoke", exact=True).click()
        await expect(page.get_by_text("my shop")).to_have_count(0)
        assert (await running.client.get("/api/v1/usage", headers={"Authorization": f"Bearer {secret}"})).status == 401


async def test_a_sessions_settings_are_changed_and_given_back_to_the_gateway(console: Opens, running: Running, axe: str) -> None:
    session, _ = await running.linked("main")
    path = f"/api/v1/sessions/{session}"
    async with console(width=390) as shown:
        page = shown.page
        await page.get_by_role("button", name="Settings of main").click()
        assert await shown.findings(axe) == []
        assert await shown.overflow() <= 0
        await page.get_by_label("Name").fill("Front desk")
        await page.get_by_label("Messages an hour").fill("30")
        await page.get_by_label("Seconds between messages").fill("1.5")
        await page.get_by_label("Quiet hours").fill("22:00-07:00")
        await page.get_by_label("first").select_option("yes")
        await page.get_by_label("Show this account as").select_option("online")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", name="Front desk")).to_be_visible()
        now = (await running.client.get(path)).body
        assert (now["name"], now["settings"]) == ("Front desk", {
            "messages_per_hour": 30, "min_gap_seconds": 1.5, "quiet_hours": "22:00-07:00", "recording_presence": True,
            "presence": "available"})
        await page.get_by_role("button", name="Settings of Front desk").click()
        await expect(page.get_by_label("Messages an hour")).to_have_value("30")
        for label in ("Messages an hour", "Seconds between messages"):
            await page.get_by_label(label).fill("")
        await page.get_by_label("Quiet hours").fill("none")
        await page.get_by_label("first").select_option(index=0)
        await page.get_by_label("Show this account as").select_option(index=0)
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("dialog")).to_have_count(0)
        assert (await running.client.get(path)).body["settings"] == {"quiet_hours": ""}
        await page.get_by_role("button", name="Settings of Front desk").click()
        await page.get_by_label("Quiet hours").fill("25:00-07:00")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("quiet hours must look like 22:00-07:00")).to_be_visible()
        shown.problems.clear()                              # the browser's own line about the answer 422
