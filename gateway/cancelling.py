"""What must come to its end though its task is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any


async def to_the_end(work: Awaitable[Any]) -> asyncio.CancelledError | None:
    """Awaits `work` even if we are cancelled. The cancellation that came meanwhile is returned, to be raised by whoever is done;
    the work's own exception is raised."""
    task = asyncio.ensure_future(work)
    cancelled = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    return cancelled
