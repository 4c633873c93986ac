"""FiVE-Bench: 100 videos, 420 edits of six kinds, with masks.

Layout, from its page (https://github.com/Harvard-AI-and-Robotics-Lab/FiVE-Bench) and its evaluate.py:
`edit_prompt/edit<1-6>_FiVE.json`, a JSON list for each kind, of rows with `editing_type_id`, `video_name`,
`source_prompt`, `target_prompt` (brackets mark the words that change) and the questions `source_yes_no_question`,
`target_yes_no_question`, `multiple_choice_question` (b is right); `videos/<name>.mp4` and `bmasks/<name>/*.jpg`, from
the ZIP files unpacked beside them. The page promises an instruction for every pair, whose key is not shown anywhere:
`instruction`, `editing_instruction` and `edit_instruction` are tried, and without one the target prompt is asked for.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icve.errors import InputError
from icve.evaluation.benchmarks.reading import build_cases, case_id, file_in, json_list, text
from icve.evaluation.cases import Case

CATEGORIES = {
    "1": "Object Replacement (Rigid)",
    "2": "Object Replacement (Non-Rigid)",
    "3": "Color Alteration",
    "4": "Material Modification",
    "5": "Object Addition",
    "6": "Object Removal",
}
INSTRUCTIONS = ("instruction", "editing_instruction", "edit_instruction")
QUESTIONS = ("source_yes_no_question", "target_yes_no_question", "multiple_choice_question")


class FiVEBench:
    """https://huggingface.co/datasets/LIMinghan/FiVE-Fine-Grained-Video-Editing-Benchmark, arXiv 2503.13684."""

    name = "five-bench"
    title = "FiVE-Bench"
    home = "https://huggingface.co/datasets/LIMinghan/FiVE-Fine-Grained-Video-Editing-Benchmark"
    licence = "not stated where it could be read: see its card"
    size = "420 edits of 100 videos, 6 kinds, with masks"
    needs = "edit_prompt/*.json, videos/ and bmasks/ (unpack videos.zip and bmasks.zip)"
    scorers = ("five", "five_pixels", "structure_distance", "lpips", "clip_text", "motion_fidelity")

    def cases(self, root: Path) -> Sequence[Case]:
        """See `Benchmark`."""
        tables = [(kind, root / "edit_prompt" / f"edit{kind}_FiVE.json") for kind in CATEGORIES]
        found = [(kind, path) for kind, path in tables if path.is_file()]
        if not found:
            raise InputError(f"{root} holds no edit_prompt/edit1_FiVE.json to edit6_FiVE.json; get it from {self.home}")
        rows = (
            (place, (kind, number, row))
            for kind, path in found
            for number, (place, row) in enumerate(json_list(path), 1)
        )

        def build(item: tuple[str, int, Any]) -> Case:
            file_kind, number, row = item
            kind = text(row, "editing_type_id", file_kind)
            if kind not in CATEGORIES:
                raise InputError(f"the editing_type_id {kind[:20]!r} is none of 1 to 6.")
            video = text(row, "video_name")
            if not re.fullmatch(r"[\w.-]+", video):
                raise InputError(f"the video_name {video[:120]!r} leads out of the folder.")
            target = _plain(text(row, "target_prompt"))
            asked = next((text(row, name, "") for name in INSTRUCTIONS if text(row, name, "")), "")
            questions = {name: value for name in QUESTIONS if (value := text(row, name, ""))}
            masks = root / "bmasks" / video
            if not masks.is_dir():
                raise InputError(f"bmasks/{video} is not there; unpack bmasks.zip.")
            if not masks.resolve().is_relative_to(root.resolve()):
                raise InputError(f"bmasks/{video} leads out of the folder.")
            return Case(
                f"{file_kind}-{number:03}-{case_id(video)}",
                CATEGORIES[kind],
                asked or f"Edit the video so that it shows: {target}",
                file_in(root, f"videos/{video}.mp4"),
                mask=masks,
                source_prompt=_plain(text(row, "source_prompt", "")),
                target_prompt=target,
                details=questions,
            )

        return build_cases(self.title, root, rows, build)


def _plain(prompt: str) -> str:
    return prompt.replace("[", "").replace("]", "")
