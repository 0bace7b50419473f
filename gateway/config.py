"""Settings: a frozen value read from TOML, each option overridable by `WAGATEWAY_<SECTION>_<KEY>`.

The dataclasses below are also the manual: `config.example.toml` is written from them (`example()`), every option
commented out at its default with its reason. Units are in the names. An unknown key is refused with the known ones
listed; a placeholder left in place is refused by name.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import json
import os
import re
import textwrap
import tomllib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError

ENVIRONMENT_PREFIX = "WAGATEWAY_"
_NOT_SETTINGS = {"WAGATEWAY_CONFIG", "WAGATEWAY_URL", "WAGATEWAY_API_KEY", "WAGATEWAY_REEXECUTED"}
_MOST = 10**15                  # of any number: what is larger is a mistake, and no time or size
# With 0 nothing would work or be kept; elsewhere the example says what 0 means.
_NOT_ZERO = {"fetch.total_seconds", "fetch.idle_seconds", "audio.max_seconds", "audio.max_bytes", "media.image_max_bytes",
             "media.video_max_bytes", "media.document_max_bytes", "retention.journal_days", "retention.messages_days",
             "backup.every_hours"}
_PLACEHOLDERS = ("CHANGE_ME", "CHANGEME", "YOUR_", "<", "example.invalid")


def option(default: Any, why: str) -> Any:
    """A setting with its default and the sentence that explains it in the example file."""
    if isinstance(default, list | tuple | dict):
        return field(default_factory=lambda: type(default)(default), metadata={"why": why})
    return field(default=default, metadata={"why": why})


@dataclass(frozen=True)
class Server:
    host: str = option("127.0.0.1", "Where the API listens. Loopback: put a TLS proxy in front before opening it wider.")
    port: int = option(8080, "TCP port; 0 picks a free one (it is logged).")
    unix_socket: str = option("", "Also listen on this Unix socket; empty: none.")
    unix_socket_mode: str = option("0660", "Its file mode, in octal; the group is the daemon's.")
    console: bool = option(True, "Serve the console page at '/'.")
    cors_origins: tuple[str, ...] = option((), "Origins of web pages that may call the API; empty: none.")
    heartbeat_seconds: float = option(15.0, "An event stream says something at least this often, so that proxies keep it open.")
    stop_seconds: float = option(20.0, "Time for requests, streams and links to end at a stop.")
    connections: int = option(10_000, "Connections held at once, and at most half of the descriptors the process may open. Beyond, the one that keeps us waiting longest makes room.")
    request_seconds: float = option(30.0, "A client has this long to send a request's headers, may be silent this long within a body, and leave an answer untaken this long.")
    streams_per_key: int = option(1000, "Event streams that one API key may hold open at once, with those that share its sessions. 0: no limit.")
    public_url: str = option("", "Where others reach the gateway, as https://wa.example.com, for links in what it tells. Empty: host and port.")
    metrics: str = option("loopback", "Who may read /metrics: 'loopback' (no key, loopback only), 'admin' (an admin key) or 'off'.")


@dataclass(frozen=True)
class VaultSettings:
    master_key_file: str = option("", "The master key (32 bytes, hex or base64), readable by the daemon only. Empty: the systemd "
                                  "credential 'master-key', else STATE_DIR/master.key, made at the first start.")


@dataclass(frozen=True)
class WhatsApp:
    proxy: str = option("", "http:// or socks5:// proxy for everything WhatsApp; empty: direct.")
    device_name: str = option("wagateway", "What the phone shows under Linked devices.")
    accept_stale_restore: bool = option(False, "Open session keys that are older than the ones last used (after restoring a backup). "
                                        "Chats may show undecryptable messages; linking again is better.")


@dataclass(frozen=True)
class Pacing:
    messages_per_hour: int = option(40, "Per session; WhatsApp restricts accounts that send more than 30 to 50 an hour. 0: no limit.")
    min_gap_seconds: float = option(2.0, "Least time between two messages of one session; up to half as much again is added at random.")
    recording_presence: bool = option(True, "Show 'recording audio…' or 'typing…' for a moment before a message leaves.")
    quiet_hours: str = option("", "Local times between which nothing is sent, as '22:00-07:00'; empty: none.")


@dataclass(frozen=True)
class Sending:
    unconfirmed: str = option("fail", "What becomes of a send that was cut off and of which no receipt arrives: 'fail' (told as "
                              "may_have_been_delivered) or 'resend' (the recipient may get it twice).")
    settle_seconds: float = option(60.0, "How long receipts are awaited before that.")
    no_ack_seconds: float = option(15.0, "A send without WhatsApp's acknowledgement for this long is told as a warning.")
    not_delivered_seconds: float = option(3600.0, "A sent message not delivered for this long is told as a warning. 0: never.")
    expire_hours: float = option(24.0, "A message that could not be sent for this long fails as 'expired'. 0: never.")
    check_numbers: bool = option(True, "Ask WhatsApp whether a number exists before a new chat is opened.")


@dataclass(frozen=True)
class Fetch:
    allow_networks: tuple[str, ...] = option((), "Networks (CIDR) that media URLs and webhooks may reach although they are private; "
                                             "empty: public addresses only.")
    total_seconds: float = option(60.0, "Longest time for one download.")
    idle_seconds: float = option(15.0, "Longest silence within one.")


@dataclass(frozen=True)
class Audio:
    profile: str = option("native", "Voice notes' encoder profile: native (16 kHz, as phones record), plain16 or music (48 kHz).")
    max_seconds: float = option(1800.0, "Longest audio.")
    max_bytes: int = option(16 * 1024 * 1024, "Largest audio file taken.")


@dataclass(frozen=True)
class Media:
    image_max_bytes: int = option(16 * 1024 * 1024, "Largest image taken.")
    video_max_bytes: int = option(64 * 1024 * 1024, "Largest video taken.")
    document_max_bytes: int = option(64 * 1024 * 1024, "Largest document taken.")
    retention_hours: float = option(168.0, "How long a downloaded inbound file stays in the store, sealed. 0: it is not kept.")


@dataclass(frozen=True)
class Retention:
    journal_days: float = option(30.0, "How long events can be replayed.")
    messages_days: float = option(90.0, "How long messages can be listed. Their bodies are sealed.")
    idempotency_hours: float = option(48.0, "How long an Idempotency-Key is remembered (at least 24).")


@dataclass(frozen=True)
class Dialects:
    enabled: tuple[str, ...] = option(("svara", "sendapi", "wawp", "waha", "evolution", "wuzapi", "gowa"), "Which other APIs are spoken.")
    root: str = option("svara", "Which of svara and sendapi also answers at /v1; empty: none.")


@dataclass(frozen=True)
class Backup:
    directory: str = option("", "Where scheduled backups go; empty: none are made.")
    every_hours: float = option(24.0, "How often.")
    keep: int = option(7, "How many are kept. 0: all.")


@dataclass(frozen=True)
class Log:
    level: str = option("info", "debug, info, warning or error.")
    format: str = option("auto", "'console', 'json', 'journald' (plain lines with priorities), or 'auto' by where the output goes.")


@dataclass(frozen=True)
class Plan:
    """What a key of this plan may do; 0: no limit."""

    sessions: int = option(0, "Sessions of one key.")
    messages_per_day: int = option(0, "Messages accepted within 24 hours.")
    messages_per_month: int = option(0, "Messages accepted within a calendar month.")
    requests_per_minute: int = option(0, "API requests.")


DEFAULT_PLANS: dict[str, Plan] = {
    "free": Plan(sessions=10, messages_per_day=100, requests_per_minute=60),
    "pro": Plan(sessions=0, messages_per_day=10_000, requests_per_minute=600),
    "unlimited": Plan(),
}


@dataclass(frozen=True)
class Settings:
    state_dir: str = option("", "Where everything is kept. Empty: $STATE_DIRECTORY (systemd), else ~/.local/state/wagateway.")
    server: Server = field(default_factory=Server)
    vault: VaultSettings = field(default_factory=VaultSettings)
    whatsapp: WhatsApp = field(default_factory=WhatsApp)
    pacing: Pacing = field(default_factory=Pacing)
    sending: Sending = field(default_factory=Sending)
    fetch: Fetch = field(default_factory=Fetch)
    audio: Audio = field(default_factory=Audio)
    media: Media = field(default_factory=Media)
    retention: Retention = field(default_factory=Retention)
    dialects: Dialects = field(default_factory=Dialects)
    backup: Backup = field(default_factory=Backup)
    log: Log = field(default_factory=Log)
    plans: Mapping[str, Plan] = field(default_factory=lambda: dict(DEFAULT_PLANS))

    @property
    def state(self) -> Path:
        """The state folder, as an absolute path."""
        text = self.state_dir or os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        return Path(text).expanduser().absolute() if text else Path.home() / ".local/state/wagateway"


# ------------------------------------------------------------------ reading


def authority(host: str, port: int) -> str:
    """As a URL has it (RFC 3986, 3.2): an IPv6 address stands in brackets, whether it was given with them or not."""
    host = host.strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def load(file: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings of a TOML file (or the defaults) with the environment's overrides. Raises ConfigError."""
    tree: dict[str, Any] = {}
    if file is not None:
        try:
            tree = tomllib.loads(file.read_bytes().decode())
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} is not valid TOML: {error}") from error
    _merge_environment(tree, environ)
    settings: Settings = _build(Settings, tree, "")
    _validate(settings)
    return settings


def _merge_environment(tree: dict[str, Any], environ: Mapping[str, str]) -> None:
    hints = typing.get_type_hints(Settings)
    for name, text in environ.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or name in _NOT_SETTINGS:
            continue
        path = name[len(ENVIRONMENT_PREFIX):].lower()
        if path == "state_dir":
            tree["state_dir"] = text
            continue
        section, _, key = path.partition("_")
        if not dataclasses.is_dataclass(hints.get(section)) or key not in typing.get_type_hints(hints[section]):
            near = difflib.get_close_matches(name, _environment_names(), n=1, cutoff=0.75)
            raise ConfigError(f"unknown environment variable {name}; " + (
                f"is {near[0]} meant?" if near else "config.example.toml lists the settings, as WAGATEWAY_<SECTION>_<KEY>"))
        tree.setdefault(section, {})[key] = _from_text(text, typing.get_type_hints(hints[section])[key], name)


def _environment_names() -> list[str]:
    names = ["WAGATEWAY_STATE_DIR"]
    for section in dataclasses.fields(Settings):
        kind = typing.get_type_hints(Settings)[section.name]
        if dataclasses.is_dataclass(kind):
            names += [f"{ENVIRONMENT_PREFIX}{section.name}_{f.name}".upper() for f in dataclasses.fields(kind)]
    return names


def _from_text(text: str, kind: Any, name: str) -> Any:
    if kind is str:
        return text
    if kind is bool:
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off"):
            return False
        raise ConfigError(f"{name} must be true or false, not {text!r}")
    if typing.get_origin(kind) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return kind(text)
    except ValueError as error:
        raise ConfigError(f"{name} must be a number, not {text!r}") from error


def _build(kind: Any, tree: Any, where: str) -> Any:
    if not isinstance(tree, dict):
        raise ConfigError(f"[{where}] must be a table")
    hints = typing.get_type_hints(kind)
    unknown = [key for key in tree if key not in hints]
    if unknown:
        raise ConfigError(f"unknown setting {where + '.' if where else ''}{unknown[0]}; known are: {', '.join(hints)}")
    values: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{where}.{key}" if where else key
        if dataclasses.is_dataclass(hints[key]):
            values[key] = _build(hints[key], value, name)
        elif key == "plans":
            if not isinstance(value, dict):
                raise ConfigError("[plans] must be a table of tables")
            values[key] = DEFAULT_PLANS | {plan: _build(Plan, body, f"plans.{plan}") for plan, body in value.items()}
        else:
            values[key] = _convert(value, hints[key], name)
    return kind(**values)


def _convert(value: Any, kind: Any, name: str) -> Any:
    if isinstance(value, str) and any(mark in value for mark in _PLACEHOLDERS):
        raise ConfigError(f"{name} still holds the placeholder {value!r}")
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{name} must be a list of strings")
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{name} must be {_KINDS.get(kind, kind)}, not {value!r}")
    return value


_KINDS = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def _validate(settings: Settings) -> None:
    def check(good: bool, text: str) -> None:
        if not good:
            raise ConfigError(text)

    check(settings.server.host != "", "server.host must be an address: 127.0.0.1, or 0.0.0.0 for every network")
    check(0 <= settings.server.port <= 65535, "server.port must be 0..65535")
    check(settings.server.metrics in ("loopback", "admin", "off"), "server.metrics must be loopback, admin or off")
    check(re.fullmatch(r"(https?://[^\s/]+\S*)?", settings.server.public_url) is not None,
          "server.public_url must be an address as https://wa.example.com")
    check(settings.server.connections >= 1, "server.connections must be at least 1")
    check(settings.server.heartbeat_seconds >= 0.1, "server.heartbeat_seconds must be at least 0.1")
    check(settings.server.request_seconds >= 1, "server.request_seconds must be at least 1")
    check(settings.sending.unconfirmed in ("fail", "resend"), "sending.unconfirmed must be 'fail' or 'resend'")
    check(settings.audio.profile in ("native", "plain16", "music"), "audio.profile must be native, plain16 or music")
    check(settings.dialects.root in ("svara", "sendapi", ""), "dialects.root must be 'svara', 'sendapi' or ''")
    known = Dialects().enabled
    check(all(d in known for d in settings.dialects.enabled), f"dialects.enabled knows: {', '.join(known)}")
    check(settings.retention.idempotency_hours >= 24, "retention.idempotency_hours must be at least 24")
    check(settings.log.level in ("debug", "info", "warning", "error"), "log.level must be debug, info, warning or error")
    check(settings.log.format in ("auto", "console", "json", "journald"), "log.format must be auto, console, json or journald")
    proxy = settings.whatsapp.proxy
    check(not proxy or proxy.startswith(("http://", "https://", "socks5://")), "whatsapp.proxy must be an http:// or socks5:// URL")
    for network in settings.fetch.allow_networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigError(f"fetch.allow_networks: {network!r} is not a network (CIDR): {error}") from error
    check(re.fullmatch("0?[0-7]{3}", settings.server.unix_socket_mode) is not None,
          "server.unix_socket_mode must be three octal digits, as 0660")
    for name, value in _values(settings):
        if isinstance(value, int | float):
            check(not value < 0, f"{name} must not be negative")
            check(value != 0 or name not in _NOT_ZERO, f"{name} must be more than 0")
            check(value <= _MOST, f"{name} must be a number that is not larger than {_MOST:g}")      # neither are inf and nan
        for text in value if isinstance(value, tuple) else (value,):
            check(not isinstance(text, str) or text.isprintable(), f"{name} must not contain control characters")
    try:
        parse_quiet_hours(settings.pacing.quiet_hours)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _values(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Every setting by its name, those of the plans too."""
    for top in dataclasses.fields(settings):
        section = getattr(settings, top.name)
        tables = [(top.name, section)] if dataclasses.is_dataclass(section) else [
            (f"plans.{plan}", table) for plan, table in section.items()] if top.name == "plans" else []
        yield from ((f"{name}.{f.name}", getattr(table, f.name)) for name, table in tables for f in dataclasses.fields(table))
        if not tables:
            yield top.name, section


def parse_quiet_hours(text: str) -> tuple[int, int] | None:
    """'22:00-07:00' -> minutes of the day (1320, 420); '' -> None. Raises ValueError."""
    if not text:
        return None
    try:
        minutes = [int(h) * 60 + int(m) for h, m in (part.split(":") for part in text.split("-"))]
        if len(minutes) != 2 or not all(0 <= m < 1440 for m in minutes):
            raise ValueError
    except ValueError:
        raise ValueError(f"quiet hours must look like 22:00-07:00, not {text!r}") from None
    return minutes[0], minutes[1]


# ------------------------------------------------------------------ the example file


def example() -> str:
    """The text of config.example.toml."""
    lines = ["# wagateway: every setting at its default, commented out. Each can also be given in the environment as",
             "# WAGATEWAY_<SECTION>_<KEY>, for example WAGATEWAY_SERVER_PORT=9000.", ""]
    hints = typing.get_type_hints(Settings)
    for top in dataclasses.fields(Settings):
        kind = hints[top.name]
        if top.name == "plans":
            continue
        if not dataclasses.is_dataclass(kind):
            lines += _example_lines(top, getattr(Settings(), top.name))
            lines.append("")
            continue
        lines.append(f"[{top.name}]")
        for f in dataclasses.fields(kind):
            lines += _example_lines(f, getattr(getattr(Settings(), top.name), f.name))
        lines.append("")
    lines.append("# Plans limit what an API key may do (keys create --plan NAME); 0: no limit. Add your own.")
    for name, plan in DEFAULT_PLANS.items():
        lines.append(f"# [plans.{name}]")
        lines += [f"# {f.name} = {getattr(plan, f.name)}" for f in dataclasses.fields(plan)]
    return "\n".join(lines) + "\n"


def _example_lines(f: dataclasses.Field[Any], value: Any) -> list[str]:
    shown = json.dumps(list(value)) if isinstance(value, tuple) else json.dumps(value)
    why = textwrap.wrap(f.metadata["why"], 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    return [*why, f"# {f.name} = {shown}"]
