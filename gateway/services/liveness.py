"""Whether the daemon works, or only runs: what the service manager's watchdog asks.

The question is whether a restart would help. A store that hangs or a link whose thread died without a word: yes. A full
disk, a session that is logged out, WhatsApp out of reach: no; those are told as states, and everything else goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import GatewayError
from gateway.services.sessions import Sessions
from gateway.store.store import Store

Labels = Callable[[], set[str]]


class Liveness:
    """`running` gives the ids of the sessions whose link has a thread; None where links have none."""

    def __init__(self, store: Store, sessions: Sessions, clock: Callable[[], float], running: Labels | None = None) -> None:
        self._store, self._sessions, self._clock, self._running = store, sessions, clock, running
        self._missing: set[str] = set()
        self.storage = ""               # why the store refuses to be written; '': it does not

    async def check(self) -> str:
        """'' or a sentence. That the loop answers is proven by being called; the store by a committed write and a read,
        which wait as long as they like: the caller has a limit."""
        try:
            await self._store.probe(self._clock())
            self.storage = ""
        except GatewayError as error:
            self.storage = error.message
        lost = self._lost_links()
        return f"links that are said to be connected, but have no thread: {len(lost)}" if lost else ""

    def _lost_links(self) -> set[str]:
        """Missing twice in a row: the end of a thread is told a moment after it."""
        if self._running is None:
            return set()
        running = self._running()
        missing = {live.session.id for live in self._sessions.live()
                   if live.link is not None and live.usable.is_set() and live.session.id not in running}
        lost, self._missing = missing & self._missing, missing
        return lost

    def status(self) -> str:
        """One line for `systemctl status`."""
        sessions = self._sessions.live()
        connected = sum(live.usable.is_set() for live in sessions)
        need = sum(live.state.needs_somebody for live in sessions)
        line = f"{connected} of {len(sessions)} sessions connected" + (f", {need} need somebody" if need else "")
        return f"{line}; {self.storage}" if self.storage else line
