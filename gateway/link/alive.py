"""Which sessions have the core's thread: each open session is one blocking call into the core, on a thread named after it.
And how often that call was made: the core never closes the database of a session that ended."""

from __future__ import annotations

import threading

_PREFIX = "core "
_opened = 0


def note_opening() -> None:
    global _opened
    _opened += 1            # openings take turns


def openings() -> int:
    """Sessions handed to the core since the process began, reopened ones each time."""
    return _opened


def running_sessions() -> set[str]:
    return {thread.name.removeprefix(_PREFIX) for thread in threading.enumerate() if thread.name.startswith(_PREFIX)}
