"""Wawp's contract: one call, its fields wherever they stand, and whatsapp-web.js's message as the answer."""

from __future__ import annotations

import hashlib
import io
import json
import time
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway import log
from gateway.config import Plan
from gateway.dialects import words
from gateway.events import MessageArrived
from gateway.jid import JID
from gateway.link.base import SendError
from gateway.messages import PTT, MessageKey, Received
from tests.running import FAST, Answer, Running, run_gateway, until

VOICE = "/v2/send/voice"
TO = "237612345678"
CHAT = f"{TO}@c.us"


def ask(running: Running, url: str, **more: Any) -> dict[str, Any]:
    return {"instance_id": "main", "access_token": running.client.key, "chatId": CHAT, "file[url]": url,
            "file[filename]": "hello.mp3", "file[mimetype]": "audio/mpeg", "convert": True, **more}


async def send(running: Running, path: str = VOICE, **how: Any) -> Answer:
    """Without the header that other dialects have the key in."""
    return await running.client("POST", path, headers={"Authorization": "", **how.pop("headers", {})}, **how)


async def test_the_answer_is_whatsapp_webs_message_after_the_server_took_it(running: Running, files: str) -> None:
    await running.linked()
    answer = await send(running, json=ask(running, f"{files}/hello.wav"))
    assert answer.status == 200, answer.body
    sent = running.links.sent[0]
    note = sent.message
    assert isinstance(note, PTT)
    id_ = {"fromMe": True, "remote": CHAT, "id": sent.id, "_serialized": f"true_{CHAT}_{sent.id}"}
    data = answer.body.pop("_data")
    assert {name: data[name] for name in ("id", "type", "from", "to", "ack", "mimetype", "filehash", "size", "duration")} == {
        "id": id_, "type": "ptt", "from": "15550001111@c.us", "to": CHAT, "ack": 1, "mimetype": "audio/ogg; codecs=opus",
        "filehash": b64encode(hashlib.sha256(note.ogg).digest()).decode(), "size": len(note.ogg), "duration": "2"}
    assert abs(data["t"] - time.time()) < 10
    promised = {"id": id_, "ack": 1, "hasMedia": True, "body": "", "type": "ptt", "timestamp": data["t"], "to": CHAT,
                "from": "15550001111@c.us", "deviceType": "web", "isForwarded": False, "fromMe": True, "hasQuotedMsg": False}
    assert {name: answer.body[name] for name in promised} == promised


async def test_fields_may_be_flat_or_nested_in_json_forms_or_the_query(running: Running, files: str) -> None:
    session, _ = await running.linked()
    flat = {name: "true" if value is True else value for name, value in ask(running, f"{files}/hello.ogg").items()}
    token = {"access_token": running.client.key}
    nested = {"instance_id": session, "chatId": TO, "convert": "true",
              "file": {"url": f"{files}/hello.ogg", "filename": "hello.ogg", "mimetype": "audio/ogg"}}
    multipart = aiohttp.FormData()
    for name, value in flat.items():
        multipart.add_field(name, value)
    multipart._is_multipart = True
    asked: list[dict[str, Any]] = [
        {"json": flat}, {"json": {**nested, **token}}, {"data": flat}, {"data": multipart}, {"params": flat},
        {"json": nested, "params": token}, {"json": nested, "headers": {"access-token": running.client.key}},
    ]
    for how in asked:
        answer = await send(running, **how)
        assert (answer.status, answer.body.get("ack")) == (200, 1), (how, answer.body)
    assert len(running.links.sent) == len(asked)
    under_its_prefix = await send(running, "/wawp/v2/send/voice", json=flat)
    assert under_its_prefix.status == 200


async def test_without_conversion_the_file_must_be_ogg_opus_already(running: Running, files: str, note_ogg: bytes) -> None:
    await running.linked()
    for convert in (False, "false"):
        refused = await send(running, json=ask(running, f"{files}/hello.wav", convert=convert))
        assert refused.status == 400
        assert set(refused.body) == {"status", "message", "error"}
        assert (refused.body["status"], refused.body["error"]) == (400, "Bad Request")
    assert running.links.sent == []
    taken = await send(running, json=ask(running, f"{files}/hello.ogg", convert=False))
    assert taken.status == 200
    assert isinstance(running.links.sent[0].message, PTT)


async def test_a_reply_names_a_message_in_any_of_its_forms(running: Running, files: str) -> None:
    session, link = await running.linked()
    them = JID.parse(f"{TO}@s.whatsapp.net")
    link.emit(MessageArrived(Received(MessageKey(them, them, "3EB0QUESTION"), int(time.time()), "text", False, them, None,
                                      "Ann", "What time?")))
    async def arrived() -> list[Any]:
        return (await running.client.get("/api/v1/messages?direction=in")).body["messages"]
    while not await arrived():
        pass
    ours = (await arrived())[0]["id"]
    for name in (f"false_{CHAT}_3EB0QUESTION", "3EB0QUESTION", ours):
        answer = await send(running, json=ask(running, f"{files}/hello.ogg", reply_to=name))
        assert (answer.status, answer.body["hasQuotedMsg"]) == (200, True), answer.body
        quoted = running.links.sent[-1].message.quoted
        assert quoted is not None
        assert (quoted.key.id, quoted.key.sender, quoted.text) == ("3EB0QUESTION", them, "What time?")
    unknown = await send(running, json=ask(running, f"{files}/hello.ogg", reply_to="false_1@c.us_NONE"))
    assert unknown.status == 400
    assert "reply_to" in unknown.body["message"]


async def test_groups_and_channels_are_chats_too(running: Running, files: str) -> None:
    await running.linked()
    for chat in ("120363041234567890@g.us", "120363123456789012@newsletter"):
        answer = await send(running, json=ask(running, f"{files}/hello.ogg", chatId=chat))
        assert (answer.status, answer.body["to"]) == (200, chat)
        assert str(running.links.sent[-1].to) == chat


async def test_without_an_acknowledgement_in_time_the_ack_is_0(running: Running, files: str,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "ACK_SECONDS", 0.3)
    _, link = await running.linked()
    held = link.hold_next_send()
    answer = await send(running, json=ask(running, f"{files}/hello.ogg"))
    assert (answer.status, answer.body["ack"]) == (200, 0)
    held.confirm()


async def test_what_made_it_fail_is_told_in_the_envelope(running: Running, files: str) -> None:
    _, link = await running.linked()
    for url, status in ((f"{files}/words.txt", 400), (f"{files}/absent.mp3", 400), ("ftp://example.com/a", 400)):
        answer = await send(running, json=ask(running, url))
        assert (answer.status, answer.body["status"]) == (status, status), answer.body
        assert answer.body["message"]
    link.fail_next_send(SendError("send_failed", "server returned error 479"))
    refused = await send(running, json=ask(running, f"{files}/hello.ogg"))
    assert (refused.status, refused.body["error"]) == (502, "Bad Gateway")
    for changed, named in (({"chatId": "12"}, "chatId"), ({"convert": "maybe"}, "convert"), ({"file[url]": ""}, "url")):
        answer = await send(running, json=ask(running, f"{files}/hello.ogg", **changed))
        assert (answer.status, named in answer.body["message"]) == (400, True), answer.body
    assert (await send(running, json=ask(running, f"{files}/hello.ogg", instance_id="absent"))).status == 404
    running.links.not_on_whatsapp.add("237699999999")
    absent = await send(running, json=ask(running, f"{files}/hello.ogg", chatId="237699999999"))
    assert absent.status == 400
    running.links.not_on_whatsapp.clear()


async def test_without_a_token_or_with_a_wrong_one_nothing_happens(running: Running, files: str) -> None:
    await running.linked()
    for token in ("", "wag_000000000000_wrong"):
        answer = await send(running, json=ask(running, f"{files}/hello.ogg", access_token=token))
        assert (answer.status, answer.body["error"]) == (401, "Unauthorized")
        assert set(answer.body) == {"status", "message", "error"}
    other = await running.another_client()
    assert (await send(running, json=ask(running, f"{files}/hello.ogg", access_token=other.key))).status == 404
    assert running.links.sent == []


async def test_the_token_is_in_no_log_also_when_it_is_in_the_query(running: Running, files: str) -> None:
    written = io.StringIO()
    before = log.logging.getLogger().handlers[:], log.structlog.get_config()
    log.configure("debug", "json", written)
    try:
        await running.linked()
        query = {name: str(value).lower() if value is True else value
                 for name, value in ask(running, f"{files}/hello.ogg").items()}
        assert (await send(running, params=query)).status == 200
        assert (await send(running, params={**query, "chatId": "12"})).status == 400
        log.structlog.get_logger("test").info("request", url=f"{VOICE}?access_token={running.client.key}&x=1")
        log.logging.getLogger("uvicorn.error").info("GET %s?access_token=%s", VOICE, "a-token-of-another-form")
    finally:
        log.logging.getLogger().handlers[:] = before[0]
        log.structlog.configure(**before[1])
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert any(line["event"] == "sent" for line in lines)
    assert running.client.key.split("_", 2)[2] not in written.getvalue()
    assert "a-token-of-another-form" not in written.getvalue()
    assert "access_token=…" in written.getvalue()


async def test_other_calls_are_told_as_not_offered(running: Running) -> None:
    answer = await send(running, "/v2/send/text", json={"chatId": CHAT, "message": "Hi"})
    assert (answer.status, answer.body["error"]) == (501, "Not Implemented")
    assert "/api/v1" in answer.body["message"]
    assert (await running.client.get(VOICE)).status == 405
    assert await until_no_readers(running)


async def until_no_readers(running: Running) -> bool:
    """No wait for an acknowledgement is left behind."""
    await until(lambda: running.gateway.feed.readers == 0)
    return True


async def test_nothing_is_fetched_for_a_plan_that_is_used_up(tmp_path: Path, files: str) -> None:
    plans = {**FAST.plans, "small": Plan(messages_per_month=1)}
    async with run_gateway(tmp_path / "state", replace(FAST, plans=plans)) as running:
        running.client = await running.another_client(plan="small")
        await running.linked()
        assert (await send(running, json=ask(running, f"{files}/hello.ogg", convert=False))).status == 200
        over = await send(running, json=ask(running, "http://127.0.0.1:9/nobody.ogg", convert=False))
        assert (over.status, over.body["status"]) == (429, 429), over.body
        assert "Retry-After" in over.headers
