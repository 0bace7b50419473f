from __future__ import annotations

import io
import math
import struct
import wave

import pytest


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

