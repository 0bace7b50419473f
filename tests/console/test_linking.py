"""A phone is linked while somebody looks at the page."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.camera import qr_code_in
from tests.console.conftest import Opens
from tests.console.page import Console
from tests.link.fake_link import FakePairing
from tests.running import Running, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

FIRST = "2@first," + "Ab3/" * 40 + "=="
SECOND = "2@second," + "Cd4+" * 40 + "=="


async def scanned(console: Console) -> str:
    """What a phone's camera reads from the screen."""
    return qr_code_in(await console.page.locator("dialog").screenshot())


async def begin(console: Console, running: Running, name: str, phone: str = "") -> FakePairing:
    page = console.page
    await page.get_by_role("button", name="Link a phone").click()
    await page.get_by_label("Name").fill(name)
    if phone:
        await page.get_by_text("Type a code", exact=True).click()
        await page.get_by_label("The phone's number").fill(phone)
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_text("Asking WhatsApp for a code…")).to_be_visible()
    await until(lambda: running.links.pairings)
    return running.links.pairings[-1]


async def test_the_code_on_the_screen_is_scanned_and_turns_into_connected(console: Opens, running: Running) -> None:
    async with console() as shown:
        await running.linked("other", "15550002222")
        pairing = await begin(shown, running, "main")
        image = shown.page.locator("img.qr")
        pairing.show_qr(FIRST, 60)
        await image.wait_for()
        assert await scanned(shown) == FIRST
        await expect(shown.page.get_by_text(re.compile(r"^(60|59|58) s, then a new one"))).to_be_visible()
        before = await image.get_attribute("src")
        pairing.show_qr(SECOND, 20)
        await expect(image).not_to_have_attribute("src", str(before))
        assert await scanned(shown) == SECOND
        pairing.scan("447700900123")
        await expect(shown.page.get_by_role("heading", name="Connected as +447700900123")).to_be_visible()
        await shown.page.get_by_role("button", name="Done").click()
        card = shown.page.get_by_role("article", name="main")
        await expect(card.get_by_text("+447700900123")).to_be_visible()
        await expect(card.locator(".pill")).to_have_text("Connected")


async def test_a_code_to_type_is_shown_for_a_phone_that_is_elsewhere(console: Opens, running: Running) -> None:
    async with console() as shown:
        pairing = await begin(shown, running, "main", "+44 7700 900123")
        assert pairing.phone == "447700900123"
        pairing.show_qr(FIRST)
        pairing.show_code("ABCD-EFGH", 160)
        await expect(shown.page.get_by_role("img", name="Pairing code A B C D - E F G H")).to_be_visible()
        await expect(shown.page.locator("img.qr")).to_have_count(0)
        await shown.page.get_by_role("button", name="Copy").click()
        assert await shown.page.evaluate("navigator.clipboard.readText()") == "ABCD-EFGH"
        pairing.scan("447700900123")
        await expect(shown.page.get_by_role("heading", name="Connected as +447700900123")).to_be_visible()


async def test_when_nobody_scans_it_says_so_and_a_new_code_is_one_press_away(console: Opens, running: Running) -> None:
    async with console() as shown:
        pairing = await begin(shown, running, "main")
        pairing.show_qr(FIRST)
        await shown.page.locator("img.qr").wait_for()
        pairing.end("qr_expired")
        await expect(shown.page.get_by_role("heading", name="Nobody scanned in time.")).to_be_visible()
        await shown.page.get_by_role("button", name="Show a new code").click()
        await until(lambda: running.links.pairings[-1] is not pairing)
        running.links.pairings[-1].show_qr(SECOND)
        await shown.page.locator("img.qr").wait_for()
        assert await scanned(shown) == SECOND


async def test_a_session_is_disconnected_connected_and_deleted(console: Opens, running: Running) -> None:
    id_, _ = await running.linked("main", "447700900123")
    async with console() as shown:
        card = shown.page.get_by_role("article", name="main")
        await card.get_by_role("button", name="Disconnect: main").click()
        await expect(card.locator(".pill")).to_have_text("Stopped")
        await expect(card).to_contain_text("Press Connect when it should go on.")
        await card.get_by_role("button", name="Connect: main").click()
        await expect(card.locator(".pill")).to_have_text("Connected")
        await card.get_by_role("button", name="Delete main").click()
        await shown.page.get_by_role("button", name="Cancel").click()
        assert (await running.client.get(f"/api/v1/sessions/{id_}")).status == 200
        await card.get_by_role("button", name="Delete main").click()
        await shown.page.get_by_role("button", name="Unlink and delete").click()
        await expect(shown.page.get_by_role("heading", name="No phone is linked yet")).to_be_visible()
        assert (await running.client.get(f"/api/v1/sessions/{id_}")).status == 404


async def test_a_wrong_key_is_refused_and_a_reader_is_offered_nothing_to_change(console: Opens, running: Running) -> None:
    await running.linked("main")
    _, reader = await running.gateway.keys.create(name="reader", scope="read")
    async with console(key=None) as shown:
        await shown.page.get_by_label("API key").fill("wag_wrong")
        await shown.page.get_by_role("button", name="Open the console").click()
        await expect(shown.page.get_by_role("alert")).to_contain_text("not valid")
        assert [problem for problem in shown.problems if "401" in problem] == shown.problems
        shown.problems.clear()
        await shown.sign_in(reader)
        await expect(shown.page.get_by_role("heading", name="No phone is linked yet")).to_be_visible()
        await expect(shown.page.get_by_role("button", name="Link a phone")).to_have_count(0)
