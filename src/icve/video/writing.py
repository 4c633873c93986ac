"""Writes edited frames as a video that looks, plays and sounds like the one they came from."""

import math
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame

from icve.errors import InputError
from icve.video import color
from icve.video.audio import AudioCopy
from icve.video.files import check_output, replacing, write_errors
from icve.video.info import VideoInfo
from icve.video.opening import open_input

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}


class VideoWriter:
    """A context manager that writes H.264, with the size, times, rotation, colours and audio of `info`.

    The file appears under its name when the block ends well, and not at all when it does not.

    - Size: yuv420p where both sides are even. 4:2:0 cannot express odd sides and H.264 can crop only whole
      chroma samples, so odd sizes are stored as yuv444p; some players (Firefox, QuickTime) cannot play that.
    - Times: `pts` and `duration` are those of the frames read, exactly; .mkv rounds to milliseconds. A
      range of frames (`info.start` > 0) begins at 0, the audio with it.
    - Rotation: the picture is stored as the source's was, with the source's display matrix.
    - Colours: the source's matrix, range, primaries and transfer, converted to and tagged. 8 bits deep.
    - Audio: every audio stream's packets, copied. With a range, the packets that start in its span.

    Attributes:
        lost: at the end, None, or one sentence that says how much of the audio was damaged and left out.
    """

    def __init__(
        self,
        path: str | Path,
        info: VideoInfo,
        *,
        quality: int = 18,
        lossless: bool = False,
        overwrite: bool = False,
    ) -> None:
        """
        Args:
            path: the output, ending in .mp4, .mov or .mkv.
            info: of the video that the frames came from (`VideoReader.info`).
            quality: H.264's constant rate factor, 0 (best) to 51; 18 is held to be visually lossless by x264.
            lossless: every pixel comes back exactly (RGB H.264, about ten times the size).
            overwrite: replace an existing file.

        Raises:
            InputError: the path exists, has another ending, or cannot be written.
        """
        self.path, self.info = Path(path), info
        if self.path.suffix.lower() not in CONTAINERS:
            raise InputError(f"{self.path} does not end in {', '.join(CONTAINERS)}; choose one of these.")
        if not 0 <= quality <= 51:
            raise InputError(f"The quality {quality} is not between 0 (best) and 51.")
        check_output(self.path, overwrite)
        self.quality, self.lossless = quality, lossless
        self.matrix = color.matrix_of(info)
        self.shift: int | None = None  # time_base units from the source's clock to the output's, by the first frame
        self.end = 0
        self.lost: str | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            partial = stack.enter_context(replacing(self.path))
            source: Any = None
            if self.info.path is not None and self.info.has_audio:
                source = stack.enter_context(open_input(self.info.path))
            clocks = [s.time_base.denominator for s in source.streams.audio] if source else []
            # Edit lists hold start times in the movie's clock: a common multiple keeps them exact.
            clock = math.lcm(self.info.time_base.denominator, *clocks)
            options = {"movie_timescale": str(clock)} if clock < 2**31 else {}
            if self.path.suffix.lower() == ".mkv":
                options = {"avoid_negative_ts": "disabled"}  # audio that starts early must not delay the pictures
            with write_errors(self.path):
                output = av.open(
                    str(partial), "w", format=CONTAINERS[self.path.suffix.lower()], container_options=options
                )
            stack.callback(abandon, output)
            self.output, self.video = output, self._add_video(output)
            self.audio = self._add_audio(source, output) if source else None
            self.stack = stack.pop_all()
        return self

    def _add_video(self, output: OutputContainer) -> Any:
        info = self.info
        rate = info.average_rate.limit_denominator(2**16)
        video: Any = output.add_stream("libx264rgb" if self.lossless else "libx264", rate=rate)
        video.width, video.height = info.stored_size
        # 4:2:0 needs even sides.
        self.halve_chroma = video.width % 2 == video.height % 2 == 0
        video.pix_fmt = "rgb24" if self.lossless else "yuv420p" if self.halve_chroma else "yuv444p"
        # Without B-frames the last frame shown is the last one stored, so MP4 can tell its duration.
        video.options = {"bf": "0"} | ({"qp": "0"} if self.lossless else {"crf": str(self.quality)})
        context = video.codec_context
        context.time_base = info.time_base
        context.flags |= Flags.frame_duration  # else the muxer guesses durations
        context.color_primaries, context.color_trc = info.color_primaries, info.color_trc
        if self.lossless:
            context.colorspace, context.color_range = color.RGB, color.FULL
        elif color.stored_as_rgb(info):
            context.colorspace, context.color_range = self.matrix, color.LIMITED
        else:
            context.colorspace, context.color_range = info.colorspace, info.color_range
        if info.sample_aspect_ratio:
            context.sample_aspect_ratio = info.sample_aspect_ratio
        video.set_display_matrix(info.display_matrix)
        return video

    def _add_audio(self, source: Any, output: OutputContainer) -> AudioCopy:
        with write_errors(self.path):
            try:
                audio = AudioCopy(source, output)
                output.start_encoding()
            except ValueError as error:  # FFmpeg's "invalid argument" is one, too
                codecs = {s.codec_context.name for s in source.streams.audio if s.codec_context}
                raise InputError(
                    f"{self.path.suffix} files cannot hold the audio of {self.info.path} "
                    f"({', '.join(sorted(codecs))}); choose an output name that ends in .mkv, "
                    "or convert the audio to AAC first."
                ) from error
        return audio

    def write(self, image: np.ndarray, pts: int, duration: int) -> None:
        """Adds a frame.

        Args:
            image: (info.height, info.width, 3) uint8 RGB, upright.
            pts, duration: its time, above that of the frame before, and its length, in `info.time_base`.

        Raises:
            InputError: the disk is full or refuses, or the source's audio is damaged beyond copying.
        """
        info = self.info
        if image.shape != (info.height, info.width, 3) or image.dtype != np.uint8:
            raise ValueError(f"expected ({info.height}, {info.width}, 3) uint8, got {image.shape} {image.dtype}")
        if self.shift is None:
            self.shift = pts if info.start or pts < info.origin else info.origin
        frame = self._frame(info.stored(image))
        frame.pts, frame.duration, frame.time_base = pts - self.shift, duration, info.time_base
        with write_errors(self.path):
            self.output.mux(self.video.encode(frame))
            self.end = pts + duration
            self._copy_audio(self.end)

    def _frame(self, stored: np.ndarray) -> VideoFrame:
        if self.lossless:
            return VideoFrame.from_ndarray(stored, "rgb24")
        full_range = self.video.codec_context.color_range == color.FULL
        return color.rgb_to_yuv(stored, self.matrix, full_range, self.halve_chroma)

    def _copy_audio(self, end: int | None) -> None:
        if self.audio is not None and self.shift is not None:
            unit = self.info.time_base
            shift = self.shift * unit
            self.audio.copy(shift if self.info.start else None, None if end is None else end * unit, shift)

    def _finish(self) -> None:
        if self.shift is None:
            raise InputError(f"{self.path} was not written, because there was no frame to write.")
        with write_errors(self.path):
            self.output.mux(self.video.encode(None))
            # A range ends its audio with its last frame; a whole video keeps what sounds on after it.
            self._copy_audio(self.end if self.info.stop is not None else None)
            self.output.close()
        if self.audio is not None and self.audio.lost:
            self.lost = f"{self.audio.lost} damaged audio packets of {self.info.path} were left out."

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.stack.__exit__(kind, error, trace)
            return
        with self.stack:
            self._finish()


def abandon(output: OutputContainer) -> None:
    """Closes a file that is not wanted, or is closed already; it may be unable to end well."""
    try:
        output.close()
    except FFmpegError:
        return
