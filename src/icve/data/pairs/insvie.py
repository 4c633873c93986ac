"""InsViE-1M: videos and animated photographs, edited by their first frame; several strengths of an edit a source.

Layout: a CSV file `video,instruct` of 1,019,570 rows, 18 ZIP files of source videos and 19 of edited ones. Both videos
of a row have the same file name, in a folder for sources and one for edits; a name ends in `_<n>_<n>_<n>.mp4`, which
tells the edits of one source apart (371,451 names without it). There are no scores and no types in the CSV.

Known from: the columns and counts from an audit of the published CSV (revision 12efa8de of
https://huggingface.co/datasets/wyh6666/InsViE); equal names in two folders from the authors' training code
(https://github.com/langmanbusi/InsViE, CogVideo/sat/data_video.py). Not verified: what the folders inside the ZIP
files are called, so every folder with "source" or "original" in its name is searched for sources and every one with
"edit" for edits; and whether a source lies there once for each edit or once without the ending, so both are tried.
"""

import re
from functools import lru_cache
from pathlib import Path

from icve.data.pairs.base import PublicSet, Row

VARIANT = re.compile(r"(_\d+){3}(?=\.mp4$)")


class InsViE(PublicSet):
    """https://huggingface.co/datasets/wyh6666/InsViE"""

    name = "insvie-1m"
    title = "InsViE-1M"
    url = "https://huggingface.co/datasets/wyh6666/InsViE"
    licence = (
        "CC BY 4.0 by the set's page: commercial use is allowed with attribution; the rights in its sources (Pexels, "
        "OpenVid, MagicBrush, InstructPix2Pix) are not settled by it."
    )
    layout = (
        "put its CSV file there and unpack the ZIP files of sources to a folder with 'source' in its name, those of "
        "edits to one with 'edit' in its name."
    )
    fields = ("video", "instruct")
    delimiter = ","

    def metadata(self, folder: Path) -> list[Path]:
        video_folders.cache_clear()  # more may have been unpacked
        sources, edits = video_folders(folder)
        tables = [path for path in sorted(folder.glob("*.csv")) if self.has_fields(path)]
        return tables if sources and edits else []

    def row(self, metadata: Path, place: str, values: dict[str, str]) -> Row:
        sources, edits = video_folders(metadata.parent)
        video = values["video"]
        names = list(dict.fromkeys([video, VARIANT.sub("", video)]))
        return Row(
            place,
            [video, *(f"{parent}/{name}" for name in names for parent in sources)],
            [video, *(f"{parent}/{video}" for parent in edits)],
            values["instruct"],
            extra={"collection": re.split(r"[^A-Za-z0-9]", video)[0]},
        )


@lru_cache(maxsize=1)
def video_folders(folder: Path) -> tuple[list[str], list[str]]:
    """The folders of sources and of edits, relative to the set's, down to two levels."""
    sources, edits = [], []
    for path in sorted(path for pattern in ("*/", "*/*/") for path in folder.glob(pattern)):
        relative = path.relative_to(folder).as_posix()
        if "edit" in relative.lower():
            edits.append(relative)
        elif re.search("source|original", relative.lower()):
            sources.append(relative)
    return sources, edits
