"""Videos of any length through a model of fixed length: windows that overlap, continued one from the other.

Shapes: a frame is an array (height, width, 3) uint8; a window is F of them, (F, height, width, 3).

A model edits F0 = 1 + 4k frames at a time. Windows of F0 frames advance by F0 - overlap; each is told how the one
before ended (`known`), so that it goes on with the same content, and the pixels of the overlap are cross-faded so
that what difference is left never shows as a jump. The last window is moved back to end with the video: it overlaps
more instead of being padded with frames that do not exist. Nothing here needs the video's length, and no more than
two windows are held, so memory is constant however long the video is.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import numpy as np

FRAMES_PER_LATENT = 4  # HunyuanVideo's autoencoder: the first latent frame holds 1 frame, each later one 4

Item = TypeVar("Item")
WindowEditor = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


@dataclass(frozen=True)
class Window(Generic[Item]):
    """`items` are the video's frames start, start + 1, …; the first `overlap` of them are in the window before too."""

    start: int
    overlap: int
    items: tuple[Item, ...]


def default_overlap(window: int) -> int:
    """A quarter of the window, as whole latent frames (1 + 4j frames): 17 of 61, 1 of 9, none of 1.

    A quarter costs a third more windows than no overlap, and gives a continuation enough to see which way things
    move where the window has room for that.
    """
    if window == 1:
        return 0
    return video_frames(1 + latent_frames(window) // 4)


def latent_frames(frames: int) -> int:
    """Latent frames that the first 1 + 4k of `frames` become, with the largest such k."""
    return 1 + (frames - 1) // FRAMES_PER_LATENT


def video_frames(latents: int) -> int:
    """Frames that `latents` latent frames hold: 1 + 4k."""
    return 1 + FRAMES_PER_LATENT * (latents - 1)


def whole_frames(frames: int) -> int:
    """The smallest 1 + 4k that is at least `frames`: what a model must be given to edit so many."""
    return video_frames(latent_frames(frames + FRAMES_PER_LATENT - 1))


def plan_windows(items: Iterable[Item], window: int, overlap: int) -> Iterator[Window[Item]]:
    """Cut a stream into windows of `window` items, each sharing at least `overlap` (< window) with the one before.

    Only the first window can be shorter than `window`, when the stream is. `plan_windows(range(n), …)` is the plan
    for n frames without any frame.
    """
    if not 0 <= overlap < window:
        raise ValueError(f"overlap {overlap} is not between 0 and the window's {window} frames")
    stream = iter(items)
    held = deque(islice(stream, window), maxlen=window)
    start = 0
    if held:
        yield Window(start, 0, tuple(held))
    while new := tuple(islice(stream, window - overlap)):
        held.extend(new)
        start += len(new)
        yield Window(start, window - len(new), tuple(held))


def crossfade(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Linear from `before` to `after` over the first axis, (F, height, width, 3) uint8; where they are equal, so is
    the result."""
    ramp = np.arange(1, len(before) + 1, dtype=np.float32) / (len(before) + 1)
    mixed = before + (after.astype(np.float32) - before) * ramp[:, None, None, None]
    return np.rint(mixed).astype(np.uint8)


def edit_in_windows(
    frames: Iterable[np.ndarray], edit_window: WindowEditor, window: int, overlap: int
) -> Iterator[np.ndarray]:
    """Edit a stream of frames and yield each edited frame once, in order.

    `edit_window(source, known)` gets the F frames of a window, (F, height, width, 3) uint8, and returns as many.
    `known` holds the finished edit of the window's first frames, (1 + 4j, height, width, 3), None in the first
    window.
    """
    pending = np.empty((0, 0, 0, 3), np.uint8)
    for part in plan_windows(frames, window, overlap):
        source = np.stack(part.items)
        if part.overlap == 0:
            yield from pending
            pending = edit_window(source, None)
            continue
        settled, tail = pending[: -part.overlap], pending[-part.overlap :]
        yield from settled
        known = tail[: video_frames(latent_frames(part.overlap))]
        edited = edit_window(source, known)
        pending = np.concatenate([crossfade(tail, edited[: part.overlap]), edited[part.overlap :]])
    yield from pending
