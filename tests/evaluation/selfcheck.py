"""Checks the judge at large: true targets, unedited sources, wrong edits and degraded targets of many samples.

Run: python -m tests.evaluation.selfcheck --split full --edits 600 [--seed 0]
     python -m tests.evaluation.selfcheck --bar --edits 400       the world benchmark's own bar, on files
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from icve.data.world import COLOURS, LOOKS, SHAPES, SPLITS, Edit, Scene, render, sample_edit
from icve.data.world.sampling import generator, sample_background, touch
from icve.evaluation.world.judge import Verdict, judge
from tests.evaluation.bar import print_bar


def degrade(video: np.ndarray, seed: int) -> np.ndarray:
    """What a small autoencoder does to a clip: a blur of 0.7 pixels, a slight tint, noise, in all about 30 dB."""
    rng = np.random.default_rng(seed)
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.7) for frame in video]).astype(np.float32)
    tint = rng.normal(0, 3, 3) + soft * (1 + rng.normal(0, 0.015, 3))
    return np.clip(tint + rng.normal(0, 8, video.shape), 0, 255).round().astype(np.uint8)


def edits(split: str, count: int, seed: int = 0) -> Iterator[tuple[int, Edit]]:
    """Samples of all operations in turn, every second one with a held-out combination."""
    operations = SPLITS[split]
    for i in range(count):
        yield (
            i,
            sample_edit(
                (seed, i),
                split=split,
                operation=operations[i % len(operations)],
                held_out=bool((i // len(operations)) % 2),
            ),
        )


def wrong_targets(edit: Edit, seed: int) -> Iterator[tuple[str, Scene]]:
    """What other edits of the same source would make."""
    rng = generator(seed, 1)
    source, target = edit.source, edit.target
    if target.later is not None:
        yield "all along", target.later
        inner = replace(edit, target=target.later)
        for name, scene in wrong_targets(inner, seed):
            yield f"late {name}", replace(target, later=scene)
        return
    if edit.made is not None:
        made = target.things[edit.made]
        near = [c for c in COLOURS if c != made.colour]
        colour = near[int(rng.integers(len(near)))]
        if (edit.named is None or source.things[edit.named].colour != colour) and not target.look:
            yield "colour", target.with_thing(edit.made, replace(made, colour=colour, rgb=COLOURS[colour]))
        shapes = [s for s in SHAPES if s != made.shape]
        shape = shapes[int(rng.integers(len(shapes)))]
        yield "shape", target.with_thing(edit.made, replace(made, shape=shape))
        if edit.place and edit.place != "in the middle":
            mirrored = replace(made, at=(-made.at[0], -made.at[1]))
            yield "place", target.with_thing(edit.made, mirrored)
        copy = replace(made, at=(-made.at[0], -made.at[1]))
        if edit.named is None and not any(touch(copy, thing) for thing in target.things):
            yield "twice", replace(target, things=(*target.things, copy))
    if edit.named is not None and edit.made is None and len(source.things) > 1:
        other = (edit.named + 1) % len(source.things)
        yield "other removed", replace(target, things=source.with_thing(other, None).things)
    kept = [i for i in range(len(target.things)) if i != edit.made]
    if kept:
        i = kept[int(rng.integers(len(kept)))]
        yield "lost", target.with_thing(i, None)
        thing = target.things[i]
        colours = [c for c in COLOURS if c != thing.colour]
        if not target.look:
            colour = colours[int(rng.integers(len(colours)))]
            yield "other coloured", target.with_thing(i, replace(thing, colour=colour, rgb=COLOURS[colour]))
        shape = [s for s in SHAPES if s != thing.shape][int(rng.integers(len(SHAPES) - 1))]
        yield "other shaped", target.with_thing(i, replace(thing, shape=shape))
        yield (
            "moved",
            target.with_thing(i, replace(thing, at=(thing.at[0] + 0.2 * (1 if thing.at[0] < 0 else -1), thing.at[1]))),
        )
    background = sample_background(rng, "core", avoid=target.things)
    same = (background.kind, set(background.colours)) == (target.background.kind, set(target.background.colours))
    if not same:
        yield "background", replace(target, background=background)
    if target.background != source.background and target.things != source.things:
        yield "background only", replace(target, things=source.things)
        yield "thing only", replace(target, background=source.background)
    look = [name for name in LOOKS if name != target.look][int(rng.integers(len(LOOKS) - (1 if target.look else 0)))]
    yield "look", replace(target, look=look)
    if target.look and target.things != source.things:
        yield "look only", replace(target, things=source.things)
        yield "thing only", replace(target, look="")
    if target.camera != source.camera:
        camera = target.camera
        back = (-camera.pan[0], -camera.pan[1])
        yield "camera", replace(target, camera=replace(camera, pan=back, zoom_by=1 / camera.zoom_by))


def differs(clip: np.ndarray, target: np.ndarray) -> bool:
    """Whether a clip can be told from the right one: a blur of a plain scene cannot, nor a loss of colour of a grey
    one."""
    difference = np.abs(clip.astype(int) - target).max(-1) > 24
    return bool(difference.sum() > 30 * len(clip))


def main() -> None:
    """Print failures and totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="core", choices=SPLITS)
    parser.add_argument("--edits", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bar", action="store_true", help="only the world benchmark's bar")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.bar:
        sys.exit(not print_bar(args.edits, args.split, args.seed))
    right: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    seconds = []

    def note(i: int, edit: Edit, case: str, verdict: Verdict, wanted: bool) -> None:
        for key in ((edit.operation, case), ("all", case)):
            total[key] += 1
            right[key] += verdict.success == wanted
        if verdict.success != wanted:
            print(
                f"{i} {edit.operation} [{case}] {edit.instruction!r} -> {verdict.success} {verdict.reasons}", flush=True
            )

    for i, edit in edits(args.split, args.edits, args.seed):
        source, target = render(edit.source), render(edit.target)
        start = time.perf_counter()
        verdict = judge(edit, source, target)
        seconds.append(time.perf_counter() - start)
        note(i, edit, "true", verdict, True)
        note(i, edit, "degraded", judge(edit, source, degrade(target, i)), True)
        note(i, edit, "source", judge(edit, source, degrade(source, i) if i % 2 else source), False)
        clips = [(name, render(scene)) for name, scene in wrong_targets(edit, i)]
        wrong = [(name, clip) for name, clip in clips if differs(clip, target)]
        for name, clip in [wrong[(i + k) % len(wrong)] for k in range(min(3, len(wrong)))]:
            note(i, edit, f"wrong: {name}", judge(edit, source, clip), False)
    for key in sorted(total):
        print(f"{key[0]:12} {key[1]:28} {right[key]}/{total[key]} = {right[key] / total[key]:.1%}")
    print(f"judge: median {1000 * np.median(seconds):.1f} ms, 95% {1000 * np.percentile(seconds, 95):.1f} ms")


if __name__ == "__main__":
    main()
