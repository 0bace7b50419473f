"""Whether the gateway can serve, for everybody who asks at once: the store is written to prove it, but not for each of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gateway.errors import GatewayError
from gateway.store.store import Store

KEEP_SECONDS = 2.0


class Readiness:
    """`now` is monotonic, `clock` is the store's."""

    def __init__(self, store: Store, clock: Callable[[], float], now: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock, self._now = store, clock, now
        self._looked_at = float("-inf")
        self._problem = ""
        self._looking = asyncio.Lock()

    async def problem(self) -> str:
        """'' or a sentence, at most KEEP_SECONDS old."""
        async with self._looking:
            if self._now() - self._looked_at >= KEEP_SECONDS:
                try:
                    await self._store.probe(self._clock())
                    self._problem = ""
                except GatewayError as error:
                    self._problem = error.message
                self._looked_at = self._now()
            return self._problem
