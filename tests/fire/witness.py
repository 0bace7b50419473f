"""Who listens from outside: readers of the event stream that come back with their last number, and a webhook's receiver."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import web

from tests.running import Client


class Reader:
    """Reads from number 0 on, for ever; whatever ends its connection, it comes back with the last number it saw."""

    def __init__(self, client: Callable[[], Client], path: str = "/api/v1/events") -> None:
        self._client, self._path = client, path
        self.seen: list[int] = []
        self.came: list[list[float]] = []               # each time: when, after which number, and the first it then got
        self._response: aiohttp.ClientResponse | None = None

    async def run(self) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError):
                await self._read()
            await asyncio.sleep(0.1)

    async def _read(self) -> None:
        client = self._client()
        last = str(self.seen[-1]) if self.seen else "0"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=30)
        async with client.http.get(client.url + self._path, timeout=timeout, headers={
                "Authorization": f"Bearer {client.key}", "Last-Event-ID": last}) as response:
            if response.status != 200:
                return
            self.came.append(coming := [time.time(), float(last), 0.0])
            self._response = response
            number, event, data = "", "", False
            while line := await response.content.readline():
                if not line.endswith(b"\n"):
                    return                              # cut within a line
                name, _, value = line.rstrip(b"\r\n").decode().partition(": ")
                if name == "id":
                    number = value
                elif name == "event":
                    event = value
                elif name == "data":
                    data = True
                elif not name:                          # the frame is whole
                    if data and event != "bye":
                        self.seen.append(int(number))
                        coming[2] = coming[2] or float(number)
                    event, data = "", False

    @property
    def comings(self) -> int:
        return len(self.came)

    def cut(self) -> None:
        """As a network does it."""
        if self._response is not None:
            self._response.close()


class Receiver:
    """A webhook's receiver, which may be down (nobody listens) or refuse."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []           # in order of arrival; a delivery may come twice
        self.secret = ""
        self.forged = 0
        self.refusing = False
        self._port = 0
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Receiver:
        await self.up()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.down()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/hook"

    async def up(self) -> None:
        if self._runner is not None:
            return
        application = web.Application()
        application.router.add_post("/hook", self._hook)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = site._server.sockets[0].getsockname()[1]     # type: ignore[union-attr]

    async def down(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _hook(self, request: web.Request) -> web.Response:
        raw = await request.read()
        if self.refusing:
            return web.Response(status=500)
        t, _, signature = request.headers["X-Gateway-Signature"].removeprefix("t=").partition(",v1=")
        if signature != hmac.new(self.secret.encode(), f"{t}.".encode() + raw, hashlib.sha256).hexdigest():
            self.forged += 1
        self.taken.append(json.loads(raw))
        return web.Response()
