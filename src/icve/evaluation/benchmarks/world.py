"""The world benchmark: edits of procedural scenes whose right answer is known, judged exactly. Nothing is fetched."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icve.data.shard_media import encode_clip
from icve.data.world import SPLITS, Edit, render
from icve.data.world.scene import Scene
from icve.errors import InputError
from icve.evaluation.cases import Case
from icve.evaluation.loop import held_out_edit
from icve.video.files import replacing, write_errors

FPS = 8.0  # of the files; the world itself has no clock


@dataclass
class World:
    """Held-out edits of the procedural world, operations in turn.

    Case `index` is `icve.evaluation.loop.held_out_edit(index, seed=…)`: its details hold what rebuilds the edit.

    Attributes:
        count: cases.
        split: "core" (single edits, still camera), "full" (photographs, camera moves, two edits at once, in time) or
            "plain" (as core but looks, on backgrounds of one colour).
        operations: only these; all of the split when empty.
        unseen: wordings that training never sees.
        clip: frames (2 or more), height and width of the clips.

    Raises:
        InputError: no such split or operation, or a clip of one frame.
    """

    count: int = 400
    seed: int = 0
    split: str = "core"
    operations: tuple[str, ...] = ()
    unseen: bool = False
    clip: tuple[int, int, int] = (9, 64, 64)

    name = "world"
    title = "World"
    home = "bundled"
    licence = "Apache-2.0, as icve"
    size = "any number of edits (400), 6 operations (full: 9)"
    needs = "nothing: the clips are drawn into the folder"
    scorers = ("world", "psnr", "ssim")

    def __post_init__(self) -> None:
        known = SPLITS.get(self.split)
        if known is None:
            raise InputError(f"The world has no split {self.split!r}: it has {', '.join(SPLITS)}.")
        if other := [name for name in self.operations if name not in known]:
            raise InputError(f"The split {self.split} has no operation {other[0]!r}; it has {', '.join(known)}.")

        if self.clip[0] < 2:
            raise InputError("The world's clips need two frames or more; a still is no video.")

    def cases(self, root: Path) -> Sequence[Case]:
        """Draws the sources and true targets into `root`, lossless, where they are not there yet.

        A file's name is a digest of its scene and size, so that another version of the world draws other files.
        """
        with write_errors(root):
            root.mkdir(parents=True, exist_ok=True)
        return [self._case(root, index) for index in range(self.count)]

    def _case(self, root: Path, index: int) -> Case:
        edit = held_out_edit(index, seed=self.seed, split=self.split, operations=self.operations, unseen=self.unseen)
        return Case(
            f"{index:05}-{edit.operation}",
            edit.operation,
            edit.instruction,
            draw(edit.source, self.clip, root),
            target=draw(edit.target, self.clip, root),
            details={
                "index": index,
                "seed": self.seed,
                "split": self.split,
                "operation": edit.operation,
                "unseen": self.unseen,
            },
        )


def edit_of(case: Case) -> Edit:
    """The edit that a case of the world asks for, from its details.

    Raises:
        InputError: it is no case of the world, or one that another version of icve drew.
    """
    try:
        given: dict[str, Any] = {name: case.details[name] for name in ("index", "seed", "split", "unseen")}
        edit = held_out_edit(**given, operations=[case.details["operation"]])
    except KeyError:
        raise InputError(
            f"The case {case.id} is none of the world benchmark, so the exact judge cannot see it."
        ) from None
    if edit.instruction != case.instruction:
        raise InputError(f"The case {case.id} was drawn by another version of icve; evaluate into a new folder.")
    return edit


def draw(scene: Scene, size: tuple[int, int, int], root: Path) -> Path:
    """A clip of the scene as a lossless file in `root`, drawn where it is not there yet."""
    path = root / f"{hashlib.blake2b(repr((scene, size)).encode(), digest_size=12).hexdigest()}.mp4"
    if not path.exists():
        with write_errors(path), replacing(path) as partial:
            partial.write_bytes(encode_clip(render(scene, *size), FPS, quality=0, lossless=True))
    return path
