"""Imports go one way. This table is the architecture; a module that needs more changes the design, not this test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "gateway"
WORDS = {"errors", "jid", "messages", "events", "states", "times", "cancelling"}
MAY_IMPORT = {
    "words": {"words"},
    "config": {"words"},
    "log": {"words"},
    "audio": {"words", "audio"},
    "media": {"words", "media"},
    "store": {"words", "store"},
    "link": {"words", "link"},
    "services": {"words", "config", "audio", "media", "store", "link", "services"},
    "api": {"words", "config", "audio", "media", "store", "services", "api"},
    "dialects": {"words", "config", "store", "services", "api", "dialects"},
    "sandbox": {"words", "sandbox"},
    "notify": {"words"},                    # the service manager's protocol; only the daemon speaks it
    "garbage": {"words"},                   # the interpreter's collector; only the daemon tames it
    "daemon": {"words", "config", "log", "notify", "garbage", "audio", "media", "store", "link", "services", "api", "dialects"},
    "cli": {"words", "config", "log", "audio", "media", "store", "link", "services", "api", "dialects", "sandbox", "daemon", "cli"},
    "__main__": {"cli"},
    "__init__": set(),
}
# One user of each: the gateway's own files that may import these.
ONLY_IN = {
    "neonize": ("link/", "sandbox/"),               # the sandbox reads its protobufs
    "cryptography": ("store/vault.py", "link/sealing/", "sandbox/"),
    "sqlite3": ("store/",),
    "aiosqlite": ("store/",),
    "av": ("audio/", "media/videos.py"),
    "starlette": ("api/", "dialects/"),
    "uvicorn": ("daemon.py", "api/connections.py", "sandbox/"),
    "typer": ("cli/",),
    "opentelemetry": ("services/traces.py",),
    "prometheus_client": ("services/metrics.py",),
    "sdnotify": ("notify.py",),
}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def layer(path: Path) -> str:
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "words" if part in WORDS else part


def imports(path: Path) -> set[str]:
    """Full names of modules."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            here = (ROOT.name, *path.relative_to(ROOT).parts)[:-node.level] if node.level else ()
            base = ".".join((*here, *([node.module] if node.module else [])))
            names |= {f"{base}.{alias.name}" for alias in node.names} if base == "gateway" else {base}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_what_its_layer_may(path: Path) -> None:
    mine = layer(path)
    for name in imports(path):
        if name.startswith("gateway."):
            other = name.split(".")[1]
            assert ("words" if other in WORDS else other) in MAY_IMPORT[mine], f"{path.name} ({mine}) imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_library_has_its_one_user(path: Path) -> None:
    place = str(path.relative_to(ROOT))
    for name in imports(path):
        allowed = ONLY_IN.get(name.split(".")[0])
        assert allowed is None or place.startswith(allowed), f"{place} imports {name}"


def test_the_words_import_only_the_standard_library_and_each_other() -> None:
    import sys

    for path in (p for p in modules() if layer(p) == "words"):
        for name in imports(path):
            assert name.split(".")[0] in {"gateway", *sys.stdlib_module_names}, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_uses_wait_for_which_may_swallow_a_cancellation(path: Path) -> None:
    """In Python 3.11 a task cancelled in the very moment in which what it waits for is done goes on as if it had not been, and
    who waits for its end waits for ever (python/cpython#86296, mended in 3.12). `asyncio.timeout` does not."""
    assert "asyncio.wait_for(" not in path.read_text("utf-8")
