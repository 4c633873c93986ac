"""The clips of one case as a scorer sees them: decoded when first asked for, at the edited clip's size and length."""

import itertools
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from icve.errors import InputError
from icve.evaluation.cases import Case
from icve.evaluation.regions import found_region
from icve.video.color import FAST, RGBConverter
from icve.video.geometry import resize
from icve.video.info import describe
from icve.video.opening import Damage, decode, open_video

Array = np.ndarray
MAX_FRAMES = 2048  # of a clip: what is longer is refused rather than filling the memory
MAX_BYTES = 4 << 30  # of a decoded clip
IMAGES = {".png", ".jpg", ".jpeg", ".webp"}


class Clips:
    """Source, edited, target and mask of a case.

    An editor may give another size or another number of frames than the source has. Everything is compared at the
    edited clip's own size; frames are paired in order, and what one clip has beyond the other is left out.

    Raises:
        InputError: a file cannot be read, or is longer than a benchmark's clips are.
    """

    def __init__(self, case: Case, edited: Path) -> None:
        self.case = case
        self.edited_path = edited

    @cached_property
    def edited(self) -> Array:
        """uint8 (F, H, W, 3), all frames of the file."""
        return read_clip(self.edited_path)

    @cached_property
    def source(self) -> Array:
        """uint8 (F', H, W, 3) at the edited clip's size; F' is its own number of frames."""
        return resize(read_clip(self.case.source), *self.edited.shape[1:3])

    @cached_property
    def target(self) -> Array | None:
        """The true edit, uint8 (F', H, W, 3) at the edited clip's size, or None."""
        return None if self.case.target is None else resize(read_clip(self.case.target), *self.edited.shape[1:3])

    @cached_property
    def mask(self) -> Array | None:
        """bool (F, H, W) over the edited clip's frames, True where the edit may change pixels, or None."""
        if self.case.mask is None:
            return None
        size = self.edited.shape[1:3]
        frames = read_mask(self.case.mask)
        masks = np.stack(
            [cv2.resize(frame.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0 for frame in frames]
        )
        if len(masks) == 1:
            return np.broadcast_to(masks, (len(self.edited), *size))
        return masks[np.minimum(np.arange(len(self.edited)), len(masks) - 1)]  # the last one holds on

    @cached_property
    def region(self) -> Array | None:
        """Where the edit may change pixels: the mask, or what differs between source and target; else None.

        bool (F'', H, W); F'' frames are those that all of the clips it was made from have.
        """
        if self.mask is not None or self.target is None:
            return self.mask
        frames = min(len(self.edited), len(self.source), len(self.target))
        return found_region(self.source[:frames], self.target[:frames])

    def pair(self, other: Array) -> tuple[Array, Array]:
        """`other` (the source or the target) and the edited clip, both cut to the frames that both have."""
        frames = min(len(other), len(self.edited))
        return other[:frames], self.edited[:frames]


def read_clip(path: Path) -> Array:
    """All frames of a video file, uint8 (F, H, W, 3): in RGB as most of the field's readers convert it (`FAST`).

    Opened once, and decoded into the array that is returned: two thirds of the time of `VideoReader` and a stack.
    """
    with open_video(path) as (container, stream):
        frames = (frame for _, frame in decode(container, stream, Damage()))
        first = next(frames, None)
        if first is None:
            raise InputError(f"{path} holds no frame that can be decoded; export it again.")
        info = describe(path, container, stream, first)
        limit = min(MAX_FRAMES, MAX_BYTES // (info.height * info.width * 3))
        to_rgb = RGBConverter(info, FAST)
        clip = np.empty((min(info.frames or 1, limit), info.height, info.width, 3), np.uint8)
        count = 0
        for frame in itertools.chain([first], frames):
            if count == limit:
                raise InputError(
                    f"{path} is longer than {MAX_FRAMES} frames or 4 GiB decoded; cut it to the benchmark's clip."
                )
            if count == len(clip):  # the header counts too few
                more = np.empty((min(2 * count, limit), *clip.shape[1:]), np.uint8)
                more[:count] = clip
                clip = more
            clip[count] = to_rgb(frame)
            count += 1
    return clip[:count]


def read_mask(path: Path) -> Array:
    """A mask as bool (F, H, W): from a folder of images in the order of their names, an image, or a video."""
    if path.is_dir():
        images = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES)[: MAX_FRAMES + 1]
    else:
        images = [path] if path.suffix.lower() in IMAGES else []
    if len(images) > MAX_FRAMES:
        raise InputError(f"{path} holds more than {MAX_FRAMES} masks; name the folder of one clip.")
    if not images and path.is_dir():
        raise InputError(f"{path} holds no mask (PNG, JPEG or WebP); name the folder with a clip's masks.")
    if not images:
        return read_clip(path).max(axis=3) >= 128
    frames = []
    for file in images:
        frame = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        if frame is None:
            raise InputError(f"{file} is no image; export the mask again.")
        frames.append(frame >= 128)
    if len({frame.shape for frame in frames}) > 1:
        raise InputError(f"The masks in {path} have several sizes; export them again.")
    return np.stack(frames)
