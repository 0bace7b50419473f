from __future__ import annotations

import asyncio
import platform

import pytest

from gateway.services.memory import EVERY_SECONDS, give_back, trimmer


async def test_it_is_given_back_every_few_minutes_until_cancelled() -> None:
    waited: list[float] = []
    trimmed: list[int] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 4:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await give_back(lambda: trimmed.append(1), sleep)
    assert waited == [EVERY_SECONDS] * 4 and len(trimmed) == 3


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_knows_how() -> None:
    trim = trimmer()
    assert trim is not None and trim() in (0, 1)
