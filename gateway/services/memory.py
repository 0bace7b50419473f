"""Gives back to the system what the C library keeps of freed memory.

glibc has an arena a thread, grows each to its worst moment and does not shrink it by itself; with a thread a call, that is tens of
megabytes after a busy day which nothing uses. Measured in docs/reliability.md."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Awaitable, Callable

EVERY_SECONDS = 300.0


def trimmer() -> Callable[[], object] | None:
    """glibc's malloc_trim, which gives up the GIL; None where there is another C library."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return (lambda: trim(0)) if trim is not None else None


async def give_back(trim: Callable[[], object] | None = None, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Until cancelled; milliseconds of a thread of its own each time."""
    trim = trim or trimmer()
    while trim is not None:
        await sleep(EVERY_SECONDS)
        await asyncio.to_thread(trim)
