from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store.database import Database
from gateway.store.store import Store, open_store
from gateway.store.vault import Sealer, Vault, new_data_key

KEY = bytes(range(32))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(tmp_path, Vault(KEY)) as store:
        yield store


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "gateway.db") as database:
        yield database


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(new_data_key())
