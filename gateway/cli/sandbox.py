"""`wagateway sandbox`: a WhatsApp on this machine, and the daemon linked to it. Nothing leaves loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from rich.console import Console
from rich.markup import escape

from gateway.audio.drawing import draw
from gateway.cli.client import frames
from gateway.cli.exits import FAILED, ConfigOption, leave
from gateway.cli.link import drawn
from gateway.link.library import python_path

OWNER, FRIEND = "15550001111", "15550002222"
START_SECONDS = 60.0


def add_to(app: typer.Typer) -> None:
    app.command("sandbox")(sandbox)


class StoryFailed(Exception):
    """One sentence: what did not happen."""


def sandbox(
    once: Annotated[Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help=(
        "Run the whole story with this audio file and exit: link, send it as a voice note, show what arrived."))] = None,
    auto_scan: Annotated[bool, typer.Option(help="Scan every QR code that is shown with the virtual phone.")] = False,
    state: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Keep the state here, not in a temporary folder.")] = None,
    port: Annotated[int, typer.Option(help="Port of the API; 0 picks a free one.")] = 8080,
    save: Annotated[Path | None, typer.Option(metavar="FILE.ogg", help="With --once: where the received voice note goes "
                                              "(default: received.ogg here).")] = None,
    config: ConfigOption = None,
) -> None:
    """Try everything with no phone: a WhatsApp server on loopback, and the real daemon linked to it."""
    story = _once(once, save or Path("received.ogg"), config) if once else _stay(auto_scan, state, port, config)
    try:
        asyncio.run(story)
    except StoryFailed as error:
        leave(FAILED, str(error))
    except TimeoutError:
        leave(FAILED, "the story did not go on in time; on a busy machine it may need another try")
    except OSError as error:
        leave(FAILED, f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except aiohttp.ClientError as error:
        leave(FAILED, f"the daemon or the sandbox broke off: {error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(0) from None


# ------------------------------------------------------------------ a daemon of our own


@dataclass(frozen=True, slots=True)
class Daemon:
    url: str
    key: str
    process: asyncio.subprocess.Process


@asynccontextmanager
async def running_daemon(state: Path, environment: dict[str, str], *, port: int, config: Path | None,
                         log: Path) -> AsyncIterator[Daemon]:
    """The real daemon in a process of its own, with an admin key. Raises StoryFailed."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    env = {**os.environ, **environment, "WAGATEWAY_STATE_DIR": str(state), "WAGATEWAY_SERVER_PORT": str(port),
           "WAGATEWAY_PACING_MESSAGES_PER_HOUR": "0", "WAGATEWAY_PACING_MIN_GAP_SECONDS": "0",
           "WAGATEWAY_FETCH_ALLOW_NETWORKS": "127.0.0.0/8", "NEONIZE_BOT_TAG": "off"}
    env["PYTHONPATH"] = python_path(env)
    options = ["--config", str(config)] if config else []
    program = (sys.executable, "-P", "-m", "gateway")
    made = await asyncio.create_subprocess_exec(*program, "keys", "create", "sandbox", "--scope", "admin", *options, env=env,
                                                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await made.communicate()
    if made.returncode:
        raise StoryFailed(f"no API key could be made: {err.decode(errors='replace').strip()}")
    with log.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(*program, "serve", *options, env=env, stdout=sink,
                                                       stderr=sink, start_new_session=True)
    try:
        yield Daemon(await _url_of(state, process, log), out.decode().split()[-1], process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30):
                    await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _url_of(state: Path, process: asyncio.subprocess.Process, log: Path) -> str:
    file = state / "daemon.json"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            while process.returncode is None:
                with contextlib.suppress(OSError, ValueError):
                    noted = json.loads(file.read_text())
                    if noted["pid"] == process.pid:
                        return str(noted["url"])
                await asyncio.sleep(0.05)
    tail = log.read_text(errors="replace").strip().splitlines()[-5:]
    raise StoryFailed("the daemon did not start:\n  " + "\n  ".join(tail))


@asynccontextmanager
async def _world(state: Path | None, port: int, config: Path | None) -> AsyncIterator[tuple[Any, Daemon]]:
    from gateway.sandbox.server import Sandbox

    with tempfile.TemporaryDirectory(prefix="wagateway-sandbox-") as folder:
        base = Path(folder)
        async with Sandbox(base / "whatsapp") as whatsapp:
            log = (state or base) / "daemon.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            async with running_daemon(state or base / "state", whatsapp.environment(), port=port, config=config,
                                      log=log) as daemon:
                yield whatsapp, daemon


async def _ask(http: aiohttp.ClientSession, method: str, url: str, what: str, **more: Any) -> Any:
    async with http.request(method, url, **more) as response:
        body = await response.json(content_type=None)
        if response.status >= 400:
            error = body.get("error", body) if isinstance(body, dict) else body
            sentence = error.get("message", error) if isinstance(error, dict) else body.get("message", error)
            raise StoryFailed(f"{what}: {sentence}")
        return body


async def events(http: aiohttp.ClientSession, url: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """(event, data) of a stream."""
    async with http.get(url, timeout=aiohttp.ClientTimeout(total=None)) as response:
        if response.status != 200:
            raise StoryFailed(f"the event stream answers {response.status}")
        async for _, event, data in frames(response.content):
            yield event, data


# ------------------------------------------------------------------ --once


async def _once(file: Path, save: Path, config: Path | None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print("[bold]wagateway sandbox[/]: a WhatsApp on this machine, the real daemon, no phone")
    async with _world(None, 0, config) as (whatsapp, daemon), aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {daemon.key}"}) as http, aiohttp.ClientSession() as control:
        _step(console, f"daemon and sandbox run, API at {daemon.url}")
        async with asyncio.timeout(90):
            await _story(console, http, control, whatsapp.control_url, daemon.url, file, save)


def _step(console: Console, text: str) -> None:
    console.print(f"[green]✓[/] {escape(text)}")


async def _story(console: Console, http: aiohttp.ClientSession, control: aiohttp.ClientSession, whatsapp: str, api: str,
                 file: Path, save: Path) -> None:
    await _ask(control, "POST", f"{whatsapp}/phones", "the virtual phone", json={"number": OWNER, "name": "Sandbox Owner"})
    await _ask(control, "POST", f"{whatsapp}/contacts", "the contact",
               json={"number": FRIEND, "name": "Friend", "deliver": 0.2, "read": 0.3, "play": 0.4})
    session = await _ask(http, "POST", f"{api}/api/v1/sessions", "making a session", json={"session_key": "sandbox"})
    loop = asyncio.get_running_loop()
    scanned = 0.0
    async for event, data in events(http, f"{api}/api/v1/sessions/{session['id']}/stream"):
        if event == "qr" and not scanned:
            _show_qr(console, data["code"])
            _step(console, "QR code shown over SSE; the virtual phone scans it")
            scanned = loop.time()
            await _ask(control, "POST", f"{whatsapp}/scan", "the scan", json={"qr": data["code"], "phone": OWNER})
        elif event == "connected":
            _step(console, f"connected as {data['phone_number']}, {loop.time() - scanned:.2f} s after the scan")
            break
        elif event == "error":
            raise StoryFailed(f"the session did not link: {data['message']}")
    form = aiohttp.FormData()
    form.add_field("to", f"+{FRIEND}")
    form.add_field("file", file.read_bytes(), filename=file.name)
    sent = await _ask(http, "POST", f"{api}/api/v1/messages/audio", "the voice note", data=form)
    _step(console, f"{file.name} accepted as a voice note: message {sent['id']}")
    statuses = ["pending"]
    async with asyncio.timeout(40):
        while statuses[-1] != "played":
            message = await _ask(http, "GET", f"{api}/api/v1/messages/{sent['id']}", "the message")
            if message["status"] != statuses[-1]:
                statuses.append(message["status"])
            if message["status"] == "failed":
                raise StoryFailed(f"the message failed: {message['error']['message']}")
            await asyncio.sleep(0.05)
    records = await _ask(control, "GET", f"{whatsapp}/messages?to={FRIEND}&decrypted=1&wait=10", "what arrived")
    record = next((r for r in (records if isinstance(records, list) else records["messages"]) if r["kind"] == "voice"), None)
    if record is None:
        raise StoryFailed("the contact's phone decrypted no voice note")
    async with control.get(f"{whatsapp}/messages/{record['id']}/media") as response:
        ogg = await response.read()
    _report(console, sent, record, ogg, statuses)
    save.write_bytes(ogg)
    _step(console, f"the received voice note is in {save} ({len(ogg)} bytes)")


def _show_qr(console: Console, code: str) -> None:
    if console.is_terminal:
        console.file.write(drawn(code))


def _report(console: Console, sent: dict[str, Any], record: dict[str, Any], ogg: bytes, statuses: list[str]) -> None:
    digest = hashlib.sha256(ogg).hexdigest()
    same = digest == record["sha256"] and len(ogg) == sent["size"] and record["waveform"] == sent["waveform"]
    _step(console, f"{' → '.join(statuses)}")
    _step(console, f"the contact's phone decrypted: {record['mimetype']}, {record['seconds']} s, PTT {record['ptt']}, "
                   f"{record['size']} bytes, sha256 {digest[:16]}…")
    console.print(draw(bytes(record["waveform"])))
    if not same or not record["ptt"] or record["bot_node"]:
        raise StoryFailed("what arrived is not what was sent")
    _step(console, "bytes, waveform and length are those the gateway sent")


# ------------------------------------------------------------------ staying


async def _stay(auto_scan: bool, state: Path | None, port: int, config: Path | None) -> None:
    console = Console(highlight=False)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _world(state, port, config) as (whatsapp, daemon), aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {daemon.key}"}) as http, aiohttp.ClientSession() as control:
        await _ask(control, "POST", f"{whatsapp.control_url}/phones", "the virtual phone",
                   json={"number": OWNER, "name": "Sandbox Owner"})
        hint = "Codes are scanned by themselves." if auto_scan else "With --auto-scan codes are scanned by themselves."
        console.print(f"""[bold]wagateway sandbox[/] is running. Nothing leaves this machine.

  Console and API   {daemon.url}
  API key           {daemon.key}
  Virtual WhatsApp  {whatsapp.control_url}   (its control API: docs/sandbox.md)

Link a session, then scan its code with the virtual phone +{OWNER}:

  export URL={daemon.url} WHATSAPP={whatsapp.control_url}
  export KEY={daemon.key}
  curl $URL/api/v1/sessions -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{{"session_key": "first"}}'
  curl $URL/api/v1/sessions/first/qr -H "Authorization: Bearer $KEY"
  curl $WHATSAPP/scan -d '{{"phone": "{OWNER}", "qr": "THE code FIELD"}}'

Or: wagateway link first --url $URL --key $KEY

{hint} Ctrl+C ends it.""",
                      soft_wrap=True)
        scanning = asyncio.create_task(_scan_all(console, http, control, whatsapp.control_url, daemon.url)) if auto_scan else None
        ended = asyncio.create_task(daemon.process.wait())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([t for t in (scanning, ended, stopping) if t], return_when=asyncio.FIRST_COMPLETED)
        if scanning is not None:
            scanning.cancel()
        stopping.cancel()
        if ended.done():
            raise StoryFailed(f"the daemon ended with code {daemon.process.returncode}")
        ended.cancel()


async def _scan_all(console: Console, http: aiohttp.ClientSession, control: aiohttp.ClientSession, whatsapp: str,
                    api: str) -> None:
    """Every session gets a phone of its own, the first one the owner's."""
    phones: dict[str, str] = {}
    async for event, data in events(http, f"{api}/api/v1/events?types=qr,connected"):
        session = data["session"]
        if event == "qr":
            phone = phones.setdefault(session, str(int(OWNER) + len(phones)))
            await _ask(control, "POST", f"{whatsapp}/phones", "the virtual phone", json={"number": phone})
            try:
                await _ask(control, "POST", f"{whatsapp}/scan", "the scan", json={"qr": data["code"], "phone": phone})
            except StoryFailed as error:
                console.print(f"  not scanned: {error}")
        else:
            console.print(f"  session {session} connected as {data['phone_number']}")
