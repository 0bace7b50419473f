"""The real daemon as strangers see it: a process, a port and what it costs. No WhatsApp: it cannot reach anything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.running import Client

SPARE = 500                     # descriptors of this process that are no crowd's


@dataclass
class Daemon:
    process: asyncio.subprocess.Process
    state: Path
    log: Path
    client: Client

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.client.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024

    def fds(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    async def another_client(self) -> Client:
        answer = await self.client.post("/api/v1/keys", {"name": "another"})
        return Client(self.client.http, self.client.url, answer.body["key"])

    async def answers(self, path: str = "/healthz", times: int = 50, pause: float = 0.0) -> list[float]:
        """How long ordinary requests take, in seconds, the quickest first."""
        took = []
        for _ in range(times):
            began = time.perf_counter()
            assert (await self.client.get(path)).status == 200
            took.append(time.perf_counter() - began)
            await asyncio.sleep(pause)
        return sorted(took)

    async def settles(self, fds: int, rss_mb: float, seconds: float = 30.0) -> dict[str, float]:
        """Waits until it holds no more than that."""
        until = time.monotonic() + seconds
        while (self.fds() > fds or self.rss_mb() > rss_mb) and time.monotonic() < until:
            await asyncio.sleep(0.1)
        now = {"fds": self.fds(), "rss_mb": round(self.rss_mb(), 1)}
        assert now["fds"] <= fds and now["rss_mb"] <= rss_mb, f"{now}, more than {fds} descriptors or {rss_mb} MB"
        return now

    def tracebacks(self) -> list[str]:
        return [line for line in self.log.read_text("utf-8", "replace").splitlines()
                if "Traceback" in line or '"level": "error"' in line or '"level": "critical"' in line]


@asynccontextmanager
async def daemon(folder: Path, **settings: str) -> AsyncIterator[Daemon]:
    state, log = folder / "state", folder / "daemon.log"
    environment = {**os.environ, "WAGATEWAY_STATE_DIR": str(state), "WAGATEWAY_SERVER_PORT": "0", "WAGATEWAY_LOG_FORMAT": "json",
                   "WAGATEWAY_SERVER_STOP_SECONDS": "2", "NEONIZE_BOT_TAG": "off", "HTTPS_PROXY": "http://127.0.0.1:9", **settings}
    program = (sys.executable, "-m", "gateway")
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(*program, "serve", env=environment, stdout=out, stderr=out)
    try:
        url = ""
        async with asyncio.timeout(60):
            while not url:
                assert process.returncode is None, log.read_text()[-3000:]
                with contextlib.suppress(OSError, ValueError):
                    url = json.loads((state / "daemon.json").read_text())["url"]
                await asyncio.sleep(0.02)
        made = await asyncio.create_subprocess_exec(*program, "keys", "create", "test", "--scope", "admin", env=environment,
                                                    stdout=asyncio.subprocess.PIPE)
        key = (await made.communicate())[0].decode().split()[-1]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
            it = Daemon(process, state, log, Client(http, url, key))
            yield it
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# ------------------------------------------------------------------ crowds


def room_for(wanted: int) -> int:
    """So many connections, or as many as this process may open; its soft limit is raised for that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + SPARE and soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted + SPARE) if hard > 0 else wanted + SPARE, hard))
    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE)


class Crowd:
    """Connections that are held, from source addresses of their own so that ports do not run out."""

    def __init__(self, to: tuple[str, int], number: int) -> None:
        self._to, self._number = to, number
        self.sockets: list[socket.socket] = []

    def come(self, count: int, say: bytes = b"") -> float:
        """Connects, one after the other; blocks. Seconds."""
        began = time.monotonic()
        for at in range(count):
            one = socket.socket()
            self.sockets.append(one)
            one.settimeout(10)
            one.bind((f"127.0.{self._number}.{at // 5000 + 2}", 0))
            one.connect(self._to)
            if say:
                one.sendall(say)
        return time.monotonic() - began

    def heard(self, seconds: float = 10.0) -> list[bytes]:
        """The first bytes that each was told; b'' for those that were told nothing, or let go."""
        out = []
        until = time.monotonic() + seconds
        for one in self.sockets:
            one.settimeout(max(0.01, until - time.monotonic()))
            try:
                out.append(one.recv(4096))
            except OSError:
                out.append(b"")
        return out

    def gone(self) -> int:
        """How many were let go; what they were told before is read."""
        return sum(not _is_open(one) for one in self.sockets)

    def leave(self) -> None:
        for one in self.sockets:
            one.close()
        self.sockets.clear()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


def _is_open(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        while one.recv(65536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def milliseconds(took: list[float]) -> str:
    return f"median {statistics.median(took) * 1000:.1f} ms, slowest {took[-1] * 1000:.0f} ms"
