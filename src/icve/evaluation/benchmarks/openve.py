"""OpenVE-Bench: 431 edits in eight categories.

Layout, from its page (https://github.com/OpenVE-Team/OpenVE-3M, OpenVE-Bench/README.md): `benchmark_videos.csv` with
the columns `edited_type`, `prompt` and `original_video`, and the videos in `videos/`. The authors' scripts join the
folder and `original_video`; whether that begins with "videos/" is not shown, so both are read.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from icve.errors import InputError
from icve.evaluation.benchmarks.reading import Row, build_cases, case_id, csv_table, file_in, text
from icve.evaluation.cases import Case

CATEGORIES = (
    "global_style",
    "background_change",
    "local_change",
    "local_remove",
    "local_add",
    "subtitle_edit",
    "creative_edit",
    "camera_edit",
)


class OpenVEBench:
    """https://huggingface.co/datasets/Lewandofski/OpenVE-Bench, arXiv 2512.07826."""

    name = "openve-bench"
    title = "OpenVE-Bench"
    home = "https://huggingface.co/datasets/Lewandofski/OpenVE-Bench"
    licence = "CC BY-NC 4.0"
    size = "431 edits, 8 categories, 0.5 GB"
    needs = "benchmark_videos.csv and the folder videos/"
    scorers = ("openve",)

    def cases(self, root: Path) -> Sequence[Case]:
        """See `Benchmark`."""

        def build(row: Row) -> Case:
            category, video = text(row, "edited_type"), text(row, "original_video").removeprefix("./")
            if category not in CATEGORIES:
                raise InputError(f"the edited_type {category[:60]!r} is none of {', '.join(CATEGORIES)}.")
            source = file_in(root, video, f"videos/{video}")
            return Case(case_id(PurePosixPath(video).stem), category, text(row, "prompt"), source)

        table = root / "benchmark_videos.csv"
        rows = csv_table(table, ("edited_type", "prompt", "original_video"))
        return build_cases(self.title, root, rows, build)
