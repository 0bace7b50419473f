"""docs/cli.md names every command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from gateway.cli import app

MANUAL = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")


def commands() -> Iterator[str]:
    for name, command in typer.main.get_command(app).commands.items():      # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        yield from (f"{name} {inner}" for inner in below) if below else (name,)


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_manual_has_a_row_for_every_command(name: str) -> None:
    rows = [line for line in MANUAL.splitlines() if line.startswith("| `")]
    assert any(f"`{name}`" in row or f"`{name} " in row for row in rows)
