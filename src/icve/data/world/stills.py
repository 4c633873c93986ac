"""World clips without an instruction: for captions, and, with all that an edit may ask for, for the autoencoder."""

from dataclasses import replace

import numpy as np

from icve.data.world.render import render
from icve.data.world.sampling import pick, sample_camera, sample_scene
from icve.data.world.scene import LOOKS, Scene


def sample_scene_with_look(rng: np.random.Generator, split: str) -> Scene:
    """A random scene that training may see, one in five with a look."""
    scene = sample_scene(rng, split=split)
    return replace(scene, look=pick(rng, LOOKS)) if rng.random() < 0.2 else scene


def sample_still(rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
    """A random clip, uint8 (frames, height, width, 3): any split, any look, sometimes a thing
    that vanishes halfway through."""
    scene = sample_scene_with_look(rng, pick(rng, ("core", "full")))
    if rng.random() < 0.15:
        scene = replace(scene, camera=sample_camera(rng))
    if rng.random() < 0.08 and len(scene.things) > 1:
        scene = replace(scene, later=scene.with_thing(int(rng.integers(len(scene.things))), None))
    return render(scene, frames, height, width)
