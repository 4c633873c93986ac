"""Edits world samples with any editor and judges them; the figures of a set of judged samples."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from icve.data.world import SPLITS, Edit, render, sample_edit
from icve.evaluation.statistics.wilson import wilson
from icve.evaluation.world.judge import Verdict, judge

Array = np.ndarray
Editor = Callable[[list[Array], list[str], list[int]], list[Array]]
"""Source clips uint8 (F, H, W, 3), instructions and noise seeds to edited clips of the same shape, uint8 or float in
[0, 1]."""


@dataclass(frozen=True)
class Judged:
    """One edited sample: the clips are (F, H, W, 3), the output as the editor made it."""

    edit: Edit
    source: Array
    output: Array
    verdict: Verdict

    def row(self) -> dict[str, Any]:
        """What a report keeps of it."""
        return {
            "operation": self.edit.operation,
            "instruction": self.edit.instruction,
            "success": self.verdict.success,
            "reasons": list(self.verdict.reasons),
            "preservation_psnr": self.verdict.preservation_psnr,
        }


def held_out_edit(
    index: int, *, seed: int = 0, split: str = "core", operations: Sequence[str] = (), unseen: bool = False
) -> Edit:
    """Sample `index` of a balanced test set: operations in turn, shape-colour pairs that training never sees.

    Args:
        operations: all of the split when empty.
        unseen: use wordings that training never sees.
    """
    operations = operations or SPLITS[split]
    operation = operations[index % len(operations)]
    return sample_edit((seed, index), split=split, operation=operation, held_out=True, unseen=unseen)


def evaluate_edits(
    edits: Sequence[Edit],
    editor: Editor,
    *,
    seeds: Sequence[int] | None = None,
    size: tuple[int, int, int] = (9, 64, 64),
    batch: int = 8,
) -> Iterator[Judged]:
    """Edit and judge samples, in order.

    Args:
        seeds: of each sample's noise; 0, 1, … when None.
        size: frames, height and width of the clips.
        batch: samples that the editor gets at once.
    """
    seeds = range(len(edits)) if seeds is None else seeds
    pairs = list(zip(edits, seeds, strict=True))
    for start in range(0, len(pairs), batch):
        chosen = pairs[start : start + batch]
        sources = [render(edit.source, *size) for edit, _ in chosen]
        outputs = editor(sources, [edit.instruction for edit, _ in chosen], [seed for _, seed in chosen])
        for (edit, _), source, output in zip(chosen, sources, outputs, strict=True):
            yield Judged(edit, source, output, judge(edit, source, output))


def as_pixels(output: Array) -> Array:
    """What an `Editor` made, uint8 or float in [0, 1], as uint8."""
    return output if output.dtype == np.uint8 else np.rint(255 * output.clip(0, 1)).astype(np.uint8)


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures of `Judged.row`s: success with its 95% interval, overall and by operation, and mean preservation."""
    names = dict.fromkeys(row["operation"] for row in rows)
    kept = [row["preservation_psnr"] for row in rows if row["preservation_psnr"] is not None]
    return {
        "success": _rate(rows),
        "preservation_psnr": {"mean": float(np.mean(kept)) if kept else None, "n": len(kept)},
        "operations": {name: {"success": _rate([row for row in rows if row["operation"] == name])} for name in names},
    }


def _rate(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    right = sum(row["success"] for row in rows)
    return {"mean": right / len(rows), "interval": list(wilson(right, len(rows))), "n": len(rows)}
