"""Tables in the terminal. An id or a number is never cut: it is there to be copied."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

PIPED = 250             # columns where nobody looks: a line stays a line
NARROW = 100            # columns below which a cell's words may stand one below the other


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, whole: Sequence[str] = (),
                stacked: Sequence[str] = ()) -> None:
    """`whole`: columns that never wrap. `stacked`: those whose words stand one below the other in a narrow terminal."""
    console = Console()
    width = console.width if console.is_terminal else PIPED
    narrow = width < NARROW
    table = Table(box=None, pad_edge=False, padding=(0, 1 if narrow else 2, 0, 0))
    for name in columns:
        table.add_column(name, no_wrap=name in whole or (narrow and name in stacked), overflow="fold")
    for row in rows:
        table.add_row(*(cell.replace(" ", "\n") if narrow and name in stacked else cell
                        for name, cell in zip(columns, row, strict=True)))
    Console(width=width, highlight=False, markup=False).print(table)
