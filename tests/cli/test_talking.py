"""The commands that talk to a running daemon: real daemon, real pseudo-terminal, our WhatsApp."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.cli import exits
from tests.e2e.world import World
from tests.e2e.world import world as open_world

pytestmark = pytest.mark.e2e
FRIEND = "+15550002222"
HELLO = Path(__file__).parents[2] / "gateway" / "examples" / "hello.mp3"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as it:
        await it.start()
        it.environment |= {"WAGATEWAY_API_KEY": it.client.key}
        yield it


class Terminal:
    """A command in a pseudo-terminal of 100 x 60."""

    def __init__(self, world: World, *arguments: str) -> None:
        self.world, self.arguments, self.screen = world, arguments, ""

    async def __aenter__(self) -> Terminal:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 100, 0, 0))
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *self.arguments, env={**self.world.environment, "TERM": "xterm-256color"},
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    async def __aexit__(self, *exc: object) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:                         # the other side is closed
            asyncio.get_running_loop().remove_reader(self._master)
            data = b""
        self.screen += data.decode(errors="replace")
        self._more.set()

    async def until(self, text: str, seconds: float = 30) -> None:
        try:
            async with asyncio.timeout(seconds):
                while text not in self.screen:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"{text!r} is not in {self.screen!r}") from None

    async def ends(self, seconds: float = 30) -> int:
        async with asyncio.timeout(seconds):
            code = await self.process.wait()
        await asyncio.sleep(0)
        return code


async def command(world: World, *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command in a pipe."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", *arguments, env=world.environment,
                                                   stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_link_draws_the_code_and_ends_with_connected(world: World) -> None:
    await world.whatsapp("POST", "/phones", {"number": "15550001111", "name": "Owner"})
    async with Terminal(world, "link", "shop") as terminal:
        await terminal.until("Scan this with the phone")
        assert "█" in terminal.screen or "▄" in terminal.screen
        code = (await world.client.get("/api/v1/sessions/shop/qr")).body["code"]
        await world.whatsapp("POST", "/scan", {"qr": code, "phone": "15550001111"})
        await terminal.until("connected as +15550001111")
        assert await terminal.ends() == 0
        assert re.search(r"\x1b\[\d+A\x1b\[J", terminal.screen), "the drawing is taken away again"
    # Linked already: it says so at once.
    assert (await command(world, "link", "shop"))[:1] == (0,)


async def test_link_by_code_shows_it(world: World) -> None:
    await world.whatsapp("POST", "/phones", {"number": "15550003333"})
    async with Terminal(world, "link", "typed", "--code", "+15550003333") as terminal:
        await terminal.until("Type this on the phone")
        code = re.search(r"([A-Z0-9]{4}-?[A-Z0-9]{4})\r?\n", terminal.screen)
        assert code
        await world.whatsapp("POST", "/enter-code", {"code": code.group(1), "phone": "15550003333", "wait": 10})
        await terminal.until("connected as +15550003333")
        assert await terminal.ends() == 0


async def test_sending_shows_its_progress_and_waits(world: World) -> None:
    await world.link("shop")
    async with Terminal(world, "send", FRIEND, str(HELLO), "--wait", "delivered") as terminal:
        assert await terminal.ends() == 0
        await terminal.until("delivered")
        assert re.search(r"message [0-9a-f-]{36}: pending( → sent)? → delivered", terminal.screen), terminal.screen
    record, = await world.arrived("15550002222")
    assert record["kind"] == "voice"

    code, out, _ = await command(world, "send", FRIEND, "just a text", "--json", "--wait", "sent")
    assert code == 0
    assert json.loads(out)["type"] == "text"
    code, out, _ = await command(world, "messages", "--json")
    assert [m["type"] for m in json.loads(out)] == ["text", "audio"]
    code, out, _ = await command(world, "messages")
    assert "voice note" in out and "+15550002222" in out
    code, out, _ = await command(world, "sessions")
    assert "shop" in out and "connected" in out
    code, out, _ = await command(world, "events")
    assert "connected" in out and "delivered" in out
    code, out, _ = await command(world, "usage", "--json")
    assert json.loads(out)["messages_today"]["used"] == 2


async def test_events_are_followed_as_they_happen(world: World) -> None:
    await world.link("shop")
    async with Terminal(world, "events", "--follow", "--types", "receipt") as terminal:
        await terminal.until("")
        async with asyncio.timeout(20):
            while "delivered" not in terminal.screen:
                await world.until_message(await world.send(FRIEND, "x"), "delivered")
                await asyncio.sleep(0.2)


async def test_failures_are_one_sentence_and_an_exit_code(world: World) -> None:
    code, out, err = await command(world, "send", "nobody", "x")
    assert (code, out) == (exits.REFUSED, "")
    assert err.startswith("wagateway: ") and err.count("\n") == 1
    code, _, err = await command(world, "send", FRIEND, "x")
    assert code == exits.REFUSED and "no_session" in err
    code, _, err = await command(world, "sessions", "--key", "wag_000000000000_x")
    assert code == exits.REFUSED and "unauthorized" in err
    code, _, err = await command(world, "sessions", "--url", "http://127.0.0.1:9")
    assert code == exits.UNREACHABLE and "wagateway serve" in err
    await world.link("shop")
    code, _, err = await command(world, "send", "+15550000000", "x")
    assert code == exits.FAILED and "not_on_whatsapp" in err
    await world.whatsapp("POST", "/faults", {"kind": "receipt", "mode": "drop"})
    code, _, err = await command(world, "send", FRIEND, "x", "--wait", "delivered", "--timeout", "1")
    assert code == exits.TIMED_OUT and "it goes on" in err


async def test_a_key_that_is_revoked_reads_on_no_stream(world: World) -> None:
    _, out, _ = await command(world, "keys", "create", "leaked", "--json")
    leaked = json.loads(out)
    async with Terminal(world, "events", "--follow", "--since", "0", "--key", leaked["key"]) as terminal:
        await asyncio.sleep(3)                      # it reads; there is nothing yet that it would show
        assert terminal.process.returncode is None
        assert await command(world, "keys", "revoke", leaked["id"]) == (0, f"revoked {leaked['id']}\n", "")
        assert await terminal.ends(10) == exits.REFUSED
    code, _, err = await command(world, "keys", "revoke", leaked["id"])
    assert code == exits.REFUSED and "There is no valid key of that id" in err
    code, out, _ = await command(world, "keys", "list", "--json")
    assert "the command line" not in out


async def test_the_unix_socket_serves_as_well(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    async with open_world(tmp_path / "w", WAGATEWAY_SERVER_UNIX_SOCKET=str(path)) as it:
        await it.start()
        it.environment |= {"WAGATEWAY_API_KEY": it.client.key}
        assert path.stat().st_mode & 0o777 == 0o660
        code, out, _ = await command(it, "sessions", "--url", f"unix:{path}")
        assert (code, "No session yet" in out) == (0, True)
