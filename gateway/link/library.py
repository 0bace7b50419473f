"""neonize's shared library in this process: found, checked, and loaded without the rest of the package.

`import neonize` as it stands starts a log thread, installs a root log handler, needs the system's libmagic, and fetches a
binary from the network when its own is missing. None of that is wanted in a daemon, so the package is replaced by an
empty one with the right path, and only `neonize._binder` (the C signatures) and `neonize.proto` are imported from it.

Only `gateway.link` knows neonize; inside it, everything takes the library and its protobufs from here.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, TextIO

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_SUFFIXES = {"linux": "so", "darwin": "dylib"}
_OFF = ("off", "none", "false", "0")
_BOT_TAG = "NEONIZE_BOT_TAG"
_VOID = ("Stop", "StopAll", "SetForceActiveDeliveryReceipts", "Disconnect")


class CoreUnavailable(Exception):
    """The WhatsApp core cannot be used here; the text says why and what helps."""


@dataclass(frozen=True, slots=True)
class Library:
    """The loaded core. `go` is the ctypes library; its functions are thread-safe only as `binding` calls them."""

    path: Path
    go: Any
    binder: Any
    neonize: Any            # Neonize_pb2: events and return values
    e2e: Any                # waE2E: messages as WhatsApp's clients exchange them
    companion: Any          # waCompanionReg: what a linked device says about itself


# ------------------------------------------------------------------ what the process must look like before


def python_path(environment: Mapping[str, str]) -> str:
    """PYTHONPATH for a child process started with `python -P -m gateway…`: it finds this very package, and no module that
    happens to lie in the working directory under the same name."""
    return os.pathsep.join(filter(None, (environment.get("PYTHONPATH", ""), str(Path(__file__).parents[2]))))


def ensure_environment() -> None:
    """Start this program anew, once, with `NEONIZE_BOT_TAG=off` in its environment, unless it was started so.

    Without it the core marks every private message with `<bot biz_bot="1"/>`, which no person's own client does. Go copies
    the environment a process was *started* with, so setting `os.environ` now would come too late. Call it before anything
    else is done; it does not return when it re-executes. Descriptors passed by a service manager survive; SIGTERM and SIGINT
    wait until the new program unblocks them, or comes here."""
    again = os.environ.get("WAGATEWAY_REEXECUTED") == str(os.getpid())
    if again:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    if _started_with(_BOT_TAG).lower() in _OFF:
        return
    if os.environ.get(_BOT_TAG, "") == "off" and again:
        return                              # /proc is hidden from us, and it was done
    environment = os.environ | {_BOT_TAG: "off", "WAGATEWAY_REEXECUTED": str(os.getpid())}
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)     # a handler does not survive what comes; a mask does
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _started_with(name: str) -> str:
    try:
        raw = Path("/proc/self/environ").read_bytes()
    except OSError:
        return ""
    for entry in raw.split(b"\0"):
        key, _, value = entry.partition(b"=")
        if key == name.encode():
            return value.decode(errors="replace").strip()
    return ""


def guard_stdout() -> TextIO:
    """Keep the core's prints (pairing codes, send errors) off standard output: descriptor 1 becomes descriptor 2's file,
    and the returned stream is what standard output was. Python's own `sys.stdout` is pointed there too. Call it once,
    before `load`."""
    with contextlib.suppress(ValueError, OSError):
        sys.stdout.flush()
    try:
        os.fstat(2)
    except OSError:                         # no standard error: nowhere, but not the next file somebody opens
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        if null != 2:
            os.close(null)
    ours = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)
    sys.stdout = ours
    return ours


# ------------------------------------------------------------------ finding and checking


def package_directory() -> Path:
    """Where neonize is installed. Raises CoreUnavailable."""
    spec = importlib.util.find_spec("neonize")
    if spec is None or not spec.submodule_search_locations:
        raise CoreUnavailable("neonize is not installed; install the gateway with its dependencies")
    return Path(next(iter(spec.submodule_search_locations)))


def installed_library() -> Path:
    """The shared library neonize brought for this machine, its hash compared with the wheel's record.

    Raises CoreUnavailable: nothing is ever fetched in its place."""
    system, machine = platform.system().lower(), platform.machine().lower()
    name = f"neonize-{system}-{_MACHINES.get(machine, machine)}.{_SUFFIXES.get(system, 'so')}"
    path = package_directory() / name
    if not path.is_file():
        raise CoreUnavailable(f"neonize's library {path} is missing; reinstall neonize for {system} on {machine} "
                              "(the gateway never downloads it while running)")
    recorded = _recorded_hash(name)
    digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
    if digest != recorded:
        raise CoreUnavailable(f"neonize's library {path} is not the one its wheel brought (sha256 {digest}, recorded "
                              f"{recorded}); reinstall neonize")
    return path


def _recorded_hash(name: str) -> str:
    try:
        files = importlib.metadata.files("neonize") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise CoreUnavailable("neonize is installed without its metadata; reinstall it from a wheel") from error
    for file in files:
        if file.name == name and file.hash is not None and file.hash.mode == "sha256":
            return file.hash.value
    raise CoreUnavailable(f"neonize's wheel has no recorded hash for {name}; reinstall neonize")


# ------------------------------------------------------------------ loading


@functools.cache
def load() -> Library:
    """The core, loaded once. Its Go runtime starts seven threads, stays until the process ends, and does not survive
    `fork`. Raises CoreUnavailable."""
    path = installed_library()
    proto = protobufs()
    _stand_in("neonize.utils", package_directory() / "utils")
    sys.modules["neonize.download"] = _module("neonize.download", download=_no_download,
                                              __GONEONIZE_VERSION__=importlib.metadata.version("neonize"))
    # The original runs `uname` in a shell and leaves a zombie.
    sys.modules["neonize.utils.platform"] = _module("neonize.utils.platform", generated_name=lambda: path.name)
    try:
        binder = importlib.import_module("neonize._binder")
    except (OSError, RuntimeError, AttributeError) as error:
        raise CoreUnavailable(f"neonize's library cannot be loaded: {error}") from error
    go = binder.gocode
    for name in _VOID:
        # Bound as "returns a string to free" though these return nothing: what is freed is whatever the register holds.
        function = getattr(go, name)
        function.restype = None
        function.errcheck = _as_it_is
    return Library(path, go, binder, *proto)


@functools.cache
def protobufs() -> tuple[Any, Any, Any]:
    """Neonize_pb2, waE2E and waCompanionReg, without starting the Go runtime."""
    _stand_in("neonize", package_directory())
    before = list(sys.path)
    names = ("Neonize_pb2", "waE2E.WAWebProtobufsE2E_pb2", "waCompanionReg.WAWebProtobufsCompanionReg_pb2")
    try:
        neonize, e2e, companion = (importlib.import_module(f"neonize.proto.{name}") for name in names)
    finally:
        sys.path[:] = before                # neonize.proto puts its own folder first
    return neonize, e2e, companion


def _stand_in(name: str, directory: Path) -> None:
    """An empty package of that name: its modules can be imported, its own code does not run."""
    present = sys.modules.get(name)
    if present is not None:
        if hasattr(present, "NewClient"):
            raise CoreUnavailable("neonize was imported by something else in this process; the gateway loads it itself")
        return
    package = ModuleType(name)
    package.__path__ = [str(directory)]
    package.__spec__ = ModuleSpec(name, None, origin=str(directory / "__init__.py"), is_package=True)
    package.__spec__.submodule_search_locations = [str(directory)]
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(content)
    return module


def _no_download() -> NoReturn:
    """In place of the one that fetches a binary and checks nothing."""
    raise CoreUnavailable("neonize's library does not fit its Python code; reinstall neonize "
                          "(the gateway never downloads it while running)")


def _as_it_is(result: object, function: object, arguments: object) -> object:
    return result
