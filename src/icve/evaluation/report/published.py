"""Where an editor would stand: its figures among those that others have published on the same benchmark."""

from collections.abc import Sequence

from icve.evaluation.benchmarks.published import PublishedRow, published
from icve.evaluation.report.numbers import number
from icve.evaluation.report.tables import Cell, mean_cell, table, words
from icve.evaluation.scorers import Figure
from icve.evaluation.summary import Summary
from icve.page import text

OVERALL = "overall"
NOTE = (
    "Figures by different judges, or over another number of categories (in brackets), cannot be compared with each "
    "other; neither can those of a judge at another date. Rows of this evaluation are shaded."
)


def standing(summary: Summary) -> str:
    """A table for every published figure that this evaluation has too; nothing where there is none."""
    by_figure: dict[str, list[PublishedRow]] = {}
    for row in published(summary.results.benchmark):
        by_figure.setdefault(row.figure, []).append(row)
    own = summary.results.figures
    parts = []
    for name, rows in by_figure.items():
        mine = [each for each in own if each.split("@")[0] == name]  # of several judges, one figure each
        if mine:
            parts.append(_table(summary, name, rows, mine))
    return f'<p class="soft">{NOTE}</p>{"".join(parts)}' if parts else ""


def _table(summary: Summary, name: str, rows: Sequence[PublishedRow], mine: Sequence[str]) -> str:
    results = summary.results
    figure, _ = results.figures[mine[0]]
    present = {row.category for row in rows} | set(results.categories)
    ordered = dict.fromkeys([*results.categories, *(row.category for row in rows)])
    categories = [OVERALL, *(name for name in ordered if name in present and name != OVERALL)]
    lines: list[tuple[float, bool, list[Cell]]] = []
    for own in mine:
        for editor in results.editors:
            means = {c: summary.mean(editor, own, None if c == OVERALL else c) for c in categories}
            rate = results.is_rate(own)
            cells = [
                mean_cell(figure, means[c], rate) if means[c].n or means[c].missing else Cell("", None)
                for c in categories
            ]
            judge = own.partition("@")[2]
            place = means[OVERALL].mean
            if place is not None:
                lines.append((place, True, [words(editor, 60), words(judge), *cells, words("this evaluation")]))
    groups: dict[tuple[str, str, str], dict[str, PublishedRow]] = {}
    for row in rows:
        groups.setdefault((row.method, row.judge, row.source), {})[row.category] = row
    for (method, judge, source), by_category in groups.items():
        cells = [_cell(figure, by_category.get(c)) for c in categories]
        overall = by_category.get(OVERALL)
        said = dict.fromkeys(each.note for each in by_category.values() if each.note)
        if not all(each.checked for each in by_category.values()):
            said["as quoted elsewhere"] = None
        where = f"{source} ({'; '.join(said)})" if said else source
        place = overall.value if overall else float("-inf")
        lines.append((place, False, [words(method, 80), words(judge), *cells, words(where)]))
    lines.sort(key=lambda line: -line[0] if figure.better != "lower" else line[0])
    shaded = {index for index, line in enumerate(lines) if line[1]}
    return table(["editor", "judge", *categories, "source"], [line[2] for line in lines], name, shaded=shaded)


def _cell(figure: Figure, row: PublishedRow | None) -> Cell:
    if row is None:
        return Cell("", None)
    over = f' <span class="soft">({row.categories})</span>' if row.category == OVERALL and row.categories else ""
    return Cell(text(number(figure, row.value)) + over, row.value)
