"""Verb rewriting by a language model: asked once for each wording, checked, the table where it is of no use."""

from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from icve.data.curation.records import Instruction, StageCount
from icve.data.curation.text.rewriting import Instructed, Item, TableRewriting, said
from icve.data.curation.text.same_meaning import accepts_rewrite
from icve.vlm.asking import Unanswered
from icve.vlm.config import VlmConfig
from icve.vlm.questions import Part, Prompt, Question, answer_key, text_part
from icve.vlm.records import Refused
from icve.vlm.schema import Answer, Text
from icve.vlm.service import Service

PROMPT = Path(__file__).parent / "prompts" / "rewrite.txt"
LENGTH = 300  # characters; 30 words have about 180
# Answers of one instruction: equal ones ("Zoom out.") are common, should not all be said alike, and cost no more.
WORDINGS = 8


class Wording(Answer):
    """An instruction in other words."""

    instruction: Annotated[Text, Field(max_length=LENGTH)]


class ModelRewriting(Service):
    """Rewrites by a language model behind an OpenAI-compatible endpoint; a context manager.

    What is asked depends on the run's seed only. An answer that cannot be used, or that does not say the same beyond
    doubt, gives way to the table's.

    Attributes:
        count: how many wordings were asked for, how many were taken, and why the others were not.
    """

    def __init__(self, config: VlmConfig, table: TableRewriting, answers: Path) -> None:
        """
        Args:
            config: of the endpoint.
            table: for the rest; what it draws is asked.
            answers: see `Service`, which also names the errors.
        """
        super().__init__(config, answers)
        self.table, self.prompt, self.count = table, Prompt.read(PROMPT), StageCount("rewrite")
        self.maker = f"rewrite/1 {config.model} {self.prompt.version}"

    def run(self, instructed: Instructed[Item]) -> Iterator[tuple[Item, Instruction]]:
        """As `TableRewriting.run`; raises as `Service.each`."""
        waiting: deque[tuple[Item, Instruction, np.random.Generator]] = deque()

        def jobs() -> Iterator[tuple[str, Any]]:
            for item, name, instruction in instructed:
                rng = self.table.generator(name)
                drawn = self.table.is_drawn(rng)
                waiting.append((item, instruction, rng))
                yield name, partial(self._ask, instruction, int(rng.integers(WORDINGS))) if drawn else _leave

        for _, answer in self.each(jobs()):
            item, instruction, rng = waiting.popleft()
            yield item, instruction if answer is None else self._choose(instruction, answer, rng)

    def _choose(self, instruction: Instruction, answer: str | Refused, rng: np.random.Generator) -> Instruction:
        self.count.entered += 1
        if isinstance(answer, Refused):
            self.count.drop(answer.kind)
        elif not accepts_rewrite(instruction.text, answer, instruction.type, self.table.rules):
            self.count.drop("another meaning")
        else:
            self.count.left += 1
            return said(instruction, answer, self.maker) if answer != instruction.text else instruction
        return self.table.reword(instruction, rng)

    async def _ask(self, instruction: Instruction, wording: int) -> str | Refused | Unanswered:
        asked = [instruction.type, instruction.text]
        key = answer_key(self.config, self.prompt, Wording, asked, wording)

        async def content() -> list[Part]:
            return [text_part(self.prompt.text), text_part(f"{instruction.type}: {instruction.text}")]

        answer = await self.asker.ask(Question(key, Wording, "other words", wording), content)
        if isinstance(answer, Refused | Unanswered):
            return answer
        assert isinstance(answer, Wording)
        return answer.instruction


async def _leave() -> None:
    """The job of an instruction that stays as it is."""
