"""What a trained model's folder says of itself: `training.json`, every stage behind it, and README.md, the card."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HISTORY = "training.json"


def read_history(folders: Iterable[Path | None]) -> list[dict[str, Any]]:
    """The stages behind the models that a run starts from, oldest first."""
    stages: list[dict[str, Any]] = []
    for folder in folders:
        if folder is not None and (folder / HISTORY).is_file():
            stages += [s for s in json.loads((folder / HISTORY).read_text()) if s not in stages]
    return stages


def forget_paths(folder: Path) -> None:
    """Take out where the parts were loaded from, which diffusers writes into their configs: it is this machine's."""
    for path in folder.rglob("*.json"):
        config = json.loads(path.read_text())
        if isinstance(config, dict) and config.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(config, indent=2) + "\n")


def write_card(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write `training.json` and the card into a model's folder."""
    (folder / HISTORY).write_text(json.dumps(history, indent=1))
    rows = "\n".join(_row(stage) for stage in history)
    hours = sum(stage["seconds"] for stage in history) / 3600
    (folder / "README.md").write_text(f"""# Model card

Trained from nothing by icve on its procedural world (`icve.data.world`); no other data. Licence: Apache-2.0. The word
vectors of its text side are those of all-MiniLM-L6-v2 (Apache-2.0), reduced by principal components.

| stage | data | steps | samples | seed | optimizer | learning rate | hours | figures |
|---|---|---|---|---|---|---|---|---|
{rows}

{hours:.1f} hours in all (wall time, two CPU cores, other work on them at times). `{HISTORY}` beside this file holds
every stage's whole config and figures. Known limits: it knows flat shapes of the world (8 shapes, 10 colours) and
works on 9 frames of about 64 x 64 pixels at a time; of filmed scenes it knows nothing but how to keep them.
""")


def _row(stage: dict[str, Any]) -> str:
    c = stage["config"]
    data = f"{c['data']} ({c['full_share']:.0%} of the full split)" if "data" in c else "clips and photographs"
    samples = sum(p["steps"] * p["batch"] for p in c["phases"])
    steps = sum(p["steps"] for p in c["phases"])
    figures = ", ".join(f"{name} {value}" for name, value in stage["figures"].items())
    return (
        f"| {stage['name']} | {data} | {steps:,} | {samples:,} | {c['seed']} | {c['optimizer']} | {c['lr']:g} "
        f"| {stage['seconds'] / 3600:.2f} | {figures} |"
    )
