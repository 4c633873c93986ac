"""Long takes of the procedural world as video files with sidecars: footage for the data engine, with known truth.

In each take something changes halfway, slowly: a thing comes or goes, takes another shape or colour, the background or
the look turns into another. The things that stay move on meanwhile, as in stage 1's pairs.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icve.data.shard_media import encode_clip
from icve.data.world import CORE, SPLITS, generator, render, sample_edit, unpaired
from icve.data.world.language import caption
from icve.data.world.sampling import pick
from icve.video.files import replacing, write_errors

FPS = 8.0
BEFORE, CHANGING, AFTER = 13, 10, 13  # frames; clips of 9 find room before and after the change
TYPES = {"recolour": "attribute", "look": "style"}  # the others are called what the data engine calls them


def export_footage(
    folder: Path,
    count: int,
    *,
    split: str = "core",
    operations: Sequence[str] = (),
    seed: int = 0,
    size: tuple[int, int] = (64, 64),
    progress: Callable[[int], Any],
) -> None:
    """Writes takes 0 to `count` - 1 as NUMBER.mp4 and NUMBER.json, those that are not there yet.

    Args:
        folder: made if missing.
        split: "core", "full" or "plain", as in `icve.data.world.sample_edit`.
        operations: what happens in them, of CORE, drawn equally often; all that the split has when empty.
        seed: of all takes; take i is a function of it and of i.
        size: height and width in pixels.
        progress: called with 1 for each take.

    Raises:
        InputError: the disk is full.
    """
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:06d}.mp4"
        if not path.exists():
            frames, sidecar = make_take(
                (seed, number), split, operations or [name for name in CORE if name in SPLITS[split]], size
            )
            with write_errors(path):
                path.with_suffix(".json").write_text(json.dumps(sidecar, indent=1) + "\n")
                with replacing(path) as partial:
                    partial.write_bytes(encode_clip(frames, FPS, quality=0, lossless=True))
        progress(1)


def make_take(
    seed: tuple[int, int], split: str, operations: Sequence[str], size: tuple[int, int]
) -> tuple[np.ndarray, dict[str, Any]]:
    """A take (36, H, W, 3) uint8 RGB, and its sidecar."""
    rng = generator(*seed, 13)
    edit = unpaired(sample_edit(seed, split=split, operation=pick(rng, operations)), seed)
    first, last = render(edit.source, BEFORE, *size), render(edit.target, AFTER, *size)
    share = (np.arange(1, CHANGING + 1) / (CHANGING + 1))[:, None, None, None]
    between = np.rint(first[-1] * (1 - share) + last[0] * share).astype(np.uint8)
    event = {
        "start": BEFORE / FPS,
        "end": (BEFORE + CHANGING - 1) / FPS,
        "instruction": edit.instruction,
        "type": TYPES.get(edit.operation, edit.operation),
    }
    spans = (0, BEFORE - 1, edit.source), (BEFORE + CHANGING, BEFORE + CHANGING + AFTER - 1, edit.target)
    captions = [
        {"start": start / FPS, "end": end / FPS, "text": text}
        for start, end, scene in spans
        if (text := caption(rng, scene))  # an empty scene may have nothing to be said of
    ]
    return np.concatenate([first, between, last]), {"events": [event], "captions": captions}
