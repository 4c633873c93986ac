"""Stage 8, verb rewriting: a share of the instructions in other words, drawn by seed alone."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np

from icve.data.curation.randomness import generator
from icve.data.curation.records import Instruction
from icve.data.curation.text.instruction_filter import FilterConfig, check_instruction
from icve.data.curation.text.verbs import RewriteConfig, VerbRewriter

Item = TypeVar("Item")
Instructed = Iterable[tuple[Item, str, Instruction]]
"""Whatever an instruction belongs to, the name of its pair, and the instruction."""


class TableRewriting:
    """Rewrites by the table."""

    def __init__(self, config: RewriteConfig, rules: FilterConfig, seed: int) -> None:
        """
        Args:
            config: how much is rewritten.
            rules: what a rewritten instruction must still keep to.
            seed: of the run.
        """
        self.table, self.rules, self.seed = VerbRewriter(config), rules, seed

    def run(self, instructed: Instructed[Item]) -> Iterator[tuple[Item, Instruction]]:
        """Each item with its instruction, in other words or as it is, in order."""
        for item, name, instruction in instructed:
            rng = self.generator(name)
            yield item, self.reword(instruction, rng) if self.is_drawn(rng) else instruction

    def generator(self, name: str) -> np.random.Generator:
        """What decides about one pair."""
        return generator(self.seed, "verbs", name)

    def is_drawn(self, rng: np.random.Generator) -> bool:
        """Whether the pair is of the share that is rewritten."""
        return bool(rng.random() < self.table.config.share)

    def reword(self, instruction: Instruction, rng: np.random.Generator) -> Instruction:
        """The table's words, or those that there are where it knows no others that pass the filter."""
        text = self.table.reword(instruction.text, instruction.type, rng)
        if text == instruction.text or check_instruction(text, instruction.type, self.rules) is not None:
            return instruction
        return said(instruction, text, VerbRewriter.version)


def said(instruction: Instruction, text: str, by: str) -> Instruction:
    """The instruction in other words; its method then names who found them."""
    return replace(instruction, text=text, method=f"{instruction.method} + {by}")
