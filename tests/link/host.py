"""A program with the real `NeonizeLinks` in it, driven over a socket by `remote`: the core reads its environment (whom to
trust, which proxy) when its process starts, so a test cannot have it in its own."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import uvloop

from gateway.link import library
from gateway.link.base import Link, LinkError, Pairing, SendError
from gateway.link.neonize_link import Patience
from gateway.link.neonize_links import NeonizeLinks
from gateway.link.sealed_store import SealedStore


def portable(error: BaseException) -> tuple[str, dict[str, Any]]:
    if isinstance(error, SendError):
        return "SendError", {"code": error.code, "text": error.text, "certain": error.certain, "retry": error.retry,
                             "restricted_until": error.restricted_until}
    if isinstance(error, LinkError):
        return "LinkError", {"text": error.text, "code": error.code}
    return "RuntimeError", {"text": f"{type(error).__name__}: {error}"}


class Host:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, options: dict[str, Any]) -> None:
        self.reader, self.writer = reader, writer
        patience = Patience(**options.pop("patience", {}))
        self.links = NeonizeLinks(SealedStore.install(library.installed_library()), patience=patience, **options)
        self.objects: dict[int, Any] = {0: self.links, 1: self}
        self.tasks: set[asyncio.Task[None]] = set()

    def say(self, *message: object) -> None:
        body = pickle.dumps(message)
        self.writer.write(struct.pack("!I", len(body)) + body)

    async def run(self) -> None:
        while True:
            try:
                (size,) = struct.unpack("!I", await self.reader.readexactly(4))
                request = pickle.loads(await self.reader.readexactly(size))
            except asyncio.IncompleteReadError:
                os._exit(0)
            if request is None:
                return                      # the program ends as programs do, sessions open or not
            task = asyncio.create_task(self.answer(*request))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def answer(self, number: int, target: int, method: str, arguments: tuple[Any, ...]) -> None:
        try:
            if method == "link":
                made: Link = self.links.link(*arguments, lambda event: self.say("event", number, event))
                self.objects[number] = made
                self.say("answer", number, None)
            elif method == "pair":
                pairing: Pairing = self.links.pair(*arguments)
                self.objects[number] = pairing
                self.say("answer", number, None)
                try:
                    async for event in pairing.events():
                        self.say("event", number, event)
                finally:
                    self.say("event", number, None)
            else:
                self.say("answer", number, await getattr(self.objects[target], method)(*arguments))
        except Exception as error:
            if not isinstance(error, SendError | LinkError):
                logging.exception("%s failed", method)
            self.say("error", number, portable(error))

    async def evaluate(self, expression: str) -> Any:
        """Anything else a test wants to know of this process; may be awaitable."""
        names = {"links": self.links, "objects": self.objects, "os": os, "sys": sys, "Path": Path}
        value = eval(expression, names)
        return await value if asyncio.iscoroutine(value) else value


async def main() -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=int(sys.argv[1])))
    options = pickle.loads(bytes.fromhex(sys.argv[2]))
    host = Host(reader, writer, options)
    host.say("ready")
    await host.run()


if __name__ == "__main__":
    library.ensure_environment()
    library.guard_stdout()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    uvloop.run(main())              # as the daemon does
