"""The words: addresses, times, states, errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import TABLE, GatewayError
from gateway.jid import JID, parse_recipient, shorten
from gateway.states import REASONS, SessionState, Status
from gateway.times import iso, parse_iso


@pytest.mark.parametrize(("text", "jid"), [
    ("+237612345678", "237612345678@s.whatsapp.net"), ("237612345678", "237612345678@s.whatsapp.net"),
    ("+1 (555) 000-2222", "15550002222@s.whatsapp.net"), ("0044 7700 900000", "447700900000@s.whatsapp.net"),
    ("447700900000@c.us", "447700900000@s.whatsapp.net"), ("447700900000:7@s.whatsapp.net", "447700900000@s.whatsapp.net"),
    ("123456789012345678@g.us", "123456789012345678@g.us"), ("491701234567-1600000000@g.us", "491701234567-1600000000@g.us"),
    ("98765432101234@lid", "98765432101234@lid"), ("120363000000000000@newsletter", "120363000000000000@newsletter"),
])
def test_what_people_write_for_a_recipient(text: str, jid: str) -> None:
    assert str(parse_recipient(text)) == jid


@pytest.mark.parametrize("text", ["", "+", "12345", "hello", "+0123456789", "1" * 16, "1@example.com", "@s.whatsapp.net", "x@g.us",
                                  "status@broadcast", "١٢٣٤٥٦٧٨٩", "1555000\n2222", "15550002222:x@s.whatsapp.net", "+1555\x002222"])
def test_what_is_no_recipient(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a|not supported"):
        parse_recipient(text)


@given(st.text(max_size=60))
def test_any_text_is_a_recipient_or_a_value_error(text: str) -> None:
    try:
        jid = parse_recipient(text)
    except ValueError:
        return
    assert JID.parse(str(jid)) == jid


def test_a_device_is_part_of_an_address_until_it_is_taken_off() -> None:
    jid = JID.parse("15550001111:3@s.whatsapp.net")
    assert (jid.device, jid.phone, str(jid.non_ad())) == (3, "+15550001111", "15550001111@s.whatsapp.net")


def test_a_shortened_number_cannot_be_called() -> None:
    assert shorten("+237612345678") == "+237…78"
    assert shorten("15550001111@s.whatsapp.net") == "1555…11@s.whatsapp.net"


@given(st.floats(0, 4e9))
def test_a_time_survives_its_text(at: float) -> None:
    assert abs(parse_iso(iso(at)) - at) <= 0.001


def test_a_time_without_its_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        parse_iso("2026-01-31T12:00:00")


def test_every_reason_has_a_sentence_and_says_what_can_be_done() -> None:
    for reason in REASONS.values():
        assert reason.sentence.endswith(".")
        state = SessionState(reason, 0)
        assert not state.is_terminal or reason.action != "none", f"{reason.code} ends without advice"


def test_a_state_tells_the_same_to_everybody() -> None:
    state = SessionState(REASONS["temporary_ban"], 0.0, "code 101", until=60.0)
    assert state.public() == {
        "status": "banned", "reason": "temporary_ban", "sentence": "WhatsApp banned the account for a time.",
        "detail": "code 101", "since": "1970-01-01T00:00:00.000Z", "next_retry": None, "until": "1970-01-01T00:01:00.000Z",
        "action": "wait"}
    assert state.status is Status.BANNED


def test_an_error_takes_its_words_from_the_table() -> None:
    error = GatewayError("not_found")
    assert (error.status, error.message) == (404, TABLE["not_found"].sentence)
    with pytest.raises(KeyError):
        GatewayError("no_such_code")
