"""EditVerseBench: 200 edits of 100 videos, half of them upright, in 20 categories.

Layout, from its page (https://github.com/adobe-research/EditVerse, README.md): `test.json`, an object that maps a
number to a row with `<text>`, `<video1>`, `direction`, `target_prompt`, `source_prompt` and `type`; `<text>` refers to
the row's other inputs by the tags `<video1>`, `<video2>`, `<image1>` …, whose keys hold paths. The page shows the JSON
and the videos in one folder, and names `EditVerseBench/EditVerseBench/test.json` in its commands; both are read.

Its licence allows research only and its videos are fetched from Pixabay by the authors' script. Some categories give
the editor more than a video and a sentence (a reference picture, an edited first frame): such a case has the paths in
details["inputs"], by tag, and its instruction keeps the tags.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icve.errors import InputError
from icve.evaluation.benchmarks.reading import build_cases, case_id, file_in, read_json, text
from icve.evaluation.cases import Case

TAG = re.compile(r"<(?:video|image)\d+>")


class EditVerseBench:
    """https://huggingface.co/datasets/sooyek/EditVerseBench, arXiv 2509.20360."""

    name = "editverse-bench"
    title = "EditVerseBench"
    home = "https://huggingface.co/datasets/sooyek/EditVerseBench"
    licence = "Adobe Research License (no commercial use); videos under Pixabay's terms"
    size = "200 edits of 100 videos, 20 categories"
    needs = "test.json and the folder videos/, filled by the authors' download_source_video.py"
    edited = "{id}/generate.mp4"
    scorers = ("editverse", "clip_frames", "dino_frames", "clip_text", "viclip_text", "pickscore")

    def cases(self, root: Path) -> Sequence[Case]:
        """See `Benchmark`."""
        if not (root / "test.json").is_file() and (root / self.title / "test.json").is_file():
            root = root / self.title
        table = root / "test.json"
        rows = read_json(table)
        if not isinstance(rows, dict):
            raise InputError(f"{table} is not a JSON object of rows; download it again.")

        def build(item: tuple[str, Any]) -> Case:
            number, row = item
            instruction = text(row, "<text>")
            tags = dict.fromkeys(TAG.findall(instruction)) | dict.fromkeys(filter(TAG.fullmatch, _keys(row)))
            inputs = {tag: str(file_in(root, text(row, tag))) for tag in tags if tag != "<video1>"}
            return Case(
                case_id(number),
                text(row, "type"),
                " ".join(instruction.replace("<video1>", " ").split()),
                file_in(root, text(row, "<video1>")),
                source_prompt=text(row, "source_prompt", ""),
                target_prompt=text(row, "target_prompt", ""),
                details={"direction": text(row, "direction", "")} | ({"inputs": inputs} if inputs else {}),
            )

        places = ((f"{table.name} row {number!r}", (number, row)) for number, row in rows.items())
        return build_cases(self.title, root, places, build)


def _keys(row: Any) -> list[str]:
    return list(row) if isinstance(row, Mapping) else []
