"""The one place that builds the program, top to bottom; closing is the same list backwards."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import platform
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import structlog
import uvicorn

from gateway import garbage
from gateway.api import app as api
from gateway.api import console
from gateway.api.connections import Door, descriptors_for_clients, protocol
from gateway.api.health import VERSION
from gateway.audio.limits import AudioLimits
from gateway.config import Settings, authority
from gateway.dialects.mount import described, mount
from gateway.errors import ConfigError
from gateway.link.base import Generations, Links
from gateway.media.fetch import Fetcher
from gateway.notify import ServiceManager
from gateway.services import backup, memory, traces, vaulting
from gateway.services.backup import Backups, Schedule
from gateway.services.feed import Feed
from gateway.services.gateway import Gateway
from gateway.services.inbox import Inbox
from gateway.services.keys import Keys
from gateway.services.ledger import Ledger
from gateway.services.liveness import Labels, Liveness
from gateway.services.maintenance import Maintenance
from gateway.services.metrics import Metrics, TimedTranscoder
from gateway.services.outbox import Outbox
from gateway.services.preparing import Preparing
from gateway.services.readiness import Readiness
from gateway.services.receiving import Receiving
from gateway.services.sessions import Sessions
from gateway.services.standing import Surroundings
from gateway.services.streams import Streams
from gateway.services.tickets import Tickets
from gateway.services.vaulting import Vaulting
from gateway.services.webhooks import WebhookService
from gateway.store.backup import finish_restore
from gateway.store.keys import Key
from gateway.store.store import Store, check_master_key, open_store
from gateway.store.vault import Vault

log = structlog.get_logger("gateway.daemon")

RUNNING = "daemon.json"             # where the running daemon listens, for the command line
LOCK = "daemon.lock"
RESTART_SECONDS = 5.0                # before background work that failed is begun again
_PR_SET_DUMPABLE = 4                # prctl(2)
SWITCH_INTERVAL = 0.0005            # seconds: the sealed store's callbacks must not wait behind busy Python threads


class AlreadyRunning(Exception):
    """Another daemon has this state folder."""


class SessionFiles(vaulting.SessionFiles, backup.SessionFiles, Protocol):
    """What both need of the sessions' sealed files."""


def keep_memory_private() -> None:
    """No core dumps, and no other process of this user may look into ours: the keys are in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        log.warning("memory_not_private", error=os.strerror(ctypes.get_errno()))


@contextmanager
def state_folder(state: Path) -> Iterator[Path]:
    """Made with mode 0700, locked against a second daemon. Raises AlreadyRunning, ConfigError."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(state / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        why = "a file is in its place" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        raise ConfigError(f"the state folder {state} cannot be used: {why}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyRunning(f"another wagateway runs on {state}; two would break the chats' encryption. "
                                 "Stop that one first, or give this one a state folder of its own") from None
        yield state
    finally:
        os.close(lock)


def load_vault(settings: Settings) -> Vault:
    """Raises VaultError."""
    file = settings.vault.master_key_file
    vault = Vault.load(settings.state, Path(file).expanduser() if file else None)
    check_master_key(settings.state, vault)
    return vault


@asynccontextmanager
async def real_links(settings: Settings) -> AsyncIterator[tuple[Links, Generations, SessionFiles]]:
    """WhatsApp through neonize, its keys sealed. All that knows it is imported here, once logging is set up. Raises
    CoreUnavailable, SealingUnavailable."""
    from gateway.link.generations import FileGenerations
    from gateway.link.library import installed_library
    from gateway.link.neonize_links import NeonizeLinks
    from gateway.link.sealed_store import SealedStore
    from gateway.link.session_files import SealedFiles

    sealed = SealedStore.install(installed_library())
    sealed.on_failure = lambda what, sentence: log.error("sealed_store_failure", what=what, text=sentence)
    await asyncio.to_thread(sealed.self_test, settings.state)
    links = NeonizeLinks(sealed, proxy=settings.whatsapp.proxy or None,
                         device_name=settings.whatsapp.device_name)
    try:
        yield links, FileGenerations(sealed), SealedFiles(sealed)
    finally:
        await links.close()


@asynccontextmanager
async def build(settings: Settings, store: Store, links: Links, generations: Generations | None,
                files: SessionFiles | None = None) -> AsyncIterator[Gateway]:
    """The services, started; stopped in order when the block ends."""
    clock = time.time
    async with AsyncExitStack() as stack:
        feed = Feed(store.journal)
        await feed.start()
        if traces.wanted():
            stack.push_async_callback(asyncio.to_thread, traces.begin(feed, VERSION))
        fetcher = await stack.enter_async_context(Fetcher(
            settings.fetch.allow_networks, settings.fetch.total_seconds, settings.fetch.idle_seconds,
            user_agent=f"wagateway/{VERSION}"))
        metrics = Metrics(store, feed, {"version": VERSION, "python": platform.python_version(),
                                        "neonize": version("neonize")}, clock)
        transcoder = TimedTranscoder(AudioLimits(max_bytes=settings.audio.max_bytes, max_seconds=settings.audio.max_seconds),
                                     metrics.transcoded)
        stack.callback(transcoder.close)
        keys = Keys(store.database, settings.plans, clock)
        ledger = Ledger(store.messages, store.usage, feed)
        preparing = Preparing(settings, fetcher, transcoder)
        around = Surroundings(settings, store, links, feed, ledger, Receiving(store.database, store.messages, ledger, feed),
                              preparing.prepare, clock, random.Random(), generations, metrics.sending())

        def sessions_of_plan(key: Key) -> int:
            return keys.plan(key).sessions

        server = settings.server
        webhooks = WebhookService(store, feed, fetcher, clock,
                                  base=server.public_url.rstrip("/") or f"http://{authority(server.host, server.port)}")
        sessions = Sessions(around, sessions_of_plan, webhooks)
        metrics.attach(sessions)
        outbox = Outbox(store, ledger, preparing, keys, clock)
        inbox = Inbox(store, sessions, retention_seconds=settings.media.retention_hours * 3600,
                      max_bytes=max(settings.media.video_max_bytes, settings.media.document_max_bytes), clock=clock)
        webhooks.files = inbox.file
        maintenance = Maintenance(store, ledger, settings, clock)
        vaults = Vaulting(store, files, sessions)
        backups = Backups(store, files, vaults.lock, VERSION, clock)
        await asyncio.to_thread(backups.sweep)
        schedule = Schedule(backups, settings.backup, clock)
        await stack.enter_async_context(in_background(webhooks.run, maintenance.run, metrics.watch_lag, schedule.run,
                                                      memory.give_back))
        yield Gateway(settings, store, feed, keys, sessions, outbox, inbox, preparing, Tickets(clock),
                      Streams(settings.server.streams_per_key), webhooks, metrics, vaults, backups, schedule, Readiness(store, clock),
                      clock)


@asynccontextmanager
async def in_background(*works: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Runs them until the block ends; one that fails is told and begun again."""
    async def keep(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                return await work()
            except Exception:
                log.exception("background_work_failed", again_in=RESTART_SECONDS)
                await asyncio.sleep(RESTART_SECONDS)

    tasks = [asyncio.create_task(keep(work)) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# ------------------------------------------------------------------ listening


def listen(settings: Settings) -> list[socket.socket]:
    """Sockets handed over by the service manager, or our own. Raises ConfigError."""
    count = int(os.environ.get("LISTEN_FDS", "0")) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    if count:
        return [socket.socket(fileno=3 + i) for i in range(count)]
    made: list[socket.socket] = []
    server = settings.server
    try:
        made.append(_listen_tcp(server.host.strip("[]"), server.port))
        if server.unix_socket:
            made.append(_listen_unix(Path(server.unix_socket), int(server.unix_socket_mode, 8)))
    except ConfigError:
        for opened in made:
            opened.close()
        raise
    return made


def _listen_tcp(host: str, port: int) -> socket.socket:
    # The protocol is named: asyncio turns Nagle off for no other.
    tcp = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((host, port))
    except (OSError, ValueError, TypeError) as error:       # the latter two: the host is no name at all
        tcp.close()
        raise ConfigError(f"cannot listen on {authority(host, port)}: {_why_not(error)}") from error
    return tcp


def _listen_unix(path: Path, mode: int) -> socket.socket:
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        with contextlib.suppress(FileNotFoundError):
            if path.is_socket() and not _answers(path):     # what a daemon that was killed left
                path.unlink()
        unix.bind(str(path))
    except OSError as error:
        unix.close()
        why = "another program listens there, or it is no socket: choose another path ([server] unix_socket)" \
            if error.errno == errno.EADDRINUSE else getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {path}: {why}") from error
    finally:
        os.umask(before)
    return unix


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _why_not(error: Exception) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return "Address already in use. `ss -ltnp` shows by whom; or choose another port (WAGATEWAY_SERVER_PORT)"
        case errno.EADDRNOTAVAIL:
            return "this machine does not have that address; choose another (WAGATEWAY_SERVER_HOST)"
        case errno.EACCES:
            return "Permission denied: ports below 1024 are root's; choose another (WAGATEWAY_SERVER_PORT)"
    return str(getattr(error, "strerror", None) or error)


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the daemon decides the order of a stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def http_server(gateway: Gateway) -> uvicorn.Server:
    server = gateway.settings.server
    door = Door(min(server.connections, descriptors_for_clients()), server.request_seconds)
    app = api.build(gateway, more=[*mount(gateway), *console.routes(gateway)], described=described(gateway))
    return _Server(uvicorn.Config(
        app, loop="none", http=protocol(door), ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        timeout_keep_alive=75, backlog=2048, timeout_graceful_shutdown=int(server.stop_seconds) or 1))


def url_of(sockets: list[socket.socket]) -> str:
    for s in sockets:
        if s.family in (socket.AF_INET, socket.AF_INET6):
            return f"http://{authority(*s.getsockname()[:2])}"
    return f"unix:{sockets[0].getsockname()}"


def write_note(state: Path, sockets: list[socket.socket]) -> Callable[[], object]:
    """Where the daemon listens, for the command line. Written before anything begins, because the disk may be full; there to
    be read once what is returned is called."""
    unix = [s.getsockname() for s in sockets if s.family == socket.AF_UNIX]
    body = {"url": url_of(sockets), "socket": unix[0] if unix else None, "pid": os.getpid(), "version": VERSION}
    new = state / f"{RUNNING}.new"
    new.write_text(json.dumps(body))
    return partial(new.replace, state / RUNNING)


# ------------------------------------------------------------------ running


async def serve(settings: Settings) -> int:
    """Until a signal. 0 after a graceful stop. Raises ConfigError, VaultError, StoreTooNew, AlreadyRunning, …"""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            log.warning("stopping_now", why="a second signal")
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    sys.setswitchinterval(SWITCH_INTERVAL)
    keep_memory_private()
    memory.keep_small()
    with garbage.tamed(), state_folder(settings.state) as state:
        if finish_restore(state) is not None:
            log.warning("restore_finished", why="it was cut off", kept=str(state / "before-restore"))
        vault = load_vault(settings)
        if vault.created:
            log.warning("master_key_created", file=str(vault.source),
                        advice="back it up apart from the state folder: without it the sessions' keys cannot be read")
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_store(state, vault))
            await vaulting.settle(store)
            sockets = listen(settings)
            for s in sockets:
                stack.callback(s.close)
            links, generations, files = await stack.enter_async_context(real_links(settings))
            gateway = await stack.enter_async_context(build(settings, store, links, generations, files))
            await _run(gateway, sockets, stop, _watched_core(gateway))
    return 0


def _watched_core(gateway: Gateway) -> Labels:
    """The sealed store's counts go to the metrics; what tells which links live is returned."""
    from gateway.link.alive import openings, running_sessions
    from gateway.link.sealed_store import SealedStore

    gateway.metrics.sealing = lambda: SealedStore.installed().counts
    gateway.metrics.openings = openings
    return running_sessions


async def _run(gateway: Gateway, sockets: list[socket.socket], stop: asyncio.Event, running: Labels) -> None:
    settings, manager = gateway.settings, ServiceManager()
    show_note = write_note(settings.state, sockets)
    liveness = Liveness(gateway.store, gateway.sessions, gateway.clock, running)
    server = http_server(gateway)
    serving = asyncio.create_task(server.serve(sockets), name="http")
    await gateway.sessions.start()
    while not server.started and not serving.done():        # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.002)
    show_note()
    log.info("listening", url=url_of(sockets), version=VERSION, sessions=len(gateway.sessions.live()))
    manager.ready(liveness.status())
    waiting = asyncio.create_task(stop.wait(), name="stop")
    async with in_background(lambda: manager.watch(liveness.check, liveness.status), garbage.run):
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    manager.stopping()
    log.info("stopping")
    gateway.outbox.stop()
    gateway.feed.stop()
    await gateway.sessions.stop(settings.server.stop_seconds / 2)
    server.should_exit = True
    await serving
    (settings.state / RUNNING).unlink(missing_ok=True)
    manager.close()
    log.info("stopped")
