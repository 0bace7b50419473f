"""How often a session's sealed file was opened, counted inside the file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.errors import GatewayError
from gateway.link import session_sqlite
from gateway.link.base import SessionFile, StoreDamaged
from gateway.link.sealed_store import SealedStore


class FileGenerations:
    """`base.Generations` over the sealed files."""

    def __init__(self, sealed: SealedStore) -> None:
        self._sealed = sealed

    async def read(self, file: SessionFile) -> int:
        return await self._of(file, lambda: session_sqlite.read_generation(file.path))

    async def bump(self, file: SessionFile, at_least: int) -> int:
        return await self._of(file, lambda: session_sqlite.bump_generation(file.path, at_least=at_least))

    async def _of(self, file: SessionFile, ask: Callable[[], int]) -> int:
        try:
            self._sealed.add(file.path, file.data_key)
            return await asyncio.to_thread(ask)
        except session_sqlite.SessionFileError as error:
            if error.what in ("busy", "full"):          # it says nothing about the file
                raise GatewayError("storage_unavailable", str(error)) from error
            raise StoreDamaged(str(error)) from error
        except ValueError as error:
            raise StoreDamaged(str(error)) from error
