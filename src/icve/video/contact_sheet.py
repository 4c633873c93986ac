"""Contact sheets: rows of labelled frames in one PNG, to see a video and its edits side by side."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from icve.video.files import replacing, write_errors

THUMBNAIL = 240  # the longer side of a frame on the sheet, in pixels
GAP, TEXT_SIZE = 8, 18
MAX_LINES = 4
PAPER, INK = (255, 255, 255), (30, 30, 30)


def contact_sheet(
    rows: Iterable[tuple[str, Sequence[np.ndarray] | np.ndarray]], path_png: str | Path, columns: int = 6
) -> None:
    """Draws each row's label over up to `columns` of its frames, evenly spread from its first to its last.

    Args:
        rows: (label, frames), frames (H, W, 3) uint8 RGB; any script in a label is safe, but letters that
            Pillow's own font lacks show as boxes.
        path_png: the file, replaced if it exists.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path_png)
    strips = [strip(label, frames, columns) for label, frames in rows]
    sheet = Image.new(
        "RGB",
        (max(s.width for s in strips) + 2 * GAP, sum(s.height + GAP for s in strips) + GAP),
        PAPER,
    )
    top = GAP
    for image in strips:
        sheet.paste(image, (GAP, top))
        top += image.height + GAP
    with write_errors(path), replacing(path) as partial:
        sheet.save(partial, format="PNG")


def strip(label: str, frames: Sequence[np.ndarray] | np.ndarray, columns: int) -> Image.Image:
    """One row: the label in wrapped lines, the frames under it."""
    chosen = np.linspace(0, len(frames) - 1, min(columns, len(frames))).round().astype(int)
    thumbnails = [thumbnail(frames[i]) for i in chosen]
    cell_width, cell_height = thumbnails[0].size
    width = columns * (cell_width + GAP) - GAP

    font = ImageFont.load_default(TEXT_SIZE)
    # A command line may hold bytes that are no text at all.
    text = " ".join(label.encode("utf-8", "replace").decode().split())
    per_line = max(8, round(width / font.getlength("n")))
    lines = textwrap.wrap(text, per_line, max_lines=MAX_LINES, placeholder=" …") or [""]
    text_height = len(lines) * (TEXT_SIZE + 6)

    image = Image.new("RGB", (width, text_height + cell_height), PAPER)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((0, number * (TEXT_SIZE + 6)), line, fill=INK, font=font)
    for column, picture in enumerate(thumbnails):
        image.paste(picture, (column * (cell_width + GAP), text_height))
    return image


def thumbnail(frame: np.ndarray) -> Image.Image:
    scale = THUMBNAIL / max(frame.shape[:2])
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    return Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)
