"""A log-out and the messages of that moment: each is either refused, or told as failed; none waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import GatewayError
from gateway.events import LoggedOut
from gateway.jid import JID
from gateway.services.drafts import Draft
from tests.running import Running, until


async def test_what_is_accepted_while_the_phone_logs_out_is_failed_or_refused(running: Running) -> None:
    id_, link = await running.linked()
    link.hold_next_send()
    first = (await running.client.post("/api/v1/messages", {"to": "+237612345678", "message": "held"})).body["id"]
    await running.message(first, "sending")
    link.emit(LoggedOut(False, "logged_out"))
    answers = await asyncio.gather(*(running.client.post("/api/v1/messages", {"to": "+237612345678", "message": f"{i}"})
                                     for i in range(40)))
    assert {answer.status for answer in answers} <= {202, 409}
    for answer in answers:
        if answer.status == 202:
            failed = await running.message(answer.body["id"], "failed")
            assert failed["error"]["code"] == "session_gone"


async def test_a_message_that_was_being_looked_at_when_the_session_was_logged_out_is_refused(running: Running) -> None:
    id_, link = await running.linked()
    live = running.gateway.sessions.live()[0]
    link.emit(LoggedOut(False, "logged_out"))
    await until(lambda: live.state.reason.code == "logged_out")
    gateway = running.gateway
    with pytest.raises(GatewayError, match="session_not_connected"):     # the check at the door was passed before
        await gateway.outbox.accept(running.key, live, JID.parse("237612345678@s.whatsapp.net"), Draft("text", text="late"))
