"""A voice note goes out from the page, and its ticks come back."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import av
import pytest
from PIL import Image
from playwright.async_api import expect

from gateway.audio.voice_note import make_voice_note
from gateway.events import Receipt
from gateway.jid import JID
from gateway.messages import PTT
from tests.api.test_inbox import arrive, media, received
from tests.console.conftest import Opens
from tests.link.fake_link import FakeLink
from tests.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="session")

TO = "+237612345678"
HELLO = Path(__file__).parents[2] / "gateway" / "examples" / "hello.mp3"


def tell(link: FakeLink, kind: str, id_: str) -> None:
    jid = JID.parse("237612345678@s.whatsapp.net")
    link.emit(Receipt(kind, jid, jid, (id_,), int(time.time())))       # type: ignore[arg-type]


async def test_what_the_microphone_heard_is_sent_and_seen_to_be_played(console: Opens, running: Running) -> None:
    _, link = await running.linked("main", "447700900123")
    async with console() as shown:
        page = shown.page
        await shown.go("voice")
        await page.get_by_role("button", name="Record a voice note").click()
        await expect(page.get_by_role("timer")).to_have_text("0:01")
        await page.get_by_role("button", name="Stop and listen").click()

        preview = page.get_by_role("group", name="The voice note, as the recipient will see it")
        await expect(preview.locator("svg.bars rect")).to_have_count(64)
        await expect(preview.locator(".time")).to_have_text(re.compile("0:0[12]"))
        await expect(page.locator(".doctor")).to_contain_text("Opus")
        await preview.get_by_role("button", name="Play").click()
        await expect(preview.locator("svg.bars rect.past").first).to_be_attached()

        held = link.hold_next_send()
        await page.get_by_role("textbox", name="To").or_(page.get_by_role("combobox", name="To")).fill(TO)
        await page.get_by_role("button", name="Send voice note").click()
        note = page.get_by_role("group", name=f"Voice note to {TO}")
        await expect(note.get_by_role("img", name="Pending")).to_be_visible()
        held.confirm()
        await expect(note.get_by_role("img", name="Sent")).to_be_visible()
        message = running.links.sent[-1].message
        assert isinstance(message, PTT)
        with av.open(io.BytesIO(message.ogg)) as sound:
            assert sound.streams.audio[0].codec_context.name.endswith("opus")
        for kind in ("delivered", "read", "played"):
            tell(link, kind, running.links.sent[-1].id)
            await expect(note.get_by_role("img", name=kind.capitalize())).to_be_visible()
        await expect(note).to_have_class(re.compile("played"))
        await expect(page.locator(".fate")).to_contain_text("Played at")


async def test_a_file_that_is_no_sound_is_refused_with_what_to_do(console: Opens, running: Running) -> None:
    await running.linked("main")
    async with console() as shown:
        await shown.go("voice")
        letter = {"name": "letter.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7 no sound"}
        await shown.page.set_input_files("#file", letter)       # type: ignore[arg-type]
        await expect(shown.page.locator(".doctor")).to_contain_text("Give an audio or video file")
        await expect(shown.page.get_by_role("button", name="Send voice note")).to_be_disabled()
        assert all("415" in problem for problem in shown.problems), shown.problems
        shown.problems.clear()


async def test_a_voice_note_that_arrived_is_heard_and_nobody_is_told(console: Opens, running: Running) -> None:
    _, link = await running.linked("main")
    note = make_voice_note(HELLO.read_bytes())
    link.stored.media["/v/file"] = note.ogg
    file = media(size=len(note.ogg))
    await arrive(running, link, received(kind="ptt", text="", media=file, seconds=note.seconds, waveform=note.waveform))
    async with console() as shown:
        page = shown.page
        await shown.go("messages")
        await page.locator("button.row").first.click()
        await expect(page.locator("dialog dd").get_by_text("+237612345678")).to_be_visible()
        await page.get_by_role("button", name="Listen").click()
        heard = page.get_by_role("group", name="Voice note from")
        await expect(heard.locator("svg.bars rect")).to_have_count(64)
        await expect(heard.locator("svg.bars rect.past").first).to_be_attached()
        await expect(heard.get_by_role("button", name="Pause")).to_be_focused()
        await page.keyboard.press("Space")
        await expect(heard.get_by_role("button", name="Play")).to_be_visible()
    assert not [told for told in running.links.told if "read" in told.call]


async def test_a_picture_that_arrived_is_shown_and_another_file_is_only_saved(console: Opens, running: Running) -> None:
    _, link = await running.linked("main")
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(picture, "PNG")
    link.stored.media["/v/file"] = picture.getvalue()
    await arrive(running, link, received("P1", kind="image", text="", media=media("image/png", "image", len(picture.getvalue()))))
    async with console() as shown:
        page = shown.page
        await shown.go("messages")
        await page.locator("button.row").first.click()
        await page.get_by_role("button", name="Get the image").click()
        drawn = page.get_by_role("img", name="The image from")
        await expect(drawn).to_be_visible()
        assert await drawn.evaluate("(image) => image.naturalWidth") == 40
        await page.get_by_role("button", name="Close").click()
        link.stored.media["/v/file"] = b"<script>document.title = 'gone'</script>"
        page_in = media("text/html", "document", 40)
        await arrive(running, link, received("D1", kind="document", text="", media=page_in, filename="a.html"))
        await page.locator("button.row", has_text="document").first.click()
        await page.get_by_role("button", name="Get the document").click()
        await expect(page.get_by_role("link", name="Save it")).to_have_attribute("download", "a.html")
        await expect(page.get_by_role("img", name="The document from")).to_have_count(0)


async def test_a_failed_message_says_why_and_goes_out_again(console: Opens, running: Running) -> None:
    await running.linked("main")
    running.links.not_on_whatsapp.add(TO[1:])
    async with console() as shown:
        page = shown.page
        await shown.go("messages")
        await page.get_by_role("button", name="Write").click()
        await page.get_by_label("To", exact=True).fill(TO)
        await page.get_by_label("Text").fill("Hello!")
        await page.get_by_role("dialog").get_by_role("button", name="Send").click()
        failed = page.locator("button.row.failed")
        await expect(failed).to_contain_text("not_on_whatsapp")
        await failed.click()
        await expect(page.get_by_role("alert")).to_contain_text("Check the number")
        await expect(page.locator(".timeline li.failed")).to_be_visible()
        running.links.not_on_whatsapp.clear()
        await page.get_by_role("button", name="Send it again").click()
        await expect(page.locator("button.row.sent")).to_be_visible()


async def test_the_program_for_a_click_has_no_key_until_it_is_asked_for(console: Opens, running: Running) -> None:
    await running.linked("main")
    async with console() as shown:
        page = shown.page
        await page.get_by_role("button", name="Code: the quick start").click()
        await page.get_by_role("button", name="Disconnect: main").click()
        snippet = page.locator("#snippet pre")
        await expect(snippet).to_contain_text(re.compile(r"curl -X POST[\s\S]*/disconnect'"))
        await expect(snippet).to_contain_text("Bearer $KEY")
        await page.get_by_role("tab", name="Python").click()
        await expect(snippet).to_contain_text('KEY = os.environ["KEY"]')
        compile(await snippet.inner_text(), "snippet", "exec")
        await page.get_by_label("Write my key into it").check()
        await expect(snippet).to_contain_text(running.client.key)
        await page.get_by_role("button", name="Close the quick start").click()
        await page.get_by_role("button", name="Code: the quick start").click()
        await expect(snippet).not_to_contain_text(running.client.key)
