"""A user's mask, from a picture or a video: white where the output may differ from the source."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from icve.errors import InputError
from icve.video import VideoInfo, VideoReader, probe

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
LARGEST_SKEW = 0.02  # of the aspect ratio: rounding of a scaled-down mask, not another picture


class MaskReader:
    """Iterates over masks (H, W) uint8 at the size of the video `info`, one for each of its frames.

    A picture holds for all frames; a video goes along frame by frame (over the same range), its last frame holding
    on where it is shorter. Colours count by their brightness, transparent places as black.

    Raises `InputError` when the file cannot be read, or has another aspect ratio than the video.
    """

    def __init__(self, path: str | Path, info: VideoInfo) -> None:
        self.path, self.info = Path(path), info
        self.picture = _read_picture(self.path) if self.path.suffix.lower() in PICTURES else None
        if self.picture is not None:
            height, width = self.picture.shape
        else:
            video = probe(self.path)
            height, width = video.height, video.width
        if abs(height * info.width / (width * info.height) - 1) > LARGEST_SKEW:
            raise InputError(
                f"The mask {self.path} is {width}x{height} and the video {info.width}x{info.height}: give a mask of"
                " the same shape."
            )

    def __iter__(self) -> Iterator[np.ndarray]:
        if self.picture is not None:
            mask = self._scaled(self.picture)
        else:
            for frame in VideoReader(self.path, start=self.info.start, stop=self.info.stop):
                mask = self._scaled(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY))
                yield mask
        while True:
            yield mask

    def _scaled(self, mask: np.ndarray) -> np.ndarray:
        return cv2.resize(mask, (self.info.width, self.info.height), interpolation=cv2.INTER_LINEAR)


def _read_picture(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            picture = image.convert("RGBA")
    except FileNotFoundError:
        raise InputError(f"The mask {path} does not exist; check the name.") from None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise InputError(f"The mask {path} is not a picture that can be read ({error}).") from error
    black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, picture).convert("L"))
