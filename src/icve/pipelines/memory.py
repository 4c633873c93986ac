"""The memory that an edit needs, estimated before any weight is loaded."""

import math
from dataclasses import dataclass

from icve.errors import InputError
from icve.pipelines.summary import ModelSummary
from icve.pipelines.windows import latent_frames

# Largest tile that diffusers' AutoencoderKLHunyuanVideo decodes at once: frames, height, width.
TILE = (16, 256, 256)
# Resident memory on CPU around one decode is this many feature maps of one tile at full resolution, and copies of the
# whole video (measured with 8 and 32 channels, 9 and 17 frames, 128 to 512 pixels: 11.3 to 12.8, and up to 7).
MAPS_PER_TILE = 13
VIDEOS = 8
# And around one step, hidden states of all tokens: measured 10 (5760 tokens of width 256) where a block widens them
# 2 times; HunyuanVideo's blocks widen them 4 times, in one tensor with the attention's output.
STATES_PER_TOKEN = 16
# Full-resolution copies of a window's frames: source, edit, cross-fade (uint8), and one frame's float work.
COPIES_PER_FRAME = 4
FLOATS_PER_PIXEL = 40


@dataclass(frozen=True)
class Memory:
    """Bytes: the model's `weights`, and the `window` of frames that is being edited."""

    weights: int
    window: int

    @property
    def total(self) -> int:
        return self.weights + self.window


def memory_needed(
    model: ModelSummary,
    frames: int,
    size: tuple[int, int],
    source: tuple[int, int] | None = None,
    bytes_per_number: int = 4,
) -> Memory:
    """An estimate for a window of `frames` at the model's `size` (height, width), with the source's size if known."""
    configs = {component.name: component.config for component in model.components}
    weights = bytes_per_number * model.parameters
    height, width = size
    vae = configs["vae"]
    tile = math.prod(map(min, (frames, height, width), TILE)) * vae.get("block_out_channels", [128])[0]
    transformer = configs["transformer"]
    hidden = transformer.get("num_attention_heads", 24) * transformer.get("attention_head_dim", 128)
    side = vae.get("spatial_compression_ratio", 8) * transformer.get("patch_size", 2)
    cells = (height // side) * (width // side)
    tokens = 2 * latent_frames(frames) * cells
    # source, edit and round trip, each with the tiles that it is put together from
    videos = VIDEOS * 3 * frames * height * width
    numbers = max(MAPS_PER_TILE * tile, STATES_PER_TOKEN * tokens * hidden) + videos
    pixels = math.prod(source or size)
    window = bytes_per_number * numbers + pixels * 3 * COPIES_PER_FRAME * frames + pixels * FLOATS_PER_PIXEL * 4
    return Memory(weights, window)


def check_memory(need: int, free: int, size: tuple[int, int]) -> None:
    """Raises `InputError` when `need` bytes, for an edit at `size` (height, width), are more than are `free`."""
    if need > free:
        raise InputError(
            f"Editing at {size[0]}x{size[1]} needs about {need / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are"
            " free: choose a smaller --size, or close other programs."
        )
