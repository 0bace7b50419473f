from __future__ import annotations

import pytest

from gateway.audio.drawing import draw


def test_two_rows_of_32_cells_mirrored_about_the_middle() -> None:
    upper, lower = draw(bytes([100] * 64)).split("\n")
    assert upper == lower == "⣿" * 32


def test_silence_is_a_line() -> None:
    assert draw(bytes(64)) == "⣀" * 32 + "\n" + "⠉" * 32


def test_more_rows_are_higher() -> None:
    rows = draw(bytes([0, 100] * 32), rows=4).split("\n")
    assert rows == ["⢸" * 32, "⣸" * 32, "⢹" * 32, "⢸" * 32]


def test_an_odd_number_of_bars_is_drawn_too() -> None:
    assert [len(row) for row in draw(b"\x10\x20\x30").split("\n")] == [2, 2]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_rows_come_in_pairs(rows: int) -> None:
    with pytest.raises(ValueError):
        draw(bytes(64), rows=rows)
