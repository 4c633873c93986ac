"""What `icve evaluate list` prints."""

import textwrap

from icve.evaluation.benchmarks.published import published
from icve.evaluation.benchmarks.registry import BENCHMARKS

WIDTH = 100
LABEL = 14


def describe_benchmarks() -> str:
    """For each benchmark what it needs, where it comes from, its licence, size and scorers, ready to print."""
    return "\n\n".join(_describe(name) for name in BENCHMARKS)


def _describe(name: str) -> str:
    benchmark = BENCHMARKS[name]
    rows = published(name)
    judges = dict.fromkeys(row.judge for row in rows if row.judge)
    figures = f"{len(rows)} figures; editors: {len({row.method for row in rows})}; judges: {', '.join(judges)}"
    lines = {
        "size": benchmark.size,
        "needs": benchmark.needs,
        "comes from": benchmark.home,
        "licence": benchmark.licence,
        "scorers": ", ".join(benchmark.scorers),
        "published": figures if rows else "nothing on file",
    }
    if benchmark.home == "bundled":
        del lines["published"]
    return f"{name}  ({benchmark.title})\n" + "\n".join(
        textwrap.fill(
            text,
            WIDTH,
            initial_indent=f"  {label:<{LABEL}}",
            subsequent_indent=" " * (LABEL + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for label, text in lines.items()
    )
