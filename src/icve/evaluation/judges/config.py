"""Which models judge: a YAML file with a list `judges`, each an endpoint with a name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from icve.config_file import read_values, validate
from icve.errors import InputError
from icve.vlm.config import VlmConfig


class JudgeConfig(VlmConfig):
    """One judge: an endpoint as `VlmConfig`, with other defaults, a name and a number of votes."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$", description="in figures: openve_compliance@NAME")
    votes: int = Field(default=1, ge=1, le=32, description="times that each question is asked, with other seeds")

    frames: int = Field(default=8, ge=1, le=64, description="of each clip, evenly spaced with the first and the last")
    image_side: int = Field(default=512, ge=28, le=4096, description="longest side of a frame, in pixels")
    temperature: float = Field(default=0.0, ge=0, le=2)
    max_tokens: int = Field(default=800, ge=16, description="of an answer")

    @model_validator(mode="after")
    def _votes_differ(self) -> Self:
        if self.votes > 1 and self.temperature == 0:
            raise ValueError("votes above 1 need a temperature above 0, or all votes are one; set temperature: 0.7")
        return self


class JudgesConfig(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judges: list[JudgeConfig] = Field(min_length=1)


def read_judges(path: Path, names: Sequence[str] = ()) -> list[JudgeConfig]:
    """The judges of a file, or those of these names.

    Raises:
        InputError: the file is no such config, two judges have one name, or there is none of a name.
    """
    found = validate(JudgesConfig, read_values(path), path).judges
    judges = {judge.name: judge for judge in found}
    if len(judges) < len(found):
        raise InputError(f"{path} holds two judges of one name; give each a name of its own.")
    if unknown := [name for name in names if name not in judges]:
        raise InputError(f"{path} holds no judge {unknown[0]}; it has {', '.join(judges)}.")
    return [judges[name] for name in names] if names else found
