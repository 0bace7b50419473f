"""`Pairing`: one attempt to link, in a child process that is killed when it is over.

The core never gives up a thread it began a pairing with, unless the phone scans: abandoned attempts would pile up in the
daemon. So a child of its own does it (`pairing_child`), and the daemon opens the session when the child is gone; they
must not have the file open together.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from gateway.events import Paired, PairingCode, PairingEnded, PairingEvent, QrCode
from gateway.link import failures
from gateway.link.base import SessionFile
from gateway.link.library import python_path
from gateway.link.session_store import SessionFileError, SessionStore
from gateway.link.threads import in_thread

FIRST_SECONDS, NEXT_SECONDS, CODES = 60.0, 20.0, 6
"""How long WhatsApp shows its codes: six of them, 160 s together, which is also the life of a pairing code."""
SLACK_SECONDS = 15.0
log = logging.getLogger(__name__)
core_log = logging.getLogger("gateway.core")


class Child:
    """A pairing process: started, its library loaded, waiting for its one order."""

    def __init__(self, process: asyncio.subprocess.Process, said: asyncio.StreamReader,
                 writer: asyncio.StreamWriter) -> None:
        self.process, self.said = process, said
        self._writer = writer               # never written to; but without it the connection would be closed
        self.last_words: bytes = b""
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls) -> Child:
        # Not a pipe: uvloop closes the descriptor of one twice, and in between it may be another thread's, of a database.
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                said, writer = await asyncio.open_connection(sock=ours)
            except BaseException:
                ours.close()
                raise
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", "gateway.link.pairing_child", str(theirs.fileno()), pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
                    env=os.environ | {"NEONIZE_BOT_TAG": "off", "PYTHONPATH": python_path(os.environ)})
            except BaseException:
                writer.close()
                raise
        return cls(process, said, writer)

    async def _listen(self) -> None:
        """Its standard error, of which the end is kept: there the core says why it died."""
        assert self.process.stderr is not None
        while chunk := await self.process.stderr.read(4096):
            self.last_words = (self.last_words + chunk)[-4096:]

    async def order(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await self.process.stdin.drain()

    async def end(self, *, by_itself: bool = False) -> None:
        """Wait until it is gone, its descriptors with it; kill it, unless it is ending by itself. (Killing a process that has
        just ended would take its exit status away from asyncio's watcher.)"""
        if by_itself:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await self.process.wait()
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.process.wait()
        await self._listening
        self._writer.close()
        if self.process.stdin is not None:
            self.process.stdin.close()
            with contextlib.suppress(ConnectionError):
                await self.process.stdin.wait_closed()


class Spare:
    """One pairing process ahead of need, when enabled: starting one takes longer than the first code does."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._starting: asyncio.Task[Child] | None = None

    async def take(self) -> Child:
        starting, self._starting = self._starting, None
        child = await starting if starting is not None else await Child.start()
        if child.process.returncode is not None:            # it died waiting
            await child.end()
            child = await Child.start()
        self.prepare()
        return child

    def prepare(self) -> None:
        if self._enabled and self._starting is None:
            self._starting = asyncio.create_task(Child.start())

    async def close(self) -> None:
        self._enabled = False
        starting, self._starting = self._starting, None
        if starting is not None:
            await (await starting).end()


class NeonizePairing:
    """See `base.Pairing`. Made by `NeonizeLinks.pair`; nothing happens before `events` is read."""

    def __init__(self, store: SessionStore, spare: Spare, file: SessionFile, phone: str | None, *, device_name: str,
                 proxy: str | None) -> None:
        self._store, self._spare, self._file, self._phone = store, spare, file, phone
        self._device_name, self._proxy = device_name, proxy
        self._child: Child | None = None
        self._closed = asyncio.Event()
        self._shown = 0

    async def events(self) -> AsyncIterator[PairingEvent]:
        paired, ended = False, None
        attempt = self._attempt()
        try:
            async for event in attempt:
                if event is None:
                    paired = True
                elif isinstance(event, PairingEnded):
                    ended = event
                else:
                    yield event
        finally:
            await attempt.aclose()
            await self._end_child(by_itself=paired or ended is not None)        # before anybody here opens the file
        if self._closed.is_set():
            return
        if paired:
            yield await self._paired()
        elif ended is not None:
            yield ended

    async def close(self) -> None:
        self._closed.set()
        await self._end_child()

    # ------------------------------------------------------------------ the attempt

    async def _attempt(self) -> AsyncGenerator[PairingEvent | None, None]:
        """What the child says, up to its end; None when it has linked a device, which stands in the file."""
        if self._closed.is_set():
            return
        try:
            await in_thread(lambda: self._store.start_over(self._file), f"start over {self._file.session_id}")
        except OSError as error:
            yield PairingEnded("core_failed", str(error))
            return
        child = await self._spare.take()
        self._child = child
        if self._closed.is_set():
            return
        await child.order(path=str(self._file.path), key=base64.b64encode(self._file.data_key).decode(),
                          phone=self._phone, device_name=self._device_name, proxy=self._proxy)
        began, deadline = time.time(), time.monotonic() + FIRST_SECONDS
        while True:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    line = await child.said.readline()
            except TimeoutError:
                reason = "qr_expired" if self._shown else "no_network_pairing"
                yield PairingEnded(reason, "WhatsApp showed no code in time")
                return
            if not line:
                if not self._closed.is_set():
                    yield PairingEnded("core_failed", self._last_words(child))
                return
            said = json.loads(line)
            match said["said"]:
                case "qr":
                    seconds = NEXT_SECONDS if self._shown else FIRST_SECONDS
                    self._shown += 1
                    deadline = time.monotonic() + seconds + SLACK_SECONDS
                    if self._shown == 1:
                        began = time.time()
                    yield QrCode(said["code"], time.time() + seconds)
                case "code":
                    yield PairingCode(said["code"], began + FIRST_SECONDS + (CODES - 1) * NEXT_SECONDS)
                case "scanned":
                    deadline = time.monotonic() + SLACK_SECONDS
                case "paired":
                    yield None
                    return
                case "log":
                    core_log.warning("%s: pairing: %s", self._file.session_id, said["text"])
                case "ended":
                    yield self._ended(said["reason"], said["detail"])
                    return

    def _ended(self, reason: str, detail: str) -> PairingEnded:
        if reason == "timeout":
            # The core says so too when the connection is lost while a code waits.
            complete = self._shown >= CODES
            return PairingEnded("qr_expired" if complete else "no_network_pairing",
                                "" if complete else "the connection was lost while a code waited")
        if reason == "failed":
            return PairingEnded(*failures.pairing_failure(detail))
        return PairingEnded(reason, detail)

    def _last_words(self, child: Child) -> str:
        words = child.last_words.decode(errors="replace")
        fatal = next((line for line in words.splitlines() if line.startswith(("fatal error", "panic"))), "")
        return f"the pairing process died: {fatal or words.strip()[-200:] or 'without a word'}"

    async def _paired(self) -> PairingEvent:
        try:
            device = await in_thread(lambda: self._store.device(self._file), f"device {self._file.session_id}")
        except SessionFileError as error:
            return PairingEnded("core_failed", str(error))
        if device is None:
            return PairingEnded("pair_error", "the phone accepted, but no device was stored")
        return Paired(device.jid, device.lid, device.platform, device.business_name)

    async def _end_child(self, *, by_itself: bool = False) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end(by_itself=by_itself)
