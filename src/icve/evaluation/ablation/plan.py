"""From an ablation to the training runs that it needs, each once, named by what it is."""

import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icve.config_file import place_value, validate
from icve.errors import InputError
from icve.evaluation.ablation.config import AblationConfig, Link
from icve.training.config import EditorConfig
from icve.training.run_folder import what_counts

SETS = "{sets}"


@dataclass(frozen=True)
class Run:
    """One stage of a chain.

    Attributes:
        name: "<stage>-<hash>": the hash is of everything that the result depends on, so equal runs are one, whether
            compiled or not.
        values: of its training config, but for output and start; "{sets}" still stands in paths.
        parent: the run that it starts from.
    """

    name: str
    values: dict[str, Any] = field(compare=False, hash=False, repr=False)
    parent: "Run | None" = None

    @property
    def steps(self) -> int:
        """How many it trains."""
        return int(self.values["steps"])

    def config(self, runs: Path, sets: Path) -> EditorConfig:
        """The training config, with folders filled in.

        Raises:
            InputError: the values are no config of an editor.
        """
        values = _fill(self.values, SETS, str(sets)) | {"output": runs / self.name}
        if self.parent is not None:
            values["start"] = str(runs / self.parent.name)
        return validate(EditorConfig, values, f"stage {self.name}")


@dataclass(frozen=True)
class Cell:
    """One trained and judged editor: an arm at a point of the x axis with a seed."""

    arm: str
    point: Any
    seed: int
    run: Run


def label(arm: str, point: Any) -> str:
    """An arm's name in pictures and curves, with its place on the x axis where there is one."""
    return arm if point is None else f"{arm}, {point}"


def plan(config: AblationConfig) -> list[Cell]:
    """Every cell, in the order of the config.

    Raises:
        InputError: a link of an arm is no stage, or a key leads nowhere.
    """
    return [
        Cell(arm, point, seed, _chain(config, links, point, seed))
        for arm, links in config.arms.items()
        for point in config.points
        for seed in config.seeds
    ]


def runs_in_order(cells: list[Cell]) -> list[Run]:
    """All runs that the cells need, parents first."""
    runs: dict[str, Run] = {}

    def visit(run: Run) -> None:
        if run.parent is not None:
            visit(run.parent)
        runs.setdefault(run.name, run)

    for cell in cells:
        visit(cell.run)
    return list(runs.values())


def _chain(config: AblationConfig, links: list[Link], point: Any, seed: int) -> Run:
    run: Run | None = None
    variable = next(iter(config.vary), None)
    for link in links:
        stage, changes = (link, {}) if isinstance(link, str) else next(iter(link.items()))
        if isinstance(link, dict) and len(link) != 1:
            raise InputError(
                f"An arm's link must be one stage, not {', '.join(link)}; write each on a line of its own."
            )
        values = deepcopy(config.training)
        for key, value in (config.stages[stage] | changes).items():
            place_value(values, key, point if variable and value == f"${variable}" else deepcopy(value))
        values.setdefault("kind", "editor")
        if stage not in config.one_seed:
            values["seed"] = seed
        run = Run(f"{stage}-{_digest(config, values, run)}", values, run)
    if run is None:
        raise InputError("An arm has no stages; name at least one.")
    return run


def _digest(config: AblationConfig, values: dict[str, Any], parent: Run | None) -> str:
    text = json.dumps(what_counts(values), sort_keys=True)
    sets = {
        name: spec.model_dump(mode="json", exclude_defaults=True)
        for name, spec in config.sets.items()
        if f"{SETS}/{name}" in text
    }
    content = json.dumps([text, sets, parent.name if parent else None], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=5).hexdigest()


def _fill(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _fill(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, old, new) for each in value]
    return value.replace(old, new) if isinstance(value, str) else value
