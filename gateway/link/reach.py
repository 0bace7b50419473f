"""Is WhatsApp within reach? Asked before the core is, because each opening of the core that fails to connect leaves a database
pool behind that it never closes: four descriptors and a quarter of a megabyte, at every retry of every session while a network
is down. It also keeps a dial that hangs from making the other openings wait."""

from __future__ import annotations

import asyncio
import urllib.request
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
    _, writer = await asyncio.open_connection(HOST, PORT)
    writer.close()


async def _through(via: str) -> str | None:
    parts = urlsplit(via if "//" in via else f"http://{via}")
    if parts.hostname is None:
        raise ValueError("it has no host name")
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=parts.scheme == "https" or None)
    try:
        if parts.scheme != "http" or parts.username is not None:
            return None                     # it listens; the rest takes credentials or another protocol, and the core speaks it
        writer.write(f"CONNECT {HOST}:{PORT} HTTP/1.1\r\nHost: {HOST}:{PORT}\r\n\r\n".encode())
        status = (await reader.readline()).decode("latin-1").strip()
        answer = status.split(" ", 2)
        if len(answer) < 2 or not answer[1].startswith("2"):
            return f"{via_name(via)} refuses: {status[:80] or 'it closed the connection'}"
        return None
    finally:
        writer.close()
