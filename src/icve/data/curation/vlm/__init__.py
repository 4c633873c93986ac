"""Instructions by a vision-language model behind any OpenAI-compatible endpoint."""

from icve.data.curation.vlm.instructor import VlmInstructor
from icve.data.curation.vlm.records import PairFrames
from icve.vlm.config import VlmConfig
from icve.vlm.records import Refused, Usage

__all__ = ["PairFrames", "Refused", "Usage", "VlmConfig", "VlmInstructor"]
