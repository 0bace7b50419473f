"""Is WhatsApp within reach? Asked before the core is, because each opening of the core that fails to connect leaves a database
pool behind that it never closes: four descriptors and a quarter of a megabyte, at every retry of every session while a network
is down. It also keeps a dial that hangs from making the other openings wait."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from typing import Any
from urllib.parse import urlsplit

HOST, PORT = "web.whatsapp.com", 443
SECONDS = 10.0
_DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


async def unreachable(proxy: str | None = None) -> str | None:
    """Why WhatsApp cannot be reached, or None when a connection (to the proxy, where there is one, and through it) opens.
    `proxy`: as the core takes it; None: the environment's."""
    via = proxy or _from_environment()
    try:
        async with asyncio.timeout(SECONDS):
            return await (_direct() if via is None else _through(via))
    except TimeoutError:
        return f"{via_name(via)} does not answer within {SECONDS:g} s"
    except (OSError, ValueError) as error:
        return f"{via_name(via)} cannot be reached: {error}"


def via_name(via: str | None) -> str:
    """The proxy without its password, or WhatsApp."""
    if via is None:
        return HOST
    try:
        parts = urlsplit(via)
        return f"the proxy {parts.hostname}:{parts.port or _DEFAULT_PORTS.get(parts.scheme, 80)}"
    except ValueError:
        return "the proxy"


def _from_environment() -> str | None:
    if urllib.request.proxy_bypass(HOST):
        return None
    return urllib.request.getproxies().get("https") or None


async def _direct() -> None:
    (await _dial(HOST, PORT)).close()


async def _dial(host: str, port: int) -> socket.socket:
    """To all the host's addresses at once: where IPv6 leads nowhere, IPv4 must not wait for its end (the core does not)."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    sockets: list[socket.socket] = []
    reached: socket.socket | None = None

    async def connect(family: int, kind: int, protocol: int, _name: str, address: Any) -> socket.socket:
        one = socket.socket(family, kind, protocol)     # fails where the machine has no IPv6
        sockets.append(one)
        one.setblocking(False)
        await loop.sock_connect(one, address)
        return one

    dials = [asyncio.create_task(connect(*one)) for one in found]
    try:
        failed: OSError = OSError("it has no address")
        for dial in asyncio.as_completed(dials):
            try:
                reached = await dial
                return reached
            except OSError as error:
                failed = error
        raise failed
    finally:
        for task in dials:
            task.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        for one in sockets:
            if one is not reached:
                one.close()


async def _through(via: str) -> str | None:
    parts = urlsplit(via if "//" in via else f"http://{via}")
    if parts.hostname is None:
        raise ValueError("it has no host name")
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 80)
    reached = await _dial(parts.hostname, port)
    if parts.scheme != "http" or parts.username is not None:
        reached.close()                     # it listens; the rest takes credentials or another protocol, and the core speaks it
        return None
    reader, writer = await asyncio.open_connection(sock=reached)
    try:
        writer.write(f"CONNECT {HOST}:{PORT} HTTP/1.1\r\nHost: {HOST}:{PORT}\r\n\r\n".encode())
        status = (await reader.readline()).decode("latin-1").strip()
        answer = status.split(" ", 2)
        if len(answer) < 2 or not answer[1].startswith("2"):
            return f"{via_name(via)} refuses: {status[:80] or 'it closed the connection'}"
        return None
    finally:
        writer.close()
