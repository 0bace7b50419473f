"""The core's library is found, checked and loaded without what the rest of its package brings along."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.link import library

PLAIN = {name: value for name, value in os.environ.items() if name != "NEONIZE_BOT_TAG"}


def run(code: str, environment: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env=PLAIN | (environment or {}), capture_output=True, text=True,
                          timeout=60, check=False, **options)


def told(code: str, environment: dict[str, str] | None = None) -> Any:
    done = run(code, environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


LOADED = """
import json, logging, sys, threading
from gateway.link import library
before = list(sys.path)
loaded = library.load()
print(json.dumps({
    "modules": [name for name in ("magic", "requests", "PIL", "neonize.client", "neonize.utils.log") if name in sys.modules],
    "handlers": len(logging.root.handlers), "level": logging.root.level, "threads": threading.active_count(),
    "path": before == sys.path, "version": loaded.go.GetVersion().decode(),
    "void": [getattr(loaded.go, name).restype is None for name in
             ("Stop", "StopAll", "SetForceActiveDeliveryReceipts", "Disconnect")],
    "once": library.load() is loaded, "children": open(f"/proc/self/task/{threading.get_native_id()}/children").read()}))
"""


def test_loading_brings_no_log_thread_no_root_handler_no_libmagic_and_no_shell() -> None:
    assert told(LOADED) == {"modules": [], "handlers": 0, "level": 30, "threads": 1, "path": True, "version": "0.5.2",
                            "void": [True] * 4, "once": True, "children": ""}


def test_a_function_that_returns_nothing_has_nothing_freed() -> None:
    assert told("""
import json
from gateway.link import library
go = library.load().go
print(json.dumps([go.Stop(b"nobody"), go.StopAll()]))
""") == [None, None]


def test_neonize_imported_by_others_is_refused() -> None:
    done = run("""
import sys, types
stranger = types.ModuleType("neonize"); stranger.NewClient = object
stranger.__spec__ = __import__("importlib.util").util.find_spec("neonize")
sys.modules["neonize"] = stranger
from gateway.link import library
library.load()
""")
    assert "CoreUnavailable" in done.stderr
    assert "imported by something else" in done.stderr


def test_a_missing_library_is_an_error_and_never_a_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "package_directory", lambda: tmp_path)
    with pytest.raises(library.CoreUnavailable, match="missing; reinstall"):
        library.installed_library()


def test_a_library_that_is_not_the_wheel_s_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = library.installed_library()
    copy = tmp_path / real.name
    shutil.copy(real, copy)
    with copy.open("r+b") as file:
        file.seek(18_000_000)
        byte = file.read(1)
        file.seek(18_000_000)
        file.write(bytes([byte[0] ^ 1]))
    monkeypatch.setattr(library, "package_directory", lambda: tmp_path)
    with pytest.raises(library.CoreUnavailable, match="not the one its wheel brought"):
        library.installed_library()


def test_a_version_mismatch_fetches_nothing() -> None:
    done = run("""
import importlib.metadata, socket
from gateway.link import library
importlib.metadata.version = lambda name: "0.0.1"
def connect(*_): raise SystemExit("it wanted the network")
socket.socket.connect = connect
library.load()
""")
    assert "wanted the network" not in done.stderr
    assert "CoreUnavailable: neonize's library cannot be loaded" in done.stderr


def test_the_program_starts_itself_anew_exactly_once() -> None:
    code = """
import os, sys
from gateway.link import library
print(os.getpid(), os.environ.get("NEONIZE_BOT_TAG"), flush=True)
library.ensure_environment()
print("went on with", sys.argv, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code, "serve", "--x"], env=PLAIN, capture_output=True, text=True, timeout=60,
                          check=True)
    first, second, last = done.stdout.splitlines()
    assert first.split()[1:] == ["None"]
    assert second.split() == [first.split()[0], "off"], "the same process"
    assert last == "went on with ['-c', 'serve', '--x']"
    assert run(code, {"NEONIZE_BOT_TAG": "off"}).stdout.count("went on") == 1
    assert run(code, {"NEONIZE_BOT_TAG": "off"}).stdout.count("off") == 1


def test_standard_output_is_ours_alone() -> None:
    done = run("""
import os
from gateway.link import library
ours = library.guard_stdout()
os.write(1, b"Pair Code: ABCD-EFGH\\n")
print("via print")
ours.write("directly\\n")
""")
    assert done.stdout == "via print\ndirectly\n"
    assert "Pair Code" in done.stderr


def test_without_standard_error_the_prints_go_nowhere() -> None:
    done = run("""
import os
from gateway.link import library
os.close(2)
library.guard_stdout().write("ours\\n")
os.write(1, b"Pair Code\\n")
""")
    assert done.stdout == "ours\n"
