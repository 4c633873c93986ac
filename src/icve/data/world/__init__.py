"""The procedural world: scenes with known ground truth, edits of them, and the words for both."""

from icve.data.world.edits import CORE, FULL, SPLITS, Edit, sample_edit, unpaired
from icve.data.world.render import masks, render
from icve.data.world.sampling import HELD_OUT, PLACES, generator, sample_scene
from icve.data.world.scene import COLOURS, LOOKS, SHAPES, Background, Camera, Scene, Thing

__all__ = [
    "COLOURS",
    "CORE",
    "FULL",
    "HELD_OUT",
    "LOOKS",
    "PLACES",
    "SHAPES",
    "SPLITS",
    "Background",
    "Camera",
    "Edit",
    "Scene",
    "Thing",
    "generator",
    "masks",
    "render",
    "sample_edit",
    "sample_scene",
    "unpaired",
]
