"""What the editors of an ablation make of the same few samples, to look at beside the figures."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from icve.data.world import render
from icve.evaluation.ablation.config import AblationConfig
from icve.evaluation.ablation.jobs import PICTURES, SHOWN, read_judged
from icve.evaluation.ablation.plan import Cell, label
from icve.evaluation.ablation.runner import Folders
from icve.evaluation.loop import held_out_edit
from icve.page import data_uri, text

ROWS = ("source", "true edit")


def gallery(config: AblationConfig, cells: Sequence[Cell], folders: Folders) -> str:
    """A table in HTML of the first seed's edits: a row of pictures for the sources, for the true edits and for each
    editor whose pictures are kept; empty where none are."""
    rows: list[tuple[str, np.ndarray]] = []
    for cell in cells:
        judged = folders.judged(config, cell.run)
        if cell.seed != config.seeds[0] or (strip := _read(judged.with_suffix(PICTURES))) is None:
            continue
        right = np.flatnonzero(read_judged(judged)["success"][:SHOWN]) + 1
        name = label(cell.arm, cell.point)
        rows.append((f"{name}: {', '.join(map(str, right)) or 'none'} right", strip))
    if not rows:
        return ""
    spec = config.evaluation
    edits = [
        held_out_edit(i, seed=spec.seed, split=spec.split, operations=spec.operations)
        for i in range(min(SHOWN, spec.samples))
    ]
    size = rows[0][1].shape[0], rows[0][1].shape[1] // len(edits)
    scenes = [edit.source for edit in edits], [edit.target for edit in edits]
    known = [np.hstack([render(scene, 1, *size)[0] for scene in each]) for each in scenes]
    rows = [*zip(ROWS, known, strict=True), *rows]
    shown = "".join(
        f'<tr><th scope="row">{text(name)}</th><td>{_picture(strip, name)}</td></tr>' for name, strip in rows
    )
    told = "".join(f"<li>{text(edit.instruction)}</li>" for edit in edits)
    return (
        f'<h2>Edits</h2><div class="scroll"><table class="gallery"><tbody>{shown}</tbody></table></div><ol>{told}</ol>'
    )


def _read(path: Path) -> np.ndarray | None:
    picture = cv2.imread(str(path)) if path.is_file() else None
    return None if picture is None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _picture(strip: np.ndarray, name: str) -> str:
    png = cv2.imencode(".png", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))[1].tobytes()
    return f'<img alt="{text(name)}" src="{data_uri("image/png", png)}">'
