"""The sizes of clips."""

from typing import NamedTuple


class Bucket(NamedTuple):
    """A clip's size in pixels; frames are 1 (an image) or 4n + 1. Written "33x480x832"."""

    frames: int
    height: int
    width: int

    def __str__(self) -> str:
        return "x".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> "Bucket":
        """The bucket of a name such as "33x480x832"; `ValueError` for any other text."""
        frames, height, width = map(int, text.split("x"))
        if min(frames, height, width) < 1:
            raise ValueError(f"{text!r} is not a size")
        return cls(frames, height, width)
