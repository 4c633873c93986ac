"""Tiny folders in the layouts that the benchmarks' authors publish, with real videos."""

import csv
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from icve.video import VideoInfo, VideoWriter


def video(path: Path, shade: int = 90) -> Path:
    """A real video of 3 frames of 16 x 16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    info = VideoInfo(None, 16, 16, Fraction(1, 8), Fraction(8))
    with VideoWriter(path, info, overwrite=True) as writer:
        for i in range(3):
            writer.write(np.full((16, 16, 3), shade + i, np.uint8), i, 1)
    return path


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


OPENVE = ["global_style", "background_change", "local_change", "local_remove", "local_add"]
OPENVE += ["subtitle_edit", "creative_edit", "camera_edit"]


def openve(root: Path) -> Path:
    """Returns the metadata file, as all of these do."""
    table = root / "benchmark_videos.csv"
    root.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["edited_type", "prompt", "original_video"])
        for i, kind in enumerate(OPENVE):
            path = f"videos/{i:04}_{kind}_Edit, it (now).mp4"
            video(root / path)
            writer.writerow([kind, f'Do the "{kind}", and keep the rest.', path])
    return table


def editverse(root: Path) -> Path:
    for name in ("videos/1-2.mp4", "videos/2-3.mp4", "edited_first_frame/x.mp4"):
        video(root / name)
    row = {"direction": "horizontal", "target_prompt": "A crown.", "source_prompt": "A head."}
    rows = {
        "0": row | {"<text>": "<video1> Add a crown.", "<video1>": "videos/1-2.mp4", "type": "add object"},
        "1": row
        | {
            "<text>": "<video1> Propagate the edit of <video2> to all frames.",
            "<video1>": "videos/2-3.mp4",
            "<video2>": "edited_first_frame/x.mp4",
            "<video1> link": "https://example.org/2-3/",
            "type": "propagation",
        },
    }
    _json(root / "test.json", rows)
    return root / "test.json"


def ivebench(root: Path) -> Path:
    for subset in ("short", "long"):
        video(root / f"ivebenchdb_mp4_{subset}/0001.mp4")
        row = {
            "id": 1,
            "src_video_name": "0001.mp4" if subset == "short" else "0001",
            "category": "subject_editing",
            "subcategory": "remove existing subject",
            "edit_prompt": "Remove the dog.",
            "source_prompt": "A dog on grass.",
            "target_prompt": "Grass.",
            "target_phrase": "the grass",
        }
        _json(root / f"ivebenchdb_prompt_{subset}.json", [row])
    return root / "ivebenchdb_prompt_short.json"


def five(root: Path) -> Path:
    video(root / "videos/0001_bus.mp4")
    (root / "bmasks/0001_bus").mkdir(parents=True)
    mask = np.zeros((16, 16), np.uint8)
    mask[:8] = 255
    for i in range(1, 4):
        cv2.imwrite(str(root / f"bmasks/0001_bus/{i:05}.jpg"), mask)
    for kind in range(1, 7):
        row = {
            "editing_type_id": kind,
            "video_name": "0001_bus",
            "source_prompt": "A [bus] on a road.",
            "target_prompt": "A [tram] on a road.",
            "save_dir": "1_A tram",
            "source_yes_no_question": "Is there a bus?",
            "target_yes_no_question": "Is there a tram?",
            "multiple_choice_question": "What is there? a) A bus b) A tram",
        }
        _json(root / f"edit_prompt/edit{kind}_FiVE.json", [row, row | {"instruction": "Make the bus a tram."}])
    return root / "edit_prompt/edit1_FiVE.json"


def covebench(root: Path) -> Path:
    video(root / "data/6.mp4")
    question = {"id": "Q1", "dimension": "Execution Accuracy", "question": "Is it dark?", "expected_answer": "Yes"}
    row = {
        "id": 1,
        "original_description": "A table by a window.",
        "editing_instruction": "Make it dark and pan right.",
        "target_video_description": "A dark table.",
        "evaluation_groups": [
            {"target_element": "Light", "description": "", "questions": [question | {"type": "Dual-TF"}]},
            {
                "target_element": "Table",
                "questions": [
                    question | {"id": "Q2", "type": "Score-MCQ", "expected_answer": "5"},
                    question | {"id": "Q3", "type": "Single-TF", "dimension": "Physical Logic"},
                ],
            },
        ],
        "videoA_path": "data/6.mp4",
        "category": [{"Level 1": "Camera", "Level 2": "Camera Movement"}, {"Level 1": "Background"}],
    }
    _json(root / "checklist.json", [row, row | {"id": 2}])
    return root / "checklist.json"


def reco(root: Path) -> Path:
    video(root / "ori_videos/855029-hd_1920_1080_30fps.mp4")
    (root / "configs").mkdir(parents=True)
    for task in ("add", "remove", "replace", "style"):
        lines = ["# of a task", "", f"855029-hd_1920_1080_30fps.mp4: {task} this: a rabbit | asserts/rabbit.png"]
        lines += [f"855029-hd_1920_1080_30fps.mp4: {task} that"]
        (root / f"configs/{task}.txt").write_text("\n".join(lines))
    return root / "configs/add.txt"


def videocof(root: Path) -> Path:
    ids = ["obj_removal_1", "obj_addition_2", "obj_swap_instance_023_1", "obj_swap_instance_023_2"]
    ids += ["local_style_transfer_x"]
    video(root / "obj_swap/videos/source.mp4")
    rows = [{"id": name, "video": "obj_swap/videos/source.mp4", "edit_instruction": f"Edit {name}."} for name in ids]
    (root / "videocof_edit.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root / "videocof_edit.jsonl"


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "openve-bench": openve,
    "editverse-bench": editverse,
    "ivebench": ivebench,
    "five-bench": five,
    "covebench": covebench,
    "reco-bench": reco,
    "videocof-bench": videocof,
}
