"""Chromium, looking at a gateway that runs in this process. One browser and one loop for all: starting it costs more than
most tests."""

from __future__ import annotations

import io
import math
import os
import struct
import wave
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.console.page import ARGUMENTS, CHROMIUM, Console, open_console
from tests.running import Running, run_gateway


def missing(what: str) -> None:
    """Skips the test; in CI, where .ci/run installs everything, it fails instead."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


class Opens(Protocol):
    def __call__(self, *, theme: str = "light", width: int = 1280, height: int = 860,
                 key: str | None = "") -> AbstractAsyncContextManager[Console]: ...


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        missing("no Chromium here: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with run_gateway(tmp_path / "state") as it:
        yield it


@pytest.fixture
def console(browser: Browser, running: Running) -> Opens:
    """`async with console(theme="dark", width=390) as page`: signed in with the admin key, `key` another one, None: not
    signed in. At its end: no error in the browser's console, nothing refused by the policy."""

    @asynccontextmanager
    async def opens(*, theme: str = "light", width: int = 1280, height: int = 860,
                    key: str | None = "") -> AsyncIterator[Console]:
        async with open_console(browser, running.client.url, theme=theme, width=width, height=height) as page:
            if key is not None:
                await page.sign_in(key or running.client.key)
            yield page

    return opens


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility rules, as a program for the page."""
    file = Path(__file__).parent / "node_modules/axe-core/axe.min.js"
    if not file.exists():
        missing("no axe-core here: npm ci in tests/console")
    return file.read_text()


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
