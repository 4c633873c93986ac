"""Histograms of any number of values in little memory, drawn as SVG."""

import math
from html import escape

import numpy as np

from icve.page import short, ticks

CELLS = 2048  # kept of a histogram: enough for percentiles
BARS = 30
LARGEST = 1e15  # values beyond are no measurements
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 320, 130, 6, 18, 6  # of the drawing


class Histogram:
    """Counts of values in cells whose width is a power of two, doubled whenever they would be too many.

    What it holds does not depend on the order in which values come.
    """

    def __init__(self, least_width: float = 2.0**-40) -> None:
        """
        Args:
            least_width: of a cell, a power of two; 1 for whole numbers.
        """
        self.width = least_width
        self.cells: dict[int, int] = {}
        self.count = 0

    def add(self, values: np.ndarray) -> None:
        """Counts values of any shape; what is not finite is left out."""
        values = np.asarray(values, np.float64).ravel()
        values = values[np.abs(values) < LARGEST]  # not NaN either
        if not len(values):
            return
        self.count += len(values)
        ends = [math.floor(float(end) / self.width) for end in (values.min(), values.max())]
        ends = [min(ends[0], *self.cells), max(ends[1], *self.cells)] if self.cells else ends
        while ends[1] - ends[0] >= CELLS:
            ends = [end >> 1 for end in ends]
            self._widen()
        for cell, count in zip(*np.unique(np.floor(values / self.width), return_counts=True), strict=True):
            self.cells[int(cell)] = self.cells.get(int(cell), 0) + int(count)

    def _widen(self) -> None:
        self.width *= 2
        cells: dict[int, int] = {}
        for cell, count in self.cells.items():
            cells[cell >> 1] = cells.get(cell >> 1, 0) + count
        self.cells = cells

    def quantile(self, share: float) -> float:
        """The value below which a share of all lie, right to a cell's width (for whole numbers exactly)."""
        left = share * self.count
        for cell in sorted(self.cells):
            left -= self.cells[cell]
            if left <= 0:
                break
        return cell * self.width if self.width >= 1 else (cell + 0.5) * self.width

    def bars(self) -> tuple[float, float, list[int], int, int]:
        """(start of the first bar, width of each, counts, values before the first bar, values after the last).

        Few values that lie far off are left out of the bars.
        """
        cells, width = self.cells, self.width
        low, high = (math.floor(self.quantile(share) / width) for share in (0.005, 0.995))
        if max(cells) - min(cells) <= 3 * (high - low + 1):
            low, high = min(cells), max(cells)
        while high - low >= BARS:
            width, low, high = 2 * width, low >> 1, high >> 1
        counts = [0] * (high - low + 1)
        before = after = 0
        for cell, count in cells.items():
            bar = math.floor(cell * self.width / width)
            if bar < low:
                before += count
            elif bar > high:
                after += count
            else:
                counts[bar - low] += count
        return low * width, width, counts, before, after


def draw(name: str, histogram: Histogram, unit: str = "") -> str:
    """A histogram with its name and its median as an HTML figure."""
    if not histogram.count:
        return ""
    title, unit = escape(name), f" {unit}" if unit else ""
    low, middle, high = (short(histogram.quantile(share)) for share in (0.05, 0.5, 0.95))
    if len(histogram.cells) == 1:
        summary, drawing = f"{middle}{unit} for all {histogram.count:,}", ""
    else:
        summary = f"median {middle}{unit}, 90% within {low} to {high}, {histogram.count:,} values"
        start, width, counts, before, after = histogram.bars()
        if outside := [f"{n:,} {where}" for n, where in ((before, "below"), (after, "above")) if n]:
            summary += f"; not drawn: {' and '.join(outside)}"
        bars = _bars(start, width, counts, histogram.width == 1 and width == 1, unit)
        label = f"Histogram of {title}: {escape(summary)}"
        drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{bars}</svg>'
    return (
        f'<figure class="chart"><figcaption><strong>{title}</strong> {escape(summary)}</figcaption>{drawing}</figure>'
    )


def _bars(start: float, width: float, counts: list[int], whole: bool, unit: str) -> str:
    """Bars over an axis; those of `whole` numbers have their numbers below their middles."""
    scale = (WIDTH - 2 * LEFT) / len(counts)
    base = HEIGHT - BOTTOM
    parts = []
    for number, count in enumerate(counts):
        if count:
            edge = start + number * width
            span = f"{edge:,.0f}" if whole else f"{short(edge)} to {short(edge + width)}"
            height = max(1.0, (base - TOP) * count / max(counts))
            parts.append(
                f'<rect x="{LEFT + number * scale:.1f}" y="{base - height:.1f}" width="{max(1.0, scale - 1):.1f}" '
                f'height="{height:.1f}"><title>{escape(span + unit)}: {count:,}</title></rect>'
            )
    parts.append(f'<path d="M{LEFT} {base + 0.5}H{WIDTH - LEFT}"/>')
    for tick in ticks(start, start + width * len(counts), 1 if whole else 0):
        place = LEFT + ((tick - start) / width + 0.5 * whole) * scale
        if place <= WIDTH - LEFT + 0.01:
            anchor = "start" if place < 20 else "end" if place > WIDTH - 20 else "middle"
            parts.append(f'<text x="{place:.1f}" y="{HEIGHT - 4}" text-anchor="{anchor}">{short(tick)}</text>')
    return "".join(parts)
