"""The report of an ablation: one HTML file with tables, intervals and curves that asks for nothing else."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from icve.evaluation.ablation.charts import Point, curves
from icve.evaluation.ablation.config import AblationConfig
from icve.evaluation.ablation.gallery import gallery
from icve.evaluation.ablation.plan import Cell, label
from icve.evaluation.ablation.results import read_log, span
from icve.evaluation.ablation.runner import Folders
from icve.evaluation.report.charts import forest, key
from icve.evaluation.scorers import Figure
from icve.evaluation.summary import Mean
from icve.page import text, write_page

FIGURES = {
    "success": Figure("success", "higher", 0, 1, about="edits that the exact judge passes"),
    "preservation": Figure("preservation", "higher", None, None, "dB", "PSNR against the source outside the edit"),
}


def write_report(
    config: AblationConfig, cells: list[Cell], summary: dict[str, Any], folders: Folders, output: Path
) -> None:
    """Writes the page.

    Args:
        summary: of `results.summarise`.
        folders: where the runs' logs and the pictures are.

    Raises:
        InputError: the file cannot be written.
    """
    vary = next(iter(config.vary), None)
    arms = list(dict.fromkeys(row["arm"] for row in summary["arms"]))
    draw = _curve if vary and _are_numbers(summary) else _dots
    charts = [
        f"<figure><figcaption>{_title(name)}</figcaption>{draw(summary, name, vary or '')}</figure>" for name in FIGURES
    ]
    compared = _table(
        ["", *([vary] if vary else []), *_head(signed=True)], [_row(r, vary, signed=True) for r in summary["compare"]]
    )
    parts = {
        "title": text(summary["title"]),
        "about": text(summary["about"]),
        "key": key(arms),
        "charts": "".join(charts),
        "arms": _table(
            ["arm", *([vary] if vary else []), *_head(signed=False), "steps", "steps/s", "GB"],
            [_row(r, vary, signed=False) for r in summary["arms"]],
        ),
        "compare": f'<h2>Differences</h2><div class="scroll">{compared}</div>' if summary["compare"] else "",
        "operations": _operations(summary, vary),
        "gallery": gallery(config, cells, folders),
        "losses": _losses(summary, folders),
        "seeds": text(f"Seeds: {', '.join(map(str, summary['seeds']))}."),
    }
    write_page(output, "icve.evaluation.ablation", "report.html", parts)


def _title(name: str) -> str:
    figure = FIGURES[name]
    return text(f"{name}{', ' + figure.unit if figure.unit else ''}: {figure.about}")


def _are_numbers(summary: dict[str, Any]) -> bool:
    return all(isinstance(row["point"], (int, float)) and row["point"] > 0 for row in summary["arms"])


def _curve(summary: dict[str, Any], name: str, vary: str) -> str:
    lines: dict[str, list[Point]] = {}
    for row in summary["arms"]:
        value = row[name]
        lines.setdefault(row["arm"], []).append(Point(row["point"], value["mean"], value["low"], value["high"]))
    return curves(lines, vary, name, log_x=True, percent=name == "success")


def _dots(summary: dict[str, Any], name: str, vary: str) -> str:
    rows: dict[str, dict[str, Mean]] = {}
    for row in summary["arms"]:
        point = "all" if not vary else f"{vary} {row['point']}"
        rows.setdefault(point, {})[row["arm"]] = _mean(row[name])
    return forest(FIGURES[name], name == "success", rows)


def _mean(value: dict[str, Any]) -> Mean:
    mean, low, high = (value[k] if math.isfinite(value[k]) else None for k in ("mean", "low", "high"))
    return Mean(len(value["by_seed"]), 0, mean, low, high)


def _head(*, signed: bool) -> list[str]:
    names = ["success", "95%", "preservation", "95%", "success by seed"]
    return [f"{name}, difference" if signed and name in FIGURES else name for name in names]


def _row(row: dict[str, Any], vary: str | None, *, signed: bool) -> list[str]:
    sign = "+" if signed else ""
    cells = [f"{row['first']} minus {row['second']}" if signed else row["arm"]]
    cells += [str(row["point"])] if vary else []
    cells += [*_figures(row, sign), ", ".join(f"{each:{sign}.1%}" for each in row["success"]["by_seed"])]
    return cells if signed else [*cells, str(row["steps"]), f"{row['steps_per_s']:.2f}", f"{row['memory_gb']:.2f}"]


def _operations(summary: dict[str, Any], vary: str | None) -> str:
    rows = []
    for row in [*summary["arms"], *summary["compare"]]:
        sign = "" if "arm" in row else "+"
        name = row.get("arm") or f"{row['first']} minus {row['second']}"
        for operation, value in row["operations"].items():
            rows.append([name, *([str(row["point"])] if vary else []), operation, *_figures(value, sign)])
    head = ["arm", *([vary] if vary else []), "operation", "success", "95%", "preservation", "95%"]
    return _table(head, rows)


def _figures(value: dict[str, Any], sign: str) -> list[str]:
    """Success and preservation, each with its interval."""
    success, kept = value["success"], value["preservation"]
    return [
        f"{success['mean']:{sign}.1%}",
        span(success, f"{sign}.1%"),
        f"{kept['mean']:{sign}.2f} dB",
        span(kept, f"{sign}.2f"),
    ]


def _table(head: list[str], rows: list[list[str]]) -> str:
    heads = "".join(f'<th scope="col">{text(cell, 80)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{text(row[0], 80)}</th>{"".join(f"<td>{text(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _losses(summary: dict[str, Any], folders: Folders) -> str:
    """The training loss of every stage of every arm, the mean of its seeds' runs."""
    stages: dict[str, dict[str, list[Point]]] = {}
    arms = list(dict.fromkeys(row["arm"] for row in summary["arms"]))
    colours: dict[str, int] = {}
    for row in summary["arms"]:
        name = label(row["arm"], row["point"])
        colours[name] = arms.index(row["arm"])
        for runs in zip(*row["runs"], strict=True):
            stage = runs[0].rpartition("-")[0]
            logs = [read_log(folders.runs / run) for run in dict.fromkeys(runs)]
            length = min(map(len, logs))
            if length:
                losses = np.mean([[line["loss"] for line in log[:length]] for log in logs], axis=0)
                points = [Point(line["step"], loss) for line, loss in zip(logs[0], losses.tolist(), strict=False)]
                stages.setdefault(stage, {})[name] = points

    def draw(lines: dict[str, list[Point]]) -> str:
        return curves(lines, "step", "loss", log_x=False, colours=colours)

    return "".join(
        f"<figure><figcaption>{text(stage)}</figcaption>{draw(lines)}</figure>" for stage, lines in stages.items()
    )
