"""A folder with the results of an evaluation, written as it goes and taken up again where it was left."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from icve.data.world import Edit, render
from icve.errors import InputError
from icve.evaluation.loop import Judged, summarise
from icve.video import contact_sheet
from icve.video.files import replacing, write_errors

SHOWN = 18  # samples on the sheet, the first ones


class Record:
    """OUT/settings.json, OUT/samples.jsonl (a row for each sample as it is judged) and OUT/shown/ (clips of the sheet);
    `finish` adds OUT/summary.json and OUT/sheet.png.

    Args:
        settings: what the results depend on. A folder with other settings is refused (InputError).
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        self.samples = folder / "samples.jsonl"
        with write_errors(folder):
            (folder / "shown").mkdir(parents=True, exist_ok=True)
        self.rows: dict[int, dict[str, Any]] = {}
        path = folder / "settings.json"
        if path.exists():
            old = json.loads(path.read_text())
            if other := [key for key in settings if settings[key] != old.get(key)]:
                raise InputError(
                    f"{folder} holds an evaluation with another {', '.join(other)}; name another folder with -o."
                )
            self._read()
        else:
            _write(path, settings)

    def _read(self) -> None:
        lines = self.samples.read_text().splitlines(keepends=True) if self.samples.exists() else []
        whole = [line for line in lines if line.endswith("\n")]  # a killed run may have left half a line
        self.rows = {row["index"]: row for row in map(json.loads, whole)}
        if len(whole) < len(lines):
            self.samples.write_text("".join(whole))

    def add(self, index: int, judged: Judged) -> None:
        """Keep a sample, on the disk too."""
        row = {"index": index, **judged.row()}
        output = judged.output if judged.output.dtype == np.uint8 else np.rint(255 * judged.output).astype(np.uint8)
        with write_errors(self.samples):
            if index < SHOWN:
                with replacing(self._shown(index)) as partial:
                    Image.fromarray(np.concatenate(output, axis=1)).save(partial, format="PNG")
            with self.samples.open("a") as file:
                file.write(json.dumps(row) + "\n")
        self.rows[index] = row

    def finish(self, edits: dict[int, Edit], size: tuple[int, int, int]) -> dict[str, Any]:
        """Write the summary and the sheet of these samples (`edits` by index), and return the summary."""
        rows = [self.rows[index] for index in edits]
        summary = {**summarise(rows), "settings": self.settings}
        _write(self.folder / "summary.json", summary)
        strips = []
        for index, edit in list(edits.items())[:SHOWN]:
            if not self._shown(index).exists():
                continue
            wide = np.asarray(Image.open(self._shown(index)))
            output = np.stack(np.split(wide, size[0], axis=1))
            row = self.rows[index]
            verdict = "right" if row["success"] else "wrong: " + "; ".join(row["reasons"])
            clips = [render(edit.source, *size), output, render(edit.target, *size)]
            frames = np.concatenate([clip[[size[0] // 4, -1]] for clip in clips])
            strips.append((f"{edit.instruction} (source, output, target): {verdict}", frames))
        contact_sheet(strips, self.folder / "sheet.png")
        return summary

    def _shown(self, index: int) -> Path:
        return self.folder / "shown" / f"{index:05}.png"


def _write(path: Path, content: dict[str, Any]) -> None:
    with write_errors(path), replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1))
