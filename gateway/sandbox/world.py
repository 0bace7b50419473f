"""Everything the sandbox's WhatsApp knows, in memory: people, messages, groups, media, faults, and its clock."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .faults import Faults
from .incoming import Incoming
from .media import MediaStore
from .people import Directory, Person
from .records import Records
from .trust import NoiseTrust

if TYPE_CHECKING:
    from .app_state import AppState
    from .chat import Connection
    from .groups import Group
    from .pairing import Attempt


_MOST_SEEN = 100_000


@dataclass(slots=True)
class Seen:
    """Something a device did that is no message: a receipt it sent, its presence, what it is typing."""

    sequence: int
    at: float
    kind: str
    device: str
    facts: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        return {"sequence": self.sequence, "at": self.at, "kind": self.kind, "device": self.device, **self.facts}


@dataclass
class World:
    """One per sandbox, handed to every handler."""

    noise: NoiseTrust
    certificate_chain: bytes
    people: Directory = field(default_factory=Directory)
    faults: Faults = field(default_factory=Faults)
    records: Records = field(default_factory=Records)
    groups: dict[str, Group] = field(default_factory=dict)
    app_states: dict[str, AppState] = field(default_factory=dict)
    seen: deque[Seen] = field(default_factory=lambda: deque(maxlen=_MOST_SEEN))
    attempts: dict[str, Attempt] = field(default_factory=dict)
    connections: set[Connection] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.last_sequence = 0
        self._timers: set[asyncio.TimerHandle] = set()
        self._changed = asyncio.Event()
        self.closed = False
        self.media = MediaStore(self)
        self.incoming = Incoming(self)

    def members(self, group: str) -> list[Person]:
        """The people in a group, none when there is no such group."""
        found = self.groups.get(group)
        people = [self.people.person(number) for number in found.members] if found is not None else []
        return [person for person in people if person is not None]

    def next_sequence(self) -> int:
        """The order in which things happened, over all sessions."""
        self.last_sequence += 1
        return self.last_sequence

    def see(self, kind: str, device: str, **facts: Any) -> None:
        """Remember that `device` did something."""
        self.seen.append(Seen(self.next_sequence(), time.time(), kind, device, facts))
        self.changed()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do `action` in `seconds`, unless the sandbox closes first."""
        if self.closed:
            return
        handle: asyncio.TimerHandle

        def act() -> None:
            self._timers.discard(handle)
            action()

        handle = asyncio.get_running_loop().call_later(max(seconds, 0.0), act)
        self._timers.add(handle)

    def changed(self) -> None:
        """Wake whoever waits for something to happen."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Whether `condition` came true within `timeout` seconds; it is looked at after every change."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            return condition()
        return True

    def close(self) -> None:
        self.closed = True
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
