"""How the commands reach the running daemon: over HTTP or its Unix socket, with an API key."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import aiohttp
import typer
from yarl import URL

from gateway.cli.exits import FAILED, REFUSED, UNREACHABLE, USAGE, leave, read_settings
from gateway.cli.hints import HINTS
from gateway.config import authority

T = TypeVar("T")

UrlOption = Annotated[str | None, typer.Option("--url", envvar="WAGATEWAY_URL", metavar="URL", help=(
    "The daemon: http://host:port or unix:/path. Default: the one running on this machine's state folder."))]
KeyOption = Annotated[str | None, typer.Option("--key", envvar="WAGATEWAY_API_KEY", metavar="KEY", help="API key.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Where:
    base: str
    socket: str | None
    key: str


def where(url: str | None, key: str | None, config: Path | None) -> Where:
    """Leaves with USAGE or UNREACHABLE."""
    if url is None:
        settings = read_settings(config)
        try:
            noted = json.loads((settings.state / "daemon.json").read_text())
            url = f"unix:{noted['socket']}" if noted["url"].startswith("unix:") else str(noted["url"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):      # none, or what a full disk left of it
            url = f"http://{authority(settings.server.host, settings.server.port)}"
    if not key:
        leave(USAGE, "an API key is needed: --key or $WAGATEWAY_API_KEY. Make one with: wagateway keys create NAME")
    if url.startswith("unix:"):
        return Where("http://localhost", url.removeprefix("unix:"), key)
    if not url.startswith(("http://", "https://")):
        leave(USAGE, f"--url must begin with http://, https:// or unix:, not {url!r}")
    try:
        whole = bool(URL(url).host)
    except ValueError:
        whole = False
    if not whole:
        leave(USAGE, f"--url is no address: {url!r}; http://127.0.0.1:8080 is one")
    return Where(url.rstrip("/"), None, key)


class Daemon:
    """The running daemon's API. An error answer leaves the program with its sentence."""

    def __init__(self, http: aiohttp.ClientSession, at: Where) -> None:
        self._http, self._at = http, at

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The JSON of the answer."""
        return json.loads(await self.raw(method, path, body, **more) or b"null")

    async def raw(self, method: str, path: str, body: Any = None, **more: Any) -> bytes:
        if body is not None:
            more["json"] = body
        try:
            async with self._http.request(method, self._at.base + path, **more) as response:
                answer = await response.read()
                if response.status >= 400:
                    leave(REFUSED, _sentence(answer, response.status))
                return answer
        except (aiohttp.ClientConnectionError, OSError) as error:
            raise _unreachable(self._at, error) from None

    async def save(self, method: str, path: str, target: Path) -> Mapping[str, str]:
        """The answer's body into a new file, mode 0600, that appears whole or not at all. Its headers; X-Content-SHA256 is
        compared with what was written."""
        draft = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
        digest = hashlib.sha256()
        try:
            async with self._http.request(method, self._at.base + path, timeout=aiohttp.ClientTimeout(total=None)) as response:
                if response.status >= 400:
                    leave(REFUSED, _sentence(await response.read(), response.status))
                with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                    async for chunk in response.content.iter_chunked(1 << 20):
                        digest.update(chunk)
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                if digest.hexdigest() != response.headers.get("X-Content-SHA256", digest.hexdigest()):
                    leave(FAILED, "what arrived is not what the daemon sent; nothing was kept")
                draft.replace(target)
                return response.headers
        except (aiohttp.ClientConnectionError, ConnectionError) as error:
            raise _unreachable(self._at, error) from None
        except aiohttp.ClientPayloadError:
            leave(FAILED, "the daemon broke off; nothing was kept")
        except OSError as error:
            leave(FAILED, f"{target} cannot be written: {error.strerror or error}")
        finally:
            draft.unlink(missing_ok=True)

    async def events(self, path: str, after: str | None = None) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
        """(id, type, data), coming back after a break with the last id; ends with a `bye` that is final. A daemon that has never
        answered is unreachable; one that did is waited for, and that is said."""
        last, answered, said = after, False, False
        while True:
            headers = {"Last-Event-ID": last} if last is not None else {}
            try:
                async with self._http.get(self._at.base + path, headers=headers,
                                          timeout=aiohttp.ClientTimeout(total=None, sock_read=60)) as response:
                    if response.status >= 400 and not (answered and response.status >= 500):
                        leave(REFUSED, _sentence(await response.read(), response.status))
                    answered, said = True, said and response.status >= 500
                    async for id_, event, data in frames(response.content):
                        if event == "bye":
                            if data["code"] == "caught_up":
                                return
                            break
                        last = id_ or last
                        yield id_, event, data
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
                if not answered:
                    raise _unreachable(self._at, error) from None
            if not said:
                print("wagateway: the daemon ended the stream; waiting for it …", file=sys.stderr)
                said = True
            await asyncio.sleep(1)


def _sentence(answer: bytes, status: int) -> str:
    try:
        error = json.loads(answer)["error"]
    except (ValueError, KeyError, TypeError):
        return f"the daemon answers {status}"
    hint = HINTS.get(error["code"], (error.get("details") or {}).get("hint"))
    return f"{error['message']}{' ' + hint if hint else ''} ({error['code']})"


def _unreachable(at: Where, error: Exception) -> typer.Exit:
    try:
        leave(UNREACHABLE, f"no daemon answers at {at.socket or at.base}: {_why(error)}. Is it running? "
                           "Start it with: wagateway serve")
    except typer.Exit as gone:
        return gone


def _why(error: Exception) -> str:
    """`Connection refused`; asyncio and aiohttp wrap that into how they got there."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    number = getattr(cause, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return getattr(cause, "strerror", None) or str(error) or type(error).__name__


async def frames(content: aiohttp.StreamReader) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    """(id, event, data) of an event stream."""
    id_ = event = data = ""
    async for line in content:
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            id_ = value
        elif name == "event":
            event = value
        elif name == "data":
            data += value
        elif not name and not value and data:
            yield id_, event, json.loads(data)
            event = data = ""


@asynccontextmanager
async def _daemon(at: Where) -> AsyncIterator[Daemon]:
    connector = aiohttp.UnixConnector(at.socket) if at.socket else aiohttp.TCPConnector()
    async with aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {at.key}"},
                                     timeout=aiohttp.ClientTimeout(total=120), read_bufsize=1 << 20) as http:
        yield Daemon(http, at)


def run(at: Where, work: Any) -> Any:
    """`work(daemon)` to its end. Ctrl+C leaves with 130."""
    async def main() -> Any:
        async with _daemon(at) as daemon:
            coroutine: Coroutine[Any, Any, Any] = work(daemon)
            return await coroutine

    try:
        return asyncio.run(main())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def show_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))
