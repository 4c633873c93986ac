"""Verb rewriting: says an instruction in other words, so that a model learns the meaning and not the verb.

Unpaired instructions come from one writer, who says "replace" where people say swap, change, turn into. A table knows
the wordings of each meaning; names of things, colours and places are kept word for word.
"""

import re

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from icve.data.curation.text.grammar import (
    DETERMINERS,
    MASKED,
    mask_quotes,
    sentences,
    split_clauses,
    split_lead,
    unmask,
    words,
)
from icve.data.curation.text.verb_table import HOW, Meaning, understand
from icve.vlm.config import VlmConfig

# What may follow a clause and goes with any wording of it.
TAIL = re.compile(
    r",? (?:so that|so|while|until|whereas|halfway through|without \w+ing|but|as (?:it|he|she|they|the \w+ \w+s)"
    r"|in the (?:first|second) half)\b|, (?:which|with|not|leaving|revealing|showing|making|giving|keeping)\b",
    re.IGNORECASE,
)
VIEW_TAIL = re.compile(
    r",? (?:(?<!want )to (?:reveal|show|include|see|capture|expose|bring|give|make)|revealing|showing)\b", re.IGNORECASE
)
END = re.compile(r"(?:,? please)?[.! ]*$", re.IGNORECASE)
COURTESIES = ("please {}", "{}, please", "in this scene, {}")


class RewriteConfig(BaseModel):
    """How much is rewritten."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(default=0.7, ge=0, le=1, description="of the instructions that are said in other words")
    courtesy: float = Field(
        default=0.1, ge=0, le=1, description="of the table's: share with 'please' or 'in this scene'"
    )
    model: VlmConfig | None = Field(default=None, description="the endpoint that rewrites; null: the table alone")


class VerbRewriter:
    """Rewrites by the table, verbs.yaml."""

    version = "table/1"

    def __init__(self, config: RewriteConfig | None = None) -> None:
        self.config = config or RewriteConfig()

    def rewrite(self, text: str, edit_type: str, rng: np.random.Generator) -> str:
        """The instruction in other words, or as it is where the table does not understand it beyond doubt.

        Args:
            text: an instruction that passes the instruction filter; so does the result.
            edit_type: one of `icve.data.pairs.base.TYPES`.
            rng: decides; the same state gives the same words.
        """
        return text if rng.random() >= self.config.share else self.reword(text, edit_type, rng)

    def reword(self, text: str, edit_type: str, rng: np.random.Generator) -> str:
        """As `rewrite`, whatever the config's share."""
        if MASKED.search(text) or text.isupper():
            return text
        masked, quotes = mask_quotes(text.strip())
        parts = sentences(masked)
        said = [self._sentence(part, edit_type, rng, alone=len(parts) == 1) for part in parts]
        return unmask(" ".join(said), quotes) if said != parts else text

    def _sentence(self, sentence: str, edit_type: str, rng: np.random.Generator, *, alone: bool) -> str:
        body = END.sub("", sentence)
        end, capital = sentence[len(body) :], body[:1].isupper()
        british = "colour" in body.lower()
        lead, rest = split_lead(body)
        slow = re.search(rf"(?:^|(?<= )){HOW} $", lead, re.IGNORECASE)
        if slow and understand(lead[slow.start() :] + split_clauses(rest)[0], edit_type):
            lead, rest = lead[: slow.start()], lead[slow.start() :] + rest  # "slowly" belongs to the clause
        clauses = split_clauses(rest)
        alone = alone and len(clauses) == 1 and not lead
        if words(rest)[:1] and words(rest)[0] in DETERMINERS | {"it", "everything", "there"}:
            clauses[0] = (
                clauses[0][:1].lower() + clauses[0][1:]
            )  # "The car should be red" may go on as "make the car red"
        for index in range(0, len(clauses), 2):
            clauses[index] = _other_words(clauses[index], edit_type, rng, alone=alone, british=british)
        said = lead + "".join(clauses)
        imperative = not re.match(r"(?:i|there|the|this|that|a|an|his|her)\b", said, re.IGNORECASE)
        if alone and imperative and "please" not in sentence.lower() and rng.random() < self.config.courtesy:
            said = COURTESIES[int(rng.integers(len(COURTESIES)))].format(said[:1].lower() + said[1:])
        return (said[:1].upper() + said[1:] if capital else said) + end


def _other_words(clause: str, edit_type: str, rng: np.random.Generator, *, alone: bool, british: bool) -> str:
    """One clause in other words, or as it is."""
    for core, tail in _tails(clause):
        meaning = understand(core, edit_type)
        if meaning is not None:
            # A tail belongs to a demand: "the dog should sit while ..." would say something else.
            options = [
                text
                for text in meaning.wordings(alone=alone and not tail, british=british)
                if text.lower() != core.lower()
            ]
            return (options[int(rng.integers(len(options)))] if options else core) + tail
    return clause


def _tails(clause: str) -> list[tuple[str, str]]:
    """The clause whole, then with what follows it set aside."""
    found = [(clause, "")]
    for pattern in (VIEW_TAIL, TAIL):
        match = pattern.search(clause)
        if match and match.start() > 0:
            found.append((clause[: match.start()], clause[match.start() :]))
    # A whole clause with a tail inside would take it for part of a slot.
    return found if len(found) == 1 else found[1:]


def meanings(text: str, edit_type: str) -> list[tuple[str, Meaning | None, str]]:
    """Each clause of an instruction, what the table understands of it (None where nothing), and its tail."""
    masked, _ = mask_quotes(text.strip())
    found: list[tuple[str, Meaning | None, str]] = []
    for sentence in sentences(masked):
        for clause in split_clauses(split_lead(END.sub("", sentence))[1])[::2]:
            read = ((clause, understand(core, edit_type), tail) for core, tail in _tails(clause))
            found.append(next((one for one in read if one[1]), (clause, None, "")))
    return found
