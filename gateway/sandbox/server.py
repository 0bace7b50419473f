"""The sandbox itself: a WhatsApp server on loopback that the stock neonize library links to."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

from aiohttp import web

from . import login, pairing, stanzas
from .chat import Connection
from .control import Control
from .redirect import redirect
from .trust import NoiseTrust, TlsTrust
from .tunnel import Tunnel
from .world import World


class Sandbox:
    """`async with Sandbox(directory) as sandbox`: everything listens inside, nothing is left after.

    `directory` receives the throw-away CA and the private copy of neonize's library; all else is in memory. Inside,
    `environment()` makes a child process link here, `proxy_url` is the proxy alone, `control_url` the control
    API, and `world` the object that it works on. Raises RedirectError when the installed neonize cannot be redirected.
    """

    def __init__(self, directory: Path, *, control_port: int = 0) -> None:
        self._directory = directory
        self._control_port = control_port
        self._stack = AsyncExitStack()
        self._environment: dict[str, str] = {}
        self.proxy_url = ""
        self.control_url = ""

    async def __aenter__(self) -> Sandbox:
        directory = self._directory.resolve()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        noise = NoiseTrust()
        tls = await asyncio.to_thread(TlsTrust.create, directory)
        self.world = World(noise, noise.certificate_chain())
        try:
            self._stack.callback(self.world.close)
            application = web.Application(client_max_size=256 * 1024 * 1024)
            application.router.add_get("/ws/chat", self._chat)
            application.router.add_post("/mms/{kind}/{token}", self.world.media.handle_upload)
            application.router.add_post("/newsletter/{kind}/{token}", self.world.media.handle_upload)
            application.router.add_get("/v/t62.7117-24/{name}", self.world.media.handle_download)
            runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
            await runner.setup()
            self._stack.push_async_callback(runner.cleanup)
            self._stack.callback(self._cut_connections)
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.context, backlog=1024)
            await site.start()
            tunnel = await self._stack.enter_async_context(Tunnel(_port_of(site)))
            self.proxy_url = tunnel.url
            control = web.AppRunner(
                Control(self.world, tunnel.cut, self.environment).application(),
                access_log=None,
                handle_signals=False,
                shutdown_timeout=1.0,
            )
            await control.setup()
            self._stack.push_async_callback(control.cleanup)
            control_site = web.TCPSite(control, "127.0.0.1", self._control_port)
            await control_site.start()
            self.control_url = f"http://127.0.0.1:{_port_of(control_site)}"
            self._environment = await asyncio.to_thread(redirect, directory, tls, noise, tunnel.url)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    def environment(self) -> dict[str, str]:
        """The variables to add to a child's environment before it starts: its neonize then links here."""
        return dict(self._environment)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        fault = self.world.faults.take("connect")
        if fault is not None and fault.mode != "mute":
            return web.Response(status=503)
        socket = web.WebSocketResponse(compress=False, autoping=True, max_msg_size=16 * 1024 * 1024)
        await socket.prepare(request)
        connection = Connection(self.world, socket, request.transport, stanzas.receive, login.introduce)
        connection.muted = fault is not None
        self.world.connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._gone(connection)
        return socket

    def _gone(self, connection: Connection) -> None:
        self.world.connections.discard(connection)
        if connection.attempt is not None:
            pairing.end(self.world, connection.attempt)
        device = connection.device
        if device is not None and device.connection is connection:
            device.connection = None
            device.available = False
        self.world.changed()

    def _cut_connections(self) -> None:
        for connection in list(self.world.connections):
            connection.drop()


def _port_of(site: web.TCPSite) -> int:
    server = site._server
    assert isinstance(server, asyncio.Server), "the site is not started"
    port: int = server.sockets[0].getsockname()[1]
    return port
