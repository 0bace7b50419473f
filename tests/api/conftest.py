from __future__ import annotations

import io
import math
import struct
import wave
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.running import Running, run_gateway


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One gateway with a linked session 'main' for a module's tests that leave it as it is."""
    async with run_gateway(tmp_path_factory.mktemp("shared") / "state") as running:
        await running.linked()
        yield running


@pytest.fixture(scope="session")
def tone_wav() -> bytes:
    """Two seconds of a rising tone."""
    out = io.BytesIO()
    with wave.open(out, "wb") as w:
        w.setnchannels(1)
        w.setsampwidth(2)
        w.setframerate(16000)
        w.writeframes(b"".join(struct.pack("<h", int(12000 * (i / 32000) * math.sin(i / 6))) for i in range(32000)))
    return out.getvalue()

