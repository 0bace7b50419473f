"""Python's cyclic garbage collector, kept from stopping the event loop.

A full collection looks at every object there is, and nobody is served meanwhile: on a 2-core machine 20 ms in a daemon that
has done nothing yet, 700 ms with 5,000 readers of the event stream, which was most of their p99. So what survives a full
collection is set aside (`gc.freeze`): the next one looks at what is new since. What was set aside and has become cyclic
garbage since waits for the `sweep` that `run` makes once an hour; nearly everything is freed by its reference count and never
waits.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

log = structlog.get_logger("gateway.garbage")

SWEEP_SECONDS = 3600.0
_FULL = 2                       # the oldest generation


@contextmanager
def tamed() -> Iterator[None]:
    """While the block runs. What was imported before is never looked at again before a sweep."""
    gc.freeze()
    gc.callbacks.append(_set_aside)
    try:
        yield
    finally:
        gc.callbacks.remove(_set_aside)
        gc.unfreeze()


def _set_aside(phase: str, info: dict[str, Any]) -> None:
    if phase == "stop" and info["generation"] == _FULL:
        gc.freeze()


def sweep() -> float:
    """Looks at everything. The seconds it took, in which nothing else ran."""
    began = time.perf_counter()
    gc.unfreeze()
    gc.collect()                # and sets aside what is left
    return time.perf_counter() - began


async def run(sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Until cancelled."""
    while True:
        await sleep(SWEEP_SECONDS)
        log.debug("garbage_swept", seconds=round(sweep(), 3))
