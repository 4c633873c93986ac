"""IVEBench: 600 videos, 8 categories with 35 subcategories, a short and a long subset.

Layout, from its card (https://huggingface.co/datasets/Coraxor/IVEBench) and its code
(https://github.com/RyanChenYN/IVEBench): a JSON list for each subset, and the videos in `ivebenchdb_mp4_short/` and
`ivebenchdb_mp4_long/`. Rows have `id`, `src_video_name`, `category`, `subcategory`, `edit_prompt`, `source_prompt`,
`target_prompt`, `target_phrase` and `target_span`; the last two are named in prose only and are kept where present. The
card writes the lists' names in three ways (`ivebench_prompt_short.json`, `ivebenchdb_prompt_short.json`,
`livebenchdb_prompt_long.json`), so any that ends in `prompt_short.json` or `prompt_long.json` is read. One subset alone
is enough. Not verified: whether `src_video_name` ends in .mp4; both are read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icve.errors import InputError
from icve.evaluation.benchmarks.reading import build_cases, case_id, file_in, json_list, text
from icve.evaluation.cases import Case

SUBSETS = ("short", "long")  # 32 to 128 and 129 to 1,024 frames


class IVEBench:
    """https://huggingface.co/datasets/Coraxor/IVEBench, arXiv 2510.11647."""

    name = "ivebench"
    title = "IVEBench"
    home = "https://huggingface.co/datasets/Coraxor/IVEBench"
    licence = "MIT (the card); the videos come from sites with terms of their own"
    size = "600 videos of 32 to 1,024 frames, 8 categories, 14.6 GB"
    needs = "ivebenchdb_prompt_short.json with ivebenchdb_mp4_short/, or the same for long, or both"
    scorers = (
        "ivebench",
        "subject_consistency",
        "background_consistency",
        "flicker",
        "amt_smoothness",
        "motion_fidelity",
    )

    def cases(self, root: Path) -> Sequence[Case]:
        """See `Benchmark`."""
        found = [(subset, path) for subset in SUBSETS for path in sorted(root.glob(f"*prompt_{subset}.json"))]
        if not found:
            raise InputError(f"{root} holds no *prompt_short.json and no *prompt_long.json; get them from {self.home}")
        rows = ((place, (subset, row)) for subset, path in found for place, row in json_list(path))

        def build(item: tuple[str, Any]) -> Case:
            subset, row = item
            video = text(row, "src_video_name")
            folder = f"ivebenchdb_mp4_{subset}"
            details = {name: value for name in ("target_phrase", "target_span") if (value := row.get(name))}
            return Case(
                f"{subset}-{case_id(text(row, 'id'))}",
                text(row, "category"),
                text(row, "edit_prompt"),
                file_in(root, f"{folder}/{video}", f"{folder}/{video}.mp4"),
                source_prompt=text(row, "source_prompt", ""),
                target_prompt=text(row, "target_prompt", ""),
                details={"subset": subset, "subcategory": text(row, "subcategory", "")} | details,
            )

        return build_cases(self.title, root, rows, build)
