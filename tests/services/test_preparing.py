"""From drafts to what WhatsApp takes: content decides, never a name."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import struct
import threading
import wave
from collections.abc import AsyncIterator

import pytest
from PIL import Image

from gateway.audio.pool import Transcoder
from gateway.config import Media, Settings
from gateway.errors import TABLE, GatewayError
from gateway.media.fetch import Fetcher
from gateway.services.drafts import Draft, Target
from gateway.services.preparing import PICTURES_AT_ONCE, Preparing, facts_of


@pytest.fixture
async def preparing() -> AsyncIterator[Preparing]:
    transcoder = Transcoder()
    async with Fetcher() as fetcher:
        yield Preparing(Settings(media=Media(image_max_bytes=100_000)), fetcher, transcoder)
    transcoder.close()


def sine_wav() -> bytes:
    """Two seconds of a tone."""
    out = io.BytesIO()
    with wave.open(out, "wb") as w:
        w.setnchannels(1)
        w.setsampwidth(2)
        w.setframerate(16000)
        w.writeframes(b"".join(struct.pack("<h", int(8000 * math.sin(i / 6))) for i in range(32000)))
    return out.getvalue()


def picture(format: str, frames: int = 1, size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    images = [Image.new("RGB", size, (i * 40, 100, 200)) for i in range(frames)]
    images[0].save(out, format, **({"save_all": True, "append_images": images[1:], "duration": 100} if frames > 1 else {}))
    return out.getvalue()


def uri(data: bytes, type_: str = "application/octet-stream") -> str:
    return f"data:{type_};base64,{base64.b64encode(data).decode()}"


async def test_a_voice_note_is_converted_and_its_facts_told(preparing: Preparing) -> None:
    prepared = await preparing.prepare(Draft("ptt", url=uri(sine_wav(), "image/png")))
    draft = prepared.draft
    assert (draft.ready, draft.url, draft.mimetype, draft.data[:4]) == (True, "", "audio/ogg; codecs=opus", b"OggS")
    assert prepared.facts["waveform"] == list(draft.waveform)
    assert {name: prepared.facts[name] for name in ("mimetype", "size", "seconds")} == {
        "mimetype": draft.mimetype, "size": len(draft.data), "seconds": draft.seconds}


async def test_what_is_ready_is_left_alone(preparing: Preparing) -> None:
    draft = Draft("ptt", data=b"not audio", ready=True, seconds=1)
    assert (await preparing.prepare(draft)).draft is draft


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF"])
async def test_pictures_get_their_size_and_a_thumbnail(preparing: Preparing, format: str) -> None:
    draft = (await preparing.prepare(Draft("image", data=picture(format), mimetype="text/html"))).draft
    assert (draft.mimetype, draft.width, draft.height) == (f"image/{format.lower()}", 40, 30)
    assert draft.thumbnail[:2] == b"\xff\xd8"


async def test_a_moving_gif_becomes_a_looping_video(preparing: Preparing) -> None:
    draft = (await preparing.prepare(Draft("image", data=picture("GIF", 3), text="caption"))).draft
    assert (draft.kind, draft.gif, draft.mimetype, draft.text) == ("video", True, "video/mp4", "caption")


async def test_a_document_is_named_by_its_content(preparing: Preparing) -> None:
    prepared = await preparing.prepare(Draft("document", data=b"%PDF-1.7\n1 0 obj\n", filename="holiday.jpg", mimetype="image/jpeg"))
    assert (prepared.draft.mimetype, prepared.facts["filename"]) == ("application/pdf", "holiday.jpg")


@pytest.mark.parametrize(("draft", "code"), [
    (Draft("ptt", data=b"text"), "not_audio"), (Draft("ptt", data=b""), "empty"), (Draft("audio", data=picture("PNG")), "no_audio"),
    (Draft("image", data=b"text"), "not_image"), (Draft("video", data=b"text"), "not_video"), (Draft("document"), "empty"),
    (Draft("image", url=uri(bytes(100_001))), "fetch_too_large"), (Draft("ptt", url="data:,%zz"), "fetch_bad_url"),
    (Draft("ptt", url="http://127.0.0.1:1/x"), "fetch_forbidden"), (Draft("ptt", url="nonsense"), "fetch_bad_url"),
])
async def test_what_cannot_be_prepared_says_why_in_a_code_of_the_table(preparing: Preparing, draft: Draft, code: str) -> None:
    with pytest.raises(GatewayError) as refused:
        await preparing.prepare(draft)
    assert refused.value.code in {code, "not_audio"} if code == "no_audio" else refused.value.code == code
    assert refused.value.code in TABLE
    assert refused.value.message.endswith(".")


async def test_the_doctor_says_what_a_send_would_do(preparing: Preparing) -> None:
    seen = await preparing.inspect(sine_wav(), "native")
    sent = (await preparing.prepare(Draft("ptt", data=sine_wav(), profile="native"))).draft
    assert (seen.seconds, seen.waveform, len(seen.ogg)) == (sent.seconds, sent.waveform, len(sent.data))


def test_facts_hold_no_content() -> None:
    facts = facts_of(Draft("text", text="the words", reply_to=Target("1@g.us", "A1", text="quoted"), target=Target("1@g.us", "A2")))
    assert facts == {"reply_to_whatsapp_id": "A1", "target_whatsapp_id": "A2"}


async def test_a_picture_that_nobody_waits_for_any_more_counts_until_it_is_looked_at(preparing: Preparing) -> None:
    """The thread cannot be cut off, and holds its 256 MB."""
    goes_on, at_once, most = threading.Event(), 0, 0

    def look(data: bytes) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        goes_on.wait(10)
        at_once -= 1

    looks = [asyncio.create_task(preparing._look(look, b"")) for _ in range(4)]
    async with asyncio.timeout(5):
        while at_once < PICTURES_AT_ONCE:
            await asyncio.sleep(0.005)
    for one in looks[:2]:
        one.cancel()
    await asyncio.sleep(0.05)
    goes_on.set()
    await asyncio.gather(*looks, return_exceptions=True)
    assert most == PICTURES_AT_ONCE
