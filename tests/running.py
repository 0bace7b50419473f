"""A gateway as it runs, in this process: real store, real HTTP on loopback, only WhatsApp's side is the fake."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from gateway import daemon
from gateway.config import Fetch, Pacing, Sending, Server, Settings
from gateway.services.gateway import Gateway
from gateway.store.keys import Key
from gateway.store.store import open_store
from gateway.store.vault import Vault
from tests.link.fake_link import FakeLink, FakeLinks

FAST = Settings(pacing=Pacing(messages_per_hour=0, min_gap_seconds=0.0, recording_presence=False),
                sending=Sending(settle_seconds=0.2, no_ack_seconds=0.3), fetch=Fetch(allow_networks=("127.0.0.0/8",)),
                server=Server(port=0, heartbeat_seconds=1.0, stop_seconds=2.0))


@dataclass
class Answer:
    status: int
    body: Any
    headers: Any


class Client:
    """HTTP with a key. `await client.post("/api/v1/messages", {...})`."""

    def __init__(self, http: aiohttp.ClientSession, url: str, key: str) -> None:
        self.http, self.url, self.key = http, url, key

    async def __call__(self, method: str, path: str, json_body: Any = None, **more: Any) -> Answer:
        headers = {"Authorization": f"Bearer {self.key}"} | more.pop("headers", {})
        if json_body is not None:
            more["json"] = json_body
        async with self.http.request(method, self.url + path, headers=headers, **more) as response:
            raw = await response.read()
            kind = response.headers.get("Content-Type", "")
            return Answer(response.status, json.loads(raw) if "json" in kind and raw else raw, response.headers)

    async def get(self, path: str, **more: Any) -> Answer:
        return await self("GET", path, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        return await self("POST", path, body, **more)

    async def patch(self, path: str, body: Any, **more: Any) -> Answer:
        return await self("PATCH", path, body, **more)

    async def delete(self, path: str, **more: Any) -> Answer:
        return await self("DELETE", path, **more)

    @asynccontextmanager
    async def stream(self, path: str, **headers: str) -> AsyncIterator[AsyncIterator[tuple[str, str, dict[str, Any]]]]:
        """(id, event, data) as they arrive."""
        given = {"Authorization": f"Bearer {self.key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.http.get(self.url + path, headers=given) as response:
            assert response.status == 200, await response.text()
            yield frames(response.content)


async def frames(content: aiohttp.StreamReader) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    id_ = event = data = ""
    while line := await content.readline():
        text = line.decode().rstrip("\r\n")
        if not text:
            if data:
                yield id_, event, json.loads(data)
            event = data = ""
            continue
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            id_ = value
        elif name == "event":
            event = value
        elif name == "data":
            data += value


@dataclass
class Running:
    gateway: Gateway
    links: FakeLinks
    client: Client
    key: Key
    state: Path

    async def another_client(self, scope: str = "full", plan: str = "unlimited") -> Client:
        _, text = await self.gateway.keys.create(name="another", scope=scope, plan=plan)
        return Client(self.client.http, self.client.url, text)

    async def linked(self, session_key: str = "main", number: str = "15550001111") -> tuple[str, FakeLink]:
        """A session that is connected, and its link."""
        made = await self.client.post("/api/v1/sessions", {"session_key": session_key})
        assert made.status == 201, made.body
        id_ = made.body["id"]
        live = next(live for live in self.gateway.sessions.live() if live.session.id == id_)
        await until(lambda: any(p.file.session_id == id_ for p in self.links.pairings))
        self.links.pairing(id_).show_qr()
        self.links.pairing(id_).scan(number)
        await asyncio.wait_for(live.usable.wait(), 20)
        return id_, self.links.live(id_)

    async def message(self, id_: str, status: str, seconds: float = 20.0) -> dict[str, Any]:
        """The message once it has that status (or stage)."""
        async with asyncio.timeout(seconds):
            while True:
                body: dict[str, Any] = (await self.client.get(f"/api/v1/messages/{id_}")).body
                if status in (body["status"], body["stage"]):
                    return body
                await asyncio.sleep(0.01)


async def until(true: Any, seconds: float = 20.0) -> None:
    """For what nobody tells: polls, bounded."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def run_gateway(state: Path, settings: Settings = FAST, links: FakeLinks | None = None) -> AsyncIterator[Running]:
    """Stops in the daemon's order."""
    links = links or FakeLinks()
    settings = replace(settings, state_dir=str(state))
    async with AsyncExitStack() as stack:
        state.mkdir(exist_ok=True)
        store = await stack.enter_async_context(open_store(state, Vault.load(state)))
        gateway = await stack.enter_async_context(daemon.build(settings, store, links, None))
        sockets = daemon.listen(settings)
        server = daemon.http_server(gateway)
        serving = asyncio.create_task(server.serve(sockets))
        key, text = await gateway.keys.create(name="test", scope="admin")
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)))
        await gateway.sessions.start()
        try:
            yield Running(gateway, links, Client(http, daemon.url_of(sockets), text), key, state)
        finally:
            gateway.outbox.stop()
            gateway.feed.stop()
            await gateway.sessions.stop(0.5)
            await http.close()
            server.should_exit = True
            await serving
            for s in sockets:
                s.close()
