"""The chat endpoint `GET /ws/chat`: websocket messages to frames, the Noise handshake, then nodes both ways."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web
from google.protobuf.message import DecodeError

from . import codec
from .node import Node
from .noise import NoiseCipher, NoiseError, NoiseResponder
from .protobufs import ClientPayload

if TYPE_CHECKING:
    from .pairing import Attempt
    from .people import LinkedDevice
    from .world import World

log = logging.getLogger(__name__)

_INTRODUCTION = b"WA\x06" + bytes([codec.VERSION])
_ROUTING = b"ED\x00\x01"
_LINGER_SECONDS = 0.5


class ProtocolError(Exception):
    """The client's bytes are not this protocol; its connection is closed."""


class Frames:
    """Cuts the client's byte stream into frames: they are not aligned to websocket messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._introduced = False

    def feed(self, data: bytes) -> list[bytes]:
        """The frames `data` completes. Raises ProtocolError when the stream does not begin as WhatsApp's does."""
        self._buffer += data
        if not self._introduced and not self._introduction():
            return []
        frames = []
        while len(self._buffer) >= 3:
            size = int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < 3 + size:
                break
            frames.append(bytes(self._buffer[3 : 3 + size]))
            del self._buffer[: 3 + size]
        return frames

    def _introduction(self) -> bool:
        if len(self._buffer) < 4:
            return False
        if self._buffer.startswith(_ROUTING):
            if len(self._buffer) < 7 or len(self._buffer) < (end := 7 + int.from_bytes(self._buffer[4:7], "big")):
                return False
            del self._buffer[:end]
            return self._introduction()
        if not self._buffer.startswith(_INTRODUCTION):
            raise ProtocolError(f"begins with {bytes(self._buffer[:4]).hex()}, not {_INTRODUCTION.hex()}")
        del self._buffer[:4]
        self._introduced = True
        return True


class Connection:
    """One client after its websocket opened. `send` never blocks; frames leave in the order they were sent.

    `active` is True from the moment the client asked for its queue until the end. `muted` keeps the socket
    open and stays silent, as a dead network does; `ended` is a connection that only waits to be closed.
    """

    def __init__(
        self,
        world: World,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        on_node: Callable[[Connection, Node], None],
        on_hello: Callable[[Connection, bytes, bytes], None],
    ) -> None:
        self.world = world
        self._socket = socket
        self._transport = transport
        self._on_node = on_node
        self._on_hello = on_hello
        self._noise = NoiseResponder(world.noise.static, world.certificate_chain, _INTRODUCTION)
        self._stage = 0
        self._up: NoiseCipher | None = None
        self._down: NoiseCipher | None = None
        self._outgoing: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.device: LinkedDevice | None = None
        self.attempt: Attempt | None = None
        self.active = False
        self.muted = False
        self.ended = False

    async def serve(self) -> None:
        """Until either side closes."""
        frames = Frames()
        writer = asyncio.create_task(self._write())
        try:
            async for message in self._socket:
                if message.type is not WSMsgType.BINARY:
                    continue
                for frame in frames.feed(message.data):
                    self._read(frame)
        except (ProtocolError, NoiseError, codec.CodecError) as error:
            log.warning("the client is disconnected: %s", error)
        except Exception:
            log.exception("a stanza could not be handled; the client is disconnected")
        finally:
            self.active = False
            self._outgoing.put_nowait(None)
            await writer

    def _read(self, frame: bytes) -> None:
        if self._up is not None:
            # Opened even if nobody listens: the counter of the cipher moves with every frame.
            node = codec.decode(self._up.open(frame))
            if not self.ended and not self.muted:
                self._on_node(self, node)
        elif self.muted:
            return
        elif self._stage == 0:
            self._stage = 1
            self._send_frame(self._noise.hello(frame))
        else:
            self._noise.finish(frame)
            self._up, self._down = self._noise.up, self._noise.down
            self._on_hello(self, self._noise.client_static, self._noise.payload)

    def send(self, node: Node) -> None:
        """Queue `node`; nothing happens on a closed or muted connection."""
        if self._down is not None and not self.muted and not self.ended and not self._socket.closed:
            self._send_frame(self._down.seal(codec.encode(node)))

    def send_raw(self, frame: bytes) -> None:
        """Queue bytes that need not be a node, sealed as if they were one."""
        if self._down is not None:
            self._send_frame(self._down.seal(frame))

    def _send_frame(self, data: bytes) -> None:
        self._outgoing.put_nowait(len(data).to_bytes(3, "big") + data)

    async def _write(self) -> None:
        while (chunk := await self._outgoing.get()) is not None:
            burst = [chunk]
            last = False
            while not self._outgoing.empty():
                following = self._outgoing.get_nowait()
                if following is None:
                    last = True
                    break
                burst.append(following)
            try:
                await self._socket.send_bytes(b"".join(burst))
            except (ConnectionError, RuntimeError):
                break
            if last:
                break
        if not self._socket.closed:
            try:
                await self._socket.close()
            except (ConnectionError, RuntimeError):
                pass

    def end(self, last: Node, linger: float = _LINGER_SECONDS) -> None:
        """Say `last`, hear nothing more, and close in `linger` seconds if the client has not.

        A client handles stanzas on another thread than its socket: one that is followed by the closing at once is
        sometimes never handled.
        """
        self.send(last)
        self.active = False
        self.ended = True
        self.world.later(linger, self.close)

    def close(self) -> None:
        """Close once everything queued has left."""
        self.active = False
        self._outgoing.put_nowait(None)

    def drop(self) -> None:
        """Cut the TCP connection without a goodbye."""
        self.active = False
        if self._transport is not None:
            self._transport.abort()


def payload_of(data: bytes) -> ClientPayload:
    """The client's introduction. Raises ProtocolError."""
    try:
        return ClientPayload.FromString(data)
    except DecodeError as error:
        raise ProtocolError("the client's payload is no ClientPayload") from error
