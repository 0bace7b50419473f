"""Messages on their way: cancelled, taken back, sent again, listed page by page."""

from __future__ import annotations

import asyncio

from gateway.jid import JID
from gateway.link.base import SendError
from gateway.messages import MessageKey, Revoke, Text
from tests.running import Running

TO = "+237612345678"
MESSAGES = "/api/v1/messages"


async def send(running: Running, text: str = "1", **more: str) -> str:
    answer = await running.client.post(MESSAGES, {"to": TO, "message": text, **more})
    assert answer.status == 202, answer.body
    return str(answer.body["id"])


async def test_a_queued_message_is_cancelled_and_never_leaves(running: Running) -> None:
    _, link = await running.linked()
    held = link.hold_next_send()
    first, second = await send(running, "1"), await send(running, "2")
    await asyncio.wait_for(held.handed_over.wait(), 5)
    cancelled = await running.client.delete(f"{MESSAGES}/{second}")
    assert (cancelled.status, cancelled.body["status"], cancelled.body["error"]["code"]) == (200, "failed", "cancelled")
    late = await running.client.delete(f"{MESSAGES}/{first}")
    assert (late.status, late.body["error"]["code"]) == (409, "wrong_state")
    held.confirm()
    await running.message(first, "sent")
    third = await send(running, "3")
    await running.message(third, "sent")
    assert [s.message for s in running.links.sent] == [Text("1"), Text("3")]
    usage = (await running.client.get("/api/v1/usage")).body["messages_month"]
    assert (usage["sent"], usage["failed"]) == (2, 1)


async def test_a_sent_message_is_taken_back_for_everyone(running: Running) -> None:
    await running.linked()
    id_ = await send(running)
    sent = await running.message(id_, "sent")
    answer = await running.client.delete(f"{MESSAGES}/{id_}")
    assert (answer.status, answer.body["type"], answer.body["target_whatsapp_id"]) == (202, "revoke", sent["whatsapp_id"])
    await running.message(answer.body["id"], "sent")
    chat = JID.parse("237612345678@s.whatsapp.net")
    assert running.links.sent[-1].message == Revoke(MessageKey(chat, None, sent["whatsapp_id"]))
    again = await running.client.delete(f"{MESSAGES}/{answer.body['id']}")
    assert (again.status, again.body["error"]["code"]) == (409, "wrong_state")


async def test_a_failed_message_is_sent_again_as_a_new_one(running: Running) -> None:
    _, link = await running.linked()
    link.fail_next_send(SendError("send_failed", "no"))
    id_ = await send(running, "again")
    await running.message(id_, "failed")
    answer = await running.client.post(f"{MESSAGES}/{id_}/resend", headers={"Idempotency-Key": "again"})
    assert (answer.status, answer.body["resend_of"]) == (202, id_)
    repeated = await running.client.post(f"{MESSAGES}/{id_}/resend", headers={"Idempotency-Key": "again"})
    assert repeated.body["id"] == answer.body["id"] != id_
    new = await running.message(answer.body["id"], "sent")
    assert new["resend_of"] == id_
    assert running.links.sent[-1].message == Text("again")
    refused = await running.client.post(f"{MESSAGES}/{answer.body['id']}/resend")
    assert (refused.status, refused.body["error"]["code"]) == (409, "wrong_state")


async def test_a_failed_voice_note_keeps_its_sound_for_sending_again(running: Running, tone_wav: bytes) -> None:
    import base64

    _, link = await running.linked()
    link.fail_next_send(SendError("upload_failed", "no"))
    uri = "data:audio/wav;base64," + base64.b64encode(tone_wav).decode()
    id_ = (await running.client.post(f"{MESSAGES}/audio", {"to": TO, "audioUrl": uri})).body["id"]
    await running.message(id_, "failed")
    answer = await running.client.post(f"{MESSAGES}/{id_}/resend")
    assert answer.body["waveform"]
    await running.message(answer.body["id"], "sent")
    assert running.links.sent[-1].message.kind == "ptt"


async def test_the_timeline_says_what_happened_and_when(running: Running) -> None:
    await running.linked()
    id_ = await send(running)
    await running.message(id_, "sent")
    events = (await running.client.get(f"{MESSAGES}/{id_}/events")).body
    assert [e["status"] for e in events["events"]] == ["accepted", "handed_over", "sent"]
    assert [e["at"] for e in events["events"]] == sorted(e["at"] for e in events["events"])


async def test_pages_do_not_shift_when_messages_come(running: Running) -> None:
    await running.linked()
    ids = [await send(running, str(i)) for i in range(7)]
    seen, cursor = [], ""
    while True:
        page = (await running.client.get(f"{MESSAGES}?limit=3" + (f"&cursor={cursor}" if cursor else ""))).body
        seen += [m["id"] for m in page["messages"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        await send(running, "newer")
    assert seen == ids[::-1]


async def test_messages_are_filtered_by_what_is_known_of_them(running: Running, tone_wav: bytes) -> None:
    import base64

    one, _ = await running.linked("one", "15550001111")
    await running.linked("two", "15550002222")
    uri = "data:audio/wav;base64," + base64.b64encode(tone_wav).decode()
    a = await send(running, "a", session="one")
    b = (await running.client.post(f"{MESSAGES}/audio", {"to": "+4915112345678", "audioUrl": uri, "session": "two"})).body["id"]
    c = (await running.client.post(f"{MESSAGES}/audio", {"to": TO, "audioUrl": uri, "session": "two", "ptt": False})).body["id"]
    between = (await running.client.get(f"{MESSAGES}/{b}")).body["created_at"]
    for id_ in (a, b, c):
        await running.message(id_, "sent")

    async def found(query: str) -> list[str]:
        return [m["id"] for m in (await running.client.get(f"{MESSAGES}?{query}")).body["messages"]]

    assert await found("session=one") == await found(f"session={one}") == await found("type=text") == [a]
    assert await found("type=audio") == [c, b]
    assert await found("type=ptt") == await found("to=%2B4915112345678") == await found("to=4915112345678@c.us") == [b]
    assert await found("status=failed") == await found("direction=in") == []
    assert await found("status=sent&direction=out&limit=2") == [c, b]
    assert await found(f"before={between}") == [a]
    assert await found(f"after={between}") == [c, b]


async def test_a_repeat_gets_the_first_answer_also_when_the_session_is_gone(running: Running) -> None:
    session, _ = await running.linked()
    headers = {"Idempotency-Key": "order-1"}
    first = await running.client.post(MESSAGES, {"to": TO, "message": "1"}, headers=headers)
    await running.message(first.body["id"], "sent")
    await running.client.post(f"/api/v1/sessions/{session}/disconnect")
    again = await running.client.post(MESSAGES, {"to": TO, "message": "1"}, headers=headers)
    assert (again.status, again.body) == (202, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await running.another_client()
    assert (await other.post(MESSAGES, {"to": TO, "message": "1"}, headers=headers)).status == 409


async def test_while_stopping_nothing_is_accepted(running: Running) -> None:
    await running.linked()
    running.gateway.outbox.stop()
    answer = await running.client.post(MESSAGES, {"to": TO, "message": "1"})
    assert (answer.status, answer.body["error"]["code"]) == (503, "stopping")
    assert (await running.client.get(MESSAGES)).body["messages"] == []
