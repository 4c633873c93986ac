"""From judged editors to the figures of an ablation: each arm's, and the differences that the config asks for."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from icve.evaluation.ablation.config import AblationConfig
from icve.evaluation.ablation.jobs import read_judged
from icve.evaluation.ablation.plan import Cell, Run
from icve.evaluation.ablation.runner import Folders
from icve.evaluation.ablation.statistics import Estimate, estimate, rate

MEASURES = ("success", "preservation")


def summarise(config: AblationConfig, cells: list[Cell], folders: Folders) -> dict[str, Any]:
    """The figures: {"arms": [{arm, point, success, preservation, operations, runs by seed, steps,
    steps_per_s, memory_gb}, …],
    "compare": [{first, second, point, success, preservation, operations}, …]}, each measure an `Estimate` as a dict,
    "operations" the same two of each operation."""
    judged = {(cell.arm, cell.point, cell.seed): read_judged(folders.judged(config, cell.run)) for cell in cells}

    def values(arm: str, point: Any, measure: str) -> np.ndarray:
        return np.stack([judged[arm, point, seed][measure] for seed in config.seeds])

    names = next(iter(judged.values()))["operation"]

    def measures(of_success: Callable[[np.ndarray], Estimate], success: np.ndarray, kept: np.ndarray) -> dict[str, Any]:
        def both(chosen: Any) -> dict[str, Any]:
            return {
                "success": asdict(of_success(success[:, chosen])),
                "preservation": asdict(estimate(kept[:, chosen])),
            }

        return both(slice(None)) | {"operations": {str(name): both(names == name) for name in np.unique(names)}}

    arms: list[dict[str, Any]] = []
    for arm in config.arms:
        for point in config.points:
            of_arm = [cell for cell in cells if (cell.arm, cell.point) == (arm, point)]
            row: dict[str, Any] = {"arm": arm, "point": point}
            row |= measures(rate, values(arm, point, "success"), values(arm, point, "preservation"))
            row["runs"] = [[run.name for run in _chain(cell.run)] for cell in of_arm]
            row["steps"] = sum(run.steps for run in _chain(of_arm[0].run))
            row |= _cost(folders, [cell.run for cell in of_arm])
            arms.append(row)
    compare = [
        {"first": first, "second": second, "point": point}
        | measures(estimate, *(values(first, point, m) - values(second, point, m) for m in MEASURES))
        for first, second in config.compare
        for point in config.points
    ]
    return {"title": config.title, "about": config.about, "seeds": config.seeds, "arms": arms, "compare": compare}


def _cost(folders: Folders, runs: list[Run]) -> dict[str, float]:
    """Of the last stage: steps a second, the median of the log's rows, and the most memory of its process."""
    rows = [row for run in runs for row in read_log(folders.runs / run.name)]
    speeds = [row["steps_per_s"] for row in rows if "steps_per_s" in row]
    return {
        "steps_per_s": float(np.median(speeds)) if speeds else float("nan"),
        "memory_gb": max((row.get("memory_gb", 0.0) for row in rows), default=float("nan")),
    }


def read_log(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's log."""
    file = run / "log.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def _chain(run: Run) -> list[Run]:
    return [*(_chain(run.parent) if run.parent else []), run]


def table(summary: dict[str, Any], vary: str | None) -> str:
    """The figures as a Markdown table."""
    head = ["arm", *([vary] if vary else []), "success", "95% interval", "preservation, dB", "95% interval", "by seed"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [_line(row["arm"], row, vary, signed=False) for row in summary["arms"]]
    lines += [_line(f"{row['first']} minus {row['second']}", row, vary, signed=True) for row in summary["compare"]]
    return "\n".join(lines)


def _line(name: str, row: dict[str, Any], vary: str | None, *, signed: bool) -> str:
    success, kept = row["success"], row["preservation"]
    sign = "+" if signed else ""
    unit = " points" if signed else "%"
    cells = [
        name,
        *([str(row["point"])] if vary else []),
        f"{100 * success['mean']:{sign}.1f}{unit}",
        span(success, f"{sign}.1f", 100),
        f"{kept['mean']:{sign}.2f}",
        span(kept, f"{sign}.2f"),
        ", ".join(f"{100 * each:{sign}.1f}" for each in success["by_seed"]),
    ]
    return f"| {' | '.join(cells)} |"


def span(value: dict[str, Any], form: str, factor: float = 1) -> str:
    """An estimate's interval in words, a dash where one seed gives none."""
    if math.isnan(value["low"]):
        return "–"
    return f"{factor * value['low']:{form}} to {factor * value['high']:{form}}"
