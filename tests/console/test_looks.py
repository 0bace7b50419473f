"""Both themes, a phone's width, and everybody's keyboard and screen reader."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from gateway.events import LoggedOut
from tests.console.conftest import Opens
from tests.running import Running, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

VIEWS = ("sessions", "voice", "messages", "events", "webhooks", "access")


async def populate(running: Running) -> None:
    await running.linked("main", "447700900123")
    _, link = await running.linked("night-desk", "15550001111")
    link.emit(LoggedOut(False, "logged_out", "401: device removed"))
    running.links.not_on_whatsapp.add("447700900999")
    sent = await running.client.post("/api/v1/messages", {"to": "+237612345678", "message": "Hello!", "session": "main"})
    await running.message(sent.body["id"], "sent")
    await running.client.post("/api/v1/webhooks", {"url": "http://127.0.0.1:9/hook", "types": ["message", "receipt"]})
    failed = await running.client.post("/api/v1/messages", {"to": "+447700900999", "message": "?", "session": "main"})
    await running.message(failed.body["id"], "failed")


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
async def test_every_view_is_accessible_and_fits_in_both_themes_and_on_a_phone(
        console: Opens, running: Running, axe: str, tone_wav: bytes, theme: str, width: int) -> None:
    await populate(running)
    async with console(theme=theme, width=width, height=844, key=None) as shown:
        page = shown.page
        assert await shown.findings(axe) == []
        await shown.sign_in(running.client.key)
        dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark == "rgb(11, 18, 17)") == (theme == "dark")
        for view in VIEWS:
            await shown.go(view)
            if view == "voice":
                await page.set_input_files("#file", {"name": "tone.wav", "mimeType": "audio/wav", "buffer": tone_wav})
                await page.locator(".preview .bubble").wait_for()
            if view == "webhooks":
                await page.get_by_role("cell", name="waiting").first.wait_for()
            if view == "messages":
                await page.locator("button.row.failed").click()
                await page.locator(".timeline").wait_for()
                assert await shown.findings(axe) == []
                assert await shown.overflow() <= 0, "the message"
                await page.keyboard.press("Escape")
            assert await shown.findings(axe) == [], view
            assert await shown.overflow() <= 0, view
        await page.locator("#code-button").click()
        assert await shown.findings(axe) == []
        assert await shown.overflow() <= 0


@pytest.mark.parametrize(("theme", "width"), [("dark", 1280), ("light", 390)])
async def test_linking_is_accessible_and_fits(console: Opens, running: Running, axe: str, theme: str, width: int) -> None:
    async with console(theme=theme, width=width, height=844) as shown:
        page = shown.page
        await page.get_by_role("button", name="Link a phone").click()
        assert await shown.findings(axe) == []
        await page.get_by_role("button", name="Continue").click()
        await until(lambda: running.links.pairings)
        running.links.pairings[-1].show_qr("2@" + "Ab3/" * 40)
        await page.locator("img.qr").wait_for()
        assert await shown.findings(axe) == []
        assert await shown.overflow() <= 0
        running.links.pairings[-1].scan("447700900123")
        await page.get_by_text("Connected as").wait_for()
        assert await shown.findings(axe) == []


async def test_the_theme_can_be_chosen_and_is_kept(console: Opens, running: Running) -> None:
    async with console(theme="light") as shown:
        page = shown.page
        for theme in ("light", "dark"):
            await page.get_by_role("button", name="Theme: ").click()
            await expect(page.get_by_role("button", name=f"Theme: {theme}")).to_be_visible()
        await page.reload()
        await page.locator(".live[data-state=live]").wait_for()
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(11, 18, 17)"


async def test_everything_can_be_reached_with_the_keyboard(console: Opens, running: Running) -> None:
    await running.linked("main")
    async with console() as shown:
        page = shown.page
        await page.keyboard.press("Tab")
        seen = []
        for _ in range(40):
            name = await page.evaluate("""() => { const at = document.activeElement;
              return at === document.body ? "" : at.getAttribute("aria-label") ?? at.textContent.trim(); }""")
            if name in seen:
                break
            seen.append(name)
            await page.keyboard.press("Tab")
        assert {"Skip to the content", "Sessions", "Voice", "Keys", "Link a phone", "Disconnect: main", "Delete main",
                "Sign out"} <= set(seen)
        await page.get_by_role("button", name="Delete main").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="Delete main")).to_be_focused()
