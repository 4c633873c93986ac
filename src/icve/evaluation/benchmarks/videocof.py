"""VideoCoF-Bench: object removal, addition, swap and local style; 240 edits are published, the paper used 200.

Layout, from its page (https://github.com/knightyxp/VideoCoF, metric/README.md and metric/prepare_benchmark.py):
`videocof_edit.jsonl`, a line for each edit with `id`, `video` (relative to the folder) and `edit_instruction`. The task
is what the id begins with. The authors say that the list of the paper's 200 is lost, so published rows and a run on
today's files are not over the same edits.
"""

from collections.abc import Sequence
from pathlib import Path

from icve.errors import InputError
from icve.evaluation.benchmarks.reading import Row, build_cases, file_in, json_lines, text
from icve.evaluation.cases import Case

TASKS = ("obj_removal", "obj_addition", "obj_swap", "local_style_transfer")


class VideoCoFBench:
    """https://huggingface.co/datasets/XiangpengYang/VideoCoF-Bench, arXiv 2512.07469."""

    name = "videocof-bench"
    title = "VideoCoF-Bench"
    home = "https://huggingface.co/datasets/XiangpengYang/VideoCoF-Bench"
    licence = "not stated on its card"
    size = "240 edits, 4 tasks (the paper: 200)"
    needs = "videocof_edit.jsonl and the videos that it names"
    edited = "gen_{id}.mp4"
    scorers = ("videocof", "clip_text", "clip_frames", "dino_frames")

    def cases(self, root: Path) -> Sequence[Case]:
        """See `Benchmark`."""

        def build(row: Row) -> Case:
            name = text(row, "id")
            task = next((task for task in TASKS if name.startswith(f"{task}_")), None)
            if task is None:
                raise InputError(f"the id {name[:80]!r} begins with none of {', '.join(TASKS)}.")
            return Case(name, task, text(row, "edit_instruction"), file_in(root, text(row, "video")))

        return build_cases(self.title, root, json_lines(root / "videocof_edit.jsonl"), build)
