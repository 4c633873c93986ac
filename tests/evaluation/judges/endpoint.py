"""Our misbehaving endpoint as a judge: it sees from the pictures alone how good an edit is, and says so or lies.

Clip `number` is a video of one colour that says its number; `number % 16` is how good an edit it is, from 0 to 15.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.judges import Judge, JudgeConfig
from icve.video import VideoInfo, VideoWriter
from tests.data.curation.endpoint import Act, Endpoint, clip, completion

BEST = 15
SIZE = (48, 64)


def write_clip(path: Path, number: int, frames: int = 9) -> Path:
    """A video of the clip of that number; the same file when it is there already."""
    if not path.exists():
        info = VideoInfo(None, SIZE[1], SIZE[0], Fraction(1, 10), Fraction(10))
        with VideoWriter(path, info, lossless=True) as writer:
            for at, image in enumerate(clip(number, frames, SIZE)):
                writer.write(image, at, 1)
    return path


@dataclass(frozen=True)
class Benchmark:
    """Cases on disk: the source is no edit at all, the target a perfect one."""

    folder: Path

    def case(self, number: int, **values: Any) -> Case:
        """Case `number`, below 16."""
        return Case(
            f"case-{number}",
            "remove",
            f"Remove thing {number}.",
            write_clip(self.folder / f"source-{number}.mp4", 16 * number),
            target=write_clip(self.folder / f"target-{number}.mp4", 16 * number + BEST),
            **values,
        )

    def edit(self, number: int, goodness: int) -> Path:
        """An edit of case `number`."""
        return write_clip(self.folder / f"edit-{number}-{goodness}.mp4", 16 * number + goodness)

    def clips(self, number: int, goodness: int, **values: Any) -> tuple[Case, Clips]:
        """What a scorer is given."""
        case = self.case(number, **values)
        return case, Clips(case, self.edit(number, goodness))


@dataclass(frozen=True)
class Asked:
    """A request: numbers of the clips and of their frames by what they are called, and the text behind them."""

    body: dict[str, Any]
    headers: dict[str, str]
    shown: dict[str, int]
    frames: dict[str, list[int]]
    sizes: set[tuple[int, int]]
    prompt: str
    text: str
    times: int

    @property
    def clips(self) -> tuple[Any, ...]:
        """All that tells this question from another."""
        return (self.prompt[:60], tuple(self.shown.items()), str(self.frames), self.text, self.body["seed"] // 1000)

    @property
    def schema(self) -> dict[str, Any]:
        """What is to be answered, field by field."""
        return self.body["response_format"]["json_schema"]["schema"]["properties"]

    @property
    def right(self) -> dict[str, Any]:
        """What an honest judge says."""
        return answer(self, self.shown["EDITED"] % 16 / BEST if "EDITED" in self.shown else 0, self.better())

    def better(self) -> str:
        """Which of two edits is better, by their pictures."""
        first, second = self.shown.get("FIRST", 0) % 16, self.shown.get("SECOND", 0) % 16
        return "tie" if first == second else "first" if first > second else "second"


def answer(asked: Asked, share: float, better: str = "tie") -> dict[str, Any]:
    """An answer by the schema; `share` says how far up its scales."""
    given: dict[str, Any] = {}
    for name, wanted in asked.schema.items():
        choices = wanted.get("enum")
        if choices is None:
            given[name] = f"Seen at {share:.2f}."
        elif name == "better":
            given[name] = better
        elif choices == ["yes", "no"]:
            given[name] = "yes" if share > 0.5 else "no"
        else:
            given[name] = choices[round(share * (len(choices) - 1))]
    return given


@dataclass
class JudgeEndpoint(Endpoint):
    """The endpoint; a context manager."""

    asked: list[Any] = field(default_factory=list)

    def note(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Any:
        """Writes a request down."""
        (message,) = body["messages"]
        first, *parts, last = message["content"]
        pictures: dict[str, list[np.ndarray]] = {}
        for part in parts:
            if part["type"] == "text":
                name = part["text"].removesuffix(":")
            else:
                data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
                image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
                pictures.setdefault(name, []).append(image)
        shown, frames = {}, {}
        for name, images in pictures.items():
            colours = [tuple(int(value) // 16 for value in image.mean((0, 1))) for image in images]
            shown[name] = colours[0][1] * 16 + colours[0][0]
            frames[name] = [blue for _, _, blue in colours]
        sizes = {(image.shape[1], image.shape[0]) for images in pictures.values() for image in images}
        with self.lock:
            if path != "/v1/chat/completions":
                self.mistakes.append(f"asked at {path}")
            asked = Asked(body, headers, shown, frames, sizes, first["text"], last["text"], 0)
            times = sum(one.clips == asked.clips for one in self.asked)
            asked = Asked(body, headers, shown, frames, sizes, first["text"], last["text"], times)
            self.asked.append(asked)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        return asked


def honest(_: Asked) -> Act:
    """Says what it sees."""
    return lambda handler, asked: _say(handler, asked, asked.right)


def flatterer(_: Asked) -> Act:
    """Gives everything the highest mark."""
    return lambda handler, asked: _say(handler, asked, answer(asked, 1.0))


def first_always(_: Asked) -> Act:
    """Likes what it is shown first; else honest."""
    return lambda handler, asked: _say(
        handler, asked, asked.right | ({"better": "first"} if "FIRST" in asked.shown else {})
    )


def lots(_: Asked) -> Act:
    """Draws lots, other ones for each question and vote."""

    def act(handler: Any, asked: Asked) -> None:
        drawn = int.from_bytes(hashlib.sha256(repr(asked.clips).encode()).digest()[:4]) / 2**32
        _say(handler, asked, answer(asked, drawn, "first" if drawn < 0.5 else "second"))

    return act


def _say(handler: Any, asked: Asked, given: dict[str, Any]) -> None:
    with handler.server.endpoint.lock:
        handler.server.endpoint.answered[asked.clips] += 1
    handler.send(200, completion(json.dumps(given)))


Manner = Callable[[Any], Act]


def config(endpoint: Endpoint | str, name: str = "judge", **values: Any) -> JudgeConfig:
    """A judge whose patience fits a test."""
    url = endpoint if isinstance(endpoint, str) else endpoint.url
    quick = {"backoff": 0.01, "longest_wait": 0.1, "timeout": 5.0, "retries": 3, "concurrency": 4, "frames": 3}
    return JudgeConfig(**({"name": name, "base_url": url, "model": f"tiny-{name}"} | quick | values))


def judge(endpoint: Endpoint | str, folder: Path, name: str = "judge", **values: Any) -> Judge:
    """A judge that keeps its answers in a folder; to be closed."""
    return Judge(config(endpoint, name, **values), folder / f"{name}.sqlite")
