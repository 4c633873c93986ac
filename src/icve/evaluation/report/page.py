"""Puts the report together."""

from pathlib import Path

from icve.evaluation.judging import Judging
from icve.evaluation.report import tables
from icve.evaluation.report.charts import forest, key
from icve.evaluation.report.gallery import Gallery
from icve.evaluation.report.published import standing
from icve.evaluation.results import Results
from icve.evaluation.summary import Summary
from icve.page import text, write_page

ITEMS = 24
MAX_BYTES = 24 * 2**20
OPEN = 3  # figures that are shown at once; the others open by a click


def write_report(
    results: Results,
    summary: Summary,
    judging: Judging,
    output: Path,
    *,
    items: int = ITEMS,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Writes the report of results as one HTML file that asks for nothing else.

    Args:
        output: the file, replaced if it exists.
        items: cases shown with their clips at most.
        max_bytes: of all clips in the page; those that come after are left out, and the page says so.

    Raises:
        InputError: the file cannot be written.
    """
    gallery = Gallery(results, items, max_bytes)
    shown = len(gallery.chosen())
    count = len(results.cases)
    title = f"{results.title}: {', '.join(results.editors)}"
    parts = {
        "title": text(title, 200),
        "header": _header(results),
        "overall": tables.overall(summary),
        "comparisons": _section("Comparison", tables.comparisons(summary)),
        "published": _section("Where it would stand", standing(summary)),
        "judges": _judges(judging),
        "key": key(results.editors) if len(results.editors) > 1 else "",
        "figures": "".join(_figure(summary, name, number < OPEN) for number, name in enumerate(results.figures)),
        "missing": _section("Missing", tables.missing(summary)),
        "heading": f"{shown} of {count:,} cases" if shown < count else f"All {count:,} cases",
        "categories": "".join(f'<option value="{text(n)}">{text(n, 60)}</option>' for n in results.categories),
        "cases": gallery.html(),
        "settings": _settings(results),
    }
    write_page(output, "icve.evaluation.report", "report.html", parts)


def _judges(found: Judging) -> str:
    warned = "".join(f"<li>{text(sentence)}</li>" for sentence in found.signs)
    parts = [each(found) for each in (tables.controls, tables.agreement, tables.votes, tables.duels)]
    return _section("Judges", (f'<ul class="notes">{warned}</ul>' if warned else "") + "".join(parts))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _header(results: Results) -> str:
    entries = {
        "Cases": f"{len(results.cases):,} in {len(results.categories)} categories",
        "Editors": text(", ".join(results.editors)),
    }
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in entries.items())
    notes = "".join(f"<li>{text(note)}</li>" for note in results.notes)
    return f"<h1>{text(results.title)}</h1><dl>{listed}</dl>" + (f'<ul class="notes">{notes}</ul>' if notes else "")


def _figure(summary: Summary, name: str, is_open: bool) -> str:
    results = summary.results
    figure = results.figures[name][0]
    rows = {
        label: {editor: summary.mean(editor, name, category) for editor in results.editors}
        for label, category in [*((each, each) for each in results.categories), ("all cases", None)]
    }
    if all(mean.mean is None for row in rows.values() for mean in row.values()):
        return ""
    about = f' <span class="soft">{text(figure.about)}</span>' if figure.about else ""
    return (
        f'<details class="figure"{" open" if is_open else ""}><summary>{text(name)}{about}</summary>'
        f'<div class="both"><div>{forest(figure, results.is_rate(name), rows)}</div>'
        f"<div>{tables.by_category(summary, name)}</div></div></details>"
    )


def _settings(results: Results) -> str:
    parts = []
    for editor, settings in results.settings.items():
        rows = "".join(
            f"<div><dt>{text(name, 60)}</dt><dd>{text(value)}</dd></div>" for name, value in settings.items()
        )
        parts.append(f'<h3><bdi>{text(editor)}</bdi></h3><dl class="settings">{rows}</dl>')
    return "".join(parts)
