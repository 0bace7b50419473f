"""Stream tickets: `EventSource` cannot set headers, and an API key does not belong into a URL. A ticket opens one stream,
read-only, is used within a minute and ends with its stream's time."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.errors import GatewayError
from gateway.store.keys import Key

USE_WITHIN = 60.0           # seconds from its making; a browser's quick reconnects fall into that time too
STREAM_SECONDS = 3600.0     # then the stream ends with a word, and the page fetches another ticket
MOST = 10_000
MOST_OF_ONE = 1_000         # of one owner: nobody takes the others' places


@dataclass(frozen=True, slots=True)
class Ticket:
    text: str
    key: Key                    # whose it is; read-only, whatever the key's scope
    session_id: str | None      # None: all sessions of the owner
    use_before: float


class Tickets:
    """In memory: a restart ends all streams anyway."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tickets: dict[str, Ticket] = {}

    def issue(self, key: Key, session_id: str | None) -> Ticket:
        now = self._clock()
        self._tickets = {text: t for text, t in self._tickets.items() if _in_time(t, now)}
        if len(self._tickets) >= MOST or sum(t.key.owner == key.owner for t in self._tickets.values()) >= MOST_OF_ONE:
            raise GatewayError("rate_limited", "Too many stream tickets wait to be used.", retry_after=USE_WITHIN)
        ticket = Ticket(secrets.token_urlsafe(24), replace(key, scope="read"), session_id, now + USE_WITHIN)
        self._tickets[ticket.text] = ticket
        return ticket

    def revoke(self, key_id: str) -> None:
        """The key is gone, and what it gave out with it."""
        self._tickets = {text: t for text, t in self._tickets.items() if t.key.id != key_id}

    def redeem(self, text: str) -> Ticket:
        """Raises ticket_invalid."""
        ticket = self._tickets.get(text)
        if ticket is None or not _in_time(ticket, self._clock()):
            raise GatewayError("ticket_invalid")
        return ticket


def _in_time(ticket: Ticket, now: float) -> bool:
    """Also not after the clock was set back: it would be good for longer than it was meant to be."""
    return now < ticket.use_before <= now + USE_WITHIN
