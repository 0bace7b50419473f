"""`wagateway send`: a text, a voice note or a file, and what becomes of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer

from gateway.cli.client import Daemon, JsonOption, KeyOption, UrlOption, run, show_json, where
from gateway.cli.exits import FAILED, TIMED_OUT, USAGE, ConfigOption, leave
from gateway.media.sniff import sniff

ORDER = ("pending", "sent", "delivered", "read", "played")
KINDS = ("text", "voice", "audio", "image", "video", "document")


def send(
    to: Annotated[str, typer.Argument(help="A phone number (+49…) or a JID.")],
    what: Annotated[str, typer.Argument(help="A file, or the text. Sound becomes a voice note.")],
    kind: Annotated[str | None, typer.Option("--as", help=f"One of {', '.join(KINDS)}; default: by the content.")] = None,
    session: Annotated[str | None, typer.Option(help="Which session sends, where several could.")] = None,
    caption: Annotated[str, typer.Option(help="Under an image, a video or a document.")] = "",
    wait: Annotated[str, typer.Option(help="Wait until it is: none, sent, delivered, read or played.")] = "sent",
    timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 120.0,
    url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False, config: ConfigOption = None,
) -> None:
    """Send a message and follow it."""
    if wait not in (*ORDER, "none"):
        leave(USAGE, "--wait is one of none, sent, delivered, read, played")
    if kind is not None and kind not in KINDS:
        leave(USAGE, f"--as is one of {', '.join(KINDS)}")
    file = _file(what) if kind != "text" else None
    if file is None and kind not in (None, "text"):
        leave(USAGE, f"there is no file {what!r}")
    run(where(url, key, config), lambda daemon: _send(daemon, to, what, file, kind, session, caption, wait, timeout, as_json))


def _file(what: str) -> Path | None:
    try:
        path = Path(what).expanduser()
        return path if path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None                     # a text that could not be a name


async def _send(daemon: Daemon, to: str, what: str, file: Path | None, kind: str | None, session: str | None, caption: str,
                wait: str, timeout: float, as_json: bool) -> None:
    message = await _accept(daemon, to, what, file, kind, session, caption)
    line = _Line(quiet=as_json)
    line.show(message)
    try:
        async with asyncio.timeout(timeout):
            message = await _follow(daemon, message, wait, line)
    except TimeoutError:
        line.end()
        leave(TIMED_OUT, f"message {message['id']} is not {wait} after {timeout:g} s; it goes on: wagateway messages {message['id']}")
    line.end()
    if as_json:
        show_json(message)
    if message["status"] == "failed":
        may = " It may have been delivered all the same." if message["may_have_been_delivered"] else ""
        leave(FAILED, f"{message['error']['message']} ({message['error']['code']}){may}")


async def _accept(daemon: Daemon, to: str, what: str, file: Path | None, kind: str | None, session: str | None,
                  caption: str) -> Any:
    chosen = {"session": session} if session else {}
    if file is None:
        return await daemon.ask("POST", "/api/v1/messages", {"to": to, "message": what, **chosen})
    try:
        data = file.read_bytes()
    except OSError as error:
        leave(FAILED, f"cannot read {file}: {error.strerror}")
    found = sniff(data).kind
    # MP4 and WebM hold sound or pictures; only --as tells what is meant, and a video is shown as one.
    kind = kind or {"audio": "voice"}.get(found, found)
    form = aiohttp.FormData()
    for name, value in {"to": to, **chosen}.items():
        form.add_field(name, value)
    form.add_field("file", data, filename=file.name)
    if kind in ("voice", "audio"):
        form.add_field("ptt", "true" if kind == "voice" else "false")
        return await daemon.ask("POST", "/api/v1/messages/audio", data=form)
    form.add_field("mediaType", kind)
    form.add_field("caption", caption)
    return await daemon.ask("POST", "/api/v1/messages/media", data=form)


async def _follow(daemon: Daemon, message: Any, wait: str, line: _Line) -> Any:
    while wait != "none" and message["status"] != "failed" and ORDER.index(message["status"]) < ORDER.index(wait):
        await asyncio.sleep(0.2)
        message = await daemon.ask("GET", f"/api/v1/messages/{message['id']}")
        line.show(message)
    return message


class _Line:
    """One line that grows: `message 1b2c… pending → sent → delivered`."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._seen = quiet, ""

    def show(self, message: Any) -> None:
        status = message["status"]
        if self._quiet or status == self._seen:
            return
        sys.stdout.write(f"message {message['id']}: {status}" if not self._seen else f" → {status}")
        sys.stdout.flush()
        self._seen = status

    def end(self) -> None:
        if self._seen:
            print()
