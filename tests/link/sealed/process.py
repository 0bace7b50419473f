"""Runs a piece of code with the sealed store in a fresh interpreter, and hands back what it told.

The code finds: `store` (installed), `here` (its folder), `S` (session_sqlite), `KEY`, `OTHER`, `SECRET`, `failures` (told by the
store), `tell(**json)`, `sql(path)` (a connection), `go_schema(dsn)`, `put_device(path)`, and whatever it imports."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
START = [sys.executable, "-c", "import sys; from tests.link.sealed import inside; inside.main(sys.argv[1], sys.argv[2])"]


def begin(code: str, folder: Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([*START, str(folder), textwrap.dedent(code)], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, **options)


def end(process: subprocess.Popen[str], seconds: float = 60) -> dict[str, Any]:
    """Everything told, merged. Fails with the process's own traceback."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, f"exit {process.returncode}\n{out[-2000:]}\n{err[-4000:]}"
    told: dict[str, Any] = {}
    for line in out.splitlines():
        told.update(json.loads(line))
    return told


def run(code: str, folder: Path, seconds: float = 60) -> dict[str, Any]:
    return end(begin(code, folder), seconds)
