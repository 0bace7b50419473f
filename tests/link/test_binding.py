"""The order in which the core is called. A stand-in for its C functions tells when each is entered; the real ones would only
abort the process, and not every time."""

from __future__ import annotations

import ctypes
import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.link import binding, library
from gateway.link.binding import Core, CoreSession, NotRunning

N, E, C = library.protobufs()
BINDER = SimpleNamespace(
    func_string=ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p),
    func_callback_bytes=ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int),
    func_callback_bytes2=ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int))


class Opened:
    """One `Neonize` call that is going on."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.dsn, self.id, self.log_level = arguments[0], arguments[1], arguments[5]
        self.qr, self.status, self.event, self.log = arguments[6:10]
        self.ended = threading.Event()
        self.error = b""

    def tell(self, code: int, data: bytes = b"") -> None:
        self.event(self.id, ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data), code)

    def end(self, error: bytes = b"") -> None:
        self.error = error
        self.ended.set()


class Go:
    """The C functions. `calls` is what was entered, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes]] = []
        self.open: dict[bytes, Opened] = {}
        self.news = threading.Condition()
        self.hold = threading.Event()
        self.hold.set()

    def Neonize(self, *arguments: Any) -> bytes:
        opened = Opened(arguments)
        with self.news:
            self.calls.append(("Neonize", opened.dsn))
            self.open[opened.dsn] = opened
            self.news.notify_all()
        assert opened.ended.wait(20)
        return opened.error

    def Stop(self, id_: bytes) -> None:
        with self.news:
            self.calls.append(("Stop", id_))
            self.news.notify_all()
        for opened in list(self.open.values()):
            if opened.id == id_:
                opened.ended.set()

    def GetMe(self, id_: bytes) -> bytes:
        with self.news:
            self.calls.append(("GetMe", id_))
            self.news.notify_all()
        assert self.hold.wait(20)
        return b"me"

    def wait(self, condition: Callable[[], object], seconds: float = 10) -> bool:
        with self.news:
            return bool(self.news.wait_for(condition, seconds))

    def opened(self, dsn: bytes) -> Opened:
        assert self.wait(lambda: dsn in self.open), f"{dsn!r} was not opened"
        return self.open[dsn]

    def count(self, name: str) -> int:
        return sum(called == name for called, _ in self.calls)


@pytest.fixture
def go() -> Go:
    return Go()


@pytest.fixture
def core(go: Go) -> Core:
    return Core(library.Library(Path(), go, BINDER, N, E, C), device_name="test")


def session(core: Core, dsn: str = "a", **handlers: Any) -> CoreSession:
    return core.session(dsn, events=b"\x03", label=dsn,
                        **({"on_event": lambda _code, _data: None, "on_end": lambda _error: None} | handlers))


def live(core: Core, go: Go, dsn: str = "a", **handlers: Any) -> tuple[CoreSession, Opened]:
    one = session(core, dsn, **handlers)
    one.start()
    opened = go.opened(dsn.encode())
    opened.tell(0)
    return one, opened


def in_background(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def test_openings_take_turns_until_the_first_callback(core: Core, go: Go) -> None:
    sessions = [session(core, name) for name in "abc"]
    for one in sessions:
        one.start()
    assert go.wait(lambda: go.count("Neonize") == 1)
    assert not go.wait(lambda: go.count("Neonize") > 1, 0.2)
    next(iter(go.open.values())).tell(0)
    assert go.wait(lambda: go.count("Neonize") == 2)
    assert not go.wait(lambda: go.count("Neonize") > 2, 0.2)
    list(go.open.values())[1].qr(None, ctypes.cast(ctypes.c_char_p(b"code"), ctypes.c_void_p))
    assert go.wait(lambda: go.count("Neonize") == 3)


def test_an_opening_that_ends_at_once_gives_its_turn_back_and_is_stopped(core: Core, go: Go) -> None:
    ended: list[str] = []
    first, second = session(core, "a", on_end=ended.append), session(core, "b")
    first.start()
    go.opened(b"a").end(b"dial tcp: no route to host")
    second.start()
    go.opened(b"b")
    assert ended == ["dial tcp: no route to host"] or go.wait(lambda: ended)
    assert [name for name, _ in go.calls] == ["Neonize", "Stop", "Neonize"], "what was left in the maps is taken out"


def test_a_dial_that_hangs_does_not_hold_up_the_others_for_ever(
        core: Core, go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "TURN_SECONDS", 0.3)
    for name in "ab":
        session(core, name).start()
        began = time.monotonic()
        go.opened(name.encode())
    assert 0.2 < time.monotonic() - began < 5


def test_calls_are_made_only_between_the_first_callback_and_the_stop(core: Core, go: Go) -> None:
    one = session(core)
    with pytest.raises(NotRunning):
        one.call("GetMe")
    one.start()
    opened = go.opened(b"a")
    with pytest.raises(NotRunning):
        one.call("GetMe")
    opened.tell(0)
    assert one.call("GetMe") == b"me"
    one.stop()
    with pytest.raises(NotRunning):
        one.call("GetMe")
    assert go.calls[-1][0] == "Stop"


def test_no_call_is_made_after_the_core_returned_by_itself(core: Core, go: Go) -> None:
    ended = threading.Event()
    one, opened = live(core, go, on_end=lambda _error: ended.set())
    opened.end(b"required field")
    assert ended.wait(10)
    with pytest.raises(NotRunning):
        one.call("GetMe")


def test_a_session_is_not_stopped_inside_its_dial(core: Core, go: Go) -> None:
    one = session(core)
    one.start()
    opened = go.opened(b"a")
    stopping = in_background(one.stop)
    assert not go.wait(lambda: go.count("Stop"), 0.3)
    opened.tell(0)
    stopping.join(10)
    assert not stopping.is_alive()
    with pytest.raises(NotRunning):
        one.call("GetMe")


def test_no_call_begins_while_another_session_is_being_opened(core: Core, go: Go) -> None:
    one, _ = live(core, go)
    session(core, "b").start()
    other = go.opened(b"b")
    calling = in_background(lambda: one.call("GetMe"))
    assert not go.wait(lambda: go.count("GetMe"), 0.3)
    other.tell(0)
    calling.join(10)
    assert go.count("GetMe") == 1


def test_a_slow_dial_delays_calls_no_longer_than_the_maps_are_written(
        core: Core, go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "GATE_SECONDS", 0.3)
    one, _ = live(core, go)
    session(core, "b").start()
    go.opened(b"b")
    assert one.call("GetMe") == b"me"


def test_an_opening_waits_until_calls_that_just_began_have_looked_up_their_session(
        core: Core, go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "SETTLE_SECONDS", 0.3)
    one, _ = live(core, go)
    go.hold.clear()
    calling = in_background(lambda: one.call("GetMe"))
    assert go.wait(lambda: go.count("GetMe"))
    began = time.monotonic()
    session(core, "b").start()
    go.opened(b"b")
    assert time.monotonic() - began > 0.2
    go.hold.set()
    calling.join(10)


def test_stop_waits_for_the_session_s_calls_but_not_for_ever(
        core: Core, go: Go, caplog: pytest.LogCaptureFixture) -> None:
    one, _ = live(core, go)
    go.hold.clear()
    in_background(lambda: one.call("GetMe"))
    assert go.wait(lambda: go.count("GetMe"))
    with caplog.at_level(logging.WARNING, "gateway.core"):
        one.stop(calls_within=0.2)
    assert "did not return within 0.2 s" in caplog.text
    go.hold.set()


def test_each_start_has_an_id_of_its_own(core: Core, go: Go) -> None:
    one, first = live(core, go)
    one.stop()
    go.open.clear()
    _, second = live(core, go)
    assert first.id != second.id


def test_events_are_copied_and_none_comes_after_the_stop(core: Core, go: Go) -> None:
    told: list[tuple[int, bytes]] = []
    ended: list[str] = []
    one, opened = live(core, go, on_event=lambda code, data: told.append((code, data)), on_end=ended.append)
    opened.tell(17, b"a\0b")
    one.stop()
    opened.tell(17, b"late")
    assert told == [(0, b""), (17, b"a\0b")]
    assert ended == [""]


def test_what_arrives_while_the_session_is_being_stopped_is_told(core: Core, go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core has acknowledged it: WhatsApp will not send it again."""
    told: list[tuple[int, bytes]] = []
    one, opened = live(core, go, on_event=lambda code, data: told.append((code, data)))
    stop, late = go.Stop, [b"last"]

    def stopping(id_: bytes) -> None:
        while late:
            opened.tell(17, late.pop())
        stop(id_)

    monkeypatch.setattr(go, "Stop", stopping)
    one.stop()
    assert told == [(0, b""), (17, b"last")]


def test_a_handler_that_fails_is_logged_and_the_next_event_comes(
        core: Core, go: Go, caplog: pytest.LogCaptureFixture) -> None:
    told: list[int] = []

    def handle(code: int, data: bytes) -> None:
        told.append(code)
        raise ValueError("no")

    _, opened = live(core, go, on_event=handle)
    opened.tell(3)
    assert told == [0, 3]
    assert "a handler of the core's event failed" in caplog.text


def test_what_the_core_may_call_outlives_its_session_but_does_not_keep_it(core: Core, go: Go) -> None:
    heard: list[str] = []
    one, opened = live(core, go, on_log=lambda _level, text: heard.append(text))
    address = ctypes.cast(opened.log, ctypes.c_void_p).value
    entry = N.LogEntry(Message="from a goroutine", Level="WARN", Name="Client").SerializeToString()
    kept = BINDER.func_callback_bytes2(address)
    kept(ctypes.cast(ctypes.c_char_p(entry), ctypes.c_void_p), len(entry))
    assert heard == ["from a goroutine"]
    one.stop()
    go.open.clear()
    gone = weakref.ref(one)
    del one, opened
    deadline = time.monotonic() + 10
    while gone() is not None and time.monotonic() < deadline:       # the session's thread is just ending
        gc.collect()
        time.sleep(0.01)
    assert gone() is None
    kept(ctypes.cast(ctypes.c_char_p(entry), ctypes.c_void_p), len(entry))
    assert heard == ["from a goroutine"]


def test_the_core_s_warnings_are_logged_with_numbers_shortened_and_nothing_below(
        core: Core, go: Go, caplog: pytest.LogCaptureFixture) -> None:
    _, opened = live(core, go)
    assert opened.log_level == b"WARN"
    with caplog.at_level(logging.DEBUG, "gateway.core"):
        for level in ("WARN", "INFO", "DEBUG"):
            entry = N.LogEntry(Message=f"{level} from 15550001111@s.whatsapp.net" + "x" * 9000, Level=level,
                               Name="Client").SerializeToString()
            opened.log(ctypes.cast(ctypes.c_char_p(entry), ctypes.c_void_p), len(entry))
        opened.log(ctypes.cast(ctypes.c_char_p(b"\xff"), ctypes.c_void_p), 1)
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0].startswith("a: Client: WARN from 1555…11@s.whatsapp.net")
    assert len(messages[0]) < 500
    assert [message for message in messages if "INFO" in message or "DEBUG" in message] == []
    assert "a handler of the core's log line failed" in messages[-1]


def test_the_core_s_lines_about_a_lost_connection_are_for_debugging_only(
        core: Core, go: Go, caplog: pytest.LogCaptureFixture) -> None:
    _, opened = live(core, go)
    with caplog.at_level(logging.DEBUG, "gateway.core"):
        entry = N.LogEntry(Message="Error reading from websocket: EOF", Level="ERROR", Name="Client/Socket").SerializeToString()
        opened.log(ctypes.cast(ctypes.c_char_p(entry), ctypes.c_void_p), len(entry))
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
