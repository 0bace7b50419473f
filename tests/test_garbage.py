from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from gateway import garbage


class Node:
    other: Node


def ring() -> weakref.ref[Node]:
    """Two that hold each other: only the collector frees them."""
    a, b = Node(), Node()
    a.other, b.other = b, a
    return weakref.ref(a)


@pytest.fixture(autouse=True)
def tamed() -> Iterator[None]:
    with garbage.tamed():
        yield


def test_what_survives_a_full_collection_is_not_looked_at_again() -> None:
    keep = [[] for _ in range(1000)]
    gc.collect()
    assert gc.get_count()[2] == 0
    assert not any(value is keep for value in gc.get_objects())         # which leaves out what is set aside
    assert gc.get_freeze_count() > 1000


def test_new_garbage_is_still_collected() -> None:
    gone = ring()
    gc.collect()
    assert gone() is None


def test_old_garbage_waits_for_the_sweep() -> None:
    a, b = Node(), Node()
    a.other, b.other = b, a
    gone = weakref.ref(a)
    gc.collect()                # it is alive, and set aside
    del a, b
    gc.collect()
    assert gone() is not None
    assert garbage.sweep() >= 0
    assert gone() is None


async def test_the_sweep_comes_once_an_hour() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await garbage.run(sleep)
    assert slept == [garbage.SWEEP_SECONDS] * 3


def test_afterwards_everything_is_as_python_does_it() -> None:
    callbacks = list(gc.callbacks)
    with garbage.tamed():
        assert len(gc.callbacks) == len(callbacks) + 1
    assert gc.callbacks == callbacks
    assert gc.get_freeze_count() == 0
