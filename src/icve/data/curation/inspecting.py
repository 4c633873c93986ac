"""A curated set in words: its yield table and what it holds."""

from pathlib import Path
from typing import Any

from icve.data.curation.run import FOLDER, YIELD
from icve.data.curation.yields import format_yields, read_yields
from icve.data.shard_summary import summarise_set


def yields_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of the yield table; `InputError` if the set is not curated, or not yet."""
    return read_yields(folder / FOLDER / YIELD)


def number_of_pairs(folder: Path) -> int:
    """How many pairs the set holds."""
    return sum(bucket["pairs"] for bucket in summarise_set(str(folder))["buckets"])


def describe_run(folder: Path) -> str:
    """The yield table, the usage of a model, and what the set holds."""
    rows = yields_of(folder)
    summary = summarise_set(str(folder))
    usages = [(row["stage"], row["usage"]) for row in rows if "usage" in row]
    lines = [
        format_yields(rows),
        *(
            f"{stage} by model: {usage['requests']:,} requests, {usage['cached']:,} answers known before, "
            f"{usage['prompt_tokens']:,} + {usage['completion_tokens']:,} tokens, cost {usage['cost']:.2f}"
            for stage, usage in usages
        ),
        *(
            f"{each['bucket']}: {each['pairs']:,} pairs of {each['clips']:,} clips, {each['bytes'] / 1e9:.3f} GB"
            for each in summary["buckets"]
        ),
    ]
    types = ", ".join(f"{name} {number:,}" for name, number in summary["types"].items())
    lines.append(f"types: {types or 'none'}")
    if summary["quarantined"]:
        lines.append(f"quarantined: {summary['quarantined']:,} ({folder / 'quarantine.jsonl'} says why)")
    lines.append(f"preview: {folder / 'preview.html'}")
    return "\n".join(lines)
