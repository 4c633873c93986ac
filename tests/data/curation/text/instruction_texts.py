"""Instructions for tests: a labelled list, and those of the procedural world with their types."""

from collections.abc import Iterator
from pathlib import Path

from icve.data.world import FULL, Edit, sample_edit

TYPE_OF = {"recolour": "attribute", "look": "style"}  # operations of the world that have another name as a type


def labelled() -> list[tuple[str, str, str]]:
    """(what the filter must say, type, text) of each line of instructions.txt."""
    lines = Path(__file__).with_name("instructions.txt").read_text(encoding="utf-8").splitlines()
    parts = [line.split(" | ", 2) for line in lines if not line.startswith("#")]
    return [(verdict, edit_type, text) for verdict, edit_type, text in parts]


def kept() -> list[tuple[str, str]]:
    """(type, text) of those that pass."""
    return [(edit_type, text) for verdict, edit_type, text in labelled() if verdict == "keep"]


def of_the_world(count: int) -> Iterator[tuple[Edit, str, str]]:
    """(edit, type, text) of `count` edits of each operation, half of them in words that training never sees."""
    for operation in FULL:
        for i in range(count):
            edit = sample_edit((31, i), split="full" if i % 4 > 1 else "core", operation=operation, unseen=i % 2 == 1)
            yield edit, type_of(edit), edit.instruction


def type_of(edit: Edit) -> str:
    """The type of an edit's instruction; of two edits in one, the first one's."""
    if edit.operation not in ("double", "timed"):
        return TYPE_OF.get(edit.operation, edit.operation)
    if edit.named is None:
        return "background" if edit.made is None else "add"
    if edit.made is None:
        return "remove"
    target = edit.target.later or edit.target
    same = edit.source.things[edit.named].shape == target.things[edit.made].shape
    return "attribute" if same else "replace"
