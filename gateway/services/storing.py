"""What must not be lost because the disk is full just now: done again until the store takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gateway.errors import GatewayError

T = TypeVar("T")
PAUSES = (1.0, 2.0, 5.0, 10.0)      # seconds between tries; the last one again and again


def is_storage(error: BaseException) -> bool:
    return isinstance(error, GatewayError) and error.code == "storage_unavailable"


async def until_stored(work: Callable[[], Awaitable[T]], log: Any) -> T:
    """What `work` returns, once the store can be written: it is called again after `storage_unavailable`, so a part of it that
    was done already must do no harm. Every other exception is raised."""
    tries = 0
    while True:
        try:
            done = await work()
        except GatewayError as error:
            if not is_storage(error):
                raise
            if not tries:
                log.error("store_not_written", error=error.message)
        else:
            if tries:
                log.info("store_written_again", tries=tries)
            return done
        await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
        tries += 1
