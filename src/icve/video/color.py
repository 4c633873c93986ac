"""Colours: decoded frames to RGB, and RGB to the YUV that a video file stores.

Reading goes through swscale, told the file's matrix and range. Writing does not: swscale (FFmpeg 8.1)
truncates chroma when it makes full-range YUV, and places 4:2:0 chroma at the centre where H.264 players
expect it at the left; six generations of reading and writing cost 5 to 20 dB. Here chroma is rounded
and placed as players read it.
"""

import cv2
import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from icve.errors import InputError
from icve.video.info import UNSPECIFIED, VideoInfo

LIMITED, FULL = 1, 2  # AVColorRange
RGB, BT709, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020, BT2020_CL = 0, 1, 4, 5, 6, 7, 9, 10  # H.273 matrices

# Red's and blue's shares of luma, ITU-T H.273 table 4. Constant-luminance BT.2020 is read as the common one.
LUMA = {
    BT709: (0.2126, 0.0722),
    FCC: (0.30, 0.11),
    BT470BG: (0.299, 0.114),
    SMPTE170M: (0.299, 0.114),
    SMPTE240M: (0.212, 0.087),
    BT2020: (0.2627, 0.0593),
    BT2020_CL: (0.2627, 0.0593),
}

QUALITY = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
FAST = Interpolation.BICUBIC  # chroma repeated, not interpolated: 20 times as fast, as OpenCV, decord and ffmpeg read


def stored_as_rgb(info: VideoInfo) -> bool:
    pixel_format = VideoFormat(info.pixel_format)
    return pixel_format.is_rgb or pixel_format.has_palette


def matrix_of(info: VideoInfo) -> int:
    """The H.273 matrix between the file's YUV and RGB.

    Where the file does not say, it is guessed by size as ffplay and mpv do: BT.709 for high definition (wider
    than 1279 or taller than 576), else BT.601.

    Raises:
        InputError: a matrix that is not linear in RGB (YCgCo, ICtCp) or is reserved.
    """
    if info.colorspace in LUMA:
        return info.colorspace
    if info.colorspace in (RGB, UNSPECIFIED):
        wide, tall = max(info.width, info.height), min(info.width, info.height)
        return BT709 if wide >= 1280 or tall > 576 else SMPTE170M
    raise InputError(f"{info.path} stores its colours in a rare form (matrix {info.colorspace}); convert it to BT.709.")


class RGBConverter:
    """Turns one file's decoded frames into upright RGB."""

    def __init__(self, info: VideoInfo, interpolation: Interpolation = QUALITY) -> None:
        self.info, self.interpolation = info, interpolation
        self.matrix = RGB if stored_as_rgb(info) else matrix_of(info)
        # One for all frames: each holds megabytes of swscale state.
        self.reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """A decoded frame as (height, width, 3) uint8 RGB, scaled to the size of the file's first frame."""
        width, height = self.info.stored_size
        frame.colorspace = self.matrix
        rgb = self.reformatter.reformat(frame, width, height, "rgb24", interpolation=self.interpolation, threads=1)
        return self.info.upright(rgb.to_ndarray())


def rgb_to_yuv(image: np.ndarray, matrix: int, full_range: bool, halve_chroma: bool) -> VideoFrame:
    """RGB (H, W, 3) uint8 as a yuv420p (sides even, chroma placed at the left) or yuv444p frame."""
    kr, kb = LUMA[matrix]
    luma = np.array([kr, 1 - kr - kb, kb])
    blue, red = (np.eye(3)[2] - luma) / (2 * (1 - kb)), (np.eye(3)[0] - luma) / (2 * (1 - kr))
    luma_scale, chroma_scale, black = (1, 1, 0) if full_range else (219 / 255, 224 / 255, 16)
    to_y = np.array([[*luma * luma_scale, black]])
    to_uv = np.array([[*blue * chroma_scale, 128], [*red * chroma_scale, 128]])

    y = cv2.transform(image, to_y)
    uv = cv2.transform(halve(image) if halve_chroma else image.astype(np.float32), to_uv)
    uv = uv.round().clip(0, 255).astype(np.uint8)
    if not halve_chroma:
        return VideoFrame.from_ndarray(np.stack([y, uv[..., 0], uv[..., 1]]), "yuv444p")
    planes = np.concatenate([y.ravel(), uv[..., 0].ravel(), uv[..., 1].ravel()])
    return VideoFrame.from_ndarray(planes.reshape(-1, image.shape[1]), "yuv420p")


def halve(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H/2, W/2, 3) float32 at H.264's chroma places: even columns, between rows."""
    rows = image[0::2].astype(np.float32) + image[1::2]
    left = np.concatenate([rows[:, :1], rows[:, 1:-1:2]], axis=1)
    return (left + 2 * rows[:, 0::2] + rows[:, 1::2]) / 8
