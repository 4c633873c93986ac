"""Writes samples of the procedural world as a set in the shard format, each clip with a true caption."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from icve.data.buckets import Bucket
from icve.data.shard_layout import check_bucket
from icve.data.shard_writing import ShardWriter
from icve.data.world import SPLITS, Scene, generator, render, sample_edit, unpaired
from icve.data.world.language import caption
from icve.data.world.sampling import pick
from icve.errors import InputError

FPS = 8.0
MOVING = ("camera", "timed")  # what a single frame cannot show
LICENCES = {
    "core": "Apache-2.0",
    "plain": "Apache-2.0",
    "full": "Apache-2.0; its photographs are public domain, CC0 and CC BY 2.0, see icve/data/world/photos/LICENSES.md",
}


def export_world(
    folder: Path,
    pairs: int,
    buckets: Sequence[Bucket],
    *,
    unpaired_clips: bool = False,
    split: str = "core",
    operations: Sequence[str] = (),
    seed: int = 0,
    progress: Callable[[int], Any],
) -> None:
    """Adds pairs 0 to `pairs` - 1 to a set, those that it does not have; clips are stored exactly.

    Args:
        folder: the set, made if missing.
        buckets: each pair's size is one of them.
        unpaired_clips: source and target are two moments of a scene.
        split: "core", "full" or "plain", as in `icve.data.world.sample_edit`.
        operations: drawn equally often; all of the split when empty.
        seed: of the whole set; pair i is a function of it and of i.
        progress: called with 1 for each pair.

    Raises:
        InputError: the folder holds another set, a bucket cannot be stored or cannot show any of the operations, or
            the disk is full.
    """
    for bucket in buckets:
        check_bucket(bucket)
        if not _shown(bucket, split, operations):
            raise InputError(f"A clip of {bucket} cannot show {', '.join(operations)}; name another operation or size.")
    kind = "unpaired" if unpaired_clips else "paired"
    name = "-".join(["world", split, kind, *sorted(set(operations)), str(seed)])
    with ShardWriter(
        folder, name=name, licence=LICENCES[split], source="icve data world, the procedural world", lossless=True
    ) as writer:
        for i in range(pairs):
            pair_id = f"{name}-{i:08d}"
            if not writer.has_pair(pair_id):
                _add_pair(writer, pair_id, (seed, i), buckets, split, operations, unpaired_clips)
            progress(1)


def _shown(bucket: Bucket, split: str, operations: Sequence[str]) -> list[str]:
    chosen = operations or SPLITS[split]
    return [each for each in dict.fromkeys(chosen) if bucket.frames > 1 or each not in MOVING]


def _add_pair(
    writer: ShardWriter,
    pair_id: str,
    seed: tuple[int, int],
    buckets: Sequence[Bucket],
    split: str,
    operations: Sequence[str],
    moved: bool,
) -> None:
    rng = generator(*seed, 11)
    bucket = pick(rng, buckets)
    edit = sample_edit(seed, split=split, operation=pick(rng, _shown(bucket, split, operations)))
    if moved:
        edit = unpaired(edit, seed)
    for role, scene in (("source", edit.source), ("target", edit.target)):
        writer.add_clip(f"{pair_id}-{role}", render(scene, *bucket), fps=FPS, caption=_caption(rng, scene))
    writer.add_pair(pair_id, f"{pair_id}-source", f"{pair_id}-target", edit.instruction, edit.operation)


def _caption(rng: Any, scene: Scene) -> str:
    first = caption(rng, scene)
    return first if scene.later is None else f"{first}, then {caption(rng, scene.later)}"
