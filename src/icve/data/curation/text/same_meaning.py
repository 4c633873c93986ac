"""Whether an instruction in other words says the same: the check that a language model's answers must pass."""

import re
from collections import Counter
from functools import cache

from icve.data.curation.text.grammar import QUOTED, mask_quotes, sentences, split_clauses, split_lead, vocabulary, words
from icve.data.curation.text.instruction_filter import FilterConfig, check_instruction
from icve.data.curation.text.verb_slots import OPEN
from icve.data.curation.text.verb_table import SLOT, Meaning, table
from icve.data.curation.text.verbs import meanings

MAX_ADDED = 2  # words of content that a rewrite may have beyond those it was given: a verb and an adverb


def accepts_rewrite(before: str, after: str, edit_type: str, config: FilterConfig | None = None) -> bool:
    """Whether a rewrite may stand for an instruction: of the same type, about as long, and with the same content.

    Quoted texts, numbers, colours, directions and negations must be the same ones; every other word of content must be
    there, in any inflection, and few new ones. Where the order of words carries the meaning ("replace A with B", all
    of the camera), both must be understood by the table and mean the same.
    """
    if check_instruction(after, edit_type, config) is not None:
        return False
    if meaning_keys(before, edit_type) == meaning_keys(after, edit_type):
        return True
    if not 0.5 <= (len(words(after)) + 2) / (len(words(before)) + 2) <= 2:
        return False
    if Counter(QUOTED.findall(before)) != Counter(QUOTED.findall(after)):
        return False
    (one, _), (two, _) = mask_quotes(before), mask_quotes(after)
    for kind in map(vocabulary, ("colours", "directions", "negations")):
        if Counter(w for w in words(one) if w in kind) != Counter(w for w in words(two) if w in kind):
            return False
    if Counter(re.findall(r"\d+(?:\.\d+)?", one)) != Counter(re.findall(r"\d+(?:\.\d+)?", two)):
        return False
    had, has = content(one), content(two)
    if had - has or len(has - had) > MAX_ADDED:
        return False
    return edit_type != "camera" and not any(_is_ordered(meaning) for _, meaning, _ in meanings(before, edit_type))


def meaning_keys(text: str, edit_type: str) -> list[object]:
    """What each clause means, comparable; its own words where the table does not understand it."""
    return [
        (meaning.key, tail.lower()) if meaning else tuple(words(clause))
        for clause, meaning, tail in meanings(text, edit_type)
    ]


def _is_ordered(meaning: Meaning | None) -> bool:
    """Whether the clause has two phrases that would mean something else the other way round."""
    return meaning is not None and sum(kind in OPEN for _, kind in meaning.family.writes[0].kinds) > 1


def content(text: str) -> set[str]:
    """The stems of the words that say what is edited: without each clause's verb, function words, the table's words."""
    masked, _ = mask_quotes(text)
    plain = vocabulary("function") | _table_words()
    found = set()
    for clause in (clause for part in sentences(masked) for clause in split_clauses(part)[::2]):
        lead, rest = split_lead(clause)
        first, *others = words(rest) or [""]
        kept = [*words(lead), *([] if first in vocabulary("verbs") else [first]), *others]
        found |= {_stem(word) for word in kept if word not in plain}
    return found


@cache
def _table_words() -> frozenset[str]:
    return frozenset(
        word
        for family in table()
        for template in (*family.reads, *family.writes, *family.alone)
        for word in words(SLOT.sub(" ", template.text))
    )


def _stem(word: str) -> str:
    word = word.removesuffix("'s")
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    word = word.removesuffix("e")
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word
