"""A webhook receiver on loopback, and time that passes when the test says so."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.services.webhooks import WebhookService


class Time:
    """`clock` and `wait` for a WebhookService. `settle` returns when every courier has nothing to do but wait; `pass_` lets
    the time run, stopping at every moment somebody waits for."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self._waiting: dict[asyncio.Event, float] = {}
        self._tick = asyncio.Condition()

    def clock(self) -> float:
        return self.now

    async def wait(self, wake: asyncio.Event, seconds: float | None) -> None:
        due = self.now + seconds if seconds is not None else float("inf")
        self._waiting[wake] = due
        over = asyncio.create_task(self._until(due))
        woken = asyncio.create_task(wake.wait())
        try:
            await asyncio.wait([over, woken], return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._waiting[wake]
            over.cancel()
            woken.cancel()

    async def _until(self, due: float) -> None:
        async with self._tick:
            await self._tick.wait_for(lambda: self.now >= due)

    async def settle(self, service: WebhookService, seconds: float = 10.0) -> None:
        def idle() -> bool:
            couriers = [courier for _, courier in service._couriers.values()]
            return (all(not courier._flying for courier in couriers) and len(self._waiting) >= len(couriers)
                    and all(not wake.is_set() and due > self.now for wake, due in self._waiting.items()))

        async with asyncio.timeout(seconds):
            calm = 0
            while calm < 3:                     # what was woken just now had its turns on the loop
                await asyncio.sleep(0.001)
                calm = calm + 1 if idle() else 0

    async def pass_(self, service: WebhookService, seconds: float) -> None:
        until = self.now + seconds
        await self.settle(service)
        while (due := min(self._waiting.values(), default=float("inf"))) <= until:
            await self._set(due)
            await self.settle(service)
        await self._set(until)
        await self.settle(service)

    async def _set(self, now: float) -> None:
        self.now = max(self.now, now)
        async with self._tick:
            self._tick.notify_all()


@dataclass
class Request:
    at: float
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def n(self) -> Any:
        """What the test numbered the event with."""
        return self.body["data"]["n"]


Reply = Callable[[Request], int | Awaitable[int]]


class Receiver:
    """`reply` says what is answered; `got` are the requests in their order, `taken` those that were answered with 2xx."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self.reply: Reply = lambda request: 200
        self.location = ""
        self.got: list[Request] = []
        self.taken: list[Request] = []
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=secret-in-url"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """From now on connections are refused; `start` listens on the same port again."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, http: web.Request) -> web.Response:
        request = Request(self._time.now, {name.lower(): value for name, value in http.headers.items()}, await http.read())
        self.got.append(request)
        status = self.reply(request)
        if not isinstance(status, int):
            status = await status
        if 200 <= status < 300:
            self.taken.append(request)
        headers = {"Location": self.location} if self.location else {}
        return web.Response(status=status, text="", headers=headers)


@asynccontextmanager
async def receiving(time: Time) -> AsyncIterator[Receiver]:
    receiver = Receiver(time)
    await receiver.start()
    try:
        yield receiver
    finally:
        await receiver.stop()


@asynccontextmanager
async def carrying(service: WebhookService) -> AsyncIterator[WebhookService]:
    task = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
