"""Stream tickets: short-lived, read-only, bound."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError
from gateway.services import tickets as module
from gateway.services.tickets import USE_WITHIN, Tickets
from gateway.store.keys import Key

KEY = Key("k1", "test", "admin", "unlimited", "k1", 0.0, None, None, None)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_ticket_is_valid_for_a_minute_and_then_not() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    ticket = tickets.issue(KEY, "s1")
    clock.now += USE_WITHIN - 0.01
    assert tickets.redeem(ticket.text) == ticket           # a browser that reconnects at once may use it again
    assert tickets.redeem(ticket.text).session_id == "s1"
    clock.now += 0.02
    with pytest.raises(GatewayError, match="ticket_invalid"):
        tickets.redeem(ticket.text)


def test_a_clock_that_is_set_back_makes_no_ticket_live_longer() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    ticket = tickets.issue(KEY, None)
    clock.now -= 86_400
    with pytest.raises(GatewayError, match="ticket_invalid"):
        tickets.redeem(ticket.text)


def test_a_ticket_only_reads_whatever_its_key_may() -> None:
    assert Tickets(Clock()).issue(KEY, None).key.scope == "read"


def test_tickets_cannot_be_guessed_or_mistaken() -> None:
    tickets = Tickets(Clock())
    texts = {tickets.issue(KEY, None).text for _ in range(100)}
    assert len(texts) == 100
    assert min(map(len, texts)) >= 32
    with pytest.raises(GatewayError, match="ticket_invalid"):
        tickets.redeem("")


def test_tickets_of_a_revoked_key_are_gone_and_the_others_are_not() -> None:
    tickets = Tickets(Clock())
    mine = tickets.issue(KEY, None)
    other = tickets.issue(Key("k2", "o", "read", "free", "k2", 0.0, None, None, None), None)
    tickets.revoke("k1")
    with pytest.raises(GatewayError, match="ticket_invalid"):
        tickets.redeem(mine.text)
    assert tickets.redeem(other.text) == other


def test_unused_tickets_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    clock = Clock()
    tickets = Tickets(clock)
    for _ in range(3):
        tickets.issue(KEY, None)
    with pytest.raises(GatewayError, match="rate_limited"):
        tickets.issue(KEY, None)
    clock.now += USE_WITHIN
    assert tickets.issue(KEY, None)


def test_one_owner_does_not_take_the_tickets_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OF_ONE", 2)
    tickets = Tickets(Clock())
    tickets.issue(KEY, None), tickets.issue(KEY, None)
    with pytest.raises(GatewayError, match="rate_limited"):
        tickets.issue(KEY, None)
    assert tickets.issue(Key("k2", "o", "read", "free", "k2", 0.0, None, None, None), None)
