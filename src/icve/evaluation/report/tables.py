"""The tables of the report. A column sorts by the values that its cells carry, not by their texts."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from icve.evaluation.judging import Judging
from icve.evaluation.report.charts import told
from icve.evaluation.scorers import Figure
from icve.evaluation.statistics import Interval
from icve.evaluation.summary import Mean, Summary
from icve.page import text

LONG = 40  # characters: what is longer gets a column that is wide enough to read


@dataclass(frozen=True)
class Cell:
    """A cell: its HTML, and what it sorts by (None: always last)."""

    html: str
    value: float | str | None
    title: str = ""


def words(content: str, longest: int = 1000) -> Cell:
    """A text of any origin."""
    kind = ' class="long"' if len(content) > LONG else ""
    return Cell(f"<bdi{kind}>{text(content, longest)}</bdi>", content.lower()[:longest])


def whole(count: int) -> Cell:
    """A count."""
    return Cell(f"{count:,}", count)


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str, shaded: Collection[int] = ()) -> str:
    """A table whose first column names its rows and whose columns sort; `shaded` rows stand out."""
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button"><bdi>{text(name, 60)}</bdi></button></th>'
        for name in columns
    )
    kinds = [' class="own"' if number in shaded else "" for number in range(len(rows))]
    body = "".join(f"<tr{kind}>{_row(row)}</tr>" for kind, row in zip(kinds, rows, strict=True))
    return (
        f'<div class="scroll"><table class="sorts"><caption>{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Sequence[Cell]) -> str:
    cells = []
    for index, cell in enumerate(row):
        tag = 'th scope="row"' if index == 0 else "td"
        value = "" if cell.value is None else f' data-value="{text(cell.value)}"'
        title = f' title="{text(cell.title)}"' if cell.title else ""
        cells.append(f"<{tag}{value}{title}>{cell.html}</{tag.split()[0]}>")
    return "".join(cells)


def mean_cell(figure: Figure, mean: Mean, rate: bool) -> Cell:
    """A mean with its interval, how many cases it is of where some are missing."""
    if mean.mean is None:
        return Cell('<span class="soft">missing</span>', None)
    value, bracket, interval = told(figure, mean, rate).partition(" [")
    html = text(value) + (f' <span class="soft">[{text(interval)}</span>' if bracket else "")
    if mean.missing:
        html += f'<br><span class="soft">{mean.missing:,} missing</span>'
    return Cell(html, mean.mean, f"{mean.n:,} cases")


def overall(summary: Summary) -> str:
    """Figures down, editors across."""
    results = summary.results
    rows = []
    for name, (figure, scorer) in results.figures.items():
        means = [mean_cell(figure, summary.mean(e, name), results.is_rate(name)) for e in results.editors]
        better = {"higher": "higher", "lower": "lower", None: ""}[figure.better]
        rows.append([words(name), *means, words(better), words(scorer), words(figure.about)])
    columns = ["figure", *results.editors, "better", "scorer", "what it is"]
    return table(columns, rows, "Means over all cases, with 95% intervals")


def by_category(summary: Summary, name: str) -> str:
    """Categories down, editors across, of one figure."""
    results = summary.results
    figure, rate = results.figures[name][0], results.is_rate(name)
    rows = []
    for category in [*results.categories, None]:
        count = sum(category in (None, case.category) for case in results.cases)
        means = [mean_cell(figure, summary.mean(e, name, category), rate) for e in results.editors]
        rows.append([words("all" if category is None else category, 60), whole(count), *means])
    return table(["category", "cases", *results.editors], rows, f"{name} by category, with 95% intervals")


def comparisons(summary: Summary) -> str:
    """Every two editors, case by case."""
    results = summary.results
    rows = []
    for versus in summary.comparisons():
        figure, rate = results.figures[versus.figure][0], results.is_rate(versus.figure)
        difference = Mean(versus.n, 0, versus.difference, versus.low, versus.high)
        shown = told(figure, difference, rate)
        wins = Cell("", None)
        if versus.win_rate is not None:
            wins = Cell(f"{versus.win_rate:.1%} {_soft(versus.win_low, versus.win_high)}", versus.win_rate)
        p = Cell("", None) if versus.p is None else Cell(_p(versus.p), versus.p)
        pair = words(f"{versus.first} against {versus.second}", 130)
        rows.append([pair, words(versus.figure), whole(versus.n), wins, Cell(text(shown), versus.difference), p])
    if not rows:
        return ""
    columns = ["editors", "figure", "cases", "first better", "mean difference", "p"]
    return table(columns, rows, "Editors compared case by case; a tie counts as half a win")


def _soft(low: float | None, high: float | None) -> str:
    return (
        "" if low is None or high is None or math.isnan(low) else f'<span class="soft">[{low:.1%}, {high:.1%}]</span>'
    )


def _p(p: float) -> str:
    return "&lt; 0.001" if p < 0.001 else f"{p:.3f}"


def agreement(judging: Judging) -> str:
    """How far judges agree."""
    rows = [
        [
            words(figure),
            words(", ".join(one.judges)),
            whole(one.n),
            *(_coefficient(value) for value in (one.alpha, one.kappa)),
        ]
        for figure, one in judging.agreements.items()
    ]
    columns = ["figure", "judges", "clips", "Krippendorff's alpha", "Cohen's kappa"]
    return table(columns, rows, "Agreement of judges: 1 is perfect, 0 is chance") if rows else ""


def votes(judging: Judging) -> str:
    """How far each judge agrees with itself."""
    rows = [[words(figure), whole(own.n), _coefficient(own.alpha)] for figure, own in judging.votes.items()]
    caption = "Agreement of a judge's own votes: 1 where they are the same, 0 for lots"
    return table(["figure", "clips", "Krippendorff's alpha"], rows, caption) if rows else ""


def controls(judging: Judging) -> str:
    """What judges make of clips whose place is known."""
    rows = []
    for one in judging.controls:
        ranked = Cell("–", None)
        if one.ranked.n:
            html = f"{one.ranked.mean:.1%} {_soft(one.ranked.low, one.ranked.high)}"
            ranked = Cell(html, one.ranked.mean, f"{one.ranked.n:,} cases")
        rows.append([words(one.figure), *map(_interval, (one.source, one.target)), ranked])
    columns = ["figure", "unedited source", "true edit", "true edit above source"]
    caption = "Clips whose place is known, judged as if they were edits: 50% of true edits above sources is chance"
    return table(columns, rows, caption) if rows else ""


def _interval(known: Interval) -> Cell:
    if not known.n:
        return Cell("–", None)
    interval = "" if math.isnan(known.low) else f' <span class="soft">[{known.low:.2f}, {known.high:.2f}]</span>'
    return Cell(f"{known.mean:.2f}{interval}", known.mean, f"{known.n:,} cases")


def duels(judging: Judging) -> str:
    """What judges chose between two editors."""
    rows = []
    for one in judging.duels:
        won = one.summary.win_rate
        rows.append(
            [
                words(f"{one.first} against {one.second}", 130),
                words(one.judge),
                whole(one.summary.n),
                Cell("–", None)
                if math.isnan(won.mean)
                else Cell(f"{won.mean:.1%} {_soft(won.low, won.high)}", won.mean),
                *(_coefficient(value) for value in (one.summary.consistent, one.summary.kappa, one.summary.first)),
                whole(one.missing),
            ]
        )
    columns = ["editors", "judge", "cases", "first editor better", "consistent", "kappa", "first shown", "missing"]
    caption = "Two editors side by side, in both orders: consistent is at best 1, first shown is fair at 0.5"
    return table(columns, rows, caption) if rows else ""


def _coefficient(value: float | None) -> Cell:
    return Cell("–", None) if value is None or math.isnan(value) else Cell(f"{value:.2f}", value)


def missing(summary: Summary) -> str:
    """What has no value, and why."""
    rows = [
        [words(editor, 60), words(reason), whole(count), words(", ".join(figures))]
        for editor, reason, figures, count in summary.missing()
    ]
    return table(["editor", "reason", "cases", "figures"], rows, "Scores that are missing") if rows else ""
