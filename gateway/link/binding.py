"""The C functions of the core, called in the only ways that are safe.

The Go side keeps its sessions in plain maps that every call reads, and dies (the whole process) when a map is read and
written at once, when it is asked for a session it does not know, or when a session is stopped while it is being opened.
So one `Core` per process sees to it that

* openings and stops take turns: an opening holds its turn until its first callback or its end (bounded: a dial that hangs
  does not hold up the others for ever);
* while the maps are being written no other call begins, and the calls that had just begun have passed their look-up;
* a call only happens on a session that has called back and is not being stopped;
* a session is stopped only after its first callback or its end, never in between;
* what the core may call stays alive for ever, copies what it is given, and returns at once.

Everything here blocks and belongs on threads of its own; `neonize_link` and `pairing_child` are the callers.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import re
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from gateway.link.alive import note_opening
from gateway.link.library import Library

TURN_SECONDS = 5.0
"""How long an opening that has not called back keeps the others waiting."""
GATE_SECONDS = 2.0
"""How long calls wait at most while the core's maps may be written: opening the database and little more."""
SETTLE_SECONDS = 0.02
"""After this long a call has passed its look-up, which is the first thing each does."""

core_log = logging.getLogger("gateway.core")
_LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR}
_LOST = re.compile("websocket|socket is closed|handler queue loop|autoreconnect")
"""Lines about a connection that went away: told as an event, logged once, by the session; here they would come by the dozen."""
_NUMBER = re.compile(r"\d{7,}")
_kept: list[object] = []
"""Every function the core was given. Goroutines may still hold one when its session is long gone; it does nothing then."""


class NotRunning(Exception):
    """The session is not open in the core (not yet, or no longer): the call was not made."""


class Core:
    """One per process."""

    def __init__(self, library: Library, *, device_name: str, proxy: str | None = None) -> None:
        self.library = library
        properties = library.companion.DeviceProps(os=device_name)
        self.device_properties: bytes = properties.SerializeToString()
        self.proxy_url = proxy
        self.proxy = library.binder.ProxySettings(proxy)._to_c_struct() if proxy else None
        self._state = threading.Condition()
        self._turn: object | None = None
        self._turn_since = 0.0
        self._shut_until = 0.0
        self._entered: dict[object, float] = {}

    def session(self, dsn: str, **handlers: Any) -> CoreSession:
        """A session that is not open yet; see `CoreSession`."""
        return CoreSession(self, dsn, **handlers)

    @contextlib.contextmanager
    def turn(self) -> Iterator[Callable[[], None]]:
        """The maps will be written inside. Yields a function that gives the turn back earlier."""
        token = object()
        with self._state:
            while self._turn is not None and (left := self._turn_since + TURN_SECONDS - time.monotonic()) > 0:
                self._state.wait(left)
            self._turn, self._turn_since = token, time.monotonic()
            self._shut_until = self._turn_since + GATE_SECONDS
            while self._entered and (left := max(self._entered.values()) + SETTLE_SECONDS - time.monotonic()) > 0:
                self._state.wait(left)

        def give_back() -> None:
            with self._state:
                if self._turn is token:
                    self._turn, self._shut_until = None, 0.0
                    self._state.notify_all()

        try:
            yield give_back
        finally:
            give_back()

    @contextlib.contextmanager
    def call(self, session: CoreSession) -> Iterator[None]:
        """The maps are read inside, first thing. Raises NotRunning."""
        token = object()
        with self._state:
            while session.usable and (left := self._shut_until - time.monotonic()) > 0:
                self._state.wait(left)
            if not session.usable:
                raise NotRunning
            self._entered[token] = time.monotonic()
            session.in_flight += 1
        try:
            yield
        finally:
            with self._state:
                self._entered.pop(token)
                session.in_flight -= 1
                self._state.notify_all()

    def bar(self, session: CoreSession) -> None:
        """No further call begins on this session."""
        with self._state:
            session.usable = False
            self._state.notify_all()

    def drain(self, session: CoreSession, seconds: float) -> bool:
        """Wait for the session's calls to return; whether they did."""
        with self._state:
            return self._state.wait_for(lambda: session.in_flight == 0, seconds)


class CoreSession:
    """One session in the core, from `start` to `stop`, under an id of its own.

    `on_event(code, bytes)`, `on_qr(text)`, `on_status(text)` and `on_end(text)` are called on the core's threads, must not
    block and may not raise for good; `on_log(level, text)` too, before the line goes to the logger. `on_end` comes once,
    after the last event; its text is the core's error, empty after `stop`."""

    def __init__(self, core: Core, dsn: str, *, events: bytes, on_event: Callable[[int, bytes], None],
                 on_end: Callable[[str], None], on_qr: Callable[[str], None] = lambda _: None,
                 on_status: Callable[[str], None] = lambda _: None,
                 on_log: Callable[[str, str], None] = lambda _level, _text: None,
                 label: str = "", log_level: str = "WARN") -> None:
        self.core, self.label = core, label
        self.usable = False                     # guarded by the core's condition, as is in_flight
        self.in_flight = 0
        self._dsn, self._events, self._log_level = dsn, events, log_level
        self._id = uuid.uuid4().hex.encode()
        self._on_event, self._on_end, self._on_qr, self._on_status = on_event, on_end, on_qr, on_status
        self._on_log = on_log
        self._begun = threading.Event()         # called back with an event: may be stopped; or returned
        self._ended = threading.Event()
        self._stopping = False
        self._give_turn_back: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin on a thread of its own, which the session keeps for its life."""
        threading.Thread(target=self._run, name=f"core {self.label}".rstrip(), daemon=True).start()

    def call(self, function: str, *arguments: Any) -> Any:
        """One function of the core on this session; blocks as long as the core does. Raises NotRunning."""
        with self.core.call(self):
            return getattr(self.core.library.go, function)(self._id, *arguments)

    def stop(self, calls_within: float = 6.0) -> None:
        """Disconnect and forget the session. Blocks while a dial runs (the core must not be stopped inside one), then
        until the session's calls have come back, at most `calls_within` seconds. Idempotent."""
        self._stopping = True
        self.core.bar(self)
        self._begun.wait()
        self._forget()
        self._ended.wait()
        if not self.core.drain(self, calls_within):
            core_log.warning("%s: a call did not return within %g s of the session's stop", self.label, calls_within)

    # ------------------------------------------------------------------ the session's own thread

    def _run(self) -> None:
        library = self.core.library
        binder = library.binder
        handed = (binder.func_string(_weakly(self._qr)), binder.func_string(_weakly(self._status)),
                  binder.func_callback_bytes(_weakly(self._event)), binder.func_callback_bytes2(_weakly(self._log)))
        _kept.append(handed)
        properties, proxy = self.core.device_properties, self.core.proxy
        error = ""
        try:
            with self.core.turn() as self._give_turn_back:
                if not self._stopping:
                    note_opening()
                    answer: bytes = library.go.Neonize(
                        self._dsn.encode(), self._id, b"", 0, 0, self._log_level.encode(), *handed,
                        self._events, len(self._events), properties, len(properties), b"", 0,
                        ctypes.byref(proxy) if proxy is not None else None)
                    error = answer.decode(errors="replace")
        except Exception as failure:
            core_log.exception("%s: the core could not be called", self.label)
            error = f"{type(failure).__name__}: {failure}"
        finally:
            self.core.bar(self)
            self._begun.set()
            self._forget()                      # early errors leave the session behind in the core's maps
            self._ended.set()
            with _told("end"):
                self._on_end("" if self._stopping else error or "the core ended the session")

    def _forget(self) -> None:
        with self.core.turn():
            self.core.library.go.Stop(self._id)

    def _first_callback(self) -> None:
        with self.core._state:
            self.usable = not self._stopping
        self._give_turn_back()

    # ------------------------------------------------------------------ called by the core

    def _event(self, _id: bytes, data: int, size: int, code: int) -> None:
        with _told("event"):
            if not self._begun.is_set():
                self._first_callback()
                self._begun.set()
            copied = ctypes.string_at(data, size) if size > 0 else b""
            if not self._ended.is_set():        # but while it is being stopped: the core has acknowledged it
                self._on_event(code, copied)

    def _qr(self, _id: int, text: int) -> None:
        with _told("QR code"):
            self._first_callback()
            self._on_qr(ctypes.string_at(text).decode(errors="replace"))

    def _status(self, _id: int, text: int) -> None:
        with _told("status"):
            self._first_callback()
            self._on_status(ctypes.string_at(text).decode(errors="replace"))

    def _log(self, data: int, size: int) -> None:
        with _told("log line"):
            entry = self.core.library.neonize.LogEntry.FromString(ctypes.string_at(data, size))
            self._on_log(entry.Level, entry.Message)
            level = _LEVELS.get(entry.Level, logging.WARNING)
            if level >= logging.WARNING:
                level = logging.DEBUG if _LOST.search(entry.Message) else level
                core_log.log(level, "%s: %s: %s", self.label, entry.Name, _presentable(entry.Message))


def _weakly(method: Callable[..., None]) -> Callable[..., None]:
    """What is kept for ever must not keep the session."""
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> None:
        if (alive := reference()) is not None:
            alive(*arguments)

    return call


def _presentable(text: str) -> str:
    """A log line of the core with its phone numbers shortened, and short itself: some quote what a server sent."""
    return _NUMBER.sub(lambda number: f"{number[0][:4]}…{number[0][-2:]}", text)[:400]


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """An exception must not leave a callback: ctypes would only print it."""
    try:
        yield
    except Exception:
        core_log.exception("a handler of the core's %s failed", what)
