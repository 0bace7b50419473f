"""The real links in a process of their own (`host`), used as if they were here."""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal

from gateway.events import LinkEvent, PairingEvent
from gateway.jid import JID
from gateway.link.base import Account, LinkError, SendError, SessionFile
from gateway.messages import MediaRef, MessageKey, Outgoing, SendReceipt


class RemoteLinks:
    """`async with RemoteLinks.start(environment) as links`; `kill()` is the crash."""

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter) -> None:
        self.process, self._reader, self._writer = process, reader, writer
        self._numbers = itertools.count(2)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.told: dict[int, Callable[[Any], None]] = {}
        self.ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, environment: dict[str, str], **options: Any) -> RemoteLinks:
        ours, theirs = socket.socketpair()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.link.host", str(theirs.fileno()), pickle.dumps(options).hex(),
            pass_fds=(theirs.fileno(),), env=os.environ | environment, stdout=asyncio.subprocess.DEVNULL)
        theirs.close()
        links = cls(process, *await asyncio.open_connection(sock=ours))
        async with asyncio.timeout(30):
            await links.ready.wait()
        return links

    async def __aenter__(self) -> RemoteLinks:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def leave(self) -> int:
        """The process ends by itself, whatever is open; its exit status."""
        body = pickle.dumps(None)
        self._writer.write(struct.pack("!I", len(body)) + body)
        return await self.process.wait()

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self._reading
        self._writer.close()

    async def _read(self) -> None:
        while True:
            try:
                (size,) = struct.unpack("!I", await self._reader.readexactly(4))
                kind, *rest = pickle.loads(await self._reader.readexactly(size))
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            if kind == "ready":
                self.ready.set()
            elif kind == "event":
                self.told[rest[0]](rest[1])
            elif (waiting := self._answers.pop(rest[0], None)) is not None and not waiting.done():
                if kind == "answer":
                    waiting.set_result(rest[1])
                else:
                    waiting.set_exception(_error(*rest[1]))
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the process died"))

    def begin(self, target: int, method: str, arguments: tuple[Any, ...],
              told: Callable[[Any], None] | None = None) -> tuple[int, asyncio.Future[Any]]:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        if told is not None:
            self.told[number] = told
        body = pickle.dumps((number, target, method, arguments))
        self._writer.write(struct.pack("!I", len(body)) + body)
        return number, answer

    async def call(self, target: int, method: str, *arguments: Any) -> Any:
        return await self.begin(target, method, arguments)[1]

    async def evaluate(self, expression: str) -> Any:
        return await self.call(1, "evaluate", expression)

    # ------------------------------------------------------------------ Links

    def link(self, file: SessionFile, sink: Callable[[LinkEvent], None]) -> RemoteLink:
        return RemoteLink(self, self.begin(0, "link", (file,), sink)[0])

    def pair(self, file: SessionFile, phone: str | None = None) -> RemotePairing:
        queue: asyncio.Queue[PairingEvent | None] = asyncio.Queue()
        return RemotePairing(self, self.begin(0, "pair", (file, phone), queue.put_nowait)[0], queue)

    async def close(self) -> None:
        await self.call(0, "close")


class RemoteLink:
    def __init__(self, links: RemoteLinks, number: int) -> None:
        self._links, self.number = links, number

    async def open(self) -> None:
        await self._links.call(self.number, "open")

    async def close(self) -> None:
        await self._links.call(self.number, "close")

    async def account(self) -> Account | None:
        account: Account | None = await self._links.call(self.number, "account")
        return account

    async def send(self, to: JID, message: Outgoing, secret: bytes) -> SendReceipt:
        receipt: SendReceipt = await self._links.call(self.number, "send", to, message, secret)
        return receipt

    async def find_sent(self, secret: bytes) -> str | None:
        found: str | None = await self._links.call(self.number, "find_sent", secret)
        return found

    async def is_on_whatsapp(self, numbers: Sequence[str]) -> dict[str, JID | None]:
        found: dict[str, JID | None] = await self._links.call(self.number, "is_on_whatsapp", list(numbers))
        return found

    async def set_presence(self, available: bool) -> None:
        await self._links.call(self.number, "set_presence", available)

    async def chat_presence(self, chat: JID, state: Literal["composing", "recording", "paused"]) -> None:
        await self._links.call(self.number, "chat_presence", chat, state)

    async def mark_read(self, keys: Sequence[MessageKey], played: bool = False) -> None:
        await self._links.call(self.number, "mark_read", list(keys), played)

    async def download(self, media: MediaRef) -> bytes:
        content: bytes = await self._links.call(self.number, "download", media)
        return content

    async def logout(self) -> None:
        await self._links.call(self.number, "logout")


class RemotePairing:
    def __init__(self, links: RemoteLinks, number: int, queue: asyncio.Queue[PairingEvent | None]) -> None:
        self._links, self.number, self._queue = links, number, queue

    async def events(self) -> AsyncIterator[PairingEvent]:
        while (event := await self._queue.get()) is not None:
            yield event

    async def close(self) -> None:
        await self._links.call(self.number, "close")


def _error(kind: str, facts: dict[str, Any]) -> Exception:
    if kind == "SendError":
        return SendError(facts.pop("code"), facts.pop("text"), **facts)
    if kind == "LinkError":
        return LinkError(**facts)
    return RuntimeError(facts["text"])
