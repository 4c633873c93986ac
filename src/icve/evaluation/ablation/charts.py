"""Curves with their intervals as SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icve.evaluation.report.charts import MARKS
from icve.page import short, text, ticks

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 56, 16, 12, 40


@dataclass(frozen=True)
class Point:
    """A value at x with its interval, which may be nan."""

    x: float
    y: float
    low: float = math.nan
    high: float = math.nan


def curves(
    lines: Mapping[str, Sequence[Point]],
    x_name: str,
    y_name: str,
    *,
    log_x: bool,
    percent: bool = False,
    colours: Mapping[str, int] | None = None,
) -> str:
    """Lines by name, each point with its interval; "" where there is nothing to draw.

    Args:
        log_x: x on a logarithmic axis, labelled at the points themselves; all x must be positive.
        percent: y are fractions of 1, drawn from 0 to 100%.
        colours: of each line its place in the key; the lines' own order when None.
    """
    points = [point for line in lines.values() for point in line if math.isfinite(point.y)]
    if not points:
        return ""
    ends = [end for p in points for end in (p.y, p.low, p.high) if math.isfinite(end)]
    low, high = (0.0, 1.0) if percent else (min(ends), max(ends))
    low, high = (low, high) if high > low else (low - 1, high + 1)
    place = math.log if log_x else float
    first, last = min(place(p.x) for p in points), max(place(p.x) for p in points)
    across = (WIDTH - LEFT - RIGHT) / ((last - first) or 1)
    down = (HEIGHT - TOP - BOTTOM) / (high - low)

    def x(value: float) -> float:
        return LEFT + (place(value) - first) * across

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (min(max(value, low), high) - low) * down

    marks = sorted({p.x for p in points}) if log_x else ticks(first, last) if last > first else [first]
    parts = [
        f'<text x="{x(mark):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{short(mark)}</text>'
        for mark in marks
    ]
    for tick in ticks(low, high):
        label = f"{tick:.0%}" if percent else short(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{label}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{text(x_name, 60)}</text>')
    for index, (name, line) in enumerate(lines.items()):
        kept = [point for point in line if math.isfinite(point.y)]
        path = "L".join(f"{x(p.x):.1f} {y(p.y):.1f}" for p in kept)
        drawn = [f"<title>{text(name)}</title>"]
        drawn += [f'<path class="line" d="M{path}"/>'] if len(kept) > 1 else []
        for p in kept:
            told = f"{name} at {short(p.x)}: {p.y:.1%}" if percent else f"{name} at {short(p.x)}: {short(p.y)}"
            if math.isfinite(p.low):
                drawn.append(f'<path d="M{x(p.x):.1f} {y(p.low):.1f}V{y(p.high):.1f}"/>')
            if len(kept) <= 20:
                drawn.append(
                    f'<circle cx="{x(p.x):.1f}" cy="{y(p.y):.1f}" r="3.5"><title>{text(told)}</title></circle>'
                )
        parts.append(f'<g class="mark m{(colours[name] if colours else index) % MARKS}">{"".join(drawn)}</g>')
    label = f"{text(y_name)} against {text(x_name)}"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
