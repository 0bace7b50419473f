"""The real links on a stage: a sandbox for WhatsApp, and its control API for hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from gateway.events import Connected, Paired, PairingEvent, QrCode
from gateway.link.base import Pairing, SessionFile
from gateway.sandbox.server import Sandbox
from tests.link.contract import PATIENCE, Inbox, Stage
from tests.link.remote import RemoteLink, RemoteLinks

OWNER, PEER = "15550001111", "15550002222"
BOT_TAG_OFF = {"NEONIZE_BOT_TAG": "off"}


class Refused(Exception):
    """The sandbox would not; the text is its answer."""


class Control:
    """The sandbox's control API."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url, self._http = url, http

    async def get(self, path: str, **query: str | int | float) -> Any:
        async with self._http.get(self._url + path, params=query) as response:
            return await self._answer(response)

    async def get_bytes(self, path: str) -> bytes:
        async with self._http.get(self._url + path) as response:
            if response.status >= 300:
                raise Refused(await response.text())
            return await response.read()

    async def post(self, path: str, **body: Any) -> Any:
        async with self._http.post(self._url + path, json=body) as response:
            return await self._answer(response)

    async def _answer(self, response: aiohttp.ClientResponse) -> Any:
        if response.status >= 300:
            raise Refused(await response.text())
        return await response.json()


class RealStage(Stage):
    """`links` live in a process of their own; `folder` holds the session files."""

    def __init__(self, sandbox: Sandbox, control: Control, links: RemoteLinks, folder: Path) -> None:
        self.sandbox, self.control, self.links, self.folder = sandbox, control, links, folder
        self.remote = links
        self.file = self.session("s1")

    def session(self, name: str) -> SessionFile:
        return SessionFile(name, self.folder / f"{name}.db", name.encode().ljust(32, b"-"))

    async def scan(self, qr: str, phone: str = OWNER) -> None:
        await self.control.post("/scan", qr=qr, phone=phone)

    async def say(self, text: str) -> str:
        said = await self.control.post(f"/contacts/{PEER}/send", text=text, to=OWNER)
        return str(said["id"])

    async def read(self, id: str) -> None:
        await self.control.post(f"/contacts/{PEER}/receipt", id=id, type="read")

    async def arrived(self, id: str) -> str:
        return str((await self.control.get(f"/messages/{id}"))["text"])

    # ------------------------------------------------------------------ beyond the contract

    async def fault(self, kind: str, **options: Any) -> None:
        await self.control.post("/faults", kind=kind, **options)

    async def break_device(self, action: str, device: str = OWNER) -> None:
        await self.control.post(f"/devices/{device}/{action}")

    async def pair(self, file: SessionFile | None = None, phone: str = OWNER) -> list[PairingEvent]:
        """Scan the first code; everything the attempt told."""
        return await scanned(self.links.pair(file or self.file), lambda code: self.scan(code, phone))

    async def connected(self, file: SessionFile | None = None, phone: str = OWNER) -> tuple[RemoteLink, Inbox]:
        """Paired, opened, and usable."""
        told = await self.pair(file, phone)
        assert isinstance(told[-1], Paired), told
        return await self.opened(file)

    async def opened(self, file: SessionFile | None = None, links: RemoteLinks | None = None) -> tuple[RemoteLink, Inbox]:
        inbox = Inbox()
        link = (links or self.remote).link(file or self.file, inbox)
        await link.open()
        await inbox.first(Connected)
        return link, inbox


async def scanned(pairing: Pairing, scan: Callable[[str], Any]) -> list[PairingEvent]:
    told: list[PairingEvent] = []
    async with asyncio.timeout(PATIENCE):
        async for event in pairing.events():
            told.append(event)
            if isinstance(event, QrCode) and sum(isinstance(one, QrCode) for one in told) == 1:
                await scan(event.code)
    return told


@asynccontextmanager
async def real_stage(folder: Path, environment: dict[str, str] | None = None, **options: Any) -> AsyncIterator[RealStage]:
    sessions = folder / "sessions"
    sessions.mkdir()
    async with Sandbox(folder / "sandbox") as sandbox, aiohttp.ClientSession() as http:
        control = Control(sandbox.control_url, http)
        async with started(sandbox, environment, **options) as links:
            yield RealStage(sandbox, control, links, sessions)


@asynccontextmanager
async def started(sandbox: Sandbox, environment: dict[str, str] | None = None, **options: Any) -> AsyncIterator[RemoteLinks]:
    """A process with the real links, which WhatsApp's name leads to the sandbox."""
    async with await RemoteLinks.start(sandbox.environment() | (environment or BOT_TAG_OFF), **options) as links:
        yield links
