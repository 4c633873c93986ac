"""What a benchmark asks: a case is one source clip and one instruction, and says what is published about it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icve.errors import InputError

GOOD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class Case:
    """One edit that a benchmark asks for.

    Attributes:
        id: unique in its benchmark and fit for a file name: the edited clip is edits/<id>.<ext>.
        category: as the benchmark's authors count it ("remove", "camera").
        source: the video file to edit.
        target: a video of the true edit, where one is published.
        mask: a video, an image, or a folder of images by frame; light (≥ 128) where the edit may change pixels.
        source_prompt, target_prompt: what the clip shows before and after, where published.
        details: what only this benchmark's scorers read (questions, checklists); JSON values.

    Raises:
        InputError: an id that is no file name.
    """

    id: str
    category: str
    instruction: str
    source: Path
    target: Path | None = None
    mask: Path | None = None
    source_prompt: str = ""
    target_prompt: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not GOOD_ID.fullmatch(self.id):
            raise InputError(
                f"The case id {self.id[:80]!r} is no file name: letters, digits, dot, dash and underscore."
            )
