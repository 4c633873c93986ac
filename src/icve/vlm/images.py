"""Frames as a model gets them: few, small, as JPEG in data URLs."""

import base64

import cv2
import numpy as np

from icve.vlm.records import Frames


def data_urls(frames: Frames, count: int, side: int, quality: int) -> list[str]:
    """`count` of the frames (all, where there are fewer), evenly spaced with the first and the last.

    Args:
        frames: (H, W, 3) uint8 RGB, at least one.
        count: how many are wanted.
        side: of the longest side in pixels; smaller frames stay as they are.
        quality: of the JPEG, 1 to 100.
    """
    if not frames:
        raise ValueError("a clip has no frames")
    numbers = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    return [_data_url(frames[number], side, quality) for number in numbers]


def _data_url(frame: np.ndarray, side: int, quality: int) -> str:
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
