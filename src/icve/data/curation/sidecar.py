"""The `sidecar` instructor: what comes with the footage says what changes between two moments.

Beside clip.mp4 stands clip.json:

    {"events": [{"start": 4.0, "end": 5.2, "instruction": "make the circle blue", "type": "attribute",
                 "reverse": {"instruction": "make the circle red", "type": "attribute"}}],
     "captions": [{"start": 0.0, "end": 4.0, "text": "a red circle on grey"}]}

Times are seconds from the first frame. A pair whose clips lie on both sides of exactly one event takes its instruction,
or its reverse where the source is the later clip. Without events, captions that cover the clips serve.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from icve.data.curation.config import SidecarConfig
from icve.data.curation.records import Clip, Instruction
from icve.data.pairs.base import TYPES

METHOD = "sidecar/1"
MAX_BYTES = 16 * 2**20


class _Strict(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Sentence(_Strict):
    """An instruction and its type."""

    instruction: str = Field(min_length=1, max_length=2000)
    type: str = "none"


class Event(Sentence):
    """Something that changes from `start` to `end`."""

    start: float
    end: float
    reverse: Sentence | None = None


class Caption(_Strict):
    """What is to be seen from `start` to `end`."""

    start: float
    end: float
    text: str = Field(min_length=1, max_length=5000)


class Sidecar(_Strict):
    """All that comes with a file."""

    events: list[Event] = Field(default=[], max_length=100_000)
    captions: list[Caption] = Field(default=[], max_length=100_000)


def read_sidecar(video: Path, caption: str | None) -> Sidecar | str:
    """The sidecar of a file, or why there is none in few words; a caption of the list of sources covers the file."""
    path = video.with_suffix(".json")
    whole = [Caption(start=float("-inf"), end=float("inf"), text=caption)] if caption else []
    if not path.is_file():
        return Sidecar(captions=whole) if whole else "no sidecar"
    try:
        if path.stat().st_size > MAX_BYTES:
            return "sidecar too large"
        values: Any = json.loads(path.read_bytes())
        sidecar = Sidecar.model_validate(values)
    except (OSError, ValueError, RecursionError, ValidationError):
        return "damaged sidecar"
    return sidecar.model_copy(update={"captions": [*sidecar.captions, *whole]})


def sidecar_instruction(sidecar: Sidecar, source: Clip, target: Clip, config: SidecarConfig) -> Instruction | str:
    """A pair's instruction, or why it has none in few words."""
    early, late = sorted((source, target), key=lambda clip: clip.start)
    captions = _caption(sidecar, source), _caption(sidecar, target)
    for clip in (early, late):
        if any(event.start < clip.end and clip.start < event.end for event in sidecar.events):
            return "something changes inside a clip"
    between = [event for event in sidecar.events if early.end <= event.start and event.end <= late.start]
    if len(between) > 1:
        return "several changes between the clips"
    if between:
        sentence: Sentence | None = between[0] if source is early else between[0].reverse
        if sentence is None:
            return "no instruction backwards"
        kind = sentence.type if sentence.type in TYPES else "none"
        return Instruction(sentence.instruction, kind, *captions, method=METHOD)
    if sidecar.events or None in captions:
        return "nothing said of the change"
    if captions[0] == captions[1]:
        return "one caption for both clips"
    return Instruction(config.template.replace("{target}", str(captions[1])), config.type, *captions, method=METHOD)


def _caption(sidecar: Sidecar, clip: Clip) -> str | None:
    """The caption that covers the clip: of several the shortest, and of those the latest."""
    covering = [each for each in sidecar.captions if each.start <= clip.start and clip.end <= each.end]
    return min(covering, key=lambda each: (each.end - each.start, -each.start)).text if covering else None
