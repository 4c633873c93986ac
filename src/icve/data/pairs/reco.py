"""ReCo-Data: additions, removals, replacements and styles, one folder each.

Layout (the authors' page, https://github.com/HiDream-ai/ReCo): `<task>/<task>_data_configs.json` beside
`<task>/src_videos/*.mp4` and `<task>/tar_videos/*.mp4` for the tasks add, remove, replace and style. The JSON is a list
of `src_video`, `tar_video` (both relative to the set's folder) and `instruction_final_refine`.

Known from: the folders from that page, the fields from the authors' data loader. Not verified: further fields of the
JSON, which are ignored; how the archives are split. `video_masks/` and `examples.tar` are not used.
"""

from pathlib import Path
from typing import ClassVar

from icve.data.pairs.base import PublicSet, Row

TASKS = ("add", "remove", "replace", "style")


class ReCo(PublicSet):
    """https://huggingface.co/datasets/HiDream-ai/ReCo-Data"""

    name = "reco-data"
    title = "ReCo-Data"
    url = "https://huggingface.co/datasets/HiDream-ai/ReCo-Data"
    licence = "CC BY-NC-SA 4.0: no commercial use, and what is derived from it is shared under the same terms."
    layout = "it needs add/, remove/, replace/ or style/ with their *_data_configs.json, src_videos/ and tar_videos/."
    fields = ("src_video", "tar_video", "instruction_final_refine")
    types: ClassVar = {task: task for task in TASKS}

    def metadata(self, folder: Path) -> list[Path]:
        paths = [folder / task / f"{task}_data_configs.json" for task in TASKS]
        return [path for path in paths if path.is_file()]

    def row(self, metadata: Path, place: str, values: dict[str, str]) -> Row:
        task = metadata.parent.name
        return Row(place, [values["src_video"]], [values["tar_video"]], values["instruction_final_refine"], task)
