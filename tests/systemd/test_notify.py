"""The real daemon in a process speaks sd_notify(3) to a real socket, and listens on sockets that were handed to it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.notify import ServiceManager

pytestmark = pytest.mark.e2e
PR_SET_MDWE, PR_GET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 66, 1         # linux/prctl.h


class Manager:
    """What systemd is to the daemon: the one who starts it and listens."""

    def __init__(self, folder: Path, *, watchdog_seconds: float | None = 1.5) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.socket.setblocking(False)
        self.heard: list[str] = []
        self.state = folder / "state"
        self.log = folder / "log"
        self.environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "WAGATEWAY_STATE_DIR": str(self.state),
                            "WAGATEWAY_SERVER_PORT": "0", "WAGATEWAY_SERVER_STOP_SECONDS": "2", "JOURNAL_STREAM": "1:1",
                            # Nothing may leave this machine: a proxy that is not there.
                            "HTTPS_PROXY": "http://127.0.0.1:9"}
        self.watchdog_seconds = watchdog_seconds

    async def until(self, wanted: Callable[[str], bool], seconds: float = 30) -> str:
        async with asyncio.timeout(seconds):
            while True:
                text = (await asyncio.get_running_loop().sock_recv(self.socket, 4096)).decode()
                self.heard.append(text)
                if wanted(text):
                    return text

    @asynccontextmanager
    async def started(self, *, hand_over: socket.socket | None = None,
                      before: str = "") -> AsyncIterator[asyncio.subprocess.Process]:
        """A small program takes the place of systemd's own steps between fork and exec: its pid stays the daemon's."""
        script = f"import os, sys\n{before}\n"
        if hand_over is not None:
            script += f"os.dup2({hand_over.fileno()}, 3); os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
        if self.watchdog_seconds is not None:
            script += f"os.environ.update(WATCHDOG_USEC='{int(self.watchdog_seconds * 1e6)}', WATCHDOG_PID=str(os.getpid()))\n"
        script += "os.execv(sys.executable, [sys.executable, '-m', 'gateway', 'serve'])"
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", script, env=self.environment, stdout=log, stderr=log,
                pass_fds=(hand_over.fileno(),) if hand_over is not None else ())
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            self.socket.close()


async def test_the_daemon_says_ready_gives_signs_of_life_and_says_that_it_stops(tmp_path: Path) -> None:
    manager = Manager(tmp_path)
    async with manager.started() as process:
        ready = await manager.until(lambda text: "READY=1" in text)
        assert "STATUS=0 of 0 sessions connected" in ready
        assert (manager.state / "daemon.json").exists(), "it listens before it says so"
        for _ in range(3):
            await manager.until(lambda text: "WATCHDOG=1" in text, 5)
        process.send_signal(signal.SIGTERM)
        await manager.until(lambda text: "STOPPING=1" in text, 5)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    assert [text for text in manager.heard if "READY=1" in text] == [ready], "it is ready once"
    log = manager.log.read_text()
    assert "<6>listening url=" in log, "journald gets priorities"


async def test_a_daemon_that_is_stopped_in_its_tracks_gives_no_sign_of_life(tmp_path: Path) -> None:
    manager = Manager(tmp_path, watchdog_seconds=0.9)
    async with manager.started() as process:
        await manager.until(lambda text: "WATCHDOG=1" in text)
        process.send_signal(signal.SIGSTOP)
        with contextlib.suppress(TimeoutError):         # what was on its way
            await manager.until(lambda text: False, 0.3)
        with pytest.raises(TimeoutError):
            await manager.until(lambda text: "WATCHDOG=1" in text, 1.5)
        process.send_signal(signal.SIGCONT)
        await manager.until(lambda text: "WATCHDOG=1" in text, 5)


async def test_a_socket_that_was_handed_over_is_the_one_it_listens_on(tmp_path: Path) -> None:
    """A request that came before the daemon did is answered when it is up."""
    manager = Manager(tmp_path)
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen(16)
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as http:
            async def ask(what: str) -> int:
                async with http.get(f"http://gateway{what}") as response:
                    await response.read()
                    return response.status

            early = asyncio.create_task(ask("/healthz"))
            async with manager.started(hand_over=listening) as process:
                assert await asyncio.wait_for(early, 30) == 200
                assert await ask("/metrics") == 200, "who may open the socket is local"
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 10) == 0
        assert path.exists(), "the socket is the manager's, and stays for the next start"


async def test_it_runs_where_no_memory_may_become_executable(tmp_path: Path) -> None:
    """As under MemoryDenyWriteExecute=yes: the sealed store's callbacks and the core never ask for such memory."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_GET_MDWE, 0, 0, 0, 0) < 0:
        pytest.skip("this kernel is older than 6.3")
    manager = Manager(tmp_path)
    deny = f"import ctypes; assert ctypes.CDLL(None).prctl({PR_SET_MDWE}, {PR_MDWE_REFUSE_EXEC_GAIN}, 0, 0, 0) == 0"
    async with manager.started(before=deny) as process:
        await manager.until(lambda text: "READY=1" in text)
        await manager.until(lambda text: "WATCHDOG=1" in text, 5)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0


# ------------------------------------------------------------------ the parts


def test_signs_of_life_are_owed_only_by_the_process_that_is_watched() -> None:
    assert ServiceManager({}).watchdog_seconds is None
    assert ServiceManager({"WATCHDOG_USEC": "3000000"}).watchdog_seconds == 3.0
    assert ServiceManager({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_seconds == 3.0
    assert ServiceManager({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}).watchdog_seconds is None
    assert ServiceManager({"WATCHDOG_USEC": "0"}).watchdog_seconds is None


async def test_a_check_that_finds_something_dead_or_hangs_is_no_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "150000"})
        answers = iter(["", "a link is dead", "hang", ""])
        told: list[str] = []

        async def check() -> str:
            answer = next(answers, "")
            if answer == "hang":
                await asyncio.sleep(60)
            return answer

        watching = asyncio.create_task(manager.watch(check, lambda: "fine"))
        for _ in range(4):
            told.append((await asyncio.wait_for(asyncio.get_running_loop().sock_recv(listening, 4096), 5)).decode())
        watching.cancel()
        manager.close()
    assert [text.startswith("WATCHDOG=1") for text in told] == [True, False, False, True]
    assert "a link is dead" in told[1] and "did not end" in told[2]
