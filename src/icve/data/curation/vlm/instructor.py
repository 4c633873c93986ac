"""Instructions for pairs of clips: each is described, then both descriptions and all frames make an instruction."""

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from icve.data.curation.records import Instruction
from icve.data.curation.vlm.questions import ClipQuestion, Questions
from icve.data.curation.vlm.records import PairFrames
from icve.data.curation.vlm.schema import Description, Edit
from icve.vlm.asking import Content, Unanswered
from icve.vlm.config import VlmConfig
from icve.vlm.images import data_urls
from icve.vlm.questions import Part
from icve.vlm.records import Refused
from icve.vlm.service import Service


class VlmInstructor(Service):
    """Writes instructions; a context manager."""

    def __init__(self, config: VlmConfig, answers: Path) -> None:
        """As `Service`."""
        super().__init__(config, answers)
        self.questions = Questions(config)

    def run(self, pairs: Iterable[PairFrames]) -> Iterator[tuple[str, Instruction | Refused]]:
        """(pair_id, result) of each pair, in the pairs' order; see `Service.each`. A clip that is in several pairs is
        described once."""
        return self.each((pair.pair_id, partial(self._instruction, pair)) for pair in pairs)

    async def _instruction(self, pair: PairFrames) -> Instruction | Refused | Unanswered:
        frames, questions = PairImages(pair, self.config, self.loaders), self.questions
        keys = (pair.source_key, pair.target_key)
        descriptions = [questions.description(key) for key in keys]
        outcomes = await asyncio.gather(
            *(self.asker.ask(asked.question, frames.content(asked, [side])) for side, asked in enumerate(descriptions))
        )
        captions = []
        for outcome in outcomes:
            if isinstance(outcome, Refused | Unanswered):
                return outcome
            assert isinstance(outcome, Description)
            captions.append(outcome.description)
        asked = questions.edit(*keys, (captions[0], captions[1]))
        edit = await self.asker.ask(asked.question, frames.content(asked, [0, 1]))
        if isinstance(edit, Refused | Unanswered):
            return edit
        assert isinstance(edit, Edit)
        return Instruction(edit.instruction, edit.type, captions[0], captions[1], method=questions.method)


class PairImages:
    """A pair's frames as they are sent, loaded when a question first needs them."""

    def __init__(self, pair: PairFrames, config: VlmConfig, loaders: ThreadPoolExecutor) -> None:
        self.pair, self.config, self.loaders = pair, config, loaders
        self.loading: asyncio.Future[list[list[str]]] | None = None

    def content(self, asked: ClipQuestion, sides: list[int]) -> Content:
        """Makes the question's message, about the source (0), the target (1) or both."""

        async def make() -> list[Part]:
            if self.loading is None:
                self.loading = asyncio.get_running_loop().run_in_executor(self.loaders, self._load)
            clips = await self.loading
            return asked.content([clips[side] for side in sides])

        return make

    def _load(self) -> list[list[str]]:
        config = self.config
        return [data_urls(frames, config.frames, config.image_side, config.jpeg_quality) for frames in self.pair.load()]
