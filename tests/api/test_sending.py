"""Sending over HTTP: accepted means committed, and the message tells what became of it."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

from gateway.events import Connected, Disconnected, Receipt
from gateway.jid import JID
from gateway.link.base import SendError
from gateway.messages import PTT, Text
from tests.link.fake_link import FakeLinks
from tests.running import FAST, Running, run_gateway

TO = "+237612345678"


def receipt(kind: str, *ids: str) -> Receipt:
    jid = JID.parse("237612345678@s.whatsapp.net")
    return Receipt(kind, jid, jid, ids, 1_700_000_000)          # type: ignore[arg-type]


async def test_a_text_is_accepted_sent_delivered_and_read(running: Running) -> None:
    session, link = await running.linked()
    answer = await running.client.post("/api/v1/messages", {"to": TO, "message": "Hello!"})
    assert answer.status == 202
    assert {k: answer.body[k] for k in ("toPhone", "type", "status")} == {"toPhone": TO, "type": "text", "status": "pending"}
    sent = await running.message(answer.body["id"], "sent")
    assert running.links.sent[-1].message == Text("Hello!")
    assert sent["whatsapp_id"] == running.links.sent[-1].id
    for kind in ("delivered", "read"):
        link.emit(receipt(kind, running.links.sent[-1].id))
        assert (await running.message(answer.body["id"], kind))[f"{kind}_at"]


async def test_a_voice_note_in_a_form_is_converted_before_the_answer(running: Running, tone_wav: bytes) -> None:
    import aiohttp

    await running.linked()
    form = aiohttp.FormData()
    form.add_field("to", TO)
    form.add_field("file", tone_wav, filename="x.mp3", content_type="application/octet-stream")
    answer = await running.client("POST", "/api/v1/messages/audio", data=form)
    assert answer.status == 202, answer.body
    assert answer.body["ptt"] and len(answer.body["waveform"]) == 64 and answer.body["seconds"] == 2
    assert float(answer.headers["Server-Timing"].removeprefix("prepare;dur=")) > 0
    await running.message(answer.body["id"], "sent")
    message = running.links.sent[-1].message
    assert isinstance(message, PTT)
    assert message.ogg[:4] == b"OggS"
    assert list(message.waveform) == answer.body["waveform"]


async def test_what_is_no_audio_is_refused_and_nothing_is_queued(running: Running) -> None:
    await running.linked()
    answer = await running.client.post("/api/v1/messages/audio", {"to": TO, "audioUrl": "data:audio/mpeg;base64,AAAAAAAA"})
    assert (answer.status, answer.body["error"]["code"]) == (415, "not_audio")
    assert (await running.client.get("/api/v1/messages")).body["messages"] == []


async def test_a_send_that_was_not_confirmed_waits_for_a_receipt(running: Running) -> None:
    _, link = await running.linked()
    link.lose_next_send()
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await running.message(id_, "unconfirmed")
    link.emit(receipt("delivered", running.links.sent[-1].id))
    assert (await running.message(id_, "delivered"))["may_have_been_delivered"] is False
    assert len(running.links.sent) == 1


async def test_without_a_receipt_it_fails_as_one_that_may_have_been_delivered(running: Running) -> None:
    from gateway.events import OfflineSyncCompleted

    _, link = await running.linked()
    link.emit(OfflineSyncCompleted(0))
    link.lose_next_send()
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    failed = await running.message(id_, "failed")
    assert failed["error"]["code"] == "send_unconfirmed"
    assert failed["may_have_been_delivered"] is True


async def test_a_restart_sends_what_never_left_and_keeps_the_order(tmp_path) -> None:
    links = FakeLinks()
    async with run_gateway(tmp_path / "s", FAST, links) as running:
        session, link = await running.linked()
        link.emit(Disconnected())
        await asyncio.sleep(0)
        key = running.client.key
        ids = [(await running.client.post("/api/v1/messages", {"to": TO, "message": str(i)})).body["id"] for i in range(5)]
    async with run_gateway(tmp_path / "s", FAST, links) as running:
        running.client.key = key
        for id_ in ids:
            await running.message(id_, "sent")
        assert [s.message.text for s in links.sent] == ["0", "1", "2", "3", "4"]


async def test_a_lost_connection_is_not_a_failure(running: Running) -> None:
    _, link = await running.linked()
    link.fail_next_send(SendError("session_not_connected", "websocket not connected", retry=True))
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    assert (await running.message(id_, "sent"))["attempts"] == 2


async def test_a_number_that_is_not_on_whatsapp_fails_before_a_chat_is_opened(running: Running) -> None:
    await running.linked()
    running.links.not_on_whatsapp.add("237612345678")
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    assert (await running.message(id_, "failed"))["error"]["code"] == "not_on_whatsapp"
    assert running.links.sent == []


async def test_the_same_idempotency_key_gets_the_same_answer_and_one_message(running: Running) -> None:
    await running.linked()
    headers = {"Idempotency-Key": "order-1"}
    answers = await asyncio.gather(*(running.client.post("/api/v1/messages", {"to": TO, "message": "1"}, headers=headers)
                                     for _ in range(5)))
    assert {a.body["id"] for a in answers} == {answers[0].body["id"]}
    other = await running.client.post("/api/v1/messages", {"to": TO, "message": "2"}, headers=headers)
    assert (other.status, other.body["error"]["code"]) == (409, "idempotency_conflict")
    await running.message(answers[0].body["id"], "sent")
    assert len(running.links.sent) == 1


async def test_the_stream_begins_with_the_present_state_and_resumes_after_its_last_id(running: Running) -> None:
    session, link = await running.linked()
    async with running.client.stream(f"/api/v1/sessions/{session}/stream") as events:
        id_, event, data = await anext(events)
        assert (event, data["phone_number"], data["present"]) == ("connected", "+15550001111", True)
    link.emit(Disconnected())
    link.emit(Connected())
    async with running.client.stream(f"/api/v1/sessions/{session}/stream", Last_Event_ID=id_) as events:
        got = [await anext(events) for _ in range(4)]
    assert [event for _, event, _ in got] == ["status", "disconnected", "status", "connected"]
    assert [int(i) for i, _, _ in got] == sorted({int(i) for i, _, _ in got})


async def test_a_receipt_that_overtakes_the_acknowledgement_counts(running: Running) -> None:
    """The core tells a message's id only with the acknowledgement; a fast phone's receipt is there before."""
    _, link = await running.linked()
    held = link.hold_next_send()
    id_ = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await asyncio.wait_for(held.handed_over.wait(), 5)
    link.emit(receipt("delivered", running.links.sent[-1].id))
    link.emit(receipt("read", running.links.sent[-1].id))
    held.confirm()
    assert (await running.message(id_, "read"))["sent_at"]


async def test_a_slow_url_holds_up_its_own_chat_only(running: Running) -> None:
    from aiohttp import web

    release = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        await release.wait()
        return web.Response(status=404)

    app = web.Application()
    app.router.add_get("/slow.mp3", slow)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    await running.linked()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/slow.mp3"
    held = (await running.client.post("/api/v1/messages/audio", {"to": TO, "audioUrl": url})).body["id"]
    behind = (await running.client.post("/api/v1/messages", {"to": TO, "message": "behind it"})).body["id"]
    other = (await running.client.post("/api/v1/messages", {"to": "+15550009999", "message": "another chat"})).body["id"]
    await running.message(other, "sent")
    assert (await running.client.get(f"/api/v1/messages/{behind}")).body["status"] == "pending"
    release.set()
    assert (await running.message(held, "failed"))["error"]["code"] == "fetch_failed"
    await running.message(behind, "sent")
    await runner.cleanup()


async def test_a_restricted_account_with_a_long_queue_of_new_chats_still_answers_old_ones(running: Running) -> None:
    _, link = await running.linked()
    known = (await running.client.post("/api/v1/messages", {"to": TO, "message": "1"})).body["id"]
    await running.message(known, "sent")
    link.fail_next_send(SendError("account_restricted", "server returned error 463"))
    for i in range(120):
        await running.client.post("/api/v1/messages", {"to": f"+1555000{i:04d}", "message": "new"})
    answer = (await running.client.post("/api/v1/messages", {"to": TO, "message": "2"})).body["id"]
    await running.message(answer, "sent")
    assert len(running.links.sent) == 2


async def test_a_file_that_was_sent_is_no_longer_kept_but_its_caption_is(running: Running) -> None:
    await running.linked()
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.effect_noise((200, 200), 90).save(out, "PNG")
    url = "data:image/png;base64," + b64encode(out.getvalue()).decode()
    form = {"to": TO, "mediaType": "image", "caption": "Look", "mediaUrl": url}
    id_ = (await running.client.post("/api/v1/messages/media", form)).body["id"]
    await running.message(id_, "sent")
    assert (await running.client.get(f"/api/v1/messages/{id_}")).body["text"] == "Look"
    payload = await running.gateway.store.messages.payload(id_)
    assert payload is not None and len(payload) < 500


async def test_a_clock_that_is_set_back_a_day_does_not_stall_sends_for_a_day(tmp_path: Path) -> None:
    """What was sent by the wrong clock lies in the future then, and is no part of the last hour."""
    pacing = replace(FAST.pacing, messages_per_hour=2)
    async with run_gateway(tmp_path / "state", replace(FAST, pacing=pacing)) as running:
        session, _ = await running.linked()
        for text in ("one", "two"):
            sent = await running.client.post("/api/v1/messages", {"to": TO, "message": text})
            await running.message(sent.body["id"], "sent")
        third = await running.client.post("/api/v1/messages", {"to": TO, "message": "three"})
        assert (await running.message(third.body["id"], "waiting"))["status"] == "pending"
        async with running.gateway.store.database.transaction() as tx:
            await tx.execute("UPDATE messages SET handed_at = handed_at + 86400, sent_at = sent_at + 86400 WHERE sent_at > 0")
        live = next(live for live in running.gateway.sessions.live() if live.session.id == session)
        await live.disconnect()
        await live.connect()                    # the pace is looked at anew
        assert (await running.message(third.body["id"], "sent"))["attempts"] == 1
        shown = (await running.client.get(f"/api/v1/sessions/{session}")).body
        assert shown["pacing"]["sent_last_hour"] == 1
