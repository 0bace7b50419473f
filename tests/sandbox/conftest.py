"""A sandbox, and a child process with the stock neonize that links to it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.sandbox import pairing
from gateway.sandbox.people import LinkedDevice, Person
from gateway.sandbox.server import Sandbox

CLIENT = Path(__file__).with_name("neonize_client.py")
SECONDS = 30.0


class Neonize:
    """The child process: `await open(session, database)`, `await call(session, expression)`, `await event(...)`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.events: list[dict[str, Any]] = []
        self._arrived = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, environment: dict[str, str]) -> Neonize:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(CLIENT), env=os.environ | {"NEONIZE_BOT_TAG": "off"} | environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=64 * 1024 * 1024,
        )  # fmt: skip
        client = cls(process)
        await client.event(lambda line: line.get("ready"))
        return client

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if "n" in said:
                answer = self._answers.pop(said["n"])
                if "error" in said:
                    answer.set_exception(RuntimeError(said["error"]))
                else:
                    answer.set_result(said["result"])
                continue
            async with self._arrived:
                self.events.append(said)
                self._arrived.notify_all()

    async def event(self, matches: Callable[[dict[str, Any]], Any], since: int = 0) -> dict[str, Any]:
        """The first event from number *since* on that *matches*, as soon as it has happened."""
        async with asyncio.timeout(SECONDS), self._arrived:
            while True:
                for said in self.events[since:]:
                    if matches(said):
                        return said
                await self._arrived.wait()

    async def happened(self, session: str, name: str, since: int = 0) -> Any:
        """The data of the first event *name* of *session*."""
        said = await self.event(lambda said: said.get("session") == session and said.get("event") == name, since)
        return said["data"]

    async def login_status(self, session: str) -> str:
        """What neonize's login callback is told first."""
        said = await self.event(lambda said: said.get("session") == session and "login_status" in said)
        return str(said["login_status"])

    async def call(self, session: str, expression: str, **more: Any) -> Any:
        """The result of *expression* in the child. Raises RuntimeError with the child's error."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"n": number, "session": session, "do": expression, **more}).encode() + b"\n")
        async with asyncio.timeout(SECONDS):
            return await answer

    async def open(self, session: str, database: Path) -> None:
        await self.call(session, "open", database=str(database))

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reader
        self._process._transport.close()  # type: ignore[attr-defined]

    async def read(self, session: str, message_id: str) -> dict[str, Any]:
        """The event of the message called *message_id*, once it has arrived and been decrypted."""
        said = await self.event(
            lambda said: (
                said.get("session") == session
                and said.get("event") == "Message"
                and said["data"].get("Info", {}).get("ID") == message_id
            )
        )
        data: dict[str, Any] = said["data"]
        return data


def somebody(sandbox: Sandbox, number: str) -> Person:
    """Whoever has *number*."""
    person = sandbox.world.people.person(number)
    assert person is not None
    return person


async def link(sandbox: Sandbox, neonize: Neonize, session: str, database: Path, number: str) -> LinkedDevice:
    """Open *session*, scan its code with the phone *number*, and wait until it is connected and has its push name."""
    await neonize.open(session, database)
    code = await neonize.happened(session, "QR")
    device = await pairing.scan(sandbox.world, code, somebody(sandbox, number))
    await neonize.happened(session, "Connected")
    assert await sandbox.world.wait_until(lambda: device.online, SECONDS)
    async with asyncio.timeout(SECONDS):
        # No event tells when: the name is in a patch that is fetched after connecting.
        while not (await neonize.call(session, "client.get_me()"))["PushName"]:
            await asyncio.sleep(0.01)
    return device


@dataclass
class Stage:
    """A sandbox, a child with neonize, and its session "a" linked to OWNER: what the tests of one file share."""

    sandbox: Sandbox
    neonize: Neonize
    device: LinkedDevice


OWNER = "15550001111"
_CONTACTS = itertools.count(15552220001)


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    async with Sandbox(folder / "sandbox") as sandbox:
        neonize = await Neonize.start(sandbox.environment())
        try:
            yield Stage(sandbox, neonize, await link(sandbox, neonize, "a", folder / "a.db", OWNER))
        finally:
            await neonize.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


def on_stage() -> tuple[Any, Any, Any]:
    """The fixtures `sandbox`, `neonize` and `device` for a file whose tests share one stage."""

    @pytest.fixture
    def sandbox(stage: Stage) -> Iterator[Sandbox]:
        yield stage.sandbox
        stage.sandbox.world.faults.clear()
        stage.sandbox.world.records.clear()
        stage.sandbox.world.seen.clear()

    @pytest.fixture
    def neonize(stage: Stage) -> Neonize:
        return stage.neonize

    @pytest.fixture
    def device(stage: Stage) -> LinkedDevice:
        return stage.device

    return sandbox, neonize, device


@pytest.fixture
def contact() -> str:
    """A number that no other test writes to."""
    return str(next(_CONTACTS))


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path / "sandbox") as running:
        yield running


@pytest.fixture
async def neonize(sandbox: Sandbox) -> AsyncIterator[Neonize]:
    client = await Neonize.start(sandbox.environment())
    yield client
    await client.close()
