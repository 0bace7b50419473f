"""An Idempotency-Key means in every dialect what it means in the native API."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from gateway.dialects import words
from gateway.dialects.mount import DIALECTS
from gateway.link.base import SendError
from tests.dialects.test_bad_input import with_key
from tests.running import Answer, Running

TO = "237612345678"
SENDS: dict[str, list[tuple[str, dict[str, Any], str]]] = {      # path, body without its file, the file's field
    "svara": [("/send", {"platform": "whatsapp", "recipient": TO}, "audio_url")],
    "wawp": [("/send/voice", {"instance_id": "default", "chatId": TO}, "file[url]")],
    "waha": [("/sendText", {"chatId": TO, "text": "1"}, ""), ("/sendVoice", {"chatId": TO}, "file.url")],
    "evolution": [("/message/sendText/default", {"number": TO, "text": "1"}, ""),
                  ("/message/sendWhatsAppAudio/default", {"number": TO}, "audio")],
    "wuzapi": [("/chat/send/text", {"Phone": TO, "Body": "1"}, ""), ("/chat/send/audio", {"Phone": TO}, "Audio")],
    "gowa": [("/send/message", {"phone": TO, "message": "1"}, ""), ("/send/audio", {"phone": TO, "ptt": True}, "audio_url")],
}
PREFIX = {"svara": "/svara/v1", "wawp": "/wawp/v2", "waha": "/waha/api", "evolution": "/evolution", "wuzapi": "/wuzapi",
          "gowa": "/gowa"}
CALLS = [(name, *call) for name, calls in SENDS.items() for call in calls]


async def send(running: Running, dialect: str, path: str, body: dict[str, Any], key: str) -> Answer:
    own = with_key(next(one for one in DIALECTS if one.name == dialect), running.client.key)
    return await running.client.post(PREFIX[dialect] + path, body, headers={**own, "Idempotency-Key": key})

# Calls that ask or tell something and send no message: twice is as good as once.
ASKING = re.compile("seen|read|typing|presence|number|check", re.IGNORECASE)


def test_every_call_that_sends_takes_one() -> None:
    for dialect in DIALECTS:
        for call in dialect.calls:
            sends = call.scope == "send" and not ASKING.search(call.path)
            assert sends == ("idempotency_conflict" in call.errors) == hasattr(call.handler, "__wrapped__"), call.path


@pytest.mark.parametrize(("dialect", "path", "body", "field"), CALLS, ids=[f"{name}{path}" for name, path, *_ in CALLS])
async def test_a_repeat_gets_the_first_answer_and_nothing_is_sent_twice(running: Running, files: str, dialect: str, path: str,
                                                                         body: dict[str, Any], field: str) -> None:
    await running.linked("default")
    if field == "file.url":
        body = {**body, "file": {"url": f"{files}/hello.ogg"}}
    elif field:
        body = {**body, field: f"{files}/hello.ogg"}
    first, *more = await asyncio.gather(*(send(running, dialect, path, body, "order-1") for _ in range(3)))
    assert first.status < 300, first.body
    assert all((one.status, one.body) == (first.status, first.body) for one in more)
    assert sorted(one.headers.get("Idempotent-Replayed", "") for one in (first, *more)) == ["", "true", "true"]
    other = await send(running, dialect, path, {**body, "more": 1}, "order-1")
    assert other.status == (422 if dialect == "svara" else 409), other.body
    message = (await running.client.get("/api/v1/messages")).body["messages"][0]
    await running.message(message["id"], "sent")
    assert len(running.links.sent) == 1


async def test_a_failure_of_what_was_accepted_is_the_answer_and_one_before_is_not(running: Running) -> None:
    _, link = await running.linked("default")
    running.links.not_on_whatsapp.add(TO)
    failed = [await send(running, "waha", "/sendText", {"chatId": TO, "text": "1"}, "a") for _ in range(2)]
    assert [one.status for one in failed] == [422, 422]
    assert failed[0].body == failed[1].body
    assert "not on WhatsApp" in failed[0].body["message"]
    running.links.not_on_whatsapp.clear()
    refused = await send(running, "waha", "/sendText", {"chatId": "1", "text": "1"}, "b")
    assert refused.status == 422
    link.fail_next_send(SendError("send_failed", "479"))
    assert (await send(running, "waha", "/sendText", {"chatId": TO, "text": "1"}, "b")).status == 502
    assert (await send(running, "waha", "/sendText", {"chatId": TO, "text": "1"}, "b")).status == 502
    assert (await send(running, "waha", "/sendText", {"chatId": TO, "text": "1"}, "c")).status == 201
    assert len((await running.client.get("/api/v1/messages")).body["messages"]) == 3


async def test_what_was_pending_when_it_was_answered_is_answered_so_again(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "ACK_SECONDS", 0.2)
    _, link = await running.linked("default")
    held = link.hold_next_send()
    first = await send(running, "evolution", "/message/sendText/default", {"number": TO, "text": "1"}, "a")
    assert (first.status, first.body["status"]) == (201, "PENDING")
    held.confirm()
    await running.message(first.body["key"]["id"], "sent")
    assert (await send(running, "evolution", "/message/sendText/default", {"number": TO, "text": "1"}, "a")).body == first.body
