"""A waveform for a terminal."""

from __future__ import annotations

from typing import Final

_DOTS_PER_ROW: Final = 4  # a braille cell is two bars wide and four dots high
# The dots of a braille column filled from its bottom and from its top (Unicode: dots 1-3,7 left, 4-6,8 right).
_LEFT_UP: Final = (0x00, 0x40, 0x44, 0x46, 0x47)
_RIGHT_UP: Final = (0x00, 0x80, 0xA0, 0xB0, 0xB8)
_LEFT_DOWN: Final = (0x00, 0x01, 0x03, 0x07, 0x47)
_RIGHT_DOWN: Final = (0x00, 0x08, 0x18, 0x38, 0xB8)


def draw(waveform: bytes, *, rows: int = 2) -> str:
    """`rows` lines of half as many cells as bars, mirrored about the middle like a player's; `rows` is even.

    Every bar is at least one dot high, so that silence is a line.
    """
    if rows < 2 or rows % 2:
        raise ValueError("rows is an even number of at least 2")
    half = rows // 2
    bars = waveform + b"\0" * (len(waveform) % 2)
    heights = [max(1, round(value * half * _DOTS_PER_ROW / 100)) for value in bars]
    upper = [_row(heights, row, _LEFT_UP, _RIGHT_UP) for row in reversed(range(half))]
    lower = [_row(heights, row, _LEFT_DOWN, _RIGHT_DOWN) for row in range(half)]
    return "\n".join(upper + lower)


def _row(heights: list[int], row: int, left: tuple[int, ...], right: tuple[int, ...]) -> str:
    """One line of cells, `row` rows away from the middle."""
    dots = [min(_DOTS_PER_ROW, max(0, height - row * _DOTS_PER_ROW)) for height in heights]
    return "".join(chr(0x2800 | left[a] | right[b]) for a, b in zip(dots[::2], dots[1::2], strict=True))
