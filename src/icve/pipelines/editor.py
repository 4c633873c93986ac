"""Edits video files of any length, size and shape with an edit pipeline; what `icve edit` runs, and for Python users.

    pipe = InContextVideoEditPipeline.from_pretrained("mini")
    edit_file(pipe, "in.mp4", "make the circle blue", "out.mp4")

Shapes: F frames, H x W pixels of the source, h x w of the model; frames are (F, H, W, 3) uint8 RGB.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from icve.errors import InputError
from icve.pipelines import preservation
from icve.pipelines.edit import InContextVideoEditPipeline
from icve.pipelines.masks import MaskReader
from icve.pipelines.text import text_overflow
from icve.pipelines.windows import default_overlap, edit_in_windows, whole_frames
from icve.video import Fit, VideoInfo, VideoReader, VideoWriter
from icve.video.geometry import resize

Progress = Callable[[float, int | None], None]
MOST_SAMPLES = 12
SAMPLE_SIDE = 240  # pixels of a sample's longer side: a contact sheet's


@dataclass
class Samples:
    """Evenly spread small frames of a stream of unknown length: every `stride`-th, at most `MOST_SAMPLES`."""

    source: list[np.ndarray] = field(default_factory=list)
    edit: list[np.ndarray] = field(default_factory=list)
    stride: int = 1
    count: int = 0

    def add(self, source: np.ndarray, edit: np.ndarray) -> None:
        if self.count % self.stride == 0:
            scale = min(1.0, SAMPLE_SIDE / max(source.shape[:2]))
            height, width = (max(1, round(side * scale)) for side in source.shape[:2])
            small = resize(np.stack([source, edit]), height, width)
            self.source.append(small[0])
            self.edit.append(small[1])
        if len(self.source) > MOST_SAMPLES:
            del self.source[1::2], self.edit[1::2]
            self.stride *= 2
        self.count += 1


@dataclass(frozen=True)
class EditReport:
    """What was done: `frames` written in `windows` windows of at most `window` frames at `size` (height, width), in
    `seconds`; `lost` says what of the input could not be decoded, or is None; `samples` are frames to look at."""

    input: Path
    instruction: str
    output: Path
    frames: int
    windows: int
    window: int
    size: tuple[int, int]
    seed: int
    seconds: float
    lost: str | None
    samples: Samples


def choose_size(
    sizes: list[list[int]], height: int, width: int, size: tuple[int, int] | None = None
) -> tuple[int, Fit]:
    """Frames a window and the geometry for a video, from the model's `sizes` [frames, height, width] or a `size`."""
    if size is not None:
        return max(frames for frames, _, _ in sizes), Fit((height, width), size)
    fit = Fit.choose(height, width, [(h, w) for _, h, w in sizes])
    return max(frames for frames, h, w in sizes if (h, w) == fit.target), fit


def check_instruction(pipe: InContextVideoEditPipeline, instruction: str) -> None:
    """Raises `InputError` when an instruction is empty, or longer than the model's text encoder takes: what would be
    cut off could be what matters."""
    if not instruction.strip():
        raise InputError("The instruction is empty: say what to edit.")

    def overflow(text: str) -> tuple[int, int] | None:
        config = pipe.config
        return text_overflow(
            pipe.tokenizer, text, config.prompt_template, config.max_text_length, config.prompt_crop_start
        )

    if (cut := overflow(instruction)) is None:
        return
    words = instruction.split()
    fitting = next((n for n in range(len(words) - 1, 0, -1) if overflow(" ".join(words[:n])) is None), 0)
    raise InputError(
        f"The instruction that begins {instruction[:40]!r} is too long: it has {cut[1]} tokens and the model takes"
        f" {cut[0]}; shorten it to about {fitting} words."
    )


class WindowEditor:
    """Edits one window after the other with the same noise, instruction and settings.

    The noise is drawn from the same seed for every window. What the instruction leaves open (the shade of a colour,
    the texture of a new thing) follows the noise, so windows agree on it even where their overlap does not show it.
    """

    def __init__(
        self,
        pipe: InContextVideoEditPipeline,
        instruction: str,
        fit: Fit,
        *,
        seed: int,
        steps: int | None,
        guidance: float | None,
        preserve_source: bool,
        on_step: Callable[[int, float], None],
    ) -> None:
        self.pipe, self.instruction, self.fit = pipe, instruction, fit
        self.seed, self.steps, self.guidance = seed, steps, guidance
        self.preserve_source, self.on_step = preserve_source, on_step
        self.windows = 0

    def __call__(self, source: np.ndarray, known: np.ndarray | None) -> np.ndarray:
        """The edit of (F, H, W, 3 or 4) uint8, whose fourth channel is the mask; `known`: its first frames' edit."""
        pipe, frames = self.pipe, len(source)
        latents = self._encode(source[..., :3])
        new = frames - (0 if known is None else len(known))
        steps = pipe.config.num_inference_steps if self.steps is None else self.steps

        def step_done(
            _pipe: InContextVideoEditPipeline, step: int, _time: torch.Tensor, tensors: dict[str, torch.Tensor]
        ) -> dict[str, torch.Tensor]:
            self.on_step(new, (step + 1) / steps)
            return tensors

        edit = pipe(
            prompt=self.instruction,
            source_latents=latents,
            prefix_latents=None if known is None else self._encode(known),
            generator=torch.Generator().manual_seed(self.seed),
            num_inference_steps=steps,
            guidance_scale=self.guidance,
            callback_on_step_end=step_done,
        ).videos[0][:frames]
        self.windows += 1
        if not self.preserve_source:
            return np.rint(255 * self.fit.undo(edit).clip(0, 1)).astype(np.uint8)
        decoded = pipe.decode_latents(latents).float()
        round_trip = pipe.video_processor.postprocess_video(decoded, "np")[0][:frames]
        mask = source[..., 3].astype(np.float32) / 255 if source.shape[-1] == 4 else None
        return preservation.preserve(np.ascontiguousarray(source[..., :3]), edit, round_trip, self.fit, mask)

    def _encode(self, frames: np.ndarray) -> torch.Tensor:
        fitted = self.fit.apply(np.ascontiguousarray(frames))
        missing = whole_frames(len(fitted)) - len(fitted)
        # a clip shorter than any number of frames that the autoencoder takes stands still at its end
        padded = np.concatenate([fitted, np.repeat(fitted[-1:], missing, axis=0)])
        return self.pipe.encode_video(self.pipe.video_processor.preprocess_video(padded.astype(np.float32) / 255))


def edit_file(
    pipe: InContextVideoEditPipeline,
    input: str | Path,  # noqa: A002 - what it is
    instruction: str,
    output: str | Path,
    *,
    size: tuple[int, int] | None = None,
    start: int = 0,
    stop: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    preserve: str | Path = "auto",
    quality: int = 18,
    lossless: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EditReport:
    """Edits a video file into another, frame by frame in constant memory.

    Args:
        pipe: the loaded model.
        input, output: video files; the output has the input's frame times, size, rotation and audio.
        instruction: what to do.
        size: height and width at which the model works, multiples of 16; one of the model's own when None.
        start, stop: the range of frames that is edited and written.
        steps, guidance: the model's defaults when None.
        seed: of the noise; the same seed, model and input give the same output.
        preserve: "auto" keeps the source's pixels outside what changed, "off" writes what the model made; a mask's
            file (a picture or a video, white where the output may differ) keeps the source's pixels outside it.
        quality, lossless, overwrite: as `VideoWriter` has them.
        progress: called with the frames done so far (with fractions) and their estimated number or None.

    Raises:
        InputError: one of these cannot be used. Nothing is left under the output's name.
    """
    began = time.monotonic()
    check_instruction(pipe, instruction)
    reader = VideoReader(input, start=start, stop=stop)
    info = reader.info
    window, fit = choose_size(pipe.config.sizes, info.height, info.width, size)
    mask = None if preserve in ("auto", "off") else MaskReader(preserve, info)
    total = expected_frames(info)
    written = 0
    samples = Samples()
    waiting: deque[tuple[np.ndarray, int, int]] = deque()

    def frames() -> Iterator[np.ndarray]:
        masks = iter(mask) if mask is not None else None
        for frame in reader:
            waiting.append((frame.image, frame.pts, frame.duration))
            yield frame.image if masks is None else np.dstack([frame.image, next(masks)])

    def on_step(new: int, share: float) -> None:
        if progress is not None:
            progress(len(waiting) + written - new * (1 - share), total)

    edit_window = WindowEditor(
        pipe,
        instruction,
        fit,
        seed=seed,
        steps=steps,
        guidance=guidance,
        preserve_source=preserve != "off",
        on_step=on_step,
    )
    with VideoWriter(output, info, quality=quality, lossless=lossless, overwrite=overwrite) as writer:
        for image in edit_in_windows(frames(), edit_window, window, default_overlap(window)):
            source, pts, duration = waiting.popleft()
            writer.write(image, pts, duration)
            samples.add(source, image)
            written += 1
    return EditReport(
        input=Path(input),
        instruction=instruction,
        output=Path(output),
        frames=written,
        windows=edit_window.windows,
        window=window,
        size=fit.target,
        seed=seed,
        seconds=time.monotonic() - began,
        lost=reader.lost,
        samples=samples,
    )


def expected_frames(info: VideoInfo) -> int | None:
    """How many frames will be read, as far as the file's header tells."""
    ends = [end for end in (info.stop, info.frames) if end is not None]
    return max(1, min(ends) - info.start) if ends else None
