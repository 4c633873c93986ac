"""Motion fidelity: do points of the edited clip move as points of the source do?"""

import itertools
from collections.abc import Mapping

import cv2
import numpy as np

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.metrics.metric import ModelFree
from icve.evaluation.scorers import Figure, MissingError

Array = np.ndarray
GRID = 30  # points a side; Yatim et al.'s code has 55: three times the time, and nearly the same figure
CLOSE = 1.0  # pixels: a point is followed as long as the way back ends where it came from
WINDOW = (21, 21)  # OpenCV's own for Lucas-Kanade
STILL = 0.1  # pixels a frame: less is no motion but noise of the tracker
ENOUGH = 0.5  # of the clip's steps must have been followed
BATCH = 256  # tracks compared at once


class MotionFidelity(ModelFree):
    """Motion fidelity (Yatim et al. 2024, "Space-Time Diffusion Features for Zero-Shot Text-Driven Motion Transfer"):
    each track of one clip against the most similar one of the other, in both directions, averaged.

    Two tracks are as similar as the mean cosine of their displacements from frame to frame. Tracks begin on a grid in
    the first frame, as in the authors' code, and are found by pyramidal Lucas-Kanade where theirs are CoTracker's, so
    compare figures only among themselves. A point counts as long as tracking it back returns within a pixel, and if
    that is at least half of the clip; a step where both points hardly move (below 0.1 pixel) counts as equal, one
    where only one does as 0 (the authors' code divides by nought there). Range -1 to 1, higher is better.

    Where a region is known, tracks that begin in the box around it are also compared alone: over the whole frame a
    copied background counts most.
    """

    name = "motion_fidelity"
    figures: tuple[Figure, ...] = (
        Figure("motion_fidelity", "higher", -1, 1, "", "Similarity of point tracks, the whole frame."),
        Figure("motion_fidelity_inside", "higher", -1, 1, "", "Similarity of point tracks, the edit's box."),
    )

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        source, edited = clips.pair(clips.source)
        if len(edited) < 2:
            raise MissingError("Motion fidelity needs clips of at least 2 frames.")
        steps = [displacements(clip) for clip in (source, edited)]
        scores = {"motion_fidelity": fidelity(*steps)}
        if clips.region is not None and clips.region.any():
            inside = box_points(clips.region)
            scores["motion_fidelity_inside"] = fidelity(*(step[inside] for step in steps))
        known = {name: score for name, score in scores.items() if score is not None}
        if not known:
            raise MissingError("No point could be followed through half of both clips.")
        return known


def grid(height: int, width: int) -> Array:
    """The points that tracks begin at, float32 (N, 2), x first."""
    columns, rows = np.meshgrid(
        np.linspace(0, width - 1, min(GRID, width)), np.linspace(0, height - 1, min(GRID, height))
    )
    return np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float32)


def box_points(region: Array) -> Array:
    """Which points of the grid lie in the box around `region`, bool (F, H, W), over all frames: bool (N,)."""
    rows, columns = np.flatnonzero(region.any(axis=(0, 2))), np.flatnonzero(region.any(axis=(0, 1)))
    x, y = grid(*region.shape[1:]).T
    return (x >= columns[0]) & (x <= columns[-1]) & (y >= rows[0]) & (y <= rows[-1])


def displacements(clip: Array) -> Array:
    """How the grid's points move from frame to frame of a clip uint8 (F, H, W, 3).

    Returns:
        float32 (N, F-1, 2), x first; nan once a point is lost.
    """
    grays = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip]
    points = grid(*clip.shape[1:3])
    height, width = clip.shape[1:3]
    alive = np.arange(len(points))
    steps = np.full((len(points), len(clip) - 1, 2), np.nan, np.float32)
    for i, (before, after) in enumerate(itertools.pairwise(grays)):
        if not len(alive):
            break
        moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, None, winSize=WINDOW)
        returned, found_back, _ = cv2.calcOpticalFlowPyrLK(after, before, moved, None, winSize=WINDOW)
        kept = ((moved >= 0) & (moved <= (width - 1, height - 1))).all(axis=1)
        kept &= np.linalg.norm(returned - points, axis=1) < CLOSE
        kept &= (found[:, 0] > 0) & (found_back[:, 0] > 0)
        alive = alive[kept]
        steps[alive, i] = (moved - points)[kept]
        points = moved[kept]
    return steps


def fidelity(first: Array, second: Array) -> float | None:
    """The fidelity of displacements (N, F-1, 2) and (M, F-1, 2); None where either has no track long enough."""
    kept = [steps[(~np.isnan(steps[..., 0])).mean(axis=1) >= ENOUGH] for steps in (first, second)]
    if not (len(kept[0]) and len(kept[1])):
        return None
    to_first = np.full(len(kept[1]), -1.0)
    to_second = np.empty(len(kept[0]))
    for begin in range(0, len(kept[0]), BATCH):
        similarity = similarities(kept[0][begin : begin + BATCH], kept[1])
        to_second[begin : begin + BATCH] = similarity.max(axis=1)
        to_first = np.maximum(to_first, similarity.max(axis=0))
    return float((to_first.mean() + to_second.mean()) / 2)


def similarities(first: Array, second: Array) -> Array:
    """Mean cosine of the displacements that both have, for each two tracks of (N, F-1, 2) and (M, F-1, 2): (N, M)."""
    parts = [_parts(steps) for steps in (first, second)]
    (known, still, way), (known_2, still_2, way_2) = parts
    cosines = way.reshape(len(way), -1) @ way_2.reshape(len(way_2), -1).T
    common = known @ known_2.T
    # Two tracks that were followed at least half of the time each may share no step: nothing speaks for them.
    return np.where(common > 0, (cosines + still @ still_2.T) / np.maximum(common, 1), -1)


def _parts(steps: Array) -> tuple[Array, Array, Array]:
    """Of displacements (N, F-1, 2): which are known, which are still, both 0 or 1, and directions, 0 where neither."""
    length = np.linalg.norm(steps, axis=-1)
    known = ~np.isnan(length)
    still = known & (np.nan_to_num(length) < STILL)
    moves = known & ~still
    way = np.where(moves[..., None], steps / np.where(moves, length, 1)[..., None], 0)
    return known.astype(np.float32), still.astype(np.float32), way.astype(np.float32)
