"""Brings decoded frames to a bucket's size, as they are stored: without a detour over RGB, a tenth of the time."""

from fractions import Fraction
from typing import Any

import av
import av.filter
from av.video.frame import VideoFrame

from icve.video import color
from icve.video.info import VideoInfo, orientation

MATRICES = {
    color.BT709: "bt709",
    color.FCC: "fcc",
    color.BT470BG: "bt470bg",
    color.SMPTE170M: "smpte170m",
    color.SMPTE240M: "smpte240m",
    color.BT2020: "bt2020",
    color.BT2020_CL: "bt2020",
}

Inside = tuple[int, int, int, int]  # top, left, height and width of the stored picture without its borders


def shown_size(info: VideoInfo, inside: Inside) -> tuple[float, float]:
    """Height and width of the picture without borders as it is seen: upright, its pixels made square."""
    _, _, height, width = inside
    size = float(height), width * float(info.sample_aspect_ratio or 1)
    return size if info.rotation % 180 == 0 else size[::-1]


class Scaler:
    """Decoded frames brought to a bucket's size: cropped about the centre of the picture inside the borders."""

    def __init__(self, info: VideoInfo, inside: Inside, size: tuple[int, int], *, lossless: bool) -> None:
        """
        Args:
            info: of the file.
            inside: the part of the stored picture to show.
            size: height and width of the upright result.
            lossless: gbrp instead of yuv420p in BT.709 and limited range.
        """
        self.info, self.inside, self.size, self.lossless = info, inside, size, lossless
        self.form: tuple[Any, ...] | None = None
        self.graph: Any = None

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """The frame at the size, in a new frame; the one that is given loses its time."""
        form = frame.width, frame.height, frame.format.name
        if form != self.form:  # the first frame, or a file that changes its mind
            self.graph, self.form = self._build(frame), form
        frame.pts = None
        self.graph.push(frame)
        return self.graph.pull()

    def _build(self, frame: VideoFrame) -> Any:
        info = self.info
        swap, flip_rows, flip_columns = orientation(info.display_matrix)
        height, width = self.size[::-1] if swap else self.size
        steps: list[tuple[str, str]] = []
        if (frame.width, frame.height) != info.stored_size:
            steps.append(("scale", f"{info.stored_size[0]}:{info.stored_size[1]}"))
        steps.append(("crop", self._crop(height, width)))
        rgb = color.stored_as_rgb(info)
        into = "" if rgb else f":in_color_matrix={MATRICES[color.matrix_of(info)]}"
        levels = "pc" if info.color_range == color.FULL else "tv"
        into += "" if rgb else f":in_range={levels}"
        quality = "area+accurate_rnd+full_chroma_int" if self._shrinks(height) else "bicubic+accurate_rnd"
        out = "" if self.lossless else ":out_color_matrix=bt709:out_range=tv"
        steps += [
            ("scale", f"{width}:{height}:flags={quality}{into}{out}"),
            ("format", "gbrp" if self.lossless else "yuv420p"),
        ]
        if swap:
            steps.append(("transpose", "dir=cclock_flip"))
        if flip_rows:
            steps.append(("vflip", ""))
        if flip_columns:
            steps.append(("hflip", ""))
        graph = av.filter.Graph()
        graph.threads = 1
        last = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
        )
        for name, arguments in [*steps, ("buffersink", "")]:
            step = graph.add(name, arguments or None)
            last.link_to(step)
            last = step
        graph.configure()
        return graph

    def _crop(self, height: int, width: int) -> str:
        """The largest part of the picture inside the borders that has the bucket's shape, as FFmpeg's crop."""
        top, left, inner_height, inner_width = self.inside
        shape = float(self.info.sample_aspect_ratio or 1)  # a stored pixel's width to its height
        crop_width = min(inner_width, round(inner_height * width / height / shape))
        crop_height = min(inner_height, round(inner_width * height * shape / width))
        x, y = left + (inner_width - crop_width) // 2, top + (inner_height - crop_height) // 2
        return f"{crop_width}:{crop_height}:{x}:{y}:exact=1"

    def _shrinks(self, height: int) -> bool:
        return height < self.inside[2]
