"""How often camera instructions are right, and how often they are given where the camera did nothing.

    python benchmarks/camera_instructions.py [--pairs 400] [--seed 0]

Views of real photographs: those of scikit-image and scikit-learn where they are installed, else the world's own.
Each clip has 9 frames of 240x416, hand-held by a pixel or so, with sensor noise, its own exposure and H.264 at CRF 23,
and in half of the pairs a cut-out of another photograph that moves in front of up to a quarter of the picture.
"""

import argparse
import importlib.util
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from icve.data.buckets import Bucket
from icve.data.curation.camera import CameraConfig, estimate_camera
from icve.data.curation.camera_words import word_change
from icve.data.shard_media import decode_clip, encode_clip
from icve.evaluation.statistics.wilson import wilson

SIZE = (240, 416)
FRAMES = 9
SKIMAGE = ("astronaut.png", "brick.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png", "motorcycle_left.png",
           "rocket.jpg")  # fmt: skip
SKLEARN = ("china.jpg", "flower.jpg")
OPPOSITE = {"pan": ("right", "left"), "tilt": ("up", "down"), "zoom": ("in", "out"), "roll": ("clockwise", "counter")}


def photographs() -> tuple[str, list[np.ndarray]]:
    """Where they come from, and the photographs (H, W, 3) uint8 RGB."""
    paths: list[Path] = []
    for package, folder, names in (("skimage", "data", SKIMAGE), ("sklearn", "datasets/images", SKLEARN)):
        found = importlib.util.find_spec(package)
        if found is not None and found.submodule_search_locations:
            paths += [Path(found.submodule_search_locations[0]) / folder / name for name in names]
    origin = "scikit-image and scikit-learn"
    if not paths:
        origin = "the procedural world's photographs"
        world = importlib.util.find_spec("icve.data.world")
        assert world is not None
        assert world.submodule_search_locations
        paths = sorted((Path(world.submodule_search_locations[0]) / "photos").glob("*.jpg"))
    images = [cv2.imread(str(path)) for path in paths if path.is_file()]
    return origin, [cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images if image is not None]


def render(canvas: np.ndarray, view: dict[str, float]) -> np.ndarray:
    """The photograph seen by a camera at `pan`, `tilt` (shares of the view), `zoom` and `roll` (degrees)."""
    height, width = SIZE
    scale = view["zoom"]
    turn = np.radians(-view["roll"])  # a camera rolled clockwise shows things turned counter-clockwise
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([canvas.shape[1] / 2 + view["pan"] * width, canvas.shape[0] / 2 - view["tilt"] * height])
    shift = np.array([width / 2, height / 2]) - matrix @ middle
    return cv2.warpAffine(
        canvas, np.column_stack([matrix, shift]), (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
    )


def clip(rng: np.random.Generator, canvas: np.ndarray, view: dict[str, float], thing: np.ndarray | None) -> np.ndarray:
    """Frames as a codec gives them back."""
    place, speed = rng.uniform(0.1, 0.9, 2), rng.normal(0, 0.03, 2)
    exposure, frames = rng.uniform(0.85, 1.15), []
    for number in range(FRAMES):
        shake = rng.normal(0, 1, 2) / (SIZE[1], SIZE[0])
        image = render(canvas, view | {"pan": view["pan"] + shake[0], "tilt": view["tilt"] + shake[1]})
        if thing is not None:
            paste(image, thing, place + speed * number)
        noisy = image * exposure + rng.normal(0, 3, image.shape)
        frames.append(np.rint(noisy.clip(0, 255)).astype(np.uint8))
    coded = encode_clip(np.stack(frames), 24, quality=23, lossless=False)
    return decode_clip(coded, Bucket(FRAMES, *SIZE))[[0, FRAMES // 2, FRAMES - 1]]


def paste(image: np.ndarray, thing: np.ndarray, place: np.ndarray) -> None:
    """An ellipse of another photograph around a place, in shares of the picture."""
    height, width = thing.shape[:2]
    y, x = np.mgrid[:height, :width]
    inside = ((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2) < 0.25
    top, left = int(place[1] * SIZE[0] - height / 2), int(place[0] * SIZE[1] - width / 2)
    rows = slice(max(0, top), min(SIZE[0], top + height))
    columns = slice(max(0, left), min(SIZE[1], left + width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    image[rows, columns] = np.where(inside[part][..., None], thing[part], image[rows, columns])


def draw_move(rng: np.random.Generator, kind: str) -> dict[str, float]:
    """A move that can be named: from one and a half times the least that is, to large."""
    move = {"pan": 0.0, "tilt": 0.0, "zoom": 1.0, "roll": 0.0}
    names = [kind] if kind in OPPOSITE else list(rng.choice(list(OPPOSITE), 2, replace=False))
    for name in names:
        sign = rng.choice([-1, 1])
        move[name] = {
            "pan": sign * rng.uniform(0.08, 0.35),
            "tilt": sign * rng.uniform(0.08, 0.3),
            "zoom": rng.uniform(1.12, 1.7) ** sign,
            "roll": sign * rng.uniform(5, 25),
        }[name]
    return move


def is_right(text: str, move: dict[str, float]) -> bool:
    """Whether every direction that is said is that of the move, and the move's strongest component is said."""
    said = (
        text.lower()
        .replace("closer", "in")
        .replace("back", "out")
        .replace("upwards", "up")
        .replace("downwards", "down")
    )
    words = said.replace(".", "").replace("counter-clockwise", "counter").split()
    truth = {"pan": move["pan"], "tilt": move["tilt"], "zoom": np.log(move["zoom"]), "roll": move["roll"]}
    found = {}
    for name, (positive, negative) in OPPOSITE.items():
        if positive in words or negative in words:
            found[name] = 1 if positive in words else -1
    return bool(found) and all(truth[name] * sign > 0 for name, sign in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=400, help="with a move, and as many without")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    origin, photos = photographs()
    config = CameraConfig()
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    wrong, seconds = [], 0.0
    kinds = [*OPPOSITE, "two at once", "none"]
    for number in range(2 * args.pairs):
        rng = np.random.default_rng([args.seed, number])
        kind = kinds[number // 2 % 5] if number % 2 else "none"
        photo = photos[int(rng.integers(len(photos)))]
        scale = max(1.8 * SIZE[1] / photo.shape[1], 1.8 * SIZE[0] / photo.shape[0])
        canvas = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        still = {"pan": 0.0, "tilt": 0.0, "zoom": 1.0, "roll": 0.0}
        move = still if kind == "none" else draw_move(rng, kind)
        thing = None
        if rng.random() < 0.5:
            other = photos[int(rng.integers(len(photos)))]
            side = int(rng.uniform(60, 180))
            thing = cv2.resize(other, (int(side * rng.uniform(0.7, 1.3)), side), interpolation=cv2.INTER_AREA)
        source, target = clip(rng, canvas, still, thing), clip(rng, canvas, move, thing)
        start = time.process_time()
        change = estimate_camera(source, target, config)
        text = word_change(change, config, rng) if change is not None else None
        seconds += time.process_time() - start
        counts[kind][0] += 1
        if text is not None:
            right = kind != "none" and is_right(text, move)
            counts[kind][1] += 1
            counts[kind][2] += right
            if not right:
                wrong.append(f"{kind} { ({k: round(float(v), 3) for k, v in move.items()}) }: {text}")
    print(f"{len(photos)} photographs of {origin}; {1000 * seconds / (2 * args.pairs):.0f} ms a pair on one core")
    print(f"{'change':14}{'pairs':>7}{'sure':>8}{'right of these':>16}")
    for kind in kinds:
        pairs, sure, right = counts[kind]
        print(
            f"{kind:14}{pairs:>7}{sure / max(pairs, 1):>8.1%}{right / max(sure, 1):>16.1%}" if kind != "none" else "",
            end="",
        )
        print()
    moved = np.sum([counts[kind] for kind in kinds[:-1]], axis=0).tolist()
    for label, n, k in (
        ("moves: sure", moved[0], moved[1]),
        ("moves: direction right", moved[1], moved[2]),
        ("no move: sure of one", counts["none"][0], counts["none"][1]),
    ):
        low, high = wilson(k, n)
        print(f"{label:24}{k:>5} of {n:<5}{k / max(n, 1):>7.1%}  (95% interval {low:.1%} to {high:.1%})")
    for line in wrong[:20]:
        print("wrong:", line)


if __name__ == "__main__":
    main()
