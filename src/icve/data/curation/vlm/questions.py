"""The two questions: their prompts with versions, what they show, and the key under which an answer is kept."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icve.data.curation.vlm.config import VlmConfig
from icve.data.curation.vlm.schema import Answer, Description, Edit, json_schema

PROMPTS = Path(__file__).with_name("prompts")
# At temperature 0 another seed changes nothing, so an unusable answer would come again.
WARMER = 0.5

Part = dict[str, Any]  # of a message's content


@dataclass(frozen=True)
class Prompt:
    """A prompt of the folder prompts/: a line "# NAME NUMBER", then its text.

    Attributes:
        version: its name, its number, and a digest of its text, so that no change goes unseen.
    """

    text: str
    version: str

    @classmethod
    def read(cls, name: str) -> "Prompt":
        """The prompt of that name."""
        title, _, text = (PROMPTS / f"{name}.txt").read_text(encoding="utf-8").partition("\n")
        number = title.removeprefix(f"# {name} ")
        return cls(text.strip(), f"{name}-{number}-{hashlib.sha256(text.strip().encode()).hexdigest()[:8]}")


@dataclass(frozen=True)
class Question:
    """One question about one clip or pair, without its frames.

    Attributes:
        key: SHA-256 of all that the answer depends on.
        about: how sentences call what it asks for.
    """

    key: str
    shape: type[Answer]
    prompt: Prompt
    about: str
    captions: tuple[str, ...] = ()  # of source and target, where the question names them

    def content(self, clips: list[list[str]]) -> list[Part]:
        """The message that asks it, about these clips' frames (data URLs)."""
        parts: list[Part] = [{"type": "text", "text": self.prompt.text}]
        for number, clip in enumerate(clips):
            if self.captions:
                text = f"{('SOURCE', 'TARGET')[number]}: {self.captions[number]}"
                parts.append({"type": "text", "text": text})
            parts += [{"type": "image_url", "image_url": {"url": url}} for url in clip]
        return parts


class Questions:
    """Makes the questions of one config."""

    def __init__(self, config: VlmConfig) -> None:
        self.config = config
        self.describe, self.instruct = Prompt.read("describe"), Prompt.read("instruct")
        self.method = f"vlm/1 {config.model} {self.describe.version} {self.instruct.version}"

    def description(self, clip: str) -> Question:
        """What the clip of that content hash shows."""
        key = self._key(self.describe, Description, [clip])
        return Question(key, Description, self.describe, "a clip's description")

    def edit(self, source: str, target: str, captions: tuple[str, str]) -> Question:
        """What turns the clip of one content hash into that of the other."""
        key = self._key(self.instruct, Edit, [source, target, *captions])
        return Question(key, Edit, self.instruct, "the instruction", captions)

    def body(self, content: list[Part], number: int) -> dict[str, Any]:
        """A request's body, but for its response format; `number` counts the times that it is asked, from 0."""
        config = self.config
        temperature = config.temperature if number == 0 else max(config.temperature, WARMER)
        body = {
            "model": config.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": temperature,
            "max_tokens": config.max_tokens,
            "seed": config.seed + number,
        } | config.parameters
        return {key: value for key, value in body.items() if value is not None}

    def _key(self, prompt: Prompt, shape: type[Answer], content: list[str]) -> str:
        """Frames follow from a clip's hash and how they are drawn from it, so cached pairs need not be decoded."""
        config = self.config
        parts = {
            "prompt": prompt.version,
            "schema": json_schema(shape),
            "content": content,
            "frames": [config.frames, config.image_side, config.jpeg_quality],
            "parameters": self.body([], 0),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
