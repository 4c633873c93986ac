"""Camera moves: which one does a clip show."""

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from icve.data.world import Camera, Scene
from icve.data.world.render import draw_background, draw_thing

Array = np.ndarray
PANS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
AMOUNTS = (0.2, 0.3, 0.4, 0.5)  # of a pan, (u, v); the world moves by 0.4
ZOOMS = (1.2, 1.4, 1.6)  # the world zooms by 1.4
FARTHEST = 45.0  # root mean square difference, 0..255, from which no move explains what is seen


def draw(scene: Scene, s: float, height: int, width: int) -> Array:
    """One clean frame of a scene at time s, uint8 (height, width, 3), without its look."""
    image = draw_background(scene, s, height, width)
    for thing in scene.things:
        draw_thing(image, thing, scene, s)
    return image


def seen_before(camera: Camera, s: float, height: int, width: int) -> Array:
    """Where the view of a moved camera shows what the still camera saw, bool (height, width)."""
    cu, cv, zoom = camera.view(s)
    across = ((np.arange(width) + 0.5) * 2 / width - 1) / zoom + cu
    down = ((np.arange(height) + 0.5) * 2 / height - 1) / zoom + cv
    return (np.abs(down) <= 1)[:, None] & (np.abs(across) <= 1)[None]


def move_of(camera: Camera) -> str:
    """ "pan left", "zoom in", … or "still"."""
    if camera.zoom_by != 1:
        return "zoom in" if camera.zoom_by > 1 else "zoom out"
    for way, (u, v) in PANS.items():
        if camera.pan != (0, 0) and u * camera.pan[0] + v * camera.pan[1] > 0.9 * math.hypot(*camera.pan):
            return f"pan {way}"
    return "still"


def find_move(scene: Scene, wanted: Camera, output: Array, times: Sequence[float]) -> tuple[Scene, str | None]:
    """The scene with the camera that explains `output` best, and what is wrong if it is not the wanted move.

    Args:
        scene: what the still camera shows.
        output: float32 (F, H, W, 3), at `times`. The amount of a move is free, its kind and direction are not.
    """
    # At the start a move has hardly begun.
    late = [i for i, s in enumerate(times) if s > 0.3]
    soft = [cv2.GaussianBlur(output[i], (0, 0), 1) for i in late]

    def error(camera: Camera) -> float:
        total = weight = 0.0
        for i, seen in zip(late, soft, strict=True):
            known = seen_before(camera, times[i], *seen.shape[:2])
            clean = draw(replace(scene, camera=camera), times[i], *seen.shape[:2]).astype(np.float32)
            total += float(((cv2.GaussianBlur(clean, (0, 0), 1) - seen)[known] ** 2).sum())
            weight += 3 * float(known.sum())
        return math.sqrt(total / max(weight, 1.0))

    coarse = [Camera()]
    coarse += [Camera(pan=(u * a, v * a)) for u, v in PANS.values() for a in AMOUNTS]
    coarse += [Camera(zoom_by=z) for zoom in ZOOMS for z in (zoom, 1 / zoom)]
    best = min(coarse, key=error)
    fine = [best]
    for step in (-0.05, -0.025, 0.025, 0.05):
        length = math.hypot(*best.pan)
        if length:
            fine.append(Camera(pan=(best.pan[0] * (1 + step / length), best.pan[1] * (1 + step / length))))
        elif best.zoom_by != 1:
            fine.append(Camera(zoom_by=best.zoom_by * (1 + step)))
    best = min(fine, key=error)
    shown = replace(scene, camera=best)
    if move_of(best) != move_of(wanted):
        return shown, f"the camera move is {move_of(best)}, not {move_of(wanted)}"
    if error(best) > FARTHEST:
        return shown, f"the view does not {move_of(wanted)} over the scene"
    return shown, None
