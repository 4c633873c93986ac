"""Ditto-1M: global styles, free-form global edits and local edits of 101 frames at 720p.

Layout (the set's page, https://huggingface.co/datasets/QingyanBai/Ditto-1M): `training_metadata/*.json`, each a list
of `source_path`, `instruction`, `edited_path`, relative to `videos/`; there `source/`, `local/`, `global_style1/`,
`global_style2/`, `global_freeform1/` to `global_freeform3/`, each published as the parts of one archive,
`videos/<folder>/<folder>.tar.gz.*`, to be unpacked with `cat <folder>.tar.gz.* | tar -xz`. Members of the archives
begin with the folder's own name, so unpacked where they lie, the videos are in `videos/<folder>/<folder>/`.

The metadata files overlap (`global+local.json`, `global.json` …; their names from a program that audits them): a
triplet that stands in several is one pair, and the most specific file comes first because it gives the type.
Not verified: `sim2real.json` is taken as it is written, its source being the stylised video ("Turn it into the real
domain"); and which local edits add, remove or change: only `local_replace.json` says so.
"""

from pathlib import Path, PurePosixPath
from typing import ClassVar

from icve.data.pairs.base import PublicSet, Row

SPECIFIC_FIRST = ("local_replace", "sim2real", "global_style", "global_freeform3", "local", "global", "global+local")


class Ditto(PublicSet):
    """https://huggingface.co/datasets/QingyanBai/Ditto-1M"""

    name = "ditto-1m"
    title = "Ditto-1M"
    url = "https://huggingface.co/datasets/QingyanBai/Ditto-1M"
    licence = "CC BY-NC-SA 4.0: no commercial use, and what is derived from it is shared under the same terms."
    layout = "it needs training_metadata/*.json and videos/, each archive in it unpacked (cat NAME.tar.gz.* | tar -xz)."
    fields = ("source_path", "instruction", "edited_path")
    types: ClassVar = {
        "local_replace": "replace",
        "sim2real": "style",
        "global_style1": "style",
        "global_style2": "style",
    }

    def metadata(self, folder: Path) -> list[Path]:
        paths = (folder / "training_metadata").glob("*.json")
        order = {stem: number for number, stem in enumerate(SPECIFIC_FIRST)}
        known = [path for path in paths if self.has_fields(path)]
        return sorted(known, key=lambda path: (order.get(path.stem, len(order)), path.name))

    def row(self, metadata: Path, place: str, values: dict[str, str]) -> Row:
        folder_of_edit = (PurePosixPath(values["edited_path"].removeprefix("./")).parts or ("",))[0]
        task = metadata.stem if metadata.stem in self.types else folder_of_edit
        return Row(
            place, self.places(values["source_path"]), self.places(values["edited_path"]), values["instruction"], task
        )

    @staticmethod
    def places(path: str) -> list[str]:
        """Where the video may lie, its archive unpacked in `videos/` or beside itself."""
        path = path.removeprefix("./")
        return [f"videos/{path}", f"videos/{path.partition('/')[0]}/{path}"]
