"""What the page says and does when something is not as it should be."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from playwright.async_api import Route, expect

from gateway.services.feed import Stopping
from tests.console.conftest import Opens
from tests.running import Running, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

NO_ANSWER = "The gateway does not answer. Is it running?"


async def broken(route: Route) -> None:
    await route.abort("connectionrefused")


async def test_what_is_pressed_again_after_an_answer_was_lost_is_sent_once(console: Opens, running: Running, tone_wav: bytes) -> None:
    await running.linked("main")
    async with console() as shown:
        page = shown.page

        async def lost(route: Route) -> None:
            await route.fetch()
            await route.abort("connectionreset")

        await page.route("**/api/v1/messages/audio", lost, times=1)
        await shown.go("voice")
        await page.set_input_files("#file", {"name": "a.wav", "mimeType": "audio/wav", "buffer": tone_wav})
        await page.locator(".preview .bubble").wait_for()
        await page.locator("input[name=to]").fill("+237612345678")
        await page.get_by_role("button", name="Send voice note").click()
        await expect(page.locator(".toast")).to_have_text(NO_ANSWER)
        await page.get_by_role("button", name="Send voice note").click()
        await expect(page.locator(".outgoing .ticks.sent")).to_be_visible()
        assert len(running.links.sent) == 1
        shown.problems.clear()


async def test_a_view_that_could_not_be_read_is_read_when_the_gateway_is_back(console: Opens, running: Running) -> None:
    async with console() as shown:
        page = shown.page
        await page.route("**/api/v1/**", broken)
        for view in ("messages", "webhooks", "access"):
            await shown.go(view)
            await expect(page.locator("main .unread")).to_have_text(NO_ANSWER)
            await expect(page.get_by_role("button", name="Show older ones")).to_be_hidden()
        await page.unroute("**/api/v1/**")
        for subscription in list(running.gateway.feed._subscriptions):
            subscription.end(Stopping())
        await expect(page.get_by_role("heading", name="API keys")).to_be_visible()
        await expect(page.locator("main .unread")).to_have_count(0)
        shown.problems.clear()


async def test_a_complaint_is_seen_above_the_dialog_it_is_about_and_said_once(console: Opens, running: Running) -> None:
    await running.linked("main")
    async with console(width=380, height=780) as shown:
        page = shown.page
        await page.get_by_role("button", name="Link a phone").click()
        await page.get_by_label("Name").fill("main")
        for _ in range(2):
            await page.get_by_role("button", name="Continue").click()
            await expect(page.locator(".toast")).to_have_text("A session of the key 'main' exists already.")
        await page.wait_for_timeout(300)                # it rises
        picture = Image.open(io.BytesIO(await page.locator(".toast").screenshot())).convert("RGB")
        assert picture.getpixel((8, picture.height // 2)) == (0x10, 0x20, 0x1D)         # not dimmed, as what lies below a dialog is
        shown.problems.clear()


async def test_a_key_that_is_revoked_while_a_dialog_is_open_leaves_nothing_of_it(console: Opens, running: Running) -> None:
    async with console() as shown:
        page = shown.page
        await shown.go("webhooks")
        await page.get_by_role("button", name="Add").click()
        await page.get_by_label("URL").fill("http://127.0.0.1:9/hook")
        (key,) = [key for key in await running.gateway.keys.all() if not key.revoked_at]
        await running.gateway.keys.revoke(key.id)
        await page.get_by_role("button", name="Add the webhook").click()
        await expect(page.get_by_role("alert")).to_have_text("That key is not valid here any more.")
        await expect(page.locator("dialog")).to_have_count(0)
        shown.problems.clear()


async def test_linking_says_when_the_gateway_is_gone_and_a_press_can_be_made_again(console: Opens, running: Running) -> None:
    async with console() as shown:
        page = shown.page
        await page.get_by_role("button", name="Link a phone").click()
        await page.get_by_role("button", name="Continue").click()
        await page.locator(".spinner").wait_for()
        running.links.pairings[-1].end("qr_expired")
        await page.route("**/relink", broken, times=1)
        await page.get_by_role("button", name="Show a new code").click()
        await expect(page.get_by_role("heading", name=NO_ANSWER)).to_be_visible()
        await page.get_by_role("button", name="Show a new code").click()
        await until(lambda: len(running.links.pairings) == 2)
        running.links.pairings[-1].show_qr()
        await page.locator("img.qr").wait_for()
        await page.route("**/stream-ticket", broken)
        for subscription in list(running.gateway.feed._subscriptions):
            subscription.end(Stopping())
        await expect(page.get_by_text("This goes on by itself once it does.")).to_be_visible()
        await page.unroute("**/stream-ticket")
        await expect(page.get_by_text("This goes on by itself once it does.")).to_be_hidden()
        await expect(page.locator("img.qr")).to_be_visible()
        shown.problems.clear()


async def test_without_a_phone_the_way_to_link_one_is_a_press_away(console: Opens, running: Running) -> None:
    async with console() as shown:
        await shown.go("voice")
        await shown.page.get_by_role("link", name="Link a phone first.").click()
        await expect(shown.page.get_by_role("heading", name="No phone is linked yet")).to_be_visible()


async def test_a_recording_fits_on_a_phone(console: Opens, running: Running) -> None:
    async with console(width=360, height=700) as shown:
        await shown.go("voice")
        await shown.page.get_by_role("button", name="Record a voice note").click()
        await expect(shown.page.get_by_role("timer")).to_have_text("0:01")
        assert await shown.overflow() <= 0
        await shown.page.get_by_role("button", name="Discard").click()


async def test_a_webhook_of_every_event_is_a_card_like_others(console: Opens, running: Running) -> None:
    await running.client.post("/api/v1/webhooks", {"url": "http://127.0.0.1:9/hook"})
    async with console() as shown:
        await shown.go("webhooks")
        box = await shown.page.get_by_text("everything but linking codes").bounding_box()
        assert box is not None
        assert box["height"] < 40


async def test_a_complaint_about_a_field_is_for_people(console: Opens, running: Running) -> None:
    async with console() as shown:
        await shown.go("webhooks")
        await shown.page.get_by_role("button", name="Add").click()
        await shown.page.get_by_label("URL").fill("ftp://x")
        await shown.page.get_by_role("button", name="Add the webhook").click()
        await expect(shown.page.locator(".toast")).to_have_text("url: Only http and https URLs can be fetched.")
        shown.problems.clear()


async def test_a_key_that_only_reads_is_told_so_before_it_records(console: Opens, running: Running) -> None:
    reader = await running.another_client(scope="read")
    async with console(key=reader.key) as shown:
        await shown.go("voice")
        await expect(shown.page.get_by_text("sending needs one of scope ‘send’")).to_be_visible()
        await expect(shown.page.get_by_role("button", name="Record a voice note")).to_have_count(0)


async def test_the_keyboard_stays_where_it_was(console: Opens, running: Running) -> None:
    await running.linked("main")
    async with console() as shown:
        page = shown.page
        await page.get_by_role("button", name="Disconnect: main").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Connect: main", exact=True)).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Disconnect: main")).to_be_focused()
        await page.locator("#code-button").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Close the quick start")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("complementary", name="Quick start")).to_be_hidden()
        await expect(page.locator("#code-button")).to_be_focused()
