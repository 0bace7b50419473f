"""`wagateway link`: the QR or pairing code in the terminal, replaced as it changes, until connected."""

from __future__ import annotations

import asyncio
import io
import re
import shutil
import sys
import time
from typing import Annotated, Any

import segno
import typer

from gateway.cli.client import Daemon, JsonOption, KeyOption, UrlOption, run, show_json, where
from gateway.cli.exits import FAILED, TIMED_OUT, ConfigOption, leave
from gateway.times import parse_iso

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def link(
    name: Annotated[str, typer.Argument(help="The session's key: made if it is not there, linked anew if it is not linked.")] = "main",
    code: Annotated[str | None, typer.Option("--code", metavar="+NUMBER", help="Show a pairing code for this phone number instead "
                                             "of a QR code.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the phone.")] = 300.0,
    url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False, config: ConfigOption = None,
) -> None:
    """Link a phone: scan the code under WhatsApp > Settings > Linked devices."""
    run(where(url, key, config), lambda daemon: _link(daemon, name, code, timeout, as_json))


async def _link(daemon: Daemon, name: str, phone: str | None, timeout: float, as_json: bool) -> None:
    session = await _session(daemon, name, phone)
    screen = _Screen(quiet=as_json)
    try:
        async with asyncio.timeout(timeout):
            async for _, event, data in daemon.events(f"/api/v1/sessions/{session['id']}/stream"):
                if event == "qr" and phone is None:
                    screen.show(drawn(data["code"]), f"Scan this with the phone ({_left(data)} s left).", data["code"])
                elif event == "pairing_code":
                    screen.show(f"\n    {data['code']}\n", "Type this on the phone: Linked devices > Link with phone number "
                                f"({_left(data)} s left).", data["code"])
                elif event == "connected":
                    screen.clear()
                    if as_json:
                        show_json({"session": session["id"], **{k: data[k] for k in ("phone_number", "jid", "push_name")}})
                    else:
                        print(f"connected as {data['phone_number']}{' (' + data['push_name'] + ')' if data['push_name'] else ''}, "
                              f"session '{name}'")
                    return
                elif event == "error":
                    screen.clear()
                    leave(FAILED, f"{data['message']} ({data['code']})")
                elif event == "status" and data.get("detail"):
                    screen.note(data["detail"])
    except TimeoutError:
        screen.clear()
        leave(TIMED_OUT, f"nobody linked '{name}' within {timeout:g} s")


async def _session(daemon: Daemon, name: str, phone: str | None) -> Any:
    known = await daemon.ask("GET", "/api/v1/sessions?limit=1000")
    session = next((s for s in known["sessions"] if name in (s["session_key"], s["id"])), None)
    extra = {"pairing_phone": phone} if phone else {}
    if session is None:
        return await daemon.ask("POST", "/api/v1/sessions", {"session_key": name, **extra})
    if session["status"] in ("connected", "banned") or (session["status"] == "disconnected" and session["action"] != "connect"):
        return session
    if session["reason"] == "stopped" and session["jid"]:
        return await daemon.ask("POST", f"/api/v1/sessions/{session['id']}/connect", {})
    if session["status"] == "pending" and not phone:
        return session
    return await daemon.ask("POST", f"/api/v1/sessions/{session['id']}/relink", extra)


def drawn(code: str) -> str:
    """A QR code of half blocks: light ones on dark, whatever the terminal's own colours are."""
    out = io.StringIO()
    segno.make_qr(code, error="l").terminal(out=out, border=2, compact=True)
    return "".join(f"\x1b[38;5;231;48;5;16m{line}\x1b[0m\n" for line in out.getvalue().splitlines())


def _left(data: dict[str, Any]) -> int:
    return max(0, round(parse_iso(data["expires_at"]) - time.time()))


def _too_small(picture: str) -> str:
    """What to say below a picture that does not fit."""
    here, lines = shutil.get_terminal_size(), picture.splitlines()
    columns, rows = max(len(_COLOURS.sub("", line)) for line in lines), len(lines) + 3
    if here.columns >= columns and here.lines >= rows:
        return ""
    return f"It needs a window of {columns} x {rows}; this one has {here.columns} x {here.lines}. Or use: --code +NUMBER\n"


class _Screen:
    """In a terminal a new code takes the place of the old one; in a pipe every code is a line."""

    def __init__(self, quiet: bool) -> None:
        self._terminal = sys.stdout.isatty() and not quiet
        self._quiet = quiet
        self._lines = 0

    def show(self, picture: str, caption: str, code: str) -> None:
        if self._terminal:
            self.clear()
            text = f"{picture}{caption}\n{_too_small(picture)}"
            self._lines = text.count("\n")
            sys.stdout.write(text)
            sys.stdout.flush()
        elif not self._quiet:
            print(code, flush=True)

    def note(self, text: str) -> None:
        if self._terminal:
            self.clear()
            self._lines = 1
            print(text, flush=True)

    def clear(self) -> None:
        if self._terminal and self._lines:
            sys.stdout.write(f"\x1b[{self._lines}A\x1b[J")
            self._lines = 0
