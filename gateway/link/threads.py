"""The door between the event loop and the core's blocking calls: a daemon thread a call.

No executor: its threads would be joined when the interpreter exits, and one session whose calls hang (the core waits 75 s
for an acknowledgement) would use up what others need. A thread costs 0.1 ms; calls number a few a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_thread(call: Callable[[], T], name: str) -> asyncio.Future[T]:
    """The outcome of a blocking call. Giving up the wait leaves the thread to end by itself; nobody hears of it then."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as failure:
            error = failure
        with contextlib.suppress(RuntimeError):         # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return outcome
