"""The model behind `icve edit`: checked against the job and the machine first, then loaded once for all jobs."""

import argparse
from dataclasses import replace
from pathlib import Path

import psutil
import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from icve.commands.jobs import Job
from icve.pipelines.edit import InContextVideoEditPipeline
from icve.pipelines.editor import EditReport, Progress, check_instruction, choose_size, edit_file, expected_frames
from icve.pipelines.memory import check_memory, memory_needed
from icve.pipelines.models import device_and_dtype, fetch_model
from icve.pipelines.summary import summarise
from icve.pipelines.windows import whole_frames
from icve.video import probe


class Editor:
    """One model with the settings of one call of `icve edit`. It runs where `device_and_dtype` says."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.model = summarise(fetch_model(args.model, skip=set()))
        self.device, self.dtype = device_and_dtype()
        self.pipe: InContextVideoEditPipeline | None = None

    def check_memory(self, video: Path) -> None:
        """Raises `InputError` when there is not the memory for `video`, and for the model if it is not loaded yet."""
        start, stop = self.args.frames
        info = replace(probe(video), start=start, stop=stop)
        window, fit = choose_size(self.model.settings["sizes"], info.height, info.width, self.args.size)
        frames = min(window, whole_frames(expected_frames(info) or window))
        need = memory_needed(self.model, frames, fit.target, fit.source, bytes_per_number=self.dtype.itemsize)
        free = torch.cuda.mem_get_info()[0] if self.device == "cuda" else psutil.virtual_memory().available
        check_memory(need.window if self.pipe else need.total, free, fit.target)

    def load(self) -> None:
        """Loads the model, without the libraries' progress bars: the command has one of its own."""
        for library in (diffusers_logging, transformers_logging):
            library.disable_progress_bar()
        self.pipe = InContextVideoEditPipeline.from_pretrained(self.model.folder, torch_dtype=self.dtype)
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.to(self.device)

    def check_instructions(self, instructions: list[str]) -> None:
        """Raises `InputError` for the first that the loaded model cannot take."""
        for instruction in instructions:
            check_instruction(self.loaded, instruction)

    def edit(self, job: Job, progress: Progress) -> EditReport:
        """Does one job; raises `InputError` when it cannot be done."""
        args = self.args
        self.check_memory(job.video)
        return edit_file(
            self.loaded,
            job.video,
            job.instruction,
            job.output,
            size=args.size,
            start=args.frames[0],
            stop=args.frames[1],
            steps=args.steps,
            guidance=args.guidance,
            seed=args.seed,
            preserve=args.preserve,
            quality=args.quality,
            lossless=args.lossless,
            overwrite=args.overwrite,
            progress=progress,
        )

    @property
    def loaded(self) -> InContextVideoEditPipeline:
        """The pipeline, after `load`."""
        assert self.pipe is not None
        return self.pipe
