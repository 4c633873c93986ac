"""Results with clips that say which frame they show, and texts that would like to be markup."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from icve.evaluation.results import Results, Shown
from icve.evaluation.scorers import Figure
from icve.video import VideoInfo, VideoWriter

EVIL = '"><script>window.ran = 1</script><img src=http://127.0.0.1:9/x onerror=alert(1)>&{{policy}}'
FRAMES, RATE = 20, 10
EDITORS = ("ours", f"theirs {EVIL}")


def level(frame: int) -> int:
    """The grey of a frame: ten apart, so that coding does not mix them up."""
    return 20 + 10 * frame


def clip(path: Path, frames: int = FRAMES, size: tuple[int, int] = (48, 64)) -> Path:
    info = VideoInfo(None, size[1], size[0], Fraction(1, RATE), Fraction(RATE))
    with VideoWriter(path, info, lossless=True, overwrite=True) as writer:
        for number in range(frames):
            writer.write(np.full((*size, 3), level(number) % 256, np.uint8), number, 1)
    return path


def results(folder: Path, cases: int = 4) -> Results:
    """Two editors on cases of two categories; the second one's last clip is damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((48, 64), np.uint8)
    mask[:24] = 255
    cv2.imwrite(str(folder / "mask.png"), mask)
    source = clip(folder / "source.mp4")
    large = clip(folder / "large.mp4", size=(360, 640))
    shown = []
    for number in range(cases):
        damaged = folder / f"damaged-{number}.mp4"
        damaged.write_bytes(b"damaged")
        edited = {EDITORS[0]: large, EDITORS[1]: damaged if number == cases - 1 else source}
        category = ("remove", f"evil {EVIL}")[number % 2]
        shown.append(
            Shown(f"case-{number}", category, f"do {number} {EVIL}", "", source, None, folder / "mask.png", edited)
        )
    settings = {name: {"model": f"{name} {EVIL}", "steps": 3} for name in EDITORS}
    figures = {
        "success": (Figure("success", "higher", 0, 1, about="right or wrong"), "world"),
        f"db {EVIL}": (Figure(f"db {EVIL}", "lower", 0, None, "dB", f"about {EVIL}"), "other"),
        "openve_overall@me": (Figure("openve_overall@me", "higher", 1, 5), "openve@me"),
        "openve_overall@five": (Figure("openve_overall@five", "higher", 1, 5), "openve@five"),
    }
    made = Results("openve-bench", f"Bench {EVIL}", shown, settings, figures)
    for number, case in enumerate(shown):
        for position, editor in enumerate(EDITORS):
            lost = position == 1 and number == cases - 1
            for name, value in [("success", float(position == 0)), (f"db {EVIL}", 10.0 + number - position)]:
                made.add(editor, case.id, name, None if lost else value, f"reason {EVIL}" if lost else None)
            made.add(editor, case.id, "openve_overall@me", 2.0 + number % 3, None)
            made.add(editor, case.id, "openve_overall@five", 5.0, None)  # a judge that always says 5
        made.remarks[EDITORS[1], case.id] = [f"remark {EVIL}"]
    made.notes.append(f"note {EVIL}")
    return made
