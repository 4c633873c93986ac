"""What a trained model's folder says of itself: `training.json`, every stage behind it, and README.md, the card."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HISTORY = "training.json"
FULL_CONFIG = "The whole configs and figures are in `training.json` beside this file."


def read_history(folders: Iterable[Path | None]) -> list[dict[str, Any]]:
    """The stages behind the models that a run starts from, oldest first."""
    stages: list[dict[str, Any]] = []
    for folder in folders:
        if folder is not None and (folder / HISTORY).is_file():
            stages += [s for s in json.loads((folder / HISTORY).read_text()) if s not in stages]
    return stages


def describe(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config without what says where files lie on this machine."""
    kept = {key: value for key, value in config.items() if key not in ("output", "start", "autoencoder")}
    sets = [
        {key: Path(value).name if key == "path" else value for key, value in s.items()} for s in config["data"]["sets"]
    ]
    return kept | {"data": config["data"] | {"sets": sets}}


def forget_paths(folder: Path) -> None:
    """Take out where the parts were loaded from, which diffusers writes into their configs: it is this machine's."""
    for path in folder.rglob("*.json"):
        config = json.loads(path.read_text())
        if isinstance(config, dict) and config.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(config, indent=2) + "\n")


def write_card(folder: Path, history: list[dict[str, Any]], licence: str | None, behind: str | None = None) -> None:
    """Write `training.json` and the card into a model's folder.

    Args:
        history: the stages, each with name, seconds, config, samples, figures and, perhaps, its curve.
        licence: of the weights that the first stage began with.
        behind: the model that the first stage began with, where that has no history of its own.
    """
    (folder / HISTORY).write_text(json.dumps(history, indent=1))
    rows = "\n".join(_row(stage) for stage in history)
    hours = sum(stage["seconds"] for stage in history) / 3600
    origin = f"Begun from {behind}." if behind else "Begun from random weights."
    (folder / "README.md").write_text(f"""# Model card

An in-context video editor (arXiv 2510.14648) trained by icve. {origin} Licence: {licence or "not stated"}

| stage | data | steps | samples | seed | optimizer | learning rate | hours | figures |
|---|---|---|---|---|---|---|---|---|
{rows}

{hours:.1f} hours in all, wall time. {FULL_CONFIG}
{_notes(history)}{"".join(_curve(stage) for stage in history)}""")


def _row(stage: dict[str, Any]) -> str:
    c = stage["config"]
    optimizer = c["optimizer"]
    kind, rate = (optimizer["kind"], optimizer["lr"]) if isinstance(optimizer, dict) else (optimizer, c["lr"])
    steps = c["steps"] if "steps" in c else sum(p["steps"] for p in c["phases"])
    samples = stage["samples"] if "samples" in stage else sum(p["steps"] * p["batch"] for p in c["phases"])
    figures = ", ".join(f"{name} {value}" for name, value in stage["figures"].items())
    return (
        f"| {stage['name']} | {_data(c)} | {steps:,} | {samples:,} | {c['seed']} | {kind} | {rate:g} "
        f"| {stage['seconds'] / 3600:.2f} | {figures} |"
    )


def _data(config: dict[str, Any]) -> str:
    data = config.get("data", "clips and photographs")
    if isinstance(data, str):  # stages of version 0.1's first trainer
        return f"{data} ({config['full_share']:.0%} of the full split)" if "full_share" in config else data
    return ", ".join(_set(s) for s in data["sets"])


def _set(s: dict[str, Any]) -> str:
    if s["kind"] == "world":
        return f"{s['pairs']} ({s['full_share']:.0%} of the full split)"
    return f"{Path(s['path']).name} ({s['pairs']})" if s["kind"] == "shards" else "clips and photographs"


def _notes(history: list[dict[str, Any]]) -> str:
    if not any("world" in json.dumps(stage["config"].get("data", "")) for stage in history):
        return ""
    return """
Trained on the procedural world (`icve.data.world`) alone. The word vectors of its text side are those of
all-MiniLM-L6-v2 (Apache-2.0), reduced by principal components. Known limits: it knows flat shapes of the world (8
shapes, 10 colours) and works on few frames of small size at a time; of filmed scenes it knows nothing but how to keep
them.
"""


def _curve(stage: dict[str, Any]) -> str:
    """The held-out loss, and what a judge says, against the samples that the stage has trained."""
    rows = stage.get("curve", [])
    if not rows:
        return ""
    judged = any("success" in row for row in rows)
    lines = [f"\n## {stage['name']}\n", "| samples | hours | held-out loss |" + (" edits right |" if judged else "")]
    lines.append("|---|---|---|" + ("---|" if judged else ""))
    for row in rows:
        loss = sum(row["held_out"].values()) / len(row["held_out"])
        success = ""
        if judged:
            success = f" {row['success']:.1%} of {row['judged']} |" if "success" in row else " |"
        lines.append(f"| {row['samples']:,} | {row['hours']:.2f} | {loss:.4f} |{success}")
    return "\n".join(lines) + "\n"
