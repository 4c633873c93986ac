"""Means with their intervals as dots and lines, by category and editor, as SVG."""

import math
from collections.abc import Callable
from dataclasses import replace

from icve.evaluation.report.numbers import number
from icve.evaluation.scorers import Figure
from icve.evaluation.summary import Mean
from icve.page import text, ticks

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 640, 150, 28, 6, 22
LINE, GAP = 13, 8  # pixels of an editor's line, and between categories
MARKS = 6  # kinds of marks: shapes and colours come again after them
MAX_NAME = 22  # characters


def forest(figure: Figure, rate: bool, rows: dict[str, dict[str, Mean]]) -> str:
    """A mark with its 95% interval for each editor in each row.

    Args:
        rate: the values are success rates.
        rows: by category, means by editor; those without a value are left out.
    """
    shown = [mean for row in rows.values() for mean in row.values() if mean.mean is not None]
    if not shown:
        return ""
    low, high = _span(figure, rate, shown)
    scale = (WIDTH - LEFT - RIGHT) / (high - low)

    def x(value: float) -> float:
        return LEFT + (min(max(value, low), high) - low) * scale

    parts, y = [], float(TOP)
    for name, row in rows.items():
        middle = y + LINE * len(row) / 2
        title = f"<title>{text(name)}</title>"
        short_name = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
        parts.append(f'<text x="{LEFT - 8}" y="{middle + 4:.1f}" text-anchor="end">{title}{text(short_name)}</text>')
        for index, (editor, mean) in enumerate(row.items()):
            if mean.mean is not None:
                about = f"{editor}, {name}: {told(figure, mean, rate)}"
                parts.append(_mark(x, y + LINE / 2, mean, index % MARKS, about))
            y += LINE
        y += GAP
    parts.append(f'<path class="axis" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
    parts += [
        f'<path class="grid" d="M{x(tick):.1f} {TOP}V{y:.1f}"/>'
        f'<text x="{x(tick):.1f}" y="{y + 14:.1f}" text-anchor="middle">{_tick(figure, tick, rate)}</text>'
        for tick in ticks(low, high)
    ]
    label = f"{text(figure.name)} by category, with 95% intervals"
    size = f"0 0 {WIDTH} {y + BOTTOM:.0f}"
    return f'<svg class="forest" viewBox="{size}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _tick(figure: Figure, value: float, rate: bool) -> str:
    return f"{value:.0%}" if rate else text(number(figure, value))


def _span(figure: Figure, rate: bool, means: list[Mean]) -> tuple[float, float]:
    """The axis: 0 to 1 for rates, else what the intervals need and a little more, within the figure's range."""
    if rate:
        return 0.0, 1.0
    ends = [end for mean in means for end in (mean.low, mean.mean, mean.high) if end is not None]
    low, high = min(ends), max(ends)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - margin, high + margin
    if figure.low is not None and min(ends) >= figure.low:
        low = max(low, figure.low)
    if figure.high is not None and max(ends) <= figure.high:
        high = min(high, figure.high)
    return low, high


def _mark(x: Callable[[float], float], y: float, mean: Mean, kind: int, about: str) -> str:
    assert mean.mean is not None
    line = ""
    if mean.low is not None and mean.high is not None:
        line = f'<path d="M{x(mean.low):.1f} {y:.1f}H{x(mean.high):.1f}"/>'
    return f'<g class="mark m{kind}"><title>{text(about)}</title>{line}{_shape(x(mean.mean), y, kind)}</g>'


def _shape(x: float, y: float, kind: int) -> str:
    """A circle, a square, a diamond, a triangle …: editors differ by more than colour."""
    if kind == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    corners, turn = {1: (4, 0.25), 2: (4, 0.0), 3: (3, 0.25), 4: (3, -0.25), 5: (5, 0.25)}[kind]
    turns = [turn + i / corners + (0.125 if kind == 1 else 0) for i in range(corners)]
    points = " ".join(f"{x + 5 * math.cos(2 * math.pi * t):.1f},{y - 5 * math.sin(2 * math.pi * t):.1f}" for t in turns)
    return f'<polygon points="{points}"/>'


def key(editors: list[str]) -> str:
    """Which mark is which editor's."""
    entries = "".join(
        f'<li><svg viewBox="0 0 12 12" aria-hidden="true">'
        f'<g class="mark m{i % MARKS}">{_shape(6, 6, i % MARKS)}</g></svg>'
        f"<bdi>{text(editor, 60)}</bdi></li>"
        for i, editor in enumerate(editors)
    )
    return f'<ul class="key">{entries}</ul>'


def told(figure: Figure, mean: Mean, rate: bool) -> str:
    """A mean with its interval in words."""
    if mean.mean is None:
        return "–"
    if mean.low is None or mean.high is None:
        return number(figure, mean.mean, rate)
    bare = replace(figure, unit="")
    value, low, high = (number(bare, each, rate) for each in (mean.mean, mean.low, mean.high))
    return f"{value} [{low}, {high}]" + (f" {figure.unit}" if figure.unit else "")
