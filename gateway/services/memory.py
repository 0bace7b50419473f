"""Keeps the C library from keeping what was freed.

glibc has an arena a thread, up to eight a core, grows each to its worst moment and does not shrink it by itself; with a thread a
call, that is tens of megabytes after a busy day which nothing uses. So there are few arenas, large blocks (sound, pictures) are
mapped by themselves and go back when they are freed, and now and then the rest is given back. Measured in docs/reliability.md.

Source: mallopt(3), malloc_trim(3)."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Awaitable, Callable

EVERY_SECONDS = 300.0
ARENAS = 2                      # few wait for one: most of the time a thread holds the GIL
LARGE = 256 * 1024              # bytes
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def keep_small() -> bool:
    """To be called before there are threads. Whether there is such a C library."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_ARENA_MAX, ARENAS)) and bool(mallopt(_M_MMAP_THRESHOLD, LARGE))


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
