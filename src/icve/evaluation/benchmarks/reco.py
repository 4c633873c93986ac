"""ReCo-Bench: 480 edits, 120 each of add, remove, replace and style.

Layout, from the authors' evaluation scripts (https://github.com/HiDream-ai/ReCo): `configs/<task>.txt`, a line for each
edit, `VIDEO.mp4: instruction | reference picture` (the last part is optional; lines that begin with # are comments),
and the videos in `ori_videos/`. These two folders are the scripts' defaults. Not verified: how the hub's copy is
packed, so the text files are also looked for at the top, and the videos in `src_videos/`, at the top and in a folder
for each task.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from icve.errors import InputError
from icve.evaluation.benchmarks.reading import build_cases, case_id, file_in, read_text
from icve.evaluation.cases import Case

TASKS = ("add", "remove", "replace", "style")
FOLDERS = ("ori_videos", "src_videos")


class ReCoBench:
    """https://huggingface.co/datasets/HiDream-ai/ReCo-Bench, arXiv 2512.17650."""

    name = "reco-bench"
    title = "ReCo-Bench"
    home = "https://huggingface.co/datasets/HiDream-ai/ReCo-Bench"
    licence = "CC BY-NC-SA 4.0; videos from Pexels"
    size = "480 edits, 4 tasks"
    needs = "configs/add.txt, remove.txt, replace.txt, style.txt and the folder ori_videos/"
    scorers = ("reco",)

    def cases(self, root: Path) -> Sequence[Case]:
        """See `Benchmark`."""
        tables = [
            (task, path)
            for task in TASKS
            for path in [root / "configs" / f"{task}.txt", root / f"{task}.txt"]
            if path.is_file()
        ]
        if not tables:
            raise InputError(f"{root} holds no configs/add.txt and so on; get it from {self.home}")

        def build(item: tuple[str, int, str]) -> Case:
            task, number, line = item
            video, colon, rest = line.partition(":")
            instruction, _, reference = (part.strip() for part in rest.partition("|"))
            if not colon or not video.strip() or not instruction:
                raise InputError("the line is not 'VIDEO.mp4: instruction'.")
            video = video.strip()
            places = [f"{folder}/{name}" for folder in FOLDERS for name in (video, f"{task}/{video}")]
            source = file_in(root, *places, f"{task}/{video}", video)
            details = {"reference": reference} if reference else {}
            return Case(
                f"{task}-{number:03}-{case_id(Path(video).stem)[:150]}", task, instruction, source, details=details
            )

        return build_cases(self.title, root, _lines(tables), build)


def _lines(tables: Sequence[tuple[str, Path]]) -> Iterator[tuple[str, tuple[str, int, str]]]:
    for task, path in tables:
        lines = [(at, line.strip()) for at, line in enumerate(read_text(path).splitlines(), 1)]
        edits = [(at, line) for at, line in lines if line and not line.startswith("#")]
        for number, (at, line) in enumerate(edits, 1):
            yield f"{path.name} line {at}", (task, number, line)
