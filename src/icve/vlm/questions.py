"""What a question is: its prompt with a version, the body of its request, and the key under which an answer is kept."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icve.vlm.config import VlmConfig
from icve.vlm.schema import Answer, json_schema

# At temperature 0 another seed changes nothing, so an unusable answer would come again.
WARMER = 0.5

Part = dict[str, Any]  # of a message's content


@dataclass(frozen=True)
class Prompt:
    """A prompt in a file of its own: a line "# NAME NUMBER", then its text.

    Attributes:
        version: its name, its number, and a digest of its text, so that no change goes unseen.
    """

    text: str
    version: str

    @classmethod
    def read(cls, path: Path) -> "Prompt":
        """The prompt of the file NAME.txt."""
        name = path.stem
        title, _, text = path.read_text(encoding="utf-8").partition("\n")
        number = title.removeprefix(f"# {name} ")
        return cls(text.strip(), f"{name}-{number}-{hashlib.sha256(text.strip().encode()).hexdigest()[:8]}")


@dataclass(frozen=True)
class Question:
    """One question, without its pictures.

    Attributes:
        key: SHA-256 of all that the answer depends on.
        about: how sentences call what it asks for.
        seed: added to the config's: another seed is another vote.
    """

    key: str
    shape: type[Answer]
    about: str
    seed: int = 0


def text_part(text: str) -> Part:
    """Text in a message."""
    return {"type": "text", "text": text}


def image_part(url: str) -> Part:
    """A picture (a data URL) in a message."""
    return {"type": "image_url", "image_url": {"url": url}}


def body(config: VlmConfig, content: list[Part], number: int, seed: int = 0) -> dict[str, Any]:
    """A request's body, but for its response format.

    Args:
        config: of the endpoint.
        content: the message.
        number: counts the times that the same question is asked, from 0.
        seed: of the question, added to the config's.
    """
    temperature = config.temperature if number == 0 else max(config.temperature, WARMER)
    fields = {
        "model": config.model,
        "messages": [{"role": "user", "content": content}],
        "temperature": temperature,
        "max_tokens": config.max_tokens,
        "seed": config.seed + seed + number,
    } | config.parameters
    return {key: value for key, value in fields.items() if value is not None}


def answer_key(config: VlmConfig, prompt: Prompt, shape: type[Answer], content: list[str], seed: int = 0) -> str:
    """SHA-256 of all that an answer depends on.

    Frames follow from a clip's hash and how they are drawn from it, so nothing that is known need be decoded.

    Args:
        config: of the endpoint; its address and patience do not count.
        prompt: that is asked.
        shape: of the answer.
        content: hashes of the clips, and the texts that go with the prompt.
        seed: of the question.
    """
    parts = {
        "prompt": prompt.version,
        "schema": json_schema(shape),
        "content": content,
        "frames": [config.frames, config.image_side, config.jpeg_quality],
        "parameters": body(config, [], 0, seed),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
