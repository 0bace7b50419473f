"""Who comes and goes: readers of event streams, people who look at lists and pages, and one who attends to what arrives."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.world import World
from tests.running import Client, frames

BROKEN = (aiohttp.ClientError, OSError, TimeoutError)


async def listen(client: Client, path: str, seconds: float, take: Callable[[str, dict[str, Any]], bool], last: str = "") -> str:
    """Reads a stream until `take(event, data)` says that it is enough, or the time is over. The last number it saw."""
    headers = {"Authorization": f"Bearer {client.key}"} | ({"Last-Event-ID": last} if last else {})
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), client.http.get(client.url + path, headers=headers, timeout=timeout) as response:
            if response.status != 200:
                return last
            async for number, event, data in frames(response.content):
                last = number or last
                if take(event, data):
                    break
    return last


class Visitors:
    """`seen` counts what they got."""

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._chance = world, random.Random(f"{seed}/visitors")
        self.seen: Counter[str] = Counter()
        self.newest = 0

    def _take(self, event: str, data: dict[str, Any]) -> bool:
        self.seen[f"frame {event}"] += 1
        return False

    async def reader(self, session: str, seconds: float) -> None:
        """A stream for a while: of all, of one session, or from some way back."""
        last = str(max(0, self.newest - 200)) if self._chance.random() < 0.3 else ""
        path = "/api/v1/events" if self._chance.random() < 0.5 else f"/api/v1/sessions/{session}/stream"
        await listen(self._world.client, path, seconds * 2, self._take, last)
        self.seen["readers"] += 1

    async def looker(self, session: str) -> None:
        """One request of those that a console or a scraper makes."""
        path = self._chance.choice(("/api/v1/sessions", f"/api/v1/messages?session={session}&limit=50", "/metrics", "/api/v1/usage",
                                    "/readyz", "/openapi.json", f"/api/v1/sessions/{session}/profile", "/", "/nowhere",
                                    "/api/v1/webhooks/deliveries?limit=50"))
        answer = await self._world.client.get(path)
        self.seen[f"looked: {answer.status}"] += 1

    async def doctor(self, audio: Path) -> None:
        form = aiohttp.FormData()
        form.add_field("file", audio.read_bytes(), filename="a.mp3")
        answer = await self._world.client("POST", "/api/v1/voice/inspect", data=form)
        self.seen[f"inspected: {answer.status}"] += 1

    async def attend(self) -> None:
        """Follows all that arrives for as long as it is let; fetches files, marks as read, reacts."""
        arrived: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1000)

        def take(event: str, data: dict[str, Any]) -> bool:
            if event == "message" and data.get("direction") == "in" and not arrived.full():
                arrived.put_nowait(data)
            return False

        async def follow() -> None:
            last = ""
            while True:
                with contextlib.suppress(*BROKEN):
                    last = await listen(self._world.client, "/api/v1/events", 600, take, last)
                    self.newest = max(self.newest, int(last or 0))
                await asyncio.sleep(1)

        following = asyncio.create_task(follow())
        try:
            while True:
                message = await arrived.get()
                with contextlib.suppress(*BROKEN):
                    await self._attend_to(message)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _attend_to(self, message: dict[str, Any]) -> None:
        client, path = self._world.client, f"/api/v1/messages/{message['id']}"
        if message.get("media") and self._chance.random() < 0.6:
            self.seen[f"media: {(await client.get(path + '/media')).status}"] += 1
        if self._chance.random() < 0.4:
            self.seen[f"read: {(await client.post(path + '/read', {})).status}"] += 1
        if self._chance.random() < 0.05:
            self.seen[f"reaction: {(await client.post(path + '/reaction', {'emoji': '👍'})).status}"] += 1
