"""`wagateway doctor`: everything a bug report needs, and nothing that must stay secret: no key, no number, no name."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import socket
import ssl
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from gateway.cli.exits import FAILED, ConfigOption, read_settings
from gateway.cli.version import installed, verdict
from gateway.config import Settings
from gateway.log import redact
from gateway.store.database import StoreBroken
from gateway.store.glance import SQLITE_VERSION, glance
from gateway.times import iso

Level = Literal["ok", "warning", "error", "info"]
CONNECT_SECONDS = 4.0
WHATSAPP = (("web.whatsapp.com", 443), ("mmg.whatsapp.net", 443))
LOW_DISK, NO_DISK = 1 << 30, 100 << 20
DAY = 86_400.0
CREDENTIALS = (Path("/etc/credstore.encrypted/wagateway.master-key"), Path("/etc/credstore/wagateway.master-key"))
_MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  ", "info": "       "}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `error`: the daemon will not work; `warning`: it will, but somebody should know."""

    what: str
    level: Level
    text: str


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    offline: Annotated[bool, typer.Option(help="Do not try to reach WhatsApp.")] = False,
    config: ConfigOption = None,
) -> None:
    """Look at everything the gateway needs. The report can be shown to others: it holds no key and no number."""
    settings = read_settings(config)
    findings = examine(settings, offline=offline)
    if as_json:
        print(json.dumps({"ok": all(f.level != "error" for f in findings), "findings": [asdict(f) for f in findings]}))
    else:
        width = max(len(f.what) for f in findings)
        for f in findings:
            print(f"{_MARKS[f.level]}  {f.what:<{width}}  {f.text}")
    if any(f.level == "error" for f in findings):
        raise typer.Exit(FAILED)


def examine(settings: Settings, *, offline: bool = False) -> list[Finding]:
    """Each part by itself: one that fails unexpectedly is a finding, not an end."""
    parts: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("versions", _versions), ("system", _system), ("library", _library), ("state folder", lambda: _state(settings.state)),
        ("sealing", lambda: _sealing(settings.state)), ("master key", lambda: _master_key(settings)), ("audio", _audio),
        ("libmagic", _libmagic), ("daemon", lambda: _daemon(settings.state))]
    if not offline:
        parts.append(("egress", lambda: _egress(settings.whatsapp.proxy)))
    findings: list[Finding] = []
    for what, look in parts:
        try:
            findings += look()
        except Exception as error:
            findings.append(Finding(what, "error", f"could not be examined: {type(error).__name__}: {error}"))
    return [Finding(f.what, f.level, _shareable(f.text)) for f in findings]


def _shareable(text: str) -> str:
    """Without secrets, and without the user's name in paths."""
    return redact(text).replace(str(Path.home()), "~") if str(Path.home()) != "/" else redact(text)


# ------------------------------------------------------------------ what is installed


def _versions() -> list[Finding]:
    versions = installed(time.time())
    good, sentence = verdict(versions)
    return [Finding("wagateway", "info", f"{versions.wagateway}, Python {versions.python} ({sys.implementation.name})"),
            Finding("neonize", "info" if versions.neonize != "not installed" else "error",
                    f"{versions.neonize}, whatsmeow {versions.core or 'unknown'}, {versions.go or 'no Go'}"),
            Finding("core's age", "ok" if good else "warning", sentence)]


def _system() -> list[Finding]:
    names = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    found = [Finding("system", "info", f"{names.get('PRETTY_NAME', platform.system())}, kernel {platform.release()}, "
                     f"{platform.machine()}, {os.cpu_count()} cores, SQLite {SQLITE_VERSION}, "
                     f"{ssl.OPENSSL_VERSION.partition('  ')[0]}")]
    return [*found, _clock()]


def _clock() -> Finding:
    """It cannot be behind what lies on this disk, nor in the next century. Certificates and codes depend on it."""
    now = time.time()
    newest = max((path.stat().st_mtime for path in (Path(__file__), Path(os.__file__)) if path.exists()), default=0.0)
    if now < newest - DAY or time.gmtime(now).tm_year >= 2100:
        return Finding("clock", "error", f"it says {iso(now)}, which cannot be: certificates will not be valid")
    return Finding("clock", "ok", f"{iso(now)}, time zone {time.strftime('%z')}")


def _library() -> list[Finding]:
    from gateway.link.library import CoreUnavailable, installed_library

    try:
        path = installed_library()
    except CoreUnavailable as error:
        return [Finding("library", "error", str(error))]
    return [Finding("library", "ok", f"{path}, sha256 as its wheel recorded it")]


def _audio() -> list[Finding]:
    from gateway.audio.codecs import PYAV_VERSION, WANTED, can_encode, missing_decoders

    if not can_encode():
        return [Finding("audio", "error", f"PyAV {PYAV_VERSION} has no libopus encoder: no voice note can be made")]
    if missing := missing_decoders():
        return [Finding("audio", "warning", f"PyAV {PYAV_VERSION} cannot decode: {', '.join(missing)}")]
    return [Finding("audio", "ok", f"PyAV {PYAV_VERSION}, libopus, and decoders for {', '.join(WANTED)}")]


def _libmagic() -> list[Finding]:
    import importlib.util

    if importlib.util.find_spec("pylibmagic") is not None:
        return [Finding("libmagic", "ok", "from the package pylibmagic")]
    return [Finding("libmagic", "error", "pylibmagic is missing, which tells what a file is: install the gateway's dependencies")]


# ------------------------------------------------------------------ what is kept


def _state(state: Path) -> list[Finding]:
    if not state.exists():
        return [Finding("state folder", "info", f"{state} does not exist yet; the first start makes it"), *_disk(state)]
    if not state.is_dir():
        return [Finding("state folder", "error", f"{state} is a file, not a folder"), *_disk(state)]
    mode = stat.S_IMODE(state.stat().st_mode)
    found = [Finding("state folder", "warning" if mode & 0o077 else "ok", f"{state}, mode {mode:04o}"
                     + (": others can look into it; chmod 700" if mode & 0o077 else ""))]
    if not os.access(state, os.W_OK | os.X_OK):
        found = [Finding("state folder", "error", f"{state} cannot be written by this user")]
    database = state / "gateway.db"
    if database.exists():
        found.append(_database(database))
    return [*found, *_disk(state)]


def _database(path: Path) -> Finding:
    try:
        seen = glance(path)
    except StoreBroken as error:
        return Finding("database", "error", str(error))
    if seen.damage:
        return Finding("database", "error", f"it is damaged ({seen.damage}); restore a backup")
    told = ", ".join(f"{count} {status}" for status, count in seen.sessions.items()) or "none"
    return Finding("database", "ok", f"version {seen.version}, intact; sessions: {told}")


def _disk(state: Path) -> list[Finding]:
    place = next(p for p in (state, *state.parents) if p.exists())
    free, nodes = shutil.disk_usage(place).free, os.statvfs(place).f_favail
    level: Level = "error" if free < NO_DISK else "warning" if free < LOW_DISK else "ok"
    found = [Finding("disk", level, f"{free / (1 << 30):.1f} GiB free")]
    if nodes and nodes < 1000:
        found.append(Finding("disk", "warning", f"only {nodes} files can still be made"))
    return found


def _sealing(state: Path) -> list[Finding]:
    """The sealed store's own test, where the daemon would do it; in a temporary folder when that cannot be written."""
    from gateway.link.library import CoreUnavailable, installed_library
    from gateway.link.sealed_store import SealedStore, SealingUnavailable

    writable = state.is_dir() and os.access(state, os.W_OK)
    try:
        sealed = SealedStore.install(installed_library())
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=state if writable else None) as folder:
            sealed.self_test(Path(folder))
    except (CoreUnavailable, SealingUnavailable) as error:
        return [Finding("sealing", "error", str(error))]
    where = "in the state folder" if writable else "in a temporary folder"
    return [Finding("sealing", "ok", f"a sealed database was written and read {where}; nothing of it was readable on disk")]


def _master_key(settings: Settings) -> list[Finding]:
    """Where it comes from and who can read it; never what it is."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    own = settings.state / "master.key"
    if credentials and Path(credentials, "master-key").exists():
        return [Finding("master key", "ok", "from the service manager's credential master-key")]
    path = Path(settings.vault.master_key_file).expanduser() if settings.vault.master_key_file else own
    if not path.exists():
        if path == own and not (settings.state / "gateway.db").exists():
            return [Finding("master key", "info", "none yet; the first start makes one in the state folder")]
        if sealed := next((c for c in CREDENTIALS if c.exists()), None):
            return [Finding("master key", "ok", f"{sealed}, which systemd gives to the service alone")]
        return [Finding("master key", "warning", f"{path} does not exist; if the service manager gives it to the daemon as the "
                        "credential master-key, all is well")]
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return [Finding("master key", "error", f"{path} has mode {mode:04o}: others can read it, so the daemon refuses it; chmod 600")]
    beside = path.parent == settings.state
    return [Finding("master key", "ok", f"{path}, mode {mode:04o}" + (
        "; it lies beside what it seals: a copy of the whole folder can be read. A systemd credential is better" if beside else ""))]


def _daemon(state: Path) -> list[Finding]:
    try:
        noted = json.loads((state / "daemon.json").read_text())
        os.kill(int(noted["pid"]), 0)
    except PermissionError:
        pass
    except (OSError, ValueError, KeyError):
        return [Finding("daemon", "info", "does not run on this state folder")]
    return [Finding("daemon", "info", f"runs, version {noted['version']}")]


# ------------------------------------------------------------------ the way to WhatsApp


def _egress(proxy: str) -> list[Finding]:
    if proxy or any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy")):
        return [Finding("egress", "info", "goes through a proxy, which is not tried here")]
    return asyncio.run(_reach_all())


async def _reach_all() -> list[Finding]:
    return list(await asyncio.gather(*(_reach(host, port) for host, port in WHATSAPP)))


async def _reach(host: str, port: int) -> Finding:
    """TCP and TLS; nothing is asked."""
    what, started = f"egress {host}", time.perf_counter()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context())
            writer.close()
    except ssl.SSLCertVerificationError as error:
        return Finding(what, "error", f"something on the way answers with another certificate ({error.verify_message}), "
                       "or the clock is wrong")
    except socket.gaierror:
        return Finding(what, "warning", "its name cannot be resolved: no network, or no DNS")
    except (OSError, TimeoutError) as error:
        why = f"no answer within {CONNECT_SECONDS:g} s" if isinstance(error, TimeoutError) else error.strerror or str(error)
        return Finding(what, "warning", f"cannot be reached ({why}): no network, or a firewall")
    return Finding(what, "ok", f"reached in {(time.perf_counter() - started) * 1000:.0f} ms")
