"""Until somebody wakes us, or the time is over."""

from __future__ import annotations

import asyncio
import contextlib


async def wait(wake: asyncio.Event, seconds: float | None) -> None:
    """Until the event is set, or so many seconds have passed (None: no limit)."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
