"""Señorita-2M: Pexels videos edited by specialist models, and computer-vision tasks posed as edits.

Layout: one folder a task (`obj_removal_videos_upload/`, `obj_swap_upload/`, `style_transfer_upload/` …) of `.tar.gz`
archives, unpacked beside themselves to `<task>/<number>/<hash>.mp4` and `<hash>_org.mp4`; and one JSON list a task in
the set's folder, with `source_video_path`, `target_video_path`, `instruction` and `enhanced_instruction`. Additions
are the removals read backwards: their target is the `_org` video, and the metadata already says so.

Known from: the set's page (https://huggingface.co/datasets/SENORITADATASET/Senorita) by way of programs that read it,
which is also how it is known that paths of the swaps name `./obj_swap_videos/`, a folder that is published as
`obj_swap_upload/`. Not verified against the files themselves: the names of all JSON files, so each JSON list with
those fields is read and its name gives the type; and whether tasks other than the swaps name folders that were
renamed, so the published endings are tried for each.
"""

from pathlib import Path
from typing import ClassVar

from icve.data.pairs.base import PublicSet, Row

# A part of the JSON file's name, the type. The longer come first: "local_style" is a "style" as well.
TASKS = {
    "addition": "add",
    "removal": "remove",
    "swap": "replace",
    "local_style": "attribute",
    "style": "style",
    "inpaint": "none",
    "outpaint": "none",
    "grounding": "none",
    "control": "none",
}


class Senorita(PublicSet):
    """https://huggingface.co/datasets/SENORITADATASET/Senorita"""

    name = "senorita-2m"
    title = "Señorita-2M"
    url = "https://huggingface.co/datasets/SENORITADATASET/Senorita"
    licence = (
        "CC BY-NC 2.0: no commercial use. The videos come from Pexels, whose own terms forbid to build data sets with "
        "its API without permission."
    )
    layout = "unpack its .tar.gz files where they lie and keep its JSON files beside the task folders."
    fields = ("source_video_path", "target_video_path", "instruction")
    types: ClassVar = TASKS

    def metadata(self, folder: Path) -> list[Path]:
        return [path for path in sorted(folder.glob("*.json")) if self.has_fields(path)]

    def row(self, metadata: Path, place: str, values: dict[str, str]) -> Row:
        task = next((word for word in TASKS if word in metadata.stem), "")
        # The second wording is the first one rewritten in full sentences by a language model.
        better = values.get("enhanced_instruction", "").strip()
        extra = {"short_instruction": values["instruction"]} if better else {}
        return Row(
            place,
            published(values["source_video_path"]),
            published(values["target_video_path"]),
            better or values["instruction"],
            task,
            extra,
        )


def published(path: str) -> list[str]:
    """A path of the metadata and the places where the published archives put that file."""
    path = path.removeprefix("./")
    first, slash, rest = path.partition("/")
    stem = first.removesuffix("_upload2").removesuffix("_upload")
    folders = [first, f"{stem}_upload", f"{stem}_upload2", f"{stem.removesuffix('_videos')}_upload", stem]
    return [f"{folder}{slash}{rest}" for folder in dict.fromkeys(folders)]
