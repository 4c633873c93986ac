"""CoVEBench: 416 videos, 626 instructions that ask for several edits at once, 9,990 questions.

Layout, from its page (https://github.com/NJU-LINK/CoVEBench, README.md and data/checklist.json): `checklist.json`, a
JSON list of rows with `id`, `videoA_path` ("data/6.mp4"), `editing_instruction`, `original_description`,
`target_video_description`, `category` and `evaluation_groups`, and the videos in `data/`. A group has a
`target_element` and `questions`, each with `id`, `type` (Single-TF, Dual-TF, AB-MCQ, Score-MCQ), `dimension`
(Execution Accuracy, Physical Logic, Semantic Preservation), `question`, `options` and `expected_answer`.

An instruction falls into several of the authors' categories; a case's category is its "Level 1" ones, joined by " + ".
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icve.errors import InputError
from icve.evaluation.benchmarks.reading import Row, build_cases, case_id, file_in, json_list, text
from icve.evaluation.cases import Case

TYPES = ("Single-TF", "Dual-TF", "AB-MCQ", "Score-MCQ")


class CoVEBench:
    """https://huggingface.co/datasets/NJU-LINK/CoVEBench, arXiv 2606.08415."""

    name = "covebench"
    title = "CoVEBench"
    home = "https://huggingface.co/datasets/NJU-LINK/CoVEBench"
    licence = "Apache-2.0"
    size = "626 instructions for 416 videos, 9,990 questions"
    needs = "checklist.json and the folder data/"
    scorers = ("covebench", "ssim", "motion_fidelity", "smoothness")

    def cases(self, root: Path) -> Sequence[Case]:
        """See `Benchmark`."""

        def build(row: Row) -> Case:
            instruction, video = text(row, "editing_instruction"), text(row, "videoA_path").removeprefix("./")
            return Case(
                case_id(text(row, "id")),
                category(row.get("category")),
                instruction,
                file_in(root, video, f"data/{video}"),
                source_prompt=text(row, "original_description", ""),
                target_prompt=text(row, "target_video_description", ""),
                details={"evaluation_groups": groups(row.get("evaluation_groups"))},
            )

        return build_cases(self.title, root, json_list(root / "checklist.json"), build)


def category(entries: Any) -> str:
    """The "Level 1" names of a row's categories, in the order of the alphabet: "Background + Camera"."""
    listed = entries if isinstance(entries, list) else []
    names = {entry.get("Level 1") for entry in listed if isinstance(entry, Mapping)}
    return " + ".join(sorted(name for name in names if isinstance(name, str) and name)) or "none"


def groups(value: Any) -> list[dict[str, Any]]:
    """The checklist, checked: a list of {target_element, questions}.

    Raises:
        InputError: a question has no text, no known type or no expected answer.
    """
    if not isinstance(value, list) or not value:
        raise InputError("the row lacks 'evaluation_groups'.")
    checked = []
    for group in value:
        listed = group.get("questions") if isinstance(group, Mapping) else None
        if not isinstance(listed, list):
            raise InputError("a group of the row has no list of questions.")
        for question in listed:
            name = text(question, "id", "?")
            if text(question, "type", "") not in TYPES:
                raise InputError(f"the question {name} has a type that is none of {', '.join(TYPES)}.")
            if not text(question, "question", "") or not text(question, "expected_answer", ""):
                raise InputError(f"the question {name} has no text or no expected answer.")
        checked.append({"target_element": text(group, "target_element", ""), "questions": listed})
    return checked
