"""A server on loopback with the files that requests name by URL."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.audio.voice_note import make_voice_note
from tests.api.conftest import tone_wav  # noqa: F401


@pytest.fixture(scope="session")
def note_ogg(tone_wav: bytes) -> bytes:  # noqa: F811
    return make_voice_note(tone_wav).ogg


@pytest.fixture(scope="session")
def picture_png() -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (64, 32), (10, 120, 200)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
async def files(tone_wav: bytes, note_ogg: bytes, picture_png: bytes) -> AsyncIterator[str]:  # noqa: F811
    """The URL of a folder with hello.wav, hello.ogg, picture.png and words.txt."""
    held = {"hello.wav": tone_wav, "hello.ogg": note_ogg, "picture.png": picture_png, "words.txt": b"no sound at all\n" * 9}

    async def get(request: web.Request) -> web.Response:
        body = held.get(request.match_info["name"])
        return web.Response(body=body) if body is not None else web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{name}", get)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("")).rstrip("/")
