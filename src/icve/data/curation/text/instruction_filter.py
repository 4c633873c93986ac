"""Which instructions are fit for training: one demand in English that fits its type and says what is to be seen.

Everything here is rules and word lists. A language detector was left out on purpose: on sentences of five words they
err, and whatever does not open with an English verb falls anyway.
"""

import re
import unicodedata

from pydantic import BaseModel, ConfigDict, Field, model_validator

from icve.data.curation.text.grammar import (
    MASKED,
    is_constraint,
    is_demand,
    mask_quotes,
    sentences,
    split_clauses,
    split_lead,
    vocabulary,
    words,
)
from icve.data.curation.text.implied_types import contradicts
from icve.data.curation.text.phrases import (
    ANNOTATOR,
    BRACKETED,
    CLIPS,
    MARKUP,
    NO_CHANGE,
    PLACEHOLDER,
    PRESERVING,
    QUESTION,
    STRAY,
    TO_ITSELF,
    UNFINISHED,
)

LONGEST = 2000  # characters of a text that is looked at at all
LONGEST_WORD = 40  # characters; longer ones are no words
REASONS = (
    "too long",
    "too short",
    "several sentences",
    "markup",
    "placeholder",
    "unfinished",
    "repetition",
    "not English",
    "question",
    "not imperative",
    "about clips",
    "about the annotator",
    "no change",
    "trivial",
    "contradicts its type",
)
ASCII = {chr(code) for code in range(0x20, 0x7F)}
SYMBOLS = set("°×%$€£©®™")  # that may stand in a sentence


class FilterConfig(BaseModel):
    """What an instruction must be like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_words: int = Field(default=2, ge=1, description="'zoom out' has two")
    max_words: int = Field(default=60, ge=1, description="the pooled text encoder reads 77 tokens")
    max_sentences: int = Field(default=2, ge=1)
    english: bool = Field(default=True, description="drop other languages; false skips what needs English words too")
    trivial: bool = Field(default=True, description="drop edits of brightness, exposure, contrast or sharpness alone")

    @model_validator(mode="after")
    def _check_words(self) -> "FilterConfig":
        if self.max_words < self.min_words:
            raise ValueError(f"max_words ({self.max_words}) must not be less than min_words ({self.min_words})")
        return self


def check_instruction(text: str, edit_type: str, config: FilterConfig | None = None) -> str | None:
    """Why an instruction is dropped, one of `REASONS`, or None when it is kept.

    Args:
        text: the instruction. Quoted parts ("a sign that says 'Bonjour'") may be in any language and wording.
        edit_type: one of `icve.data.pairs.base.TYPES`.
        config: the defaults when None.
    """
    config = config or FilterConfig()
    text = text.strip()
    if len(text) > LONGEST:
        return "too long"
    if edit_type == "none":
        return "no change"
    if _has_markup(text):
        return "markup"
    masked, _ = mask_quotes(text.replace("’", "'"))
    if PLACEHOLDER.search(masked) or BRACKETED.search(masked):
        return "placeholder"
    if STRAY.search(masked):
        return "markup"
    if config.english and not is_english(masked):
        return "not English"
    found = words(masked)
    if len(found) + len(MASKED.findall(masked)) < config.min_words:
        return "no change" if _says_no_change(masked) else "too short"
    if len(found) > config.max_words:
        return "too long"
    if has_loops(found):
        return "repetition"
    return _check_english(masked, found, edit_type, config) if config.english else None


def _check_english(text: str, found: list[str], edit_type: str, config: FilterConfig) -> str | None:
    """The checks that understand words, most telling reason first."""
    for pattern, reason in ((ANNOTATOR, "about the annotator"), (CLIPS, "about clips"), (QUESTION, "question")):
        if pattern.search(text):
            return reason
    if _says_no_change(text):
        return "no change"
    parts = sentences(text)
    if len(parts) > config.max_sentences:
        return "several sentences"
    if not is_demand(parts[0]) or not all(is_demand(part) or is_constraint(part) for part in parts[1:]):
        return "not imperative"
    if found and found[-1] in UNFINISHED and not MASKED.search(text[-3:]):
        return "unfinished"
    if config.trivial and _is_trivial(parts):
        return "trivial"
    return "contradicts its type" if contradicts(text, edit_type) else None


def _has_markup(text: str) -> bool:
    """Whether there are links, tags, code, list marks, control characters, or quotation marks around it all."""
    if MARKUP.search(text) or any(len(token) > LONGEST_WORD for token in text.split()):
        return True
    if text.startswith(("{", "[")) and text.endswith(("}", "]")) and any(mark in text for mark in ('":', "',", '",')):
        return True
    return any(c not in ASCII and c not in SYMBOLS and unicodedata.category(c)[0] in "CS" for c in text)


def is_english(text: str) -> bool:
    """Whether the text (quotes masked) is in Latin letters and has more of English's words than of other languages'.

    A text without a common word of either counts as English only where it is shorter than four words.
    """
    letters = [c for c in text if c.isalpha() and not MASKED.match(c)]
    foreign_letters = sum(not c.isascii() and not unicodedata.name(c, "").startswith("LATIN") for c in letters)
    if foreign_letters > 0.05 * len(letters):
        return False
    found = [part for word in words(text) for part in re.split("['’-]", word)]
    known = frozenset().union(*map(vocabulary, ("english", "verbs", "verbs_or_nouns", "function", "not_verbs")))
    english = sum(word in known and word not in vocabulary("shared") for word in found)
    foreign = sum(word in vocabulary("foreign") for word in found)
    accents = sum(not c.isascii() for c in letters) / max(1, len(letters))
    if foreign >= max(1, english) or (accents > 0.04 and english < len(found) / 3):
        return False
    return english > 0 or len(found) < 4


def has_loops(found: list[str]) -> bool:
    """Whether words are said again and again: one word or two three times in a row, more of them twice in a row, or
    half of a longer text said before."""
    for size in range(1, min(12, len(found) // 2) + 1):
        times = 3 if size <= 2 else 2
        for start in range(len(found) - size * times + 1):
            piece = found[start : start + size]
            if all(found[start + size * k : start + size * (k + 1)] == piece for k in range(1, times)):
                return True
    grams = [tuple(found[i : i + 3]) for i in range(len(found) - 2)]
    return len(grams) >= 12 and len(set(grams)) < 0.6 * len(grams)


def _says_no_change(text: str) -> bool:
    clauses = [split_lead(clause)[1] for part in sentences(text) for clause in split_clauses(part)[::2]]
    if NO_CHANGE.search(text) or all(PRESERVING.match(clause) for clause in clauses):
        return True
    return len(clauses) == 1 and bool(TO_ITSELF.search(text))


def _is_trivial(parts: list[str]) -> bool:
    """Whether it is a change of tone at most: every clause has only words for tones and words that add nothing."""
    fillers = vocabulary("tone_fillers") | vocabulary("tones")
    toned = False
    for clause in (clause for part in parts for clause in split_clauses(part)[::2]):
        if PRESERVING.match(split_lead(clause)[1]):
            continue
        found = [word for word in words(clause) if not word.isdigit() and not word.endswith("ly")]
        if not all(word in fillers for word in found):
            return False
        toned |= any(word in vocabulary("tones") for word in found)
    return toned
