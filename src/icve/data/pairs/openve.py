"""OpenVE-3M: eight kinds of edits at 720p, one CSV file a kind.

Layout: `<kind>.csv` (`local_add.csv`, `background_change.csv` …), its cells separated by semicolons, with the columns
`video` (the edited one), `prompt` and `original_video`; paths are relative to the folder that holds the kinds' video
folders, `videos/`. One edited video may stand in several rows.

Known from: programs that read the published files (the ReCo authors' loader and others), and the kinds from the
authors' page (https://github.com/OpenVE-Team/OpenVE-3M). Not verified: where in the set the CSV files lie, so they are
looked for in its folder and one below; how the video archives are called and packed; the file names of the kinds that
those programs do not use (subtitles, camera, creative), so names that begin so are taken. "Local change" replaces
objects or changes their looks, and the rows do not say which.
"""

from pathlib import Path
from typing import ClassVar

from icve.data.pairs.base import PublicSet, Row

KINDS = (
    "global_style",
    "background_change",
    "local_change",
    "local_remove",
    "local_add",
    "subtitle",
    "camera",
    "creative",
)
VIDEO_FOLDERS = ("videos", "videos_folders")


class OpenVE(PublicSet):
    """https://huggingface.co/datasets/Lewandofski/OpenVE-3M"""

    name = "openve-3m"
    title = "OpenVE-3M"
    url = "https://huggingface.co/datasets/Lewandofski/OpenVE-3M"
    licence = "CC BY-NC 4.0: no commercial use."
    layout = "keep its CSV files and unpack the video archives to a folder videos/ beside them."
    fields = ("video", "prompt", "original_video")
    delimiter = ";"
    types: ClassVar = {
        "global_style": "style",
        "background_change": "background",
        "local_remove": "remove",
        "local_add": "add",
        "camera": "camera",
    }

    def metadata(self, folder: Path) -> list[Path]:
        tables = sorted(folder.glob("*.csv")) + sorted(folder.glob("*/*.csv"))
        return [path for path in tables if self.has_fields(path)]

    def row(self, metadata: Path, place: str, values: dict[str, str]) -> Row:
        kind = next((word for word in KINDS if metadata.stem.startswith(word)), metadata.stem)
        source, target = values["original_video"].removeprefix("./"), values["video"].removeprefix("./")
        return Row(place, self.places(source), self.places(target), values["prompt"], kind)

    @staticmethod
    def places(path: str) -> list[str]:
        """Where the video may lie: as it is named, or below the folder of all videos."""
        return [path, *(f"{parent}/{path}" for parent in VIDEO_FOLDERS)]
