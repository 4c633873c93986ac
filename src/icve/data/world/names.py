"""What every token of a world clip shows, by name: the ground truth of the auxiliary loss that names things."""

import numpy as np

from icve.data.world.render import masks
from icve.data.world.scene import COLOURS, SHAPES, Scene

COVERED = 0.25  # least share of a token's pixels that a thing covers to be its name
UNKNOWN = -100  # cross-entropy's ignored class
COLOURLESS = ("black and white", "sepia")


def name_tokens(scene: Scene, latent_frames: int, height: int, width: int, cell: int) -> np.ndarray:
    """Shape and colour at each token, int16 (latent_frames, height / cell, width / cell, 2); 0 where no thing is.

    Args:
        cell: pixels of a token's side.
    """
    names = np.zeros((latent_frames, height // cell, width // cell, 2), np.int16)
    if not scene.things:
        return names
    shares = np.stack(masks(scene, latent_frames, height, width))  # at the last frame of each latent
    shares = shares.reshape(len(shares), latent_frames, height // cell, cell, width // cell, cell).mean((3, 5)) / 255
    for thing, share in zip(scene.things, shares, strict=True):
        here = (share > COVERED) & (share == shares.max(axis=0))
        names[here] = list(SHAPES).index(thing.shape) + 1, list(COLOURS).index(thing.colour) + 1
    if scene.look in COLOURLESS:
        names[..., 1][names[..., 1] > 0] = UNKNOWN
    return names
