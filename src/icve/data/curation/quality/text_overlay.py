"""Text filter: the share of a frame that is covered by text (titles, subtitles, logos), found by RapidOCR."""

from typing import Any

import cv2
import numpy as np
from pydantic import Field

from icve.data.curation.quality.base import Strict
from icve.errors import InputError

# Of the picture's shorter side. The detector takes faces and other large, soft shapes for letters: on 52 frames of
# film and 10 photographs without text, all of its 14 boxes were higher than this. Few overlays have such letters.
LARGEST_LINE = 0.25


class TextOverlayConfig(Strict):
    """Drops clips with text over the picture; needs the extra icve[ocr]."""

    max: float | None = Field(default=None, ge=0, le=1, description="largest share of the area; null: off, try 0.01")
    every: float = Field(default=1.0, gt=0, description="seconds between measurements")
    side: int = Field(default=736, ge=64, description="pixels: frames are searched at this longer side")


class TextOverlay:
    """Finds lines of text with the detector that RapidOCR brings along (PP-OCR, on the CPU); they are not read."""

    name = "text_overlay"
    cpus = 1.0
    gpus = 0.0

    def __init__(self, config: TextOverlayConfig) -> None:
        """
        Raises:
            InputError: RapidOCR is missing.
        """
        self.every, self.side = config.every, config.side
        try:
            import onnxruntime  # noqa: F401 - RapidOCR would miss it only when the first frame comes
            from rapidocr import RapidOCR
        except ImportError as error:
            raise InputError(
                f"The filter text_overlay cannot start ({error}); install it with: pip install 'icve[ocr]'."
            ) from error
        self.detector: Any = RapidOCR(
            params={
                "Global.log_level": "critical",  # that a frame has no text is no warning
                "Global.use_cls": False,
                "Global.use_rec": False,
                "Det.limit_type": "max",  # as it is, instead of made larger
                "Det.limit_side_len": config.side,
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def score(self, image: np.ndarray) -> float:
        """The share of a frame (H, W, 3) uint8 RGB that lines of text cover, 0 to 1.

        Boxes have a margin: they are 1.3 to 2 times as large as the letters need. Letters higher than a quarter of the
        picture do not count.
        """
        boxes = self.detector(np.ascontiguousarray(image[..., ::-1])).boxes
        covered = np.zeros(image.shape[:2], np.uint8)
        for box in [] if boxes is None else np.asarray(boxes, np.float32):
            height = min(np.linalg.norm(box[0] - box[1]), np.linalg.norm(box[1] - box[2]))
            if height <= LARGEST_LINE * min(image.shape[:2]):
                cv2.fillPoly(covered, [box.round().astype(np.int32)], 1)
        return float(covered.mean())
