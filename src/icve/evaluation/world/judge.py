"""The exact judge of world edits: was what the instruction asked done, and did everything else survive.

The judge knows both scenes, and compares the output with what they look like (analysis by synthesis) at several
frames. Of what the instruction leaves open (where a new thing stands, the phase of a pattern, how much darker) every
choice is right. Tolerances are those of a small autoencoder: blur of a pixel, noise of 30 dB, a slight tint.
"""

import re
from dataclasses import dataclass, replace

import cv2
import numpy as np

from icve.data.world import PLACES, Edit, Scene
from icve.data.world.render import apply_look, draw_background
from icve.evaluation.world.backdrops import Backdrop, KnownBackdrop, NamedBackdrop, wrong_background
from icve.evaluation.world.looks import Tone, fit_look
from icve.evaluation.world.moves import draw, find_move, seen_before
from icve.evaluation.world.shapes import coverage, grow
from icve.evaluation.world.things import View, locate, problem

Array = np.ndarray
FRAMES = 3  # how many of a clip are judged
AROUND_SWITCH = 0.15  # an edit in time may come this much early or late: about a frame of 9
OFF_PLACE = 0.12  # (u, v) by which a new thing may miss the region that was named
SMALL, LARGE = (0.05, 0.155), (0.13, 0.25)  # radii; the world's are 0.11 to 0.13 and 0.166 to 0.194
LEFTOVER = 45.0  # RGB distance of a 5 x 5 mean from what is expected that is no decoder's error
SPECK = 40.0  # pixels of 64 x 64: smallest area of it that counts; the smallest things have 100
MARGIN = 3.0  # pixels of 64 between what changed and what preservation is measured on
BEST_PSNR = 100.0  # dB, of identical pixels


@dataclass(frozen=True)
class Verdict:
    """`success` if there are no `reasons` against it.

    `preservation_psnr`: dB, of the output against the source (with the look, where one was asked for) outside the
    edited region; None where nothing of the source is to stay in its place (camera moves).
    """

    success: bool
    reasons: tuple[str, ...]
    preservation_psnr: float | None


def judge(edit: Edit, source: Array, output: Array) -> Verdict:
    """Judge one edited clip.

    Args:
        edit: the sample; its `source` scene drew the clip.
        source: uint8 (F, H, W, 3).
        output: the same shape, uint8 or float in [0, 1].
    """
    video = output.astype(np.float32) * (1 if output.dtype == np.uint8 else 255)
    times = [i / max(len(video) - 1, 1) for i in range(len(video))]
    reasons: list[str] = []
    errors: list[Array] = []
    for part, chosen in _parts(edit, times):
        problems, views = _judge_part(part, [times[i] for i in chosen], video[chosen])
        reasons += problems
        errors += [_kept_errors(part, source[i], view) for i, view in zip(chosen, views, strict=True)]
    kept = np.concatenate(errors) if edit.operation != "camera" else np.empty(0)
    psnr = None if not kept.size else float(10 * np.log10(255**2 / max(kept.mean(), 255**2 / 10 ** (BEST_PSNR / 10))))
    return Verdict(not reasons, tuple(dict.fromkeys(reasons)), psnr)


def _parts(edit: Edit, times: list[float]) -> list[tuple[Edit, list[int]]]:
    """What holds at which frames: an edit in time is none before it happens."""
    later = edit.target.later
    if later is None:
        return [(edit, _spread(list(range(len(times)))))]
    before = [i for i, s in enumerate(times) if s < edit.target.switch - AROUND_SWITCH]
    after = [i for i, s in enumerate(times) if s > edit.target.switch + AROUND_SWITCH]
    unedited = replace(edit, target=edit.source, named=None, made=None, place=None)
    return [(unedited, _spread(before)), (replace(edit, target=later), _spread(after))]


def _spread(indices: list[int]) -> list[int]:
    chosen = np.linspace(0, len(indices) - 1, min(FRAMES, len(indices))).round().astype(int)
    return [indices[i] for i in chosen]


def _judge_part(edit: Edit, times: list[float], video: Array) -> tuple[list[str], list[View]]:
    size = video.shape[1:3]
    new = edit.made if edit.named is None else None
    expected, tone = replace(edit.target, look=""), Tone()
    reasons: list[str | None] = []
    moved = expected.camera != edit.source.camera
    if moved:
        expected, wrong = find_move(edit.source, expected.camera, video, times)
        reasons.append(wrong)
    if edit.target.look:
        tone, wrong = _look(edit, expected, times, video)
        reasons.append(wrong)
    background = expected.background
    views = []
    for s, pixels in zip(times, video, strict=True):
        behind: Backdrop = KnownBackdrop(tone(draw_background(expected, s, *size)))
        if background != edit.source.background and background.kind != "photo":
            behind = NamedBackdrop(background, *size)
        known = seen_before(expected.camera, s, *size) if moved else np.ones(size, bool)
        views.append(View(pixels, s, expected, tone, behind, known))
    if not any(reasons) and new is not None:
        reasons.append(_placed(edit, views, new))
    if not any(reasons):  # nothing else can be compared before these
        reasons += [problem(views, i, kept=i != edit.made, new=i == new) for i in range(len(expected.things))]
        if not edit.target.look:
            reasons.append(_spoilt(edit, views))
        for view in views:
            reasons.append(_leftovers(edit, view))
            if isinstance(view.backdrop, NamedBackdrop):
                reasons.append(wrong_background(background, view.pixels, view.free_of(view.covers, 2)))
    return [r for r in reasons if r], views


def _spoilt(edit: Edit, views: list[View]) -> str | None:
    """Whether a clip that was to keep its look got another one: seen on what is known pixel by pixel."""
    clean = np.stack([draw(view.scene, view.s, *view.size) for view in views])
    kept = []
    for view in views:
        things = [cover for i, cover in enumerate(view.covers) if i != edit.made]
        if isinstance(view.backdrop, KnownBackdrop):
            kept.append(view.known)
        else:
            kept.append(np.any([grow(cover > 0.95, -1) for cover in things] or [np.zeros(view.size)], axis=0))
    weight = np.array(kept, np.float32)
    return fit_look("", clean, np.stack([view.pixels for view in views]), weight)[1] if weight.sum() > 50 else None


def _look(edit: Edit, expected: Scene, times: list[float], video: Array) -> tuple[Tone, str | None]:
    clean = np.stack([draw(expected, s, *video.shape[1:3]) for s in times])
    weight = np.ones(video.shape[:3], np.float32)
    if edit.named is None and edit.made is not None:  # who knows where it is
        for i, s in enumerate(times):
            weight[i] -= grow(coverage(expected.things[edit.made], expected, s, *video.shape[1:3]) > 0, 2)
    return fit_look(edit.target.look, clean, video, weight)


def _placed(edit: Edit, views: list[View], new: int) -> str | None:
    """Find the new thing in each view; what is wrong with its place and size."""
    thing = edit.target.things[new]
    name = f"new {thing.colour} {thing.shape}"
    for view in views:
        if not locate(view, new):
            return f"there is no {name} in the frame at {view.s:.2f}"
    for view in views:
        found = view.scene.things[new]
        if re.search(r"\b(small|little)\b", edit.instruction):
            low, high = SMALL
        elif re.search(r"\b(large|big)\b", edit.instruction):
            low, high = LARGE
        else:
            low, high = SMALL[0], LARGE[1]
        if not low <= found.radius <= high:
            return f"the {name} has radius {found.radius:.3f}, not {low} to {high}"
        if edit.place:
            left, right, top, bottom = PLACES[edit.place]
            u, v = found.at
            off = max(left - u, u - right, top - v, v - bottom)
            if off > OFF_PLACE:
                return f"the {name} is at ({u:.2f}, {v:.2f}), not {edit.place}"
    return None


def _leftovers(edit: Edit, view: View) -> str | None:
    """What is seen outside the expected things that should not be there."""
    valid = view.free_of(view.covers, 2)
    weight = np.maximum(_mean(valid.astype(np.float32)), 1e-6)[..., None]
    if isinstance(view.backdrop, KnownBackdrop):
        # With the things drawn in, so that the halo that a blurring look gives them is expected.
        shown = view.tone(draw(view.scene, view.s, *view.size))
        off = np.linalg.norm(_mean((view.pixels - shown) * valid[..., None]) / weight, axis=-1)
    else:
        off = view.backdrop.distance(_mean(view.pixels * valid[..., None]) / weight)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(((off > LEFTOVER) & valid).astype(np.uint8), connectivity=8)
    speck = SPECK * (min(view.size) / 64) ** 2
    for label, row in enumerate(stats):
        if label and row[cv2.CC_STAT_AREA] >= speck:
            if edit.named is not None:
                old = edit.source.things[edit.named]
                if view.cover(old)[labels == label].mean() > 0.3:
                    return f"the {old.colour} {old.shape} is still there"
            return f"something else changed ({row[cv2.CC_STAT_AREA]} pixels in the frame at {view.s:.2f})"
    return None


def _mean(image: Array) -> Array:
    side = 2 * round(2 * min(image.shape[:2]) / 64) + 1
    return cv2.blur(image, (side, side))


def _kept_errors(edit: Edit, source: Array, view: View) -> Array:
    """Squared errors (N,) against the source where a view should show what was there before."""
    changed = edit.target.background != edit.source.background
    old = [] if edit.named is None else [view.cover(edit.source.things[edit.named])]
    new = [] if edit.made is None else [view.covers[edit.made], view.cover(edit.target.things[edit.made])]
    if changed:
        kept = np.zeros(view.size, bool)
        for i, cover in enumerate(view.covers):
            if i != edit.made:
                kept |= grow(cover > 0.95, -1)
    else:
        kept = ~np.any([grow(cover > 0, MARGIN) for cover in old + new] or [np.zeros(view.size, bool)], axis=0)
    before = apply_look(source[None], edit.target.look)[0] if edit.target.look else source
    return np.square(view.pixels[kept] - before[kept].astype(np.float32)).ravel()
