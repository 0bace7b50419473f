"""How often a session's sealed file was opened, counted inside the file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.link import session_sqlite
from gateway.link.base import SessionFile
from gateway.link.sealed_store import SealedStore
from gateway.link.session_files import told


class FileGenerations:
    """`base.Generations` over the sealed files."""

    def __init__(self, sealed: SealedStore) -> None:
        self._sealed = sealed

    async def read(self, file: SessionFile) -> int:
        return await self._of(file, lambda: session_sqlite.read_generation(file.path))

    async def bump(self, file: SessionFile, at_least: int) -> int:
        return await self._of(file, lambda: session_sqlite.bump_generation(file.path, at_least=at_least))

    async def _of(self, file: SessionFile, ask: Callable[[], int]) -> int:
        with told():
            self._sealed.add(file.path, file.data_key)
            return await asyncio.to_thread(ask)
