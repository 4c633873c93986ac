"""How often camera instructions are right, and how often they are given where the camera did nothing.

    python benchmarks/camera_instructions.py [--pairs 400] [--hard 100] [--seed 0]

Views of real photographs: those of scikit-image and scikit-learn where they are installed, else the world's own; see
camera_scenes.py. In half of the pairs a cut-out of another photograph moves in front of up to a quarter of the picture.
Hard scenes follow, each with its own row: fog, a wall of equal bricks, a near and a far plane (where the camera stays,
the near one moves by itself), and another light in the target.
"""

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass, replace

import cv2
import numpy as np

from camera_scenes import HARD, OPPOSITE, STILL, Scene, View, clip, draw_move, enlarge, photographs
from icve.data.curation.camera import CameraConfig, estimate_camera
from icve.data.curation.camera_words import word_change
from icve.evaluation.statistics.wilson import wilson

KINDS = [*OPPOSITE, "two at once"]


def is_right(text: str, move: View) -> bool:
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


@dataclass
class Count:
    """Pairs of one kind; of them those with an instruction, and of these the right ones."""

    pairs: int = 0
    sure: int = 0
    right: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.pairs + other.pairs, self.sure + other.sure, self.right + other.right)

    def row(self, *, moved: bool = True) -> str:
        """The counts as part of a line."""
        text = f"{self.pairs:>7}{self.sure / max(self.pairs, 1):>8.1%}"
        return text + (f"{self.right / max(self.sure, 1):>16.1%}" if moved else "")


class Trial:
    """Tries pairs and keeps the counts, by scene and kind of move."""

    def __init__(self, photos: list[np.ndarray]) -> None:
        self.photos, self.config = photos, CameraConfig()
        self.counts: dict[tuple[str, str], Count] = defaultdict(Count)
        self.wrong: list[str] = []
        self.seconds = 0.0

    def plain(self, rng: np.random.Generator, kind: str) -> None:
        """A photograph, perhaps with something that moves before it."""
        canvas = enlarge(self.photo(rng))
        move = STILL if kind == "none" else draw_move(rng, kind)
        thing = None
        if rng.random() < 0.5:
            other = self.photo(rng)
            side = int(rng.uniform(60, 180))
            thing = cv2.resize(other, (int(side * rng.uniform(0.7, 1.3)), side), interpolation=cv2.INTER_AREA)
        scene = Scene(canvas, thing)
        self.judge("plain", kind, move, clip(rng, scene, STILL), clip(rng, scene, move), rng)

    def hard(self, rng: np.random.Generator, name: str, kind: str) -> None:
        """A scene of `HARD`."""
        scene = HARD[name](rng, Scene(enlarge(self.photo(rng))), self.photo(rng))
        move = STILL if kind == "none" else draw_move(rng, kind)
        near_view = draw_move(rng, "pan") if kind == "none" and scene.near is not None else None
        source = clip(rng, replace(scene, light=(1.0, 1.0)), STILL)
        self.judge(name, kind, move, source, clip(rng, scene, move, near_view), rng)

    def photo(self, rng: np.random.Generator) -> np.ndarray:
        """One of the photographs."""
        return self.photos[int(rng.integers(len(self.photos)))]

    def judge(
        self, name: str, kind: str, move: View, source: np.ndarray, target: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Asks for the instruction of a pair, and counts."""
        start = time.process_time()
        change = estimate_camera(source, target, self.config)
        text = word_change(change, self.config, rng) if change is not None else None
        self.seconds += time.process_time() - start
        right = text is not None and kind != "none" and is_right(text, move)
        self.counts[name, kind] += Count(1, int(text is not None), int(right))
        if text is not None and not right:
            self.wrong.append(f"{name}, {kind} { ({k: round(float(v), 3) for k, v in move.items()}) }: {text}")

    def moves(self, name: str) -> Count:
        """All moves of a scene together."""
        return sum((self.counts[name, kind] for kind in KINDS), Count())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=400, help="with a move, and as many without")
    parser.add_argument("--hard", type=int, default=100, help="the same, of each hard scene")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    origin, photos = photographs()
    trial = Trial(photos)
    for number in range(2 * args.pairs):
        trial.plain(np.random.default_rng([args.seed, number]), KINDS[number // 2 % 5] if number % 2 else "none")
    for place, name in enumerate(HARD):
        for number in range(2 * args.hard):
            rng = np.random.default_rng([args.seed, number, place])
            trial.hard(rng, name, KINDS[number // 2 % 5] if number % 2 else "none")
    tried = 2 * (args.pairs + len(HARD) * args.hard)
    print(f"{len(photos)} photographs of {origin}; {1000 * trial.seconds / tried:.0f} ms a pair on one core")
    print(f"{'change':14}{'pairs':>7}{'sure':>8}{'right of these':>16}")
    for kind in KINDS:
        print(f"{kind:14}{trial.counts['plain', kind].row()}")
    moved, still = trial.moves("plain"), trial.counts["plain", "none"]
    for label, n, k in (
        ("moves: sure", moved.pairs, moved.sure),
        ("moves: direction right", moved.sure, moved.right),
        ("no move: sure of one", still.pairs, still.sure),
    ):
        low, high = wilson(k, n)
        print(f"{label:24}{k:>5} of {n:<5}{k / max(n, 1):>7.1%}  (95% interval {low:.1%} to {high:.1%})")
    print(f"{'hard scene':14}{'still':>7}{'sure':>8}{'moved':>7}{'sure':>8}{'right of these':>16}")
    for name in HARD:
        print(f"{name:14}{trial.counts[name, 'none'].row(moved=False)}{trial.moves(name).row()}")
    for line in trial.wrong[:20]:
        print("wrong:", line)


if __name__ == "__main__":
    main()
