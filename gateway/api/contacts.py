"""What is asked of WhatsApp and told to it beside messages: who is there, and that something is being written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from starlette.responses import Response

from gateway.api.http import Call, Endpoint, Shape, Strict
from gateway.api.messages import recipient
from gateway.errors import InvalidField
from gateway.jid import JID
from gateway.services.live import LiveSession

MOST_NUMBERS = 50               # of one question; WhatsApp takes notice of accounts that ask for very many
ChatState = Literal["composing", "recording", "paused"]


class ChatPresence(Strict):
    """`to`: the chat. What is shown there goes away by itself after some seconds, and when a message arrives."""

    to: str
    state: ChatState


class Numbers(Strict):
    numbers: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST_NUMBERS)]


class NumberShape(Shape):
    """`number` in E.164. `jid`: as WhatsApp addresses it, which may be its hidden one (LID)."""

    number: str
    exists: bool
    jid: str | None


class Shown(Shape):
    to: str
    state: str


class NumberList(Shape):
    numbers: list[NumberShape]


async def show(live: LiveSession, chat: JID, state: ChatState, field: str = "to") -> None:
    """Raises InvalidField, session_not_connected, send_failed."""
    if chat.server == "newsletter":
        raise InvalidField(field, f"{field}: nobody sees in a channel that something is being written", "invalid_recipient")
    await live.ask(lambda link: link.chat_presence(chat, state))


async def look_up(live: LiveSession, numbers: Iterable[str | int], field: str) -> list[tuple[JID, JID | None]]:
    """Each number, and under which address WhatsApp knows it, if it does. Raises InvalidField, session_not_connected,
    send_failed."""
    asked = [recipient(str(number), field) for number in numbers]
    if len(asked) > MOST_NUMBERS:
        raise InvalidField(field, f"{field}: at most {MOST_NUMBERS} numbers at once")
    if any(jid.phone is None for jid in asked):
        raise InvalidField(field, f"{field}: phone numbers are looked up, not JIDs", "invalid_recipient")
    found = await live.ask(lambda link: link.is_on_whatsapp([jid.user for jid in asked]))
    return [(jid, found.get(jid.user)) for jid in asked]


async def presence(call: Call) -> Response:
    body = call.parse(ChatPresence)
    chat = recipient(body.to)
    await show(await call.gateway.sessions.find(call.key, call.path("id")), chat, body.state)
    return call.answer(Shown(to=str(chat), state=body.state))


async def numbers(call: Call) -> Response:
    found = await look_up(await call.gateway.sessions.find(call.key, call.path("id")), call.parse(Numbers).numbers, "numbers")
    return call.answer(NumberList(numbers=[
        NumberShape(number=jid.phone or "", exists=known is not None, jid=str(known) if known else None) for jid, known in found]))


ASKING = ("session_not_found", "session_not_connected", "invalid_recipient", "send_failed")
ENDPOINTS = [
    Endpoint("POST", "/api/v1/sessions/{id}/presence", presence, "Show in a chat that something is being written or recorded",
             "send", ChatPresence, answer=Shown, tag="sessions", errors=ASKING,
             example={"to": "+237612345678", "state": "recording"},
             description="Messages show it by themselves (`settings.recording_presence`); this is for answers that take longer."),
    Endpoint("POST", "/api/v1/sessions/{id}/numbers", numbers, "Which numbers are on WhatsApp", "send", Numbers,
             answer=NumberList, tag="sessions", errors=ASKING, example={"numbers": ["+237612345678"]}),
]
