"""Whether WhatsApp can be reached is found out without the core."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.link import reach
from gateway.link.reach import unreachable


class Proxy:
    """Answers CONNECT with `status`; `asked` is what it was asked."""

    def __init__(self) -> None:
        self.status, self.asked = b"HTTP/1.1 200 OK", b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.status == b"silence":
            await reader.read()
        else:
            self.asked = await reader.readline()
            writer.write(self.status + b"\r\n\r\n")
            await writer.drain()
        writer.close()


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Proxy, str]]:
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    one = Proxy()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    async with server:
        yield one, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_proxy_that_connects_is_enough(proxy: tuple[Proxy, str]) -> None:
    assert await unreachable(f"http://{proxy[1]}") is None
    assert proxy[0].asked == b"CONNECT web.whatsapp.com:443 HTTP/1.1\r\n"


async def test_the_environment_s_proxy_counts(proxy: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy[1]}")
    assert await unreachable() is None
    assert proxy[0].asked


async def test_a_proxy_that_refuses_is_told_without_its_password(proxy: tuple[Proxy, str]) -> None:
    proxy[0].status = b"HTTP/1.1 502 Bad Gateway"
    assert await unreachable(f"http://{proxy[1]}") == f"the proxy {proxy[1]} refuses: HTTP/1.1 502 Bad Gateway"
    assert await unreachable(f"http://me:secret@{proxy[1]}") is None, "the core has the password; that it listens is enough"
    assert await unreachable(f"socks5://{proxy[1]}") is None
    told = await unreachable("http://me:secret@127.0.0.1:1")
    assert told is not None
    assert "secret" not in told
    assert told.startswith("the proxy 127.0.0.1:1 cannot be reached")


async def test_a_proxy_that_says_nothing_is_given_up(proxy: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "SECONDS", 0.2)
    proxy[0].status = b"silence"
    assert await unreachable(f"http://{proxy[1]}") == f"the proxy {proxy[1]} does not answer within 0.2 s"


async def test_without_a_proxy_whatsapp_itself_is_asked(proxy: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch) -> None:
    host, port = proxy[1].split(":")
    monkeypatch.setattr(reach, "HOST", host)
    monkeypatch.setattr(reach, "PORT", int(port))
    assert await unreachable() is None
    monkeypatch.setattr(reach, "PORT", 1)
    told = await unreachable()
    assert told is not None
    assert told.startswith("127.0.0.1 cannot be reached")


@pytest.mark.parametrize("nonsense", ["http://", "http://[", "nonsense:with:colons"])
async def test_a_proxy_that_is_no_address_is_told(nonsense: str, proxy: tuple[Proxy, str]) -> None:
    assert "cannot be reached" in (await unreachable(nonsense) or "")


async def test_an_address_that_leads_nowhere_does_not_hide_one_that_works(
        proxy: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch) -> None:
    host, port = proxy[1].split(":")
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def both(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (("127.0.0.2", 9), (host, int(port)))]

    async def silent_or_not(one: socket.socket, address: tuple[str, int]) -> None:
        if address[0] == "127.0.0.2":
            await asyncio.Event().wait()
        await connect(one, address)

    monkeypatch.setattr(loop, "getaddrinfo", both)
    monkeypatch.setattr(loop, "sock_connect", silent_or_not)
    assert await unreachable() is None


async def test_a_machine_without_ipv6_reaches_whatsapp_by_ipv4(
        proxy: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are answered with both kinds of address all the same."""
    host, port = proxy[1].split(":")
    plain = socket.socket

    async def both(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", int(port), 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, int(port)))]

    def without(family: int, *more: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return plain(family, *more)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    monkeypatch.setattr(reach.socket, "socket", without)
    assert await unreachable() is None
