"""The one HTTP client of the gateway: media from URLs that strangers give us, and webhook deliveries.

A URL is somebody else's word, so every request, and every redirect of it, passes the same door: the URL is read
strictly (`urls`), its host is resolved once, addresses that are not public are dropped (`addresses`), and the connection
goes to those that were checked; TLS still verifies the host's name. Proxies from the environment, cookies and netrc are
not used.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
import time
import unicodedata
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import PurePosixPath
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote, urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway.media.addresses import AddressRules
from gateway.media.urls import parse_url
from gateway.media.urls import redact_url as redact_url

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) → numeric addresses, in order of preference. Raises OSError when there are none."""

FetchCode = Literal["fetch_forbidden", "fetch_failed", "fetch_too_large", "fetch_timeout", "fetch_bad_url"]

_REDIRECTS = (301, 302, 303, 307, 308)
_EXCERPT_BYTES = 2048
_MAX_FILENAME_CHARS = 150
_MEDIA_TYPE = re.compile(r"\s*([\w.+!#$&^-]+/[\w.+!#$&^-]+)\s*(?:;.*)?", re.ASCII | re.DOTALL)


class FetchError(Exception):
    """A fetch that did not work. `text` is one plain sentence without the URL's path, query or credentials."""

    def __init__(self, code: FetchCode, text: str) -> None:
        super().__init__(text)
        self.code: FetchCode = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Fetched:
    """`content_type` is the bare lower-case media type the server claims, `filename` a single safe path component;
    both None when unknown. `url` is where the redirects ended; it may hold secrets (see `redact_url`)."""

    data: bytes
    content_type: str | None
    url: str
    filename: str | None


@dataclass(frozen=True, slots=True)
class Posted:
    """The answer to a POST: any status, redirects included; the first 2 KiB of the body; seconds until it was read."""

    status: int
    body_excerpt: str
    seconds: float


class Fetcher:
    """An async context manager; one for the whole program. Concurrency is the caller's to bound."""

    def __init__(
        self,
        allow_networks: Sequence[str] = (),
        total_seconds: float = 60,
        idle_seconds: float = 15,
        connect_seconds: float = 10,
        max_redirects: int = 5,
        user_agent: str = "wagateway",
        *,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`allow_networks`: CIDRs that may be reached although they are not public; ValueError if one is malformed.
        `total_seconds` bounds a `get` with its redirects, `idle_seconds` a silence while reading, `connect_seconds` name
        lookup, TCP and TLS together. `tls` replaces the system's trust store (a private CA)."""
        self._rules = AddressRules(allow_networks)
        self._total_seconds = total_seconds
        self._idle_seconds = idle_seconds
        self._connect_seconds = connect_seconds
        self._max_redirects = max_redirects
        self._user_agent = user_agent
        self._resolve = resolve or _getaddrinfo
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            resolver=_CheckedResolver(self._permitted),
            use_dns_cache=False,
            socket_factory=self._open_socket,
            ssl=True if self._tls is None else self._tls,
            limit=0,
            force_close=True,  # a connection serves the request whose address check it passed, and no other
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # no decompression, no decompression bomb
            trust_env=False,
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends what is under way; idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, url: str, *, max_bytes: int, accept: str = "*/*") -> Fetched:
        """The body behind an http(s) URL, after at most `max_redirects` redirects. Raises FetchError."""
        target, secure = _parsed(url), False
        try:
            async with asyncio.timeout(self._total_seconds):
                for _ in range(self._max_redirects + 1):
                    secure = secure or target.scheme == "https"
                    if secure and target.scheme == "http":
                        raise FetchError("fetch_forbidden", f"A redirect leads from https to http at {_where(target)}.")
                    answer = await self._get_once(target, max_bytes, accept)
                    if isinstance(answer, Fetched):
                        return answer
                    target = answer
        except TimeoutError:
            raise FetchError(
                "fetch_timeout", f"{_where(target)} did not deliver within {self._total_seconds:g} seconds."
            ) from None
        raise FetchError("fetch_failed", f"The URL redirects more than {self._max_redirects} times.")

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, timeout: float) -> Posted:
        """POST and report the status, whatever it is; redirects are not followed. An answer whose body stalls or breaks
        off still counts: its status is known. Raises FetchError when no status arrives within `timeout` seconds."""
        target = _parsed(url)
        self._check_literal(target)
        started, status, excerpt = time.perf_counter(), None, bytearray()
        limits = aiohttp.ClientTimeout(total=None, connect=min(self._connect_seconds, timeout))
        try:
            async with asyncio.timeout(timeout):
                with self._explained(target):
                    async with self._http().post(
                        target, data=body, headers=headers, allow_redirects=False, timeout=limits
                    ) as response:
                        status = response.status
                        async for chunk in response.content.iter_any():
                            excerpt += chunk
                            if len(excerpt) >= _EXCERPT_BYTES:
                                break
        except TimeoutError:
            if status is None:
                raise FetchError(
                    "fetch_timeout", f"{_where(target)} did not answer within {timeout:g} seconds."
                ) from None
        except FetchError:
            if status is None:
                raise
        assert status is not None
        text = bytes(excerpt[:_EXCERPT_BYTES]).decode("utf-8", "replace")
        return Posted(status, text, time.perf_counter() - started)

    async def _get_once(self, url: URL, max_bytes: int, accept: str) -> Fetched | URL:
        """One request: the file, or where its redirect leads."""
        self._check_literal(url)
        limits = aiohttp.ClientTimeout(total=None, connect=self._connect_seconds, sock_read=self._idle_seconds)
        with self._explained(url):
            async with self._http().get(
                url, headers={"Accept": accept}, allow_redirects=False, timeout=limits
            ) as response:
                if response.status in _REDIRECTS and "Location" in response.headers:
                    return _redirected(url, response.headers["Location"])
                if response.status not in (200, 203):  # 202, 204 and 206 are successes, but not the file
                    raise FetchError("fetch_failed", f"{_where(url)} answered with HTTP status {response.status}.")
                if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
                    raise FetchError("fetch_failed", f"{_where(url)} sent a compressed body, which was not asked for.")
                if (response.content_length or 0) > max_bytes:
                    raise _too_large(url, max_bytes)
                data = bytearray()
                async for chunk in response.content.iter_any():
                    data += chunk
                    if len(data) > max_bytes:
                        raise _too_large(url, max_bytes)
                return Fetched(
                    data=bytes(data),
                    content_type=media_type(response.headers.get("Content-Type")),
                    url=str(url),
                    filename=_filename(response.headers.get("Content-Disposition"), url),
                )

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the Fetcher is not open: use it in 'async with'")
        return self._session

    # -- the door

    def _check_literal(self, url: URL) -> None:
        """aiohttp does not ask the resolver about hosts that are addresses already."""
        host = url.raw_host or ""
        if (":" in host or host.replace(".", "").isdigit()) and (objection := self._rules.objection(host)):
            raise FetchError("fetch_forbidden", f"{host} is {objection}, which may not be fetched.")

    async def _permitted(self, host: str, port: int) -> list[str]:
        """The one lookup of a host, less the addresses we may not connect to."""
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise FetchError("fetch_failed", f"The name {host} could not be resolved.") from None
        objections = [self._rules.objection(address) for address in addresses]
        permitted = [address for address, objection in zip(addresses, objections, strict=True) if objection is None]
        if not objections:
            raise FetchError("fetch_failed", f"The name {host} has no address.")
        if not permitted:
            raise FetchError("fetch_forbidden", f"{host} leads to {objections[0]}, which may not be fetched.")
        return permitted

    def _open_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """The last door: whatever way a request came here, no socket is opened towards a forbidden address."""
        family, kind, protocol, _, where = address
        if self._rules.objection(str(where[0])) is not None:
            raise PermissionError(errno.EACCES, "forbidden address")
        return socket.socket(family, kind, protocol)

    @contextmanager
    def _explained(self, url: URL) -> Iterator[None]:
        """aiohttp's errors as ours. `from None`: their texts hold whole URLs."""
        where = _where(url)
        try:
            yield
        except aiohttp.ConnectionTimeoutError:
            raise FetchError("fetch_timeout", f"{where} could not be reached in time.") from None
        except aiohttp.SocketTimeoutError:
            raise FetchError("fetch_timeout", f"{where} sent nothing for {self._idle_seconds:g} seconds.") from None
        except aiohttp.ClientConnectorCertificateError:
            raise FetchError("fetch_failed", f"The TLS certificate of {where} could not be verified.") from None
        except aiohttp.ClientConnectorSSLError:
            raise FetchError("fetch_failed", f"{where} did not complete the TLS handshake.") from None
        except aiohttp.ClientConnectorError:
            raise FetchError("fetch_failed", f"{where} could not be connected to.") from None
        except aiohttp.ClientResponseError:
            raise FetchError("fetch_failed", f"{where} did not answer in valid HTTP.") from None
        except (aiohttp.ClientError, OSError):
            raise FetchError("fetch_failed", f"The connection to {where} broke off.") from None


class _CheckedResolver(AbstractResolver):
    """Hands aiohttp only addresses that were checked; aiohttp connects to these and never looks the name up itself."""

    def __init__(self, permitted: Callable[[str, int], Awaitable[list[str]]]) -> None:
        self._permitted = permitted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._permitted(host, port)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def media_type(header: str | None) -> str | None:
    """`Audio/Ogg; codecs=opus` → `audio/ogg`; None for what is no media type."""
    match = _MEDIA_TYPE.fullmatch(header or "")
    return match[1].lower() if match else None


def clean_filename(name: str) -> str | None:
    """A stranger's file name as one path component without control, bidi or invisible characters, or None."""
    last = name.replace("\\", "/").rpartition("/")[2]
    visible = "".join(char for char in last if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    visible = visible.strip(" .")
    if len(visible) > _MAX_FILENAME_CHARS:
        suffix = PurePosixPath(visible).suffix[:16]
        visible = visible[: _MAX_FILENAME_CHARS - len(suffix)] + suffix
    return visible or None


async def _getaddrinfo(host: str, port: int) -> list[str]:
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in infos]


def _parsed(url: str) -> URL:
    try:
        return parse_url(url)
    except ValueError as error:
        raise FetchError("fetch_bad_url", str(error)) from None


def _redirected(url: URL, location: str) -> URL:
    try:
        return parse_url(urljoin(str(url), location))
    except ValueError:
        raise FetchError("fetch_failed", f"{_where(url)} redirects to a URL that cannot be fetched.") from None


def _where(url: URL) -> str:
    """What errors call the other side."""
    return url.host_port_subcomponent or ""


def _too_large(url: URL, max_bytes: int) -> FetchError:
    return FetchError("fetch_too_large", f"The file at {_where(url)} is larger than {max_bytes} bytes.")


def _filename(disposition: str | None, url: URL) -> str | None:
    """RFC 6266: `filename*` (RFC 8187) before `filename`; without either, the last segment of the path."""
    message = Message()  # the standard library's reading of RFC 2231 parameters
    message["Content-Disposition"] = (disposition or "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    parameters = message.get_params([], header="Content-Disposition")
    names = [value for key, value in parameters if key.lower() == "filename"]
    for name in sorted(names, key=lambda value: isinstance(value, str)):  # filename* is a tuple
        if clean := clean_filename(collapse_rfc2231_value(name)):
            return clean
    return clean_filename(unquote(url.raw_path.rpartition("/")[2]))
