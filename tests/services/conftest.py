from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store.store import Store, open_store
from gateway.store.vault import Vault
from tests.services.receiver import Receiver, Time, receiving


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(tmp_path, Vault.load(tmp_path)) as opened:
        yield opened


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(Time()) as receiver:
        yield receiver
