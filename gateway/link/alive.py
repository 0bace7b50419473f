"""Which sessions have the core's thread: each open session is one blocking call into the core, on a thread named after it."""

from __future__ import annotations

import threading

_PREFIX = "core "


def running_sessions() -> set[str]:
    return {thread.name.removeprefix(_PREFIX) for thread in threading.enumerate() if thread.name.startswith(_PREFIX)}
