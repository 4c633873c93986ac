"""The two questions: what a clip shows, and what turns one clip into another."""

from dataclasses import dataclass
from pathlib import Path

from icve.data.curation.vlm.schema import Description, Edit
from icve.vlm.config import VlmConfig
from icve.vlm.questions import Part, Prompt, Question, answer_key, image_part, text_part

PROMPTS = Path(__file__).with_name("prompts")


@dataclass(frozen=True)
class ClipQuestion:
    """A question about one clip or a pair.

    Attributes:
        captions: of source and target, where the question names them.
    """

    question: Question
    prompt: Prompt
    captions: tuple[str, ...] = ()

    def content(self, clips: list[list[str]]) -> list[Part]:
        """The message that asks it, about these clips' frames (data URLs)."""
        parts = [text_part(self.prompt.text)]
        for number, clip in enumerate(clips):
            if self.captions:
                parts.append(text_part(f"{('SOURCE', 'TARGET')[number]}: {self.captions[number]}"))
            parts += map(image_part, clip)
        return parts


class Questions:
    """Makes the questions of one config."""

    def __init__(self, config: VlmConfig) -> None:
        self.config = config
        self.describe, self.instruct = (Prompt.read(PROMPTS / f"{name}.txt") for name in ("describe", "instruct"))
        self.method = f"vlm/1 {config.model} {self.describe.version} {self.instruct.version}"

    def description(self, clip: str) -> ClipQuestion:
        """What the clip of that content hash shows."""
        key = answer_key(self.config, self.describe, Description, [clip])
        return ClipQuestion(Question(key, Description, "a clip's description"), self.describe)

    def edit(self, source: str, target: str, captions: tuple[str, str]) -> ClipQuestion:
        """What turns the clip of one content hash into that of the other."""
        key = answer_key(self.config, self.instruct, Edit, [source, target, *captions])
        return ClipQuestion(Question(key, Edit, "the instruction"), self.instruct, captions)
