"""Plots as SVG, without a library: a line or a row of bars, axes, a legend. Good enough to see a trend; the JSON has the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 320, 64, 16, 40, 48
COLOURS = ("#0b6e4f", "#c8553d", "#2f4b7c", "#d9a404", "#7a5195")
Points = Sequence[tuple[float, float]]


def _ticks(most: float) -> list[float]:
    step = 10 ** len(str(int(most))) / 10 if most >= 1 else 0.1
    while most / step > 6:
        step *= 2
    while most / step < 3:
        step /= 2
    return [step * i for i in range(int(most / step) + 1)]


def lines(file: Path, title: str, x_name: str, y_name: str, series: dict[str, Points], limit: float | None = None) -> None:
    """`limit`: a dashed line at that height, the target."""
    every = [point for points in series.values() for point in points]
    x_most = max((x for x, _ in every), default=1) or 1
    y_most = max([y for _, y in every] + ([limit] if limit else []), default=1) * 1.08 or 1

    def at(x: float, y: float) -> tuple[float, float]:
        return (LEFT + (WIDTH - LEFT - RIGHT) * x / x_most, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / y_most)

    out = _frame(title, x_name, y_name)
    for x in _ticks(x_most):
        px, _ = at(x, 0)
        out.append(f'<text x="{px:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x:g}</text>')
    for y in _ticks(y_most):
        _, py = at(0, y)
        out.append(f'<path d="M{LEFT} {py:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{py + 4:.1f}" text-anchor="end">{y:g}</text>')
    if limit:
        _, py = at(0, limit)
        out.append(f'<path d="M{LEFT} {py:.1f}H{WIDTH - RIGHT}" stroke="#a00" stroke-dasharray="5 4"/>')
    for place, (name, points) in enumerate(series.items()):
        colour = COLOURS[place % len(COLOURS)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (at(x, y) for x, y in points))
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(points) < 20:
            out += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in (at(x, y) for x, y in points)]
        out.append(f'<text x="{LEFT + 8 + 160 * place}" y="{TOP - 8}" fill="{colour}">{escape(name)}</text>')
    _write(file, out)


def bars(file: Path, title: str, y_name: str, values: dict[str, float], limit: float | None = None) -> None:
    y_most = max([*values.values(), limit or 0]) * 1.12 or 1
    out, room = _frame(title, "", y_name), (WIDTH - LEFT - RIGHT) / max(len(values), 1)
    scale = (HEIGHT - TOP - BOTTOM) / y_most
    for place, (name, value) in enumerate(values.items()):
        x, height = LEFT + room * place + room * 0.2, value * scale
        out.append(f'<rect x="{x:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" width="{room * 0.6:.1f}" height="{height:.1f}" '
                   f'fill="{COLOURS[place % len(COLOURS)]}"/>'
                   f'<text x="{x + room * 0.3:.1f}" y="{HEIGHT - BOTTOM - height - 5:.1f}" text-anchor="middle">{value:g}</text>'
                   f'<text x="{x + room * 0.3:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{escape(name)}</text>')
    if limit:
        y = HEIGHT - BOTTOM - limit * scale
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#a00" stroke-dasharray="5 4"/>')
    _write(file, out)


def _frame(title: str, x_name: str, y_name: str) -> list[str]:
    return [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            f'<text x="{LEFT}" y="18" font-size="14" font-weight="bold">{escape(title)}</text>',
            f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#333"/>',
            f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_name)}</text>',
            f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{escape(y_name)}</text>']


def _write(file: Path, out: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*out, "</svg>"]) + "\n")
