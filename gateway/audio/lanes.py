"""One conversion on several cores: pieces of work side by side, their results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


def cores() -> int:
    """The cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Lanes(Generic[T]):
    """A context manager; work that has not begun when it ends is dropped. Two pieces a core wait at most.

    With one lane everything runs in the caller's thread, unless that lane is `aside` of it.
    """

    def __init__(self, count: int, *, aside: bool = False) -> None:
        self._ahead = 2 * count
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="audio-lane") if count > 1 or aside else None
        self._pending: deque[Future[T]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def put(self, work: Callable[[], T]) -> list[T]:
        """Takes one more piece; returns the results that are due, waiting only when too many are under way.

        Raises what a piece raised.
        """
        if self._threads is None:
            return [work()]
        self._pending.append(self._threads.submit(work))
        due = []
        while self._pending and (self._pending[0].done() or len(self._pending) > self._ahead):
            due.append(self._pending.popleft().result())
        return due

    def rest(self) -> list[T]:
        """The results of everything still under way."""
        due = [piece.result() for piece in self._pending]
        self._pending.clear()
        return due
