"""What an ablation is: sets, stages, and the arms that are compared; one YAML file explains it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from icve.config_file import apply_override, read_values, validate
from icve.data.buckets import Bucket
from icve.errors import InputError
from icve.training.config import Strict, parse_bucket

Split = Literal["core", "full", "plain"]


class SetSpec(Strict):
    """A set of the procedural world, exported and encoded once for all runs; or what the data engine makes of takes."""

    pairs: int | None = Field(default=None, gt=0)
    takes: int | None = Field(default=None, gt=0, description="instead of pairs: long takes, curated")
    curation: dict[str, Any] = Field(default={}, description="of takes: a config of `icve data curate`")
    unpaired: bool = False
    seed: int = Field(default=0, ge=0)
    size: Annotated[Bucket, BeforeValidator(parse_bucket)] = Bucket(1, 64, 64)
    split: Split = "core"
    operations: list[str] = Field(default=[], description="drawn equally often; empty: all of the split")

    @model_validator(mode="after")
    def _pairs_or_takes(self) -> "SetSpec":
        if (self.pairs is None) == (self.takes is None):
            raise ValueError("a set has either `pairs` or `takes`")
        if bool(self.curation) != (self.takes is not None):
            raise ValueError("`takes` have a `curation`, `pairs` have none")
        return self


class EvaluationSpec(Strict):
    """The held-out edits of the world by which every arm is judged, with the same noise."""

    samples: int = Field(default=300, gt=0)
    seed: int = Field(default=0, ge=0)
    split: Split = "core"
    operations: list[str] = Field(default=[], description="in turn; empty: all of the split")
    batch: int = Field(default=25, gt=0)


Link = str | dict[str, dict[str, Any]]
"""A stage's name, or {name: {dotted key: value}} with what is other in this arm; "$name" stands for `vary`'s value."""


class AblationConfig(Strict):
    """An ablation.

    A run is a chain of stages. Each stage is `training` (an `icve train` config without output, start and seed) with
    the stage's dotted keys on top. Chains that begin alike share those runs. "{sets}" in a path is the folder of
    `sets`.
    """

    title: str
    about: str = Field(default="", description="a sentence or two for the report")
    seeds: list[int] = Field(min_length=1)
    autoencoder: str = Field(default="mini", description="the model whose autoencoder encodes the sets")
    sets: dict[str, SetSpec] = Field(default={}, description="made before the first run")
    training: dict[str, Any]
    stages: dict[str, dict[str, Any]]
    one_seed: list[str] = Field(default=[], description="stages that all seeds share, such as the text-to-video base")
    vary: dict[str, list[Any]] = Field(default={}, description="one name with its values: the x axis")
    arms: dict[str, list[Link]] = Field(min_length=1)
    compare: list[tuple[str, str]] = Field(default=[], description="pairs of arms: the first minus the second")
    evaluation: EvaluationSpec = EvaluationSpec()

    @model_validator(mode="after")
    def _names_are_known(self) -> "AblationConfig":
        used = {
            name
            for chain in self.arms.values()
            for link in chain
            for name in ([link] if isinstance(link, str) else link)
        }
        for name in [*used, *self.one_seed]:
            if name not in self.stages:
                raise ValueError(f"there is no stage {name!r}; stages are {', '.join(self.stages)}")
        for name in [each for pair in self.compare for each in pair]:
            if name not in self.arms:
                raise ValueError(f"`compare` names {name!r}, which is no arm; arms are {', '.join(self.arms)}")
        if len(self.vary) > 1:
            raise ValueError("`vary` takes one name: what varies together are several ablations")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("`seeds` has a seed twice")
        return self

    @property
    def points(self) -> list[Any]:
        """The values along the x axis; [None] where nothing varies."""
        return next(iter(self.vary.values()), [None])


def load_ablation(path: Path, overrides: Iterable[str] = ()) -> AblationConfig:
    """Reads an ablation's YAML with dotted overrides. `extends` names a file beside it whose values it goes on from.

    Raises:
        InputError: no such file, files that extend each other, not YAML, an unknown key or a wrong value.
    """
    values = _extended(path)
    for override in overrides:
        apply_override(values, override)
    return validate(AblationConfig, values, path)


def _extended(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's values on top of those it extends, and so on; `above` are the files on the way here."""
    if path.resolve() in above:
        raise InputError(f"{path} extends itself, by way of others or directly; take out one `extends`.")
    values = read_values(path)
    if (base := values.pop("extends", None)) is None:
        return values
    return _merged(_extended(path.parent / str(base), (*above, path.resolve())), values)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` on top of `below`; groups are merged, anything else is replaced."""
    both = {key: _merged(below[key], above[key]) for key in above if _are_groups(below.get(key), above[key])}
    return below | above | both


def _are_groups(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)
