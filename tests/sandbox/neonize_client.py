"""A program with stock neonize in it, told what to do over stdin and saying what happens on stdout, JSON a line.

In:  {"n": 1, "session": "a", "do": "open", "database": "..."}  or  {"n": 2, "session": "a", "do": "EXPRESSION"}.
Out: {"n": 1, "result": ...} or {"n": 1, "error": "..."}, and {"session": "a", "event": "Connected", "data": {...}}.
An expression sees `client` (a NewAClient), `jid`, `E2E`, `const` and may be awaitable. stdout is taken away from
the Go side, which prints to it.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import inspect
import json
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
_OUT = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

from google.protobuf.json_format import MessageToDict, ParseDict  # noqa: E402
from google.protobuf.message import Message  # noqa: E402
from neonize.aioze.client import NewAClient  # noqa: E402
from neonize.aioze.events import EVENT_TO_INT  # noqa: E402
from neonize.proto.waE2E import WAWebProtobufsE2E_pb2 as E2E  # noqa: E402
from neonize.utils import enum as const  # noqa: E402
from neonize.utils.jid import build_jid as jid  # noqa: E402


def say(**line: Any) -> None:
    _OUT.write(json.dumps(line) + "\n")


def plain(value: Any) -> Any:
    if isinstance(value, Message):
        return MessageToDict(value, preserving_proto_field_name=True)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if hasattr(value, "__len__"):
        return [plain(item) for item in value]
    return repr(value)


def listen(session: str, client: NewAClient) -> None:
    async def show(_: NewAClient, code: bytes) -> None:
        say(session=session, event="QR", data=code.decode())

    client.event.qr(show)
    for kind in EVENT_TO_INT:

        async def tell(_: NewAClient, event: Message, name: str = kind.__name__) -> None:
            say(session=session, event=name, data=plain(event))

        client.event(kind)(tell)


async def voice(client: NewAClient, to: str, ogg: str, seconds: int, waveform: list[int]) -> Any:
    """Upload base64 *ogg* and send it as a voice note."""
    up = await client.upload(base64.b64decode(ogg), const.MediaType.MediaAudio)
    audio = E2E.AudioMessage(
        URL=up.url, directPath=up.DirectPath, mediaKey=up.MediaKey, fileEncSHA256=up.FileEncSHA256,
        fileSHA256=up.FileSHA256, fileLength=up.FileLength, mimetype="audio/ogg; codecs=opus", seconds=seconds,
        PTT=True, waveform=bytes(waveform),
    )  # fmt: skip
    return await client.send_message(jid(to), E2E.Message(audioMessage=audio))


async def download(client: NewAClient, encoded: dict[str, Any]) -> Any:
    """The file of a message that arrived, given as the JSON of its protobuf."""
    return await client.download_any(ParseDict(encoded, E2E.Message()))


def login_status(client: NewAClient, uuid: int, status: int) -> None:
    """Called on a thread of Go's; NewAClient itself ignores what it is told here."""
    say(session=client.uuid.decode().rpartition("-")[0], login_status=ctypes.string_at(status).decode())


NewAClient._NewAClient__onLoginStatus = login_status


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(160))
    clients: dict[str, NewAClient] = {}
    opening = asyncio.Lock()

    async def obey(order: dict[str, Any]) -> None:
        session = order["session"]
        try:
            if order["do"] == "open":
                async with opening:
                    name = f"{order['database']}?_foreign_keys=on&_journal_mode=WAL&_synchronous=NORMAL&_x="
                    client = clients[session] = NewAClient(name, uuid=f"{session}-{order['n']}")
                    client._stop_finalizer.detach()
                    listen(session, client)
                    task = await client.connect()
                    task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
                result = None
            else:
                names = {
                    "client": clients[session],
                    "asyncio": asyncio,
                    "jid": jid,
                    "E2E": E2E,
                    "const": const,
                    "voice": voice,
                    "download": download,
                }
                names |= order.get("names", {})
                result = eval(order["do"], names)
                if inspect.isawaitable(result):
                    result = await result
            say(n=order["n"], result=plain(result))
        except Exception as error:
            say(n=order["n"], error=f"{type(error).__name__}: {error}")

    reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say(ready=True)
    tasks = set()
    while line := await reader.readline():
        task = asyncio.create_task(obey(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    os._exit(0)


asyncio.run(main())
