"""What an operator does to the daemon and what a machine does to it: signals in every phase, a second daemon, a read-only
disk, a taken port, no descriptors left. And what its log says of all that, and what it does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import World, world
from tests.running import until

pytestmark = pytest.mark.e2e
FRIEND = "15550002222"
STOP_SECONDS = 15.0             # 4 for requests, the links' own limit, and a slow machine


def environment(state: Path, **more: str) -> dict[str, str]:
    """A daemon that cannot reach anything; started as a service manager would, with the core's environment set already."""
    return {**os.environ, "WAGATEWAY_STATE_DIR": str(state), "WAGATEWAY_SERVER_PORT": "0", "WAGATEWAY_SERVER_STOP_SECONDS": "2",
            "WAGATEWAY_LOG_FORMAT": "json", "NEONIZE_BOT_TAG": "off", "HTTPS_PROXY": "http://127.0.0.1:9", **more}


@asynccontextmanager
async def daemon(state: Path, *before: str, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(*before, sys.executable, "-m", "gateway", "serve", env=environment(state, **more),
                                                   stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def ended(process: asyncio.subprocess.Process, seconds: float = STOP_SECONDS) -> tuple[int | None, str]:
    """Its exit code and what it said."""
    _, said = await asyncio.wait_for(process.communicate(), seconds)
    return process.returncode, said.decode()


async def until_listening(process: asyncio.subprocess.Process, state: Path) -> str:
    def noted() -> bool:
        assert process.returncode is None
        with contextlib.suppress(OSError, ValueError):
            return bool(json.loads((state / "daemon.json").read_text())["pid"] == process.pid)
        return False

    await until(noted, 30)
    return str(json.loads((state / "daemon.json").read_text())["url"])


def one_sentence(said: str) -> str:
    """The last line, which is for a person; nothing before it is a traceback."""
    assert "Traceback" not in said
    return said.strip().splitlines()[-1]


# ------------------------------------------------------------------ starting where it cannot


async def test_a_second_daemon_on_the_same_state_folder_refuses_and_the_first_goes_on(tmp_path: Path) -> None:
    async with daemon(tmp_path / "state") as first:
        url = await until_listening(first, tmp_path / "state")
        async with daemon(tmp_path / "state") as second:
            code, said = await ended(second)
        assert code == 1
        assert "another wagateway runs on" in one_sentence(said)
        assert await until_listening(first, tmp_path / "state") == url
        first.send_signal(signal.SIGTERM)
        assert (await ended(first))[0] == 0


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with daemon(tmp_path / "state", WAGATEWAY_SERVER_PORT=str(port)) as process:
            code, said = await ended(process)
    assert code == 2
    assert f"cannot listen on 127.0.0.1:{port}" in one_sentence(said) and "in use" in said


def _can_mount() -> bool:
    return shutil.which("unshare") is not None and subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _can_mount(), reason="needs a mount namespace")
@pytest.mark.parametrize("used", [False, True])
async def test_a_read_only_state_folder_is_refused_with_a_sentence(tmp_path: Path, used: bool) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    if used:
        async with daemon(state) as process:
            await until_listening(process, state)
            process.send_signal(signal.SIGTERM)
            await ended(process)
    mounts = f'mount --bind "{state}" "{state}" && mount -o remount,bind,ro "{state}" && exec "$@"'
    read_only = ("unshare", "-rm", "sh", "-c", mounts, "-")
    async with daemon(state, *read_only) as process:
        code, said = await ended(process)
    assert code == 2
    assert "Read-only file system" in one_sentence(said)


# ------------------------------------------------------------------ SIGTERM in every phase


def _handles(pid: int, number: int) -> bool:
    """With a handler that is not Python's first one for SIGINT, which is there from the beginning: SIGTERM's comes with ours."""
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    mask = int(caught.group(1), 16) if caught is not None else 0
    return all(mask >> (one - 1) & 1 for one in (signal.SIGTERM, number))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_daemon_that_is_still_being_loaded_ends_with_0(tmp_path: Path, number: signal.Signals) -> None:
    """From its first moments on, and while it starts itself anew with the core's environment."""
    codes = []
    for tenths in range(0, 14, 2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "serve", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in environment(tmp_path / "state").items() if name != "NEONIZE_BOT_TAG"})
        try:
            await until(lambda: _handles(process.pid, number), 30)      # noqa: B023
            await asyncio.sleep(tenths / 10)
            process.send_signal(number)
            code, said = await ended(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        assert "Traceback" not in said
        codes.append(code)
    assert codes == [0] * 7


@pytest.mark.parametrize("phase", ["command line", "lock taken", "database open", "listening"])
async def test_a_daemon_that_starts_ends_with_0_on_sigterm(tmp_path: Path, phase: str) -> None:
    state = tmp_path / "state"
    async with daemon(state) as process:
        await until({"command line": lambda: _handles(process.pid, signal.SIGTERM), "lock taken": (state / "daemon.lock").exists,
                     "database open": (state / "gateway.db-wal").exists, "listening": (state / "daemon.json").exists}[phase], 30)
        process.send_signal(signal.SIGTERM)
        code, said = await ended(process)
    assert (code, "Traceback" in said) == (0, False), said
    assert not (state / "daemon.json").exists()


async def test_a_daemon_that_shows_a_code_ends_with_0_on_sigterm_and_leaves_no_child(world: World) -> None:
    await world.whatsapp("POST", "/phones", {"number": "15550001111"})
    made = (await world.client.post("/api/v1/sessions", {"session_key": "p"})).body
    async with world.client.stream(f"/api/v1/sessions/{made['id']}/stream") as events:
        async for _, event, _ in events:
            if event == "qr":
                break
    assert world.process is not None
    children = Path(f"/proc/{world.process.pid}/task/{world.process.pid}/children").read_text().split()
    began = time.monotonic()
    assert await world.stop() == 0
    assert time.monotonic() - began < STOP_SECONDS
    await until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 10)


async def test_a_daemon_whose_send_waits_for_whatsapp_ends_with_0_and_settles_it_after_the_next_start(world: World) -> None:
    await world.link()
    await world.whatsapp("POST", "/faults", {"kind": "ack", "mode": "hold", "times": 1})
    waiting = await world.send(FRIEND, "waits for its acknowledgement")
    queued = await world.send(FRIEND, "waits for the one before it")
    await world.until_message(waiting, "sending")
    began = time.monotonic()
    assert await world.stop() == 0
    assert time.monotonic() - began < STOP_SECONDS
    await world.start()
    # The recipient got it though WhatsApp never said so: its receipt settles the send.
    await world.until_message(waiting, "delivered", seconds=30)
    await world.until_message(queued, "delivered", seconds=30)
    texts = [record["text"] for record in await world.arrived(FRIEND, 2)]
    assert sorted(texts) == ["waits for its acknowledgement", "waits for the one before it"], "none lost, none doubled"


# ------------------------------------------------------------------ no descriptors left


async def test_messages_survive_a_process_without_descriptors(world: World) -> None:
    """Clients that hold connections open use up what may be open; WhatsApp's connection goes on, and what arrives and leaves
    meanwhile is all there."""
    await world.link()
    assert world.process is not None
    pid = world.process.pid
    await world.until_message(await world.send(FRIEND, "before"), "delivered")
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors + 4, hard))
    host, port = world.client.url.removeprefix("http://").split(":")
    idle = []
    try:
        for _ in range(24):
            client = socket.create_connection((host, int(port)), timeout=5)
            idle.append(client)
        sent = [await world.send(FRIEND, f"during {i}") for i in range(3)]       # over the connection that is open already
        told = {(await world.whatsapp("POST", f"/contacts/{FRIEND}/send", {"to": "15550001111", "text": f"arrives {i}"}))["id"]
                for i in range(3)}
        for id_ in sent:
            await world.until_message(id_, "delivered")
        assert len(os.listdir(f"/proc/{pid}/fd")) >= descriptors + 3, "it had none left"
    finally:
        for client in idle:
            client.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

    async def inbound() -> list[str]:
        answer = await world.client.get("/api/v1/messages?direction=in&limit=50")
        return [m["whatsapp_id"] for m in answer.body["messages"]]

    async with asyncio.timeout(20):
        while set(arrived := await inbound()) != told:
            await asyncio.sleep(0.05)
    assert len(arrived) == 3
    assert len(await world.arrived(FRIEND, 4)) == 4
    assert await world.stop() == 0


# ------------------------------------------------------------------ the log


def lines(log: Path) -> list[dict[str, Any]]:
    """Those of ours; the core prints some of its own."""
    out = []
    for line in log.read_text().splitlines():
        with contextlib.suppress(ValueError):
            out.append(json.loads(line))
    return out


async def test_the_log_of_a_day_holds_no_key_no_body_and_no_number(tmp_path: Path, hello: bytes) -> None:
    """At debug, with things that work and things that fail."""
    async with world(tmp_path, WAGATEWAY_LOG_LEVEL="debug") as it:
        await it.start()
        id_ = await it.link("my-session-name")
        await it.until_message(await it.send(FRIEND, "a body that is nobody's business"), "delivered")
        await it.whatsapp("POST", f"/contacts/{FRIEND}/send", {"to": "15550001111", "text": "an answer that is private"})
        await it.whatsapp("POST", "/numbers/15550003333", {"on_whatsapp": False})
        await it.until_message(await it.send("15550003333", "to nobody"), "failed")
        await it.client.get("/api/v1/messages", headers={"Authorization": "Bearer wag_0123456789ab_thisisnotakeyatallbutlong"})
        ticket = (await it.client.post(f"/api/v1/sessions/{id_}/stream-ticket")).body
        await it.client.post("/api/v1/messages", {"to": "+15550004444", "message": 7})
        await it.stop()
        text = it.log.read_text()
        assert len(lines(it.log)) > 10
        master = (it.state / "master.key").read_text().strip()
        secrets = {"the API key": it.client.key.split("_", 2)[2], "another key": "thisisnotakeyatall", "the master key": master,
                   "a body": "nobody's business", "an inbound body": "an answer that is private", "a failed body": "to nobody",
                   "our number": "15550001111", "a recipient": FRIEND, "a number not on WhatsApp": "15550003333",
                   "a refused recipient": "15550004444"}
        if isinstance(ticket, dict) and ticket.get("ticket"):
            secrets["a ticket"] = str(ticket["ticket"])
        for what, secret in secrets.items():
            at = text.find(secret)
            assert at < 0, f"{what} is in the log: …{text[max(0, at - 200):at + 60]}"


async def test_a_connection_that_breaks_is_one_line_down_and_one_line_up(world: World) -> None:
    id_ = await world.link()
    await until(lambda: [line["status"] for line in states(world, id_)] == ["connected"])
    await world.whatsapp("POST", "/devices/15550001111/drop", {})
    async with asyncio.timeout(20):
        while len(states(world, id_)) < 3:
            await asyncio.sleep(0.05)
    down, up = states(world, id_)[1:]
    assert (down["status"], down["level"]) == ("disconnected", "warning")
    assert (up["status"], up["level"]) == ("connected", "info")
    assert not any("GET /" in line or "POST /" in line for line in world.log.read_text().splitlines()), "requests are not logged"


def states(it: World, session_id: str) -> list[dict[str, Any]]:
    return [line for line in lines(it.log) if line.get("event") == "session_state" and line.get("session") == session_id]
