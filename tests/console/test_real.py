"""The whole way with nothing pretended but WhatsApp's servers: the daemon with the real library, the code on the screen read
by a camera, the microphone's sound heard by the friend's phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.console.page import open_console
from tests.console.test_linking import scanned
from tests.e2e.world import world

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]
OWNER, FRIEND = "15550001111", "15550002222"


async def test_a_phone_scans_the_screen_and_a_friend_hears_what_the_microphone_heard(browser: Browser, tmp_path: Path) -> None:
    async with world(tmp_path) as real:
        await real.start()
        await real.whatsapp("POST", "/contacts", {"number": FRIEND, "deliver": 0.1, "read": 0.2, "play": 0.3})
        async with open_console(browser, real.client.url, theme="dark", width=1280, height=860) as shown:
            page = shown.page
            await shown.sign_in(real.client.key)
            await page.get_by_role("button", name="Link a phone").click()
            await page.get_by_role("button", name="Continue").click()
            await page.locator("img.qr").wait_for(timeout=30_000)
            await real.whatsapp("POST", "/scan", {"qr": await scanned(shown), "phone": OWNER})
            await expect(page.get_by_role("heading", name=f"Connected as +{OWNER}")).to_be_visible(timeout=30_000)
            await page.get_by_role("link", name="Send a voice note", exact=True).click()
            await page.get_by_role("button", name="Record a voice note").click()
            await expect(page.get_by_role("timer")).to_have_text("0:01")
            await page.get_by_role("button", name="Stop and listen").click()
            await page.locator("input[name=to]").fill(f"+{FRIEND}")
            await page.get_by_role("button", name="Send voice note").click()
            await expect(page.locator(".outgoing .ticks.played")).to_be_visible(timeout=30_000)
        record, = await real.arrived(FRIEND)
        assert (record["kind"], record["ptt"], len(record["waveform"])) == ("voice", True, 64)
