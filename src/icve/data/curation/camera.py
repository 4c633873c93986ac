"""What the camera did between two clips of one scene, estimated from matched features and told only where it is sure.

Directions are the camera's: a camera that pans to the right shows things further left, one that rolls clockwise shows
them turned counter-clockwise.

A pair of frames is compared in four steps, each of which may say "not sure":
1. SIFT features are matched both ways, and a homography is fitted from the source to the target and one back; the two
   must be each other's inverse.
2. The homography must be one that a camera makes: a similarity with a little perspective, and enough of the scene seen
   in both frames.
3. What fits it must lie all over the part that both frames show, not on one thing in it.
4. The frames are laid upon each other by the homography: most of the picture must match, and next to none of it match
   better if nothing had moved. This is what tells a camera from a thing that moves before it.
What the first homography does not fit is tried again; of those that pass, the one that explains the most is taken.
Then the clips are compared at other moments in the same way; all must agree, and in none may much of the picture have
stayed where it was, be it beyond what both frames show: then it was a large thing that moved, before a plain scene.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field


class CameraConfig(BaseModel):
    """When a change of the camera is sure, and when it is worth naming.

    All limits were set with benchmarks/camera_instructions.py, where moves that they were not tuned on are tried.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    area: int = Field(default=50_000, ge=10_000, description="pixels that frames are shrunk to")
    features: int = Field(default=400, ge=50, description="of a frame, the strongest")
    contrast: float = Field(default=0.015, gt=0, description="SIFT's threshold; its own default is 0.04")
    ratio: float = Field(default=0.8, gt=0, le=1, description="of the best to the second best distance (Lowe, 2004)")
    tolerance: float = Field(default=2.0, gt=0, description="pixels of the shrunk frame that a match may be off")
    candidates: int = Field(default=3, ge=1, description="changes that are tried, each on the matches the last left")
    min_matches: int = Field(default=16, ge=8, description="that fit")
    min_inliers: float = Field(default=0.35, gt=0, le=1, description="of the matches tried, the share that fits")
    min_cells: int = Field(default=4, ge=1, le=16, description="of 4x4 of the shared part, those with matches that fit")
    min_overlap: float = Field(default=0.12, gt=0, le=1, description="of either frame, what the other shows too")
    max_distortion: float = Field(default=0.06, gt=0, description="from a similarity, in diagonals of the frame")
    min_explained: float = Field(default=0.4, gt=0, le=1, description="of the shared part, what the change explains")
    max_contradicted: float = Field(default=0.07, ge=0, le=1, description="what no change would explain better")
    max_still: float = Field(default=0.2, ge=0, description="what stayed for certain, in times of what is explained")
    disagreement: float = Field(default=0.45, ge=0, description="of the change, what other moments may differ by")
    # The least that is named. Shakes of a hand stay below a third of these.
    min_pan: float = Field(default=0.045, gt=0, description="of the width")
    min_tilt: float = Field(default=0.05, gt=0, description="of the height")
    min_zoom: float = Field(default=1.07, gt=1, description="times, in or out")
    min_roll: float = Field(default=3.0, gt=0, description="degrees")


@dataclass(frozen=True)
class CameraChange:
    """What the camera did from the source to the target, at the middles of the clips.

    Attributes:
        pan: + to the right; how far the middle of the view moved, as a share of its width (of the geometric mean of
            the widths of both views, so that the way back is the same with another sign).
        tilt: + up; as a share of the height.
        zoom: how many times larger things became, > 1 for zooming in.
        roll: + clockwise, in degrees.
        inliers: share of the matched features that fit.
        explained: share of the textured part that both show which matches.
        still: how much of the picture stayed where it was and does not match, in times of what matches; the most of all
            moments.
        moments: of the clips that agree.
    """

    pan: float
    tilt: float
    zoom: float
    roll: float
    inliers: float
    explained: float
    still: float = 0.0
    moments: int = 1

    def strengths(self, config: CameraConfig) -> dict[str, float]:
        """Each component with its sign, in units of the least that is named; zoom in and clockwise are +."""
        return {
            "pan": self.pan / config.min_pan,
            "tilt": self.tilt / config.min_tilt,
            "zoom": float(np.log(self.zoom) / np.log(config.min_zoom)),
            "roll": self.roll / config.min_roll,
        }


def estimate_camera(source: np.ndarray, target: np.ndarray, config: CameraConfig | None = None) -> CameraChange | None:
    """The change of the view between two clips, or None where it is not sure what it is.

    Args:
        source: (N, H, W, 3) uint8 RGB, N >= 1 frames spread evenly over the clip; three are enough.
        target: frames of the same size; as many or not.
        config: the defaults when None.

    Returns:
        A change of next to nothing where it is sure that the camera stayed.
    """
    config = config or CameraConfig()
    middle, *others = _moments(len(source), len(target))
    found = _compare(source[middle[0]], target[middle[1]], config)
    if found is None:
        return None
    agreeing, still = 1, found.still
    for a, b in others:
        other = _compare(source[a], target[b], config)
        if other is None:
            continue
        if not _agree(found, other, config):
            return None
        agreeing, still = agreeing + 1, max(still, other.still)
    if (others and agreeing == 1) or still > config.max_still:
        return None
    return replace(found, moments=agreeing, still=still)


def _moments(sources: int, targets: int) -> list[tuple[int, int]]:
    """Frames to compare: the middles, then the firsts and the lasts."""
    first, last = (0, 0), (sources - 1, targets - 1)
    return list(dict.fromkeys([(sources // 2, targets // 2), first, last]))


def _agree(found: CameraChange, other: CameraChange, config: CameraConfig) -> bool:
    """Whether a change at another moment is the same but for what a moving camera may add to it."""
    ours, theirs = found.strengths(config), other.strengths(config)
    scale = max(1.0, *map(abs, ours.values()))
    return all(abs(ours[name] - theirs[name]) <= max(0.7, config.disagreement * scale) for name in ours)


class _View:
    """A frame, shrunk, with its features."""

    def __init__(self, frame: np.ndarray, config: CameraConfig) -> None:
        height, width = frame.shape[:2]
        scale = min(1.0, (config.area / (height * width)) ** 0.5)
        gray = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
        size = (round(width * scale), round(height * scale))
        self.gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA) if scale < 1 else gray
        self.config = config
        found, descriptors = _sift(config.features, config.contrast).detectAndCompute(self.gray, None)
        self.points = np.array([point.pt for point in found], np.float32).reshape(-1, 2)
        if descriptors is None:
            descriptors = np.zeros((0, 128), np.float32)
        # RootSIFT (Arandjelović and Zisserman, 2012): unit vectors whose products compare better than SIFT's own.
        self.descriptors = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-6))

    @cached_property
    def soft(self) -> np.ndarray:
        """(H, W) float32, blurred so that noise and a pixel more or less do not matter."""
        return cv2.GaussianBlur(self.gray, (0, 0), BLUR).astype(np.float32)


BLUR = 1.5
WINDOW = 15  # pixels that are compared at a time
STEP = 4
FLAT = 3.0  # grey levels; with less deviation in a window there is nothing to compare
ALIKE = 0.6  # correlation of two windows that show the same
CERTAIN = 0.92  # and of two that do so for certain: chance lays many a smooth window upon one that is rather alike
BETTER = 0.15  # by how much a correlation must be higher to speak against the other


@lru_cache(maxsize=1)
def _sift(features: int, contrast: float) -> cv2.SIFT:
    return cv2.SIFT_create(nfeatures=features, contrastThreshold=contrast)


def _compare(source: np.ndarray, target: np.ndarray, config: CameraConfig) -> CameraChange | None:
    """The change between two frames, (H, W, 3) each; None where not sure.

    What most matches fit may be a thing that moves before the camera: the others are fitted again, and of all changes
    that pass, the one that explains the most of the picture is the camera's.
    """
    a, b = _View(source, config), _View(target, config)
    pairs = _match(a.descriptors, b.descriptors, config.ratio)
    p, q = a.points[pairs[:, 0]], b.points[pairs[:, 1]]
    best, most = None, 0.0
    for _ in range(config.candidates):
        matrix, fits = _homography(p, q, config)
        if matrix is None or fits.sum() < config.min_matches:
            break
        change, covered = _judge(matrix, fits, (a, p), (b, q), config)
        if change is not None and covered > most:
            best, most = change, covered
        p, q = p[~fits], q[~fits]
    return best


def _judge(
    matrix: np.ndarray,
    fits: np.ndarray,
    source: tuple[_View, np.ndarray],
    target: tuple[_View, np.ndarray],
    config: CameraConfig,
) -> tuple[CameraChange | None, float]:
    """The change that a homography makes, None where it is not sure to be the camera's, and the share of the
    narrower view that it explains.

    Args:
        matrix: the homography, from the source to the target.
        fits: (M,) bool, the matches that it fits.
        source, target: a frame and its (M, 2) points that are matched.
        config: what is sure.
    """
    (a, p), (b, q) = source, target
    backward, _ = _homography(q, p, config)
    if backward is None or fits.mean() < config.min_inliers:
        return None, 0.0
    change = _decompose(matrix, a.gray.shape, config)
    back = _decompose(backward, b.gray.shape, config)
    if change is None or back is None or not _inverse(change, back, config):
        return None, 0.0
    if _cells(q[fits], matrix, a.gray.shape) < config.min_cells:
        return None, 0.0
    laid = _overlay(a, b, matrix, change.zoom)
    if laid.explained < config.min_explained or laid.contradicted > config.max_contradicted:
        return None, 0.0
    return replace(change, inliers=float(fits.mean()), explained=laid.explained, still=laid.still), laid.covered


def _match(a: np.ndarray, b: np.ndarray, ratio: float) -> np.ndarray:
    """(M, 2) rows of a and b that are each other's nearest, with no second that is nearly as near."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 2), int)
    distance = np.sqrt(np.maximum(2 - 2 * (a @ b.T), 0))
    best = distance.argmin(1)
    rows = np.arange(len(a))
    mutual = distance.argmin(0)[best] == rows
    nearest = distance[rows, best]
    second = np.minimum(np.partition(distance, 1, 1)[:, 1], np.partition(distance, 1, 0)[1][best])
    keep = mutual & (nearest < ratio * second)
    return np.stack([rows[keep], best[keep]], 1)


def _homography(p: np.ndarray, q: np.ndarray, config: CameraConfig) -> tuple[np.ndarray | None, np.ndarray]:
    """From (M, 2) points p to their matches q, and which of them it fits; None where too few do."""
    if len(p) < config.min_matches:
        return None, np.zeros(len(p), bool)
    matrix, mask = cv2.findHomography(p, q, cv2.USAC_MAGSAC, config.tolerance, None, 2000, 0.999)
    if matrix is None or not np.isfinite(matrix).all():
        return None, np.zeros(len(p), bool)
    return matrix, mask.ravel().astype(bool)


def _decompose(matrix: np.ndarray, shape: tuple[int, int], config: CameraConfig) -> CameraChange | None:
    """The similarity that is nearest to a homography over what both frames show; None if no camera makes it."""
    height, width = shape
    middle = complex(width / 2, height / 2)
    x, y = np.meshgrid((np.arange(12) + 0.5) / 12 * width, (np.arange(12) + 0.5) / 12 * height)
    points = np.stack([x.ravel(), y.ravel(), np.ones(144)])
    mapped = matrix @ points
    if (mapped[2] <= 0.2 * np.median(mapped[2])).any():  # the horizon is near
        return None
    u, v = mapped[:2] / mapped[2]
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    if inside.mean() < config.min_overlap:
        return None
    p, q = (points[0] + 1j * points[1] - middle)[inside], (u + 1j * v - middle)[inside]
    centred = p - p.mean()
    turn = (np.conj(centred) * (q - q.mean())).sum() / (np.abs(centred) ** 2).sum()
    shift = q.mean() - turn * p.mean()
    zoom = float(abs(turn))
    error = np.abs(turn * p + shift - q) / max(1.0, zoom)
    if not 0.1 < zoom < 10 or np.sqrt((error**2).mean()) > config.max_distortion * abs(middle) * 2:
        return None
    if inside.mean() * zoom**2 < config.min_overlap:
        return None
    moved = -shift / turn * zoom**0.5
    roll = -float(np.degrees(np.angle(turn)))
    return CameraChange(float(moved.real / width), float(-moved.imag / height), zoom, roll, 0.0, 0.0)


def _inverse(change: CameraChange, back: CameraChange, config: CameraConfig) -> bool:
    """Whether two changes undo each other; that right and up are not quite the same in a rolled view is let pass."""
    undone = replace(back, pan=-back.pan, tilt=-back.tilt, zoom=1 / back.zoom, roll=-back.roll)
    return _agree(change, undone, config)


def _cells(points: np.ndarray, matrix: np.ndarray, shape: tuple[int, int]) -> int:
    """How many of 4x4 cells, laid over the part of the target that the source shows too, hold points."""
    height, width = shape
    corners = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float32)
    seen = cv2.perspectiveTransform(corners, matrix)[0]
    low, high = np.maximum(seen.min(0), 0), np.minimum(seen.max(0), (width, height))
    places = np.clip(((points - low) / np.maximum(high - low, 1) * 4).astype(int), 0, 3)
    counts = np.bincount(places[:, 1] * 4 + places[:, 0], minlength=16)
    return int((counts >= 2).sum())


@dataclass(frozen=True)
class _Overlay:
    """How well one frame, laid upon the other, matches it.

    Attributes:
        explained: of the textured part that both show, the share that matches.
        contradicted: of the same, the share that matches better when nothing is moved at all.
        covered: what matches, as a share of the whole narrower view.
        still: what matches for certain, and only, when nothing is moved; all over the picture, in times of `explained`.
    """

    explained: float = 0.0
    contradicted: float = 1.0
    covered: float = 0.0
    still: float = 0.0


def _overlay(a: _View, b: _View, matrix: np.ndarray, zoom: float) -> _Overlay:
    """Lays one frame upon the other, in the frame of the wider view."""
    if zoom > 1:
        a, b, matrix = b, a, np.linalg.inv(matrix)
    height, width = b.gray.shape
    laid = cv2.warpPerspective(a.soft, matrix, (width, height))
    inside = cv2.warpPerspective(np.ones_like(a.soft), matrix, (width, height))
    places = slice(None, None, STEP), slice(None, None, STEP)
    moved, texture = (image[places] for image in _correlation(laid, b.soft))
    still, still_texture = (image[places] for image in _correlation(a.soft, b.soft))
    whole = cv2.erode(inside, np.ones((WINDOW, WINDOW)))[places] > 0.99
    use = whole & (texture > FLAT)
    if use.sum() < 20:
        return _Overlay()
    better = still > moved + BETTER
    explained = use & (moved > ALIKE)
    stayed = (still_texture > FLAT) & (still > CERTAIN) & (better | (inside[places] < 0.5))
    return _Overlay(
        explained=float(explained.sum() / use.sum()),
        contradicted=float((use & better & (still > ALIKE)).sum() / use.sum()),
        covered=float(explained.sum() / (height * width / STEP**2 / max(zoom, 1 / zoom) ** 2)),
        still=float(stayed.sum() / max(1, explained.sum())),
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The correlation of the windows around each pixel, and the deviation of the weaker of the two."""

    def mean(image: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(image, -1, (WINDOW, WINDOW))

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    both = mean(a * b) - mean_a * mean_b
    weaker = np.sqrt(np.maximum(np.minimum(var_a, var_b), 0))
    return both / np.sqrt(np.maximum(var_a * var_b, 1e-3)), weaker
