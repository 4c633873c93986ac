"""Questions with their pictures: clips are read when an answer is not known, once for all questions about them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from icve.errors import InputError
from icve.evaluation.content import file_content
from icve.evaluation.judges.config import JudgeConfig
from icve.evaluation.judges.frames import SmallFrames, evenly
from icve.evaluation.judges.rubric import Ask, prompt
from icve.evaluation.scorers import MissingError
from icve.vlm.asking import Outcome
from icve.vlm.images import data_urls
from icve.vlm.questions import Part, Question, answer_key, image_part, text_part
from icve.vlm.service import Service

VOTE = 1000  # between the seeds of two votes; the seeds of repeated questions lie between

Read = TypeVar("Read")
Clip = tuple[str, Path]
"""What a clip is called, and its file."""


class Shown:
    """Clips as they are shown: pictures at asked places, of as many frames as all shown ones have.

    Its methods raise MissingError where a file cannot be read.
    """

    def __init__(self, source: Path, *edited: Path, config: JudgeConfig, loaders: ThreadPoolExecutor) -> None:
        names = ("EDITED",) if len(edited) == 1 else ("FIRST", "SECOND")
        self.clips: list[Clip] = [("SOURCE", source), *zip(names, edited, strict=True)]
        self.config, self.loaders = config, loaders
        self.loading: dict[Path, asyncio.Future[SmallFrames]] = {}

    async def hashes(self, with_source: bool) -> list[str]:
        """What each shown clip is called and a hash of its file."""
        return [f"{name} {await self._read(file_content, path)}" for name, path in self._shown(with_source)]

    async def parts(self, places: tuple[float, ...], with_source: bool) -> list[Part]:
        """The pictures with what they are called."""
        shown = self._shown(with_source)
        for _, path in shown:
            if path not in self.loading:
                self.loading[path] = self._read(SmallFrames, path, self.config.image_side)
        clips = {name: await self.loading[path] for name, path in shown}
        return await self._read(self._parts, clips, places)

    def _read(self, function: Callable[..., Read], *arguments: object) -> "asyncio.Future[Read]":
        """Runs it in a loader's thread."""

        def run() -> Read:
            try:
                return function(*arguments)
            except InputError as error:  # which would say that the run as a whole cannot go on
                raise MissingError(str(error)) from None
            except OSError as error:
                raise MissingError(f"{error.filename} cannot be read ({error.strerror}).") from None

        return asyncio.get_running_loop().run_in_executor(self.loaders, run)

    def _shown(self, with_source: bool) -> list[Clip]:
        return self.clips if with_source else self.clips[1:]

    def _parts(self, clips: dict[str, SmallFrames], places: tuple[float, ...]) -> list[Part]:
        count = min(clip.count for clip in clips.values())  # what one clip has beyond another is left out
        parts: list[Part] = []
        for name, clip in clips.items():
            frames = clip.at(places, count)
            urls = data_urls(frames, len(frames), self.config.image_side, self.config.jpeg_quality)
            parts += [text_part(f"{name}:"), *map(image_part, urls)]
        return parts


async def answer(service: Service, config: JudgeConfig, ask: Ask, shown: Shown, vote: int) -> Outcome:
    """One vote's answer: from the file of answers, or asked for with the prompt, the clips, then the text."""
    wording, seed = prompt(ask.prompt), vote * VOTE
    places = ask.at or evenly(config.frames)
    hashes = await shown.hashes(ask.source)
    key = answer_key(config, wording, ask.shape, [*hashes, ask.text, *map(str, ask.at)], seed)

    async def message() -> list[Part]:
        return [text_part(wording.text), *await shown.parts(places, ask.source), text_part(ask.text)]

    return await service.asker.ask(Question(key, ask.shape, f"a verdict ({ask.prompt})", seed), message)
