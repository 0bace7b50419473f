"""A CONNECT proxy that takes every target to one listener: how a client that asks for WhatsApp arrives here."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import TracebackType

_LONGEST_REQUEST = 16 * 1024


class Tunnel:
    """Listens on loopback; whatever host a client names, it is connected to `port` on 127.0.0.1.

    `targets` counts the hosts asked for. `cut()` drops every open tunnel without a goodbye.
    """

    def __init__(self, port: int) -> None:
        self._target_port = port
        self._server: asyncio.Server | None = None
        self._open: set[_ClientSide] = set()
        self.targets: Counter[str] = Counter()

    async def __aenter__(self) -> Tunnel:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _ClientSide(self), "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, for HTTPS_PROXY."""
        assert self._server is not None, "the tunnel is not open"
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> int:
        """Abort every open tunnel and say how many there were."""
        tunnels = list(self._open)
        for side in tunnels:
            side.abort()
        return len(tunnels)


class _ClientSide(asyncio.Protocol):
    """Reads the CONNECT request, dials, then copies; back-pressure is passed on to the other side."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._head = bytearray()
        self._transport: asyncio.Transport | None = None
        self._peer: asyncio.Transport | None = None
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._tunnel._open.add(self)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._peer is not None:
            self._peer.write(data)
            return
        self._head += data
        if self._dialling is not None:
            return
        if b"\r\n\r\n" not in self._head:
            if len(self._head) > _LONGEST_REQUEST:
                self._transport.abort()
            return
        request, _, rest = bytes(self._head).partition(b"\r\n\r\n")
        words = request.split(b"\r\n", 1)[0].split()
        if len(words) != 3 or words[0] != b"CONNECT":
            self._transport.write(b"HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\nContent-Length: 0\r\n\r\n")
            self._transport.close()
            return
        self._tunnel.targets[words[1].decode("latin-1")] += 1
        self._head = bytearray(rest)
        self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        try:
            peer, _ = await loop.create_connection(lambda: _ServerSide(self), "127.0.0.1", self._tunnel._target_port)
        except OSError:
            self._transport.abort()
            return
        if self._transport.is_closing():
            peer.abort()
            return
        self._peer = peer
        self._transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        if self._head:
            peer.write(bytes(self._head))
            self._head.clear()

    def pause_writing(self) -> None:
        if self._peer is not None:
            self._peer.pause_reading()

    def resume_writing(self) -> None:
        if self._peer is not None:
            self._peer.resume_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._tunnel._open.discard(self)
        if self._peer is not None:
            self._peer.close()

    def abort(self) -> None:
        for transport in (self._transport, self._peer):
            if transport is not None:
                transport.abort()


class _ServerSide(asyncio.Protocol):
    """The listener's end of one tunnel."""

    def __init__(self, client: _ClientSide) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        if self._client._transport is not None:
            self._client._transport.write(data)

    def pause_writing(self) -> None:
        if self._client._transport is not None:
            self._client._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._client._transport is not None:
            self._client._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._client._transport is not None:
            self._client._transport.close()
