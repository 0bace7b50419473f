from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.world import World
from tests.e2e.world import world as open_world

HELLO = Path(__file__).parents[2] / "gateway" / "examples" / "hello.mp3"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The sandbox and a running daemon."""
    async with open_world(tmp_path) as it:
        await it.start()
        yield it


@pytest.fixture(scope="session")
def hello() -> bytes:
    return HELLO.read_bytes()
