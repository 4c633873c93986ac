"""Tiny folders in the layouts of the public paired sets, with real videos in them."""

import csv
import json
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from icve.video import VideoInfo, VideoWriter
from tests.video.samples import picture

Expected = list[tuple[str, str, str, str]]  # source, target, instruction, type


def first_picture(name: str) -> int:
    """Which of `tests.video.samples.picture` the video of this path begins with: each has its own content."""
    return zlib.crc32(name.encode()) % 97


def videos(folder: Path, *names: str, frames: int = 9) -> None:
    """A small video under each name, relative to the set's folder, whose content is a function of the name."""
    info = VideoInfo(None, 64, 48, Fraction(1, 25), Fraction(25), colorspace=1, color_range=1)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with VideoWriter(folder / name, info, quality=4) as writer:
            for index in range(frames):
                writer.write(picture(first_picture(name) + index), index, 1)


def write_json(path: Path, rows: Sequence[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=4, ensure_ascii=False), encoding="utf-8")


def write_csv(path: Path, delimiter: str, rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def senorita(folder: Path) -> Expected:
    removed, original = "obj_removal_videos_upload/60/82_1.mp4", "obj_removal_videos_upload/60/82_org.mp4"
    swapped, before = "obj_swap_upload/7/ff.mp4", "obj_swap_upload/7/ff_org.mp4"
    local, plain = "local_style_transfer_upload/1/a.mp4", "local_style_transfer_upload/1/a_org.mp4"
    videos(folder, removed, original, swapped, before, local, plain)

    def row(source: str, target: str, instruction: str, enhanced: str) -> dict:
        paths = {"source_video_path": f"./{source}", "target_video_path": f"./{target}"}
        return paths | {"instruction": instruction, "enhanced_instruction": enhanced}

    write_json(folder / "updated_data_obj_removal.json", [row(original, removed, "remove dog", "Remove the dog.")])
    write_json(folder / "updated_data_obj_addition_videos.json", [row(removed, original, "add dog", "Add a dog.")])
    # The metadata of the swaps names a folder that is published under another name.
    old_swapped, old_before = (path.replace("obj_swap_upload", "obj_swap_videos") for path in (swapped, before))
    write_json(folder / "updated_data_obj_swap_videos.json", [row(old_before, old_swapped, "Swap cat for fox", "")])
    write_json(folder / "data_local_style_transfer.json", [row(plain, local, "blue car", "Make the car blue.")])
    return [
        (original, removed, "Remove the dog.", "remove"),
        (removed, original, "Add a dog.", "add"),
        (before, swapped, "Swap cat for fox", "replace"),
        (plain, local, "Make the car blue.", "attribute"),
    ]


def insvie(folder: Path) -> Expected:
    names = "pexel-static-12_0_1_7.mp4", "magicbrush-5_0_2_3.mp4"
    videos(folder, *(f"edited_videos/{name}" for name in names))
    videos(folder, f"source_videos/{names[0]}", "source_videos/magicbrush-5.mp4")
    write_csv(
        folder / "insvie.csv",
        ",",
        [["video", "instruct"], [names[0], "Remove the cup, please"], [names[1], "turn it to winter"]],
    )
    return [
        (f"source_videos/{names[0]}", f"edited_videos/{names[0]}", "Remove the cup, please", "remove"),
        ("source_videos/magicbrush-5.mp4", f"edited_videos/{names[1]}", "turn it to winter", "none"),
    ]


def openve(folder: Path) -> Expected:
    kinds = {
        "local_add": ("Add a hat.", "add"),
        "global_style": ("Anime, please.", "style"),
        "background_change": ("Put them on a beach.", "background"),
        "camera_multi_shot_edit": ("Zoom out.", "camera"),
        "local_change": ("Replace the cup with a vase.", "replace"),
        "creative_edit": ("Let it fly.", "none"),
    }
    expected = []
    for kind, (instruction, word) in kinds.items():
        source, target = f"{kind}/s.mp4", f"{kind}/e.mp4"
        videos(folder, f"videos/{source}", f"videos/{target}")
        rows = [["video", "prompt", "original_video"], [target, instruction, source]]
        write_csv(folder / f"{kind}.csv", ";", rows)
        expected.append((f"videos/{source}", f"videos/{target}", instruction, word))
    return expected


def ditto(folder: Path) -> Expected:
    edits = {
        "global_style": ("global_style1/a.mp4", "Make it a Van Gogh.", "style"),
        "global": ("global_freeform2/a.mp4", "Let it snow.", "none"),
        "local": ("local/a.mp4", "Add a bird.", "add"),
        "local_replace": ("local/b.mp4", "The dog becomes a wolf.", "replace"),
    }
    videos(folder, "videos/source/a.mp4")
    expected = []
    for name, (edited, instruction, kind) in edits.items():
        row = {"source_path": "source/a.mp4", "instruction": instruction, "edited_path": edited}
        write_json(folder / f"training_metadata/{name}.json", [row])
        # An archive unpacked beside itself makes its folder once more.
        place = f"videos/global_style1/{edited}" if name == "global_style" else f"videos/{edited}"
        videos(folder, place)
        expected.append(("videos/source/a.mp4", place, instruction, kind))
    return expected


def reco(folder: Path) -> Expected:
    expected = []
    for task in ("add", "remove", "replace", "style"):
        source, target = f"{task}/src_videos/a.mp4", f"{task}/tar_videos/a.mp4"
        videos(folder, source, target)
        row = {"src_video": source, "tar_video": target, "instruction_final_refine": f"{task} it"}
        write_json(folder / task / f"{task}_data_configs.json", [row])
        expected.append((source, target, f"{task} it", task))
    return expected


BUILDERS: dict[str, Callable[[Path], Expected]] = {
    "senorita-2m": senorita,
    "insvie-1m": insvie,
    "openve-3m": openve,
    "ditto-1m": ditto,
    "reco-data": reco,
}
