"""What `icve edit` is asked to do, as a list of (video, instruction, output); imports nothing heavy."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from icve.errors import InputError

VIDEO_SUFFIXES = {".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
VIDEO_SUFFIXES |= {".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv"}


@dataclass(frozen=True)
class Job:
    """One edit: `video` to `output` by `instruction`."""

    video: Path
    instruction: str
    output: Path


@dataclass(frozen=True)
class Plan:
    """All edits of a call. A `batch` (folder or CSV) goes on after one that fails; `folder` is made for the outputs,
    None when the one output is named itself."""

    jobs: list[Job]
    batch: bool
    folder: Path | None


def plan_jobs(source: Path, instructions: list[str], output: Path) -> Plan:
    """The edits that IN, the instructions and OUT ask for; see `icve edit --help` for how outputs are named.

    Raises `InputError` when they do not fit together. Whether each video exists is for the edit to find out.
    """
    if source.suffix.lower() == ".csv" and source.is_file():
        if instructions:
            raise InputError(f"{source} holds the instructions already: give none on the command line.")
        pairs, batch = _read_csv(source), True
    else:
        if not instructions:
            raise InputError("Say what to edit: give at least one instruction after the video.")
        for instruction in instructions:
            if not instruction.strip():
                raise InputError("The instruction is empty: say what to edit.")
        batch = source.is_dir()
        videos = _videos_in(source) if batch else [source]
        pairs = [(video, instruction) for video in videos for instruction in instructions]
    one_file = not batch and len(pairs) == 1 and output.suffix != "" and not output.is_dir()
    if one_file:
        return Plan([Job(*pairs[0], output)], batch, None)
    if output.is_file() or (output.suffix.lower() in VIDEO_SUFFIXES and not output.is_dir()):
        raise InputError(f"There are {len(pairs)} outputs: with -o name a folder for them, not the file {output}.")
    return Plan(_name_outputs(pairs, output, numbered=len(instructions) > 1), batch, output)


def _name_outputs(pairs: list[tuple[Path, str]], folder: Path, numbered: bool) -> list[Job]:
    """STEM.mp4, with the instruction's number where there are several, or the row's where a CSV repeats a video."""
    videos = list(dict.fromkeys(video for video, _ in pairs))
    stems = Counter(video.stem for video in videos)
    rows = Counter(video for video, _ in pairs)
    seen: Counter[Path] = Counter()
    jobs = []
    for video, instruction in pairs:
        seen[video] += 1
        # clip.mov and clip.mp4, or two folders' clip.mp4 in one CSV, must not become one file
        name = video.stem if stems[video.stem] == 1 else f"{videos.index(video) + 1}-{video.stem}"
        number = f"-{seen[video]}" if numbered or rows[video] > 1 else ""
        jobs.append(Job(video, instruction, folder / f"{name}{number}.mp4"))
    return jobs


def _videos_in(folder: Path) -> list[Path]:
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise InputError(f"The folder {folder} holds no video; its files would have to end in .mp4, .mov, …")
    return videos


def _read_csv(path: Path) -> list[tuple[Path, str]]:
    """Rows of a CSV with the columns `video` and `instruction`; videos are relative to its folder."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"video", "instruction"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(f"{path} lacks the column {' and '.join(sorted(missing))} in its first line.")
            rows = [(row["video"] or "", row["instruction"] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV file in UTF-8 ({error}).") from error
    if not rows:
        raise InputError(f"{path} has no row below its first line.")
    return [(path.parent / video.strip(), instruction) for video, instruction in rows]
