"""How many event streams a key has open: each costs memory and a connection for as long as it likes."""

from __future__ import annotations

from collections import Counter

from gateway.errors import GatewayError
from gateway.store.keys import Key

RETRY_SECONDS = 10.0


class Streams:
    """At most `most` of one owner (a key, and those that share its sessions); 0: no limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def enter(self, key: Key) -> None:
        """Raises too_many_streams; else `leave` has to follow."""
        if self._most and self._open[key.owner] >= self._most:
            raise GatewayError("too_many_streams", f"This key holds {self._open[key.owner]} event streams open; it may hold "
                               f"{self._most}.", retry_after=RETRY_SECONDS, limit=self._most)
        self._open[key.owner] += 1

    def leave(self, key: Key) -> None:
        self._open[key.owner] -= 1
        if not self._open[key.owner]:
            del self._open[key.owner]
