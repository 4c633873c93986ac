"""Video files in and out with what belongs to them (times, size, rotation, colours, audio); no torch."""

from icve.video.contact_sheet import contact_sheet
from icve.video.geometry import Fit
from icve.video.info import VideoInfo, probe
from icve.video.reading import Frame, VideoReader
from icve.video.writing import VideoWriter

__all__ = ["Fit", "Frame", "VideoInfo", "VideoReader", "VideoWriter", "contact_sheet", "probe"]
