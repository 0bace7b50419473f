"""Draws the pictures of the manual: `python -m tests.console.screenshots`, into docs/screenshots."""

from __future__ import annotations

import asyncio
import io
import math
import random
import struct
import tempfile
import time
import wave
from dataclasses import replace
from pathlib import Path

from playwright.async_api import async_playwright

from gateway.config import Pacing
from gateway.events import LoggedOut, MessageArrived, Receipt
from gateway.jid import JID
from gateway.messages import MessageKey, Received
from tests.console.page import ARGUMENTS, CHROMIUM, Console, open_console
from tests.link.fake_link import FakeLink
from tests.running import FAST, Running, run_gateway

FOLDER = Path(__file__).parents[2] / "docs/screenshots"
AMARA = JID.parse("237612345678@s.whatsapp.net")
WANTED = ("sessions-light", "link-light", "voice-light", "voice-dark", "failed-light", "events-dark", "sessions-phone", "link-phone",
          "voice-phone")
CODE = "2@" + "wagateway/console+0123456789" * 5 + "=="


def speech(seconds: int = 9, rate: int = 16_000) -> bytes:
    """Words of loudness as somebody speaks, as a WAV."""
    chance, length = random.Random(11), rate * seconds
    level, at = [0.0] * length, 0
    while at < length:
        word, loud = int(rate * chance.uniform(0.12, 0.42)), chance.uniform(0.35, 1)
        for i in range(at, min(length, at + word)):
            level[i] = loud * math.sin(math.pi * (i - at) / word) ** 0.6
        at += word + int(rate * (chance.uniform(0.03, 0.12) if chance.random() > 0.22 else chance.uniform(0.3, 0.6)))
    out = io.BytesIO()
    with wave.open(out, "wb") as w:
        w.setnchannels(1)
        w.setsampwidth(2)
        w.setframerate(rate)
        w.writeframes(b"".join(struct.pack("<h", int(level[i] * 13_000 * (
            0.6 * math.sin(i * 0.055) + 0.3 * math.sin(i * 0.11 + 1) + 0.1 * math.sin(i * 0.47)))) for i in range(length)))
    return out.getvalue()


async def tell(running: Running, link: FakeLink, id_: str, *kinds: str) -> None:
    """Receipts for one message, each once the one before is stored."""
    wa_id = (await running.message(id_, "sent"))["whatsapp_id"]
    for kind in kinds:
        link.emit(Receipt(kind, AMARA, AMARA, (wa_id,), int(time.time())))      # type: ignore[arg-type]
        await running.message(id_, kind)


async def populate(running: Running) -> FakeLink:
    _, main = await running.linked("main", "447700900123")
    _, shop = await running.linked("shop", "33612345678")
    _, night = await running.linked("night-desk", "15550001111")
    night.emit(LoggedOut(False, "logged_out", "401: device removed"))
    running.links.not_on_whatsapp.add("447700900999")
    for session, link, to, text, receipts in (("main", main, AMARA.user, "Good morning!", ("delivered", "read")),
                                              ("shop", shop, "4915112345678", "Your order left today.", ("delivered",))):
        sent = await running.client.post("/api/v1/messages", {"to": f"+{to}", "message": text, "session": session})
        await tell(running, link, sent.body["id"], *receipts)
    await running.client.post("/api/v1/messages", {"to": "+447700900999", "message": "Are you there?", "session": "main"})
    main.emit(MessageArrived(Received(MessageKey(AMARA, AMARA, "3A5F"), int(time.time()), "text", False, AMARA, None, "Amara",
                                      "Got it, thank you!")))
    return main


async def draw(shown: Console, running: Running, main: FakeLink, end: str) -> None:
    page = shown.page

    async def picture(name: str) -> None:
        if f"{name}-{end}" not in WANTED:
            return
        await page.mouse.move(0, 0)
        await page.evaluate("Promise.all(document.getAnimations().map((one) => one.effect.getTiming().iterations === Infinity "
                            "|| one.finished.catch(() => {})))")
        await page.screenshot(path=FOLDER / f"{name}-{end}.png")

    await picture("sessions")
    await page.get_by_role("button", name="Link a phone").click()
    await page.get_by_role("button", name="Continue").click()
    await page.locator(".spinner").wait_for()
    pairing = running.links.pairings[-1]
    pairing.show_qr(CODE)
    await page.locator("img.qr").wait_for()
    await picture("link")
    pairing.scan("447700900777")
    await page.get_by_text("Connected as").wait_for()
    await page.get_by_role("button", name="Done").click()
    await running.client.delete(f"/api/v1/sessions/{pairing.file.session_id}")

    await shown.go("voice")
    recording = {"name": "greeting.wav", "mimeType": "audio/wav", "buffer": speech()}
    await page.set_input_files("#file", recording)      # type: ignore[arg-type]
    await page.locator(".preview .bubble").wait_for()
    await page.locator("input[name=to]").fill(f"+{AMARA.user}")
    await page.get_by_role("button", name="Send voice note").click()
    sent = await page.locator(".outgoing").last.get_attribute("data-id")
    await tell(running, main, str(sent), "delivered", "read", "played")
    await page.locator(".ticks.played").wait_for()
    await page.set_input_files("#file", recording)      # type: ignore[arg-type]
    await page.locator(".preview .bubble").wait_for()
    await page.locator(".phone").scroll_into_view_if_needed()
    await picture("voice")
    await shown.go("messages")
    await page.locator("button.row.played").first.wait_for()
    await page.locator("button.row.failed").first.click()
    await page.locator(".timeline").wait_for()
    await picture("failed")
    await page.keyboard.press("Escape")
    await shown.go("events")
    await picture("events")


async def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    pacing = Pacing(messages_per_hour=40, min_gap_seconds=0.0, recording_presence=False)
    with tempfile.TemporaryDirectory() as folder:
        async with run_gateway(Path(folder) / "state", replace(FAST, pacing=pacing)) as running, async_playwright() as playwright:
            link = await populate(running)
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
            for end, theme, width, height in (("light", "light", 1280, 800), ("dark", "dark", 1280, 800),
                                              ("phone", "light", 390, 844)):
                async with open_console(browser, running.client.url, theme=theme, width=width, height=height) as shown:
                    await shown.sign_in(running.client.key)
                    await draw(shown, running, link, end)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
