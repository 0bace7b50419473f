"""Who is on WhatsApp, and that something is being written."""

from __future__ import annotations

import pytest

from gateway.api.contacts import MOST_NUMBERS
from gateway.events import Disconnected
from gateway.jid import JID
from gateway.link.base import LinkError
from tests.running import Running, until

SESSION = "/api/v1/sessions/main"
FRIEND, NOBODY = "+237612345678", "+237612345600"


@pytest.mark.parametrize("state", ["composing", "recording", "paused"])
async def test_a_chat_is_shown_what_is_being_done(running: Running, state: str) -> None:
    await running.linked()
    shown = await running.client.post(f"{SESSION}/presence", {"to": FRIEND, "state": state})
    assert (shown.status, shown.body) == (200, {"to": "237612345678@s.whatsapp.net", "state": state})
    assert running.links.told[-1].call == "chat_presence"
    assert running.links.told[-1].arguments == (JID.parse("237612345678@c.us"), state)


async def test_numbers_are_looked_up_in_the_order_they_were_asked(running: Running) -> None:
    await running.linked()
    running.links.not_on_whatsapp = {NOBODY.removeprefix("+")}
    found = await running.client.post(f"{SESSION}/numbers", {"numbers": [NOBODY, "237 612 345 678"]})
    assert (found.status, found.body) == (200, {"numbers": [
        {"number": NOBODY, "exists": False, "jid": None},
        {"number": FRIEND, "exists": True, "jid": "237612345678@s.whatsapp.net"}]})
    assert [told.arguments for told in running.links.told if told.call == "is_on_whatsapp"] == [(("237612345600", "237612345678"),)]


@pytest.mark.parametrize(("call", "body", "status", "code", "field"), [
    ("presence", {"to": FRIEND, "state": "dancing"}, 422, "unprocessable_entity", "state"),
    ("presence", {"to": "12", "state": "composing"}, 422, "invalid_recipient", "to"),
    ("presence", {"to": "120363000000000001@newsletter", "state": "composing"}, 422, "invalid_recipient", "to"),
    ("numbers", {"numbers": []}, 422, "unprocessable_entity", "numbers"),
    ("numbers", {"numbers": [FRIEND] * (MOST_NUMBERS + 1)}, 422, "unprocessable_entity", "numbers"),
    ("numbers", {"numbers": ["120363000000000001@g.us"]}, 422, "invalid_recipient", "numbers"),
    ("numbers", {"numbers": ["nobody"]}, 422, "invalid_recipient", "numbers"),
])
async def test_what_cannot_be_asked_is_refused_by_name(
        running: Running, call: str, body: object, status: int, code: str, field: str) -> None:
    await running.linked()
    answer = await running.client.post(f"{SESSION}/{call}", body)
    assert (answer.status, answer.body["error"]["code"]) == (status, code), answer.body
    assert answer.body["error"]["message"].startswith(field)
    assert "is_on_whatsapp" not in [told.call for told in running.links.told]


async def test_without_a_connection_or_an_answer_it_says_so(running: Running) -> None:
    id_, link = await running.linked()
    asked = {"presence": {"to": FRIEND, "state": "composing"}, "numbers": {"numbers": [FRIEND]}}
    for call, name in (("presence", "chat_presence"), ("numbers", "is_on_whatsapp")):
        link.on_call[name] = LinkError("WhatsApp did not answer in time")
        refused = await running.client.post(f"{SESSION}/{call}", asked[call])
        assert (refused.body["error"]["code"], refused.body["error"]["message"]) == (
            "send_failed", "WhatsApp did not answer in time")
    live = next(live for live in running.gateway.sessions.live() if live.session.id == id_)
    link.emit(Disconnected())
    await until(lambda: not live.usable.is_set())
    for call, body in asked.items():
        away = await running.client.post(f"{SESSION}/{call}", body)
        assert (away.status, away.body["error"]["code"]) == (409, "session_not_connected")


async def test_another_keys_session_is_not_there_and_a_reading_key_may_not_ask(running: Running) -> None:
    await running.linked()
    asked = {"presence": {"to": FRIEND, "state": "composing"}, "numbers": {"numbers": [FRIEND]}}
    before = len(running.links.told)
    for scope, status in (("full", 404), ("read", 403)):
        key = (await running.client.post("/api/v1/keys", {"name": scope, "scope": scope})).body["key"]
        for call, body in asked.items():
            answer = await running.client.post(f"{SESSION}/{call}", body, headers={"Authorization": f"Bearer {key}"})
            assert answer.status == status
    assert len(running.links.told) == before


async def test_a_changed_presence_is_told_at_once(running: Running) -> None:
    await running.linked()

    def told() -> list[object]:
        return [one.arguments[0] for one in running.links.told if one.call == "set_presence"]

    await until(lambda: told() == [False])
    for wanted in ("available", "available", "unavailable"):
        assert (await running.client.patch(SESSION, {"settings": {"presence": wanted}})).status == 200
    assert told() == [False, True, False]
