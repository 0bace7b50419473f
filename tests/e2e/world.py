"""The real thing: the sandbox WhatsApp in one process, the daemon with the real neonize in another, HTTP between us."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.running import Client

FAST = {
    "WAGATEWAY_PACING_MESSAGES_PER_HOUR": "0", "WAGATEWAY_PACING_MIN_GAP_SECONDS": "0",
    "WAGATEWAY_PACING_RECORDING_PRESENCE": "false", "WAGATEWAY_SENDING_SETTLE_SECONDS": "4",
    "WAGATEWAY_SERVER_PORT": "0", "WAGATEWAY_SERVER_STOP_SECONDS": "4", "WAGATEWAY_LOG_FORMAT": "json",
    "WAGATEWAY_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
}


class World:
    """`start` and `kill` the daemon at will; its state folder stays."""

    def __init__(self, folder: Path, control: str, environment: dict[str, str], http: aiohttp.ClientSession,
                 settings: dict[str, str]) -> None:
        self.folder, self.control, self.http = folder, control, http
        self.state, self.log = folder / "state", folder / "daemon.log"
        self.environment = {**os.environ, **environment, **FAST, **settings, "WAGATEWAY_STATE_DIR": str(self.state)}
        self.program = ["-m", "gateway"]
        self.process: asyncio.subprocess.Process | None = None
        self.client: Client

    # ------------------------------------------------------------------ the daemon

    async def start(self) -> Client:
        """Until it listens. The key is made at the first start."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, *self.program, "serve", env=self.environment, stdout=log, stderr=log)
        async with asyncio.timeout(30):
            while True:
                assert self.process.returncode is None, self.log.read_text()[-3000:]
                with contextlib.suppress(OSError, ValueError):
                    noted = json.loads((self.state / "daemon.json").read_text())
                    if noted["pid"] == self.process.pid:
                        break
                await asyncio.sleep(0.02)
        if not hasattr(self, "client"):
            self.client = Client(self.http, noted["url"], await self.make_key())
        self.client.url = noted["url"]
        return self.client

    async def make_key(self, *options: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "keys", "create", "e2e", *(options or ("--scope", "admin")), env=self.environment,
            stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        return out.decode().split()[-1]

    async def kill(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def stop(self, seconds: float = 20) -> int:
        """Gracefully; the exit code. Raises TimeoutError."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    # ------------------------------------------------------------------ WhatsApp

    async def whatsapp(self, method: str, path: str, body: Any = None) -> Any:
        async with self.http.request(method, self.control + path, json=body) as response:
            answer = await response.json(content_type=None)
            assert response.status < 400, answer
            return answer

    async def media(self, id_: str) -> bytes:
        async with self.http.get(f"{self.control}/messages/{id_}/media") as response:
            assert response.status == 200
            return await response.read()

    async def arrived(self, to: str, count: int = 1, seconds: float = 15, after: int = 0) -> list[dict[str, Any]]:
        """What the recipient's phone decrypted, at least so many."""
        path = f"/messages?to={to}&decrypted=1&count={count}&wait={seconds}&after={after}"
        answer = await self.whatsapp("GET", path)
        records: list[dict[str, Any]] = answer["messages"] if isinstance(answer, dict) else answer
        assert len(records) >= count, f"{len(records)} of {count}; daemon says:\n{self.log.read_text()[-2000:]}"
        return records

    # ------------------------------------------------------------------ sessions

    async def link(self, session_key: str = "main", phone: str = "15550001111") -> str:
        """A session, linked by the QR code read from its stream. Its id."""
        await self.whatsapp("POST", "/phones", {"number": phone, "name": "Owner"})
        made = await self.client.post("/api/v1/sessions", {"session_key": session_key})
        assert made.status == 201, made.body
        id_ = str(made.body["id"])
        scanned = ""
        async with asyncio.timeout(30), self.client.stream(f"/api/v1/sessions/{id_}/stream") as events:
            async for _, event, data in events:
                if event == "qr" and data["code"] != scanned:       # the first frame may show what is then told, too
                    scanned = data["code"]
                    await self.whatsapp("POST", "/scan", {"qr": data["code"], "phone": phone})
                elif event == "connected":
                    return id_
                assert event != "error", data
        raise AssertionError(self.log.read_text()[-3000:])

    async def until_session(self, id_: str, status: str, seconds: float = 30) -> dict[str, Any]:
        body: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    body = (await self.client.get(f"/api/v1/sessions/{id_}")).body
                    if status in (body["status"], body["reason"]):
                        return body
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{body} is not {status}; daemon says:\n{self.log.read_text()[-3000:]}") from None

    async def until_message(self, id_: str, *statuses: str, seconds: float = 20) -> dict[str, Any]:
        body: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    body = (await self.client.get(f"/api/v1/messages/{id_}")).body
                    if body["status"] in statuses or body["stage"] in statuses:
                        return body
                    await asyncio.sleep(0.03)
        except TimeoutError:
            raise AssertionError(f"{body} is none of {statuses}; daemon says:\n{self.log.read_text()[-3000:]}") from None

    async def send(self, to: str, text: str, **more: Any) -> str:
        answer = await self.client.post("/api/v1/messages", {"to": to, "message": text, **more})
        assert answer.status == 202, answer.body
        return str(answer.body["id"])


@asynccontextmanager
async def world(folder: Path, **settings: str) -> AsyncIterator[World]:
    port_file = folder / "sandbox.json"
    folder.mkdir(parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.sandbox", "--directory", str(folder / "whatsapp"), "--port-file", str(port_file),
        "--until-eof", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(30):
            while not port_file.exists():
                assert process.returncode is None, "the sandbox did not start"
                await asyncio.sleep(0.02)
        noted = json.loads(port_file.read_text())
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=90)) as http:
            it = World(folder, noted["control_url"], noted["env"], http, settings)
            try:
                yield it
            finally:
                if it.process is not None and it.process.returncode is None:
                    await it.kill()
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
