"""Edits a benchmark's cases with a model: OUT/edits/NAME/CASE.mp4, taken up again where it was left."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from icve.errors import InputError
from icve.evaluation.cache import case_content
from icve.evaluation.cases import Case
from icve.evaluation.content import digest, model_content
from icve.evaluation.editors import pipeline_editor, preserving
from icve.evaluation.edits import Edits
from icve.evaluation.loop import as_pixels
from icve.evaluation.run import Bar, no_bar
from icve.pipelines.edit import InContextVideoEditPipeline
from icve.pipelines.editor import check_instruction, edit_file
from icve.pipelines.models import device_and_dtype, fetch_model
from icve.pipelines.summary import summarise
from icve.video import VideoReader, VideoWriter, probe
from icve.video.files import replacing, write_errors

SEEDS_APART = 10**6  # more than a benchmark has cases, so that two --seed share no noise


class ModelEditor:
    """One model with the settings of its edits. Nothing is loaded before there is something to edit.

    A clip that has one of the model's own sizes is edited as it is, `batch` at once, and stored exactly: a judge that
    knows every pixel must not see a codec. Any other is edited as `icve edit` does it.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        preserve: bool = False,
        batch: int = 8,
    ) -> None:
        self.name, self.batch, self.seed, self.steps, self.guidance = name, batch, seed, steps, guidance
        self.preserve = preserve
        self.model = summarise(fetch_model(model, skip=set()))
        own = self.model.settings
        folders = filter(None, (self.model.folder, self.model.adapter))
        self.settings: dict[str, Any] = {
            "model": model,
            "weights": digest(*map(model_content, folders)),  # a folder may hold another model tomorrow
            "steps": steps or own["num_inference_steps"],
            "guidance": own["guidance_scale"] if guidance is None else guidance,
            "seed": seed,
            "preserve": "auto" if preserve else "off",
        }

    def edit(self, cases: Sequence[Case], output: Path, bar: Bar = no_bar) -> Edits:
        """The clips of all cases, those that are not in OUT/edits/NAME made now.

        Raises:
            InputError: the folder holds edits that were made otherwise, or of other cases under the same ids.
        """
        folder = output / "edits" / self.name
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._check_settings(folder / "editor.json")
        made = Made(folder / "made.jsonl")
        missing: dict[str, str] = {}
        waiting = []
        for number, case in enumerate(cases):
            try:
                content = case_content(case)
            except OSError as error:
                missing[case.id] = f"{error.filename} cannot be read ({error.strerror})."
                continue
            if not made.has(case.id, content):
                waiting.append((case, self.seed * SEEDS_APART + number, content))
        for case, content, reason in bar(self._edit(waiting, folder), len(waiting), f"editing with {self.name}"):
            if reason is None:
                made.add(case.id, content)
            else:
                missing[case.id] = reason
        return Edits(self.name, {c.id: folder / f"{c.id}.mp4" for c in cases if c.id not in missing}, missing)

    def _check_settings(self, path: Path) -> None:
        with write_errors(path):
            if not path.exists():
                with replacing(path) as partial:
                    partial.write_text(json.dumps(self.settings, indent=1))
                return
            old = json.loads(path.read_text())
        if other := [key for key in self.settings if self.settings[key] != old.get(key)]:
            raise InputError(
                f"{path.parent} holds edits with another {', '.join(other)}; name another folder with -o, or the "
                "editor with --model NAME=MODEL."
            )

    def _edit(self, waiting: Sequence[tuple[Case, int, str]], folder: Path) -> Iterator[tuple[Case, str, str | None]]:
        """Each case when it is edited, with its content, and why it cannot be edited or None."""
        if not waiting:
            return
        device, dtype = device_and_dtype()
        pipe = InContextVideoEditPipeline.from_pretrained(self.model.adapter or self.model.folder, torch_dtype=dtype)
        pipe.set_progress_bar_config(disable=True)
        pipe.to(device)
        for whole, run in groupby(waiting, lambda job: self._is_whole(pipe, job[0].source)):
            jobs = list(run)
            size = self.batch if whole else 1
            for start in range(0, len(jobs), size):
                chosen = jobs[start : start + size]
                try:
                    if whole:
                        self._edit_whole(pipe, chosen, folder)
                    else:
                        self._edit_file(pipe, *chosen[0][:2], folder)
                    reasons: list[str | None] = [None] * len(chosen)
                except InputError as error:
                    # of a batch, the one that is at fault
                    reasons = [str(error)] if len(chosen) == 1 else self._one_by_one(pipe, chosen, folder)
                for (case, _, content), reason in zip(chosen, reasons, strict=True):
                    yield case, content, reason

    def _one_by_one(
        self, pipe: InContextVideoEditPipeline, jobs: Sequence[tuple[Case, int, str]], folder: Path
    ) -> list[str | None]:
        reasons: list[str | None] = []
        for job in jobs:
            try:
                self._edit_whole(pipe, [job], folder)
                reasons.append(None)
            except InputError as error:
                reasons.append(str(error))
        return reasons

    @staticmethod
    def _is_whole(pipe: InContextVideoEditPipeline, source: Path) -> tuple[int, int, int] | None:
        """The clip's frames, height and width, where they are one of the model's own sizes."""
        try:
            info = probe(source)
        except InputError:
            return None  # editing it says why
        size = (info.frames or 0, info.height, info.width)
        return size if list(size) in [list(each) for each in pipe.config.sizes] else None

    def _edit_whole(
        self, pipe: InContextVideoEditPipeline, jobs: Sequence[tuple[Case, int, str]], folder: Path
    ) -> None:
        for case, _, _ in jobs:
            check_instruction(pipe, case.instruction)
        read = [list(VideoReader(case.source)) for case, _, _ in jobs]
        sources = [np.stack([frame.image for frame in frames]) for frames in read]
        edit = pipeline_editor(pipe, steps=self.steps, guidance=self.guidance)
        outputs = edit(sources, [case.instruction for case, _, _ in jobs], [seed for _, seed, _ in jobs])
        for (case, _, _), frames, source, output in zip(jobs, read, sources, outputs, strict=True):
            kept = preserving(pipe)(source, output) if self.preserve else output
            pixels = as_pixels(kept)
            path = folder / f"{case.id}.mp4"
            with VideoWriter(path, probe(case.source), lossless=True, overwrite=True) as writer:
                for frame, image in zip(frames, pixels, strict=True):
                    writer.write(image, frame.pts, frame.duration)

    def _edit_file(self, pipe: InContextVideoEditPipeline, case: Case, seed: int, folder: Path) -> None:
        edit_file(
            pipe,
            case.source,
            case.instruction,
            folder / f"{case.id}.mp4",
            steps=self.steps,
            guidance=self.guidance,
            seed=seed,
            preserve="auto" if self.preserve else "off",
            overwrite=True,
        )


class Made:
    """What was edited: a line with a case's id and content for each clip that is whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.contents: dict[str, str] = {}
        if not path.exists():
            return
        with write_errors(path):
            text = path.read_text()
            if not text.endswith("\n"):  # a killed run wrote half a line
                text = text[: text.rfind("\n") + 1]
                path.write_text(text)
        self.contents = {row["id"]: row["content"] for row in map(json.loads, text.splitlines())}

    def has(self, case_id: str, content: str) -> bool:
        """Whether the case's clip is made.

        Raises:
            InputError: it is a clip of another case with this id.
        """
        known = self.contents.get(case_id)
        if known is None or not (self.path.parent / f"{case_id}.mp4").exists():
            return False
        if known != content:
            raise InputError(
                f"{self.path.parent} holds an edit of another case {case_id} (another seed, data set or instruction); "
                "name another folder with -o."
            )
        return True

    def add(self, case_id: str, content: str) -> None:
        """Notes that a case's clip is made."""
        self.contents[case_id] = content
        with write_errors(self.path), self.path.open("a") as file:
            file.write(json.dumps({"id": case_id, "content": content}) + "\n")
