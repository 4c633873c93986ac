"""The table of wordings: reads a clause as a meaning with its words in slots, and writes it in another way."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from icve.data.curation.text.verb_slots import CLOSED, OPEN

SLOT = re.compile(r"\{(\w+)(?:\|(\w+))?\}")
LONGEST_MOVED = 8  # words of a slot that may go before another: "substitute {new} for {old}" hides the end of long ones
# "slowly" and the like, where they stand without being part of a slot
HOW = (
    r"(?:(?:very |more )?(?:slowly|slightly|gently|gradually|smoothly|quickly|steadily|rapidly|subtly)"
    r"|a (?:little bit|little|bit|lot))"
)
HOWS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<before>)(?P<how>{HOW}) (?P<after>.+)",
        rf"(?P<before>.+) (?P<how>{HOW})(?P<after>)",
        rf"(?P<before>\w+(?: the camera)?(?: in| out| back| closer)?) (?P<how>{HOW}) (?P<after>.+)",
    )
)


@dataclass(frozen=True)
class Template:
    """One wording: literal words and slots.

    Attributes:
        kinds: name and kind of each slot, in order.
        whole: matches clauses; each open slot takes as little as it can.
        before, after: what stands before the first open slot and after it; None with fewer than two open slots.
    """

    text: str
    kinds: tuple[tuple[str, str], ...]
    whole: re.Pattern[str]
    before: re.Pattern[str] | None = None
    after: re.Pattern[str] | None = None

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Reads "replace {old} with {new|np}"."""
        kinds = tuple((match[1], match[2] or "text") for match in SLOT.finditer(text))
        opens = [match for match in SLOT.finditer(text) if (match[2] or "text") in OPEN]
        if len(opens) < 2:
            return cls(text, kinds, _pattern(text))
        first = opens[0]
        return cls(text, kinds, _pattern(text), _pattern(text[: first.start()]), _pattern(text[first.end() :]))

    def match(self, clause: str) -> dict[str, str] | None:
        """The slots' words, or None where it does not match, or matches in more than one way."""
        found = self.whole.fullmatch(clause)
        if found is None:
            return None
        if self.before is None:
            return found.groupdict() if self._fits(found.groupdict()) else None
        ways = [slots for slots in self._ways(clause) if self._fits(slots)]
        return ways[0] if len(ways) == 1 else None

    def _ways(self, clause: str) -> Iterator[dict[str, str]]:
        assert self.before is not None
        assert self.after is not None
        head = self.before.match(clause)
        name = next(name for name, kind in self.kinds if kind in OPEN)
        for end in re.finditer(r"\b|(?<=\W)", clause) if head else ():
            if head and end.start() > head.end():
                tail = self.after.fullmatch(clause, end.start())
                if tail:
                    yield {**head.groupdict(), name: clause[head.end() : end.start()], **tail.groupdict()}

    def _fits(self, slots: dict[str, str]) -> bool:
        return all(kind in CLOSED or OPEN[kind](slots[name]) for name, kind in self.kinds)

    def write(self, slots: dict[str, str], *, british: bool) -> str | None:
        """The wording with these words, or None where it would read badly."""
        order = [name for name, _ in self.kinds]
        if order and self.text.startswith("{") and slots[order[0]].lower() in ("him", "her", "them"):
            return None  # "him should"
        moved = "new" in order and "old" in order and order.index("new") < order.index("old")
        if moved and len(slots["new"].split()) > LONGEST_MOVED:
            return None
        text = "".join(
            slots[part.group(1)]
            if isinstance(part, re.Match)
            else part.replace("color", "colour" if british else "color")
            for part in _parts(self.text)
        )
        return re.sub(r"\ba\(n\) (?=([aeiou])?)", lambda match: "an " if match[1] else "a ", text, flags=re.IGNORECASE)


def _parts(template: str) -> Iterator[str | re.Match[str]]:
    """Literal words and slots, in turns."""
    start = 0
    for match in SLOT.finditer(template):
        yield template[start : match.start()]
        yield match
        start = match.end()
    yield template[start:]


def _pattern(template: str) -> re.Pattern[str]:
    """What matches a template; slots are named groups, and open ones take as little as they can."""
    pattern = ""
    for part in _parts(template):
        if isinstance(part, str):
            pattern += re.escape(part).replace("color", "colou?r").replace(r"a\(n\)", "an?")
        else:
            kind = part[2] or "text"
            pattern += f"(?P<{part[1]}>{CLOSED[kind]() if kind in CLOSED else '.+?'})"
    return re.compile(pattern, re.IGNORECASE)


@dataclass(frozen=True)
class Family:
    """Wordings of one meaning; the fields are those of verbs.yaml."""

    name: str
    types: frozenset[str] | None
    reads: tuple[Template, ...]
    writes: tuple[Template, ...]
    alone: tuple[Template, ...]
    adverb: bool

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "Family":
        """Reads one entry of the file."""
        writes = [Template.parse(text) for text in values["writes"]]
        reads = [Template.parse(text) for text in values["reads"]] if "reads" in values else writes
        also = [Template.parse(text) for text in values.get("also", ())]
        alone = tuple(Template.parse(text) for text in values.get("alone", ()))
        types = None if values["types"] == "any" else frozenset(values["types"])
        return cls(values["name"], types, (*reads, *also, *alone), tuple(writes), alone, values.get("adverb", False))


@dataclass(frozen=True)
class Meaning:
    """A clause as the table understands it.

    Attributes:
        slots: words by slot, as they stood.
        how: "slowly" and the like, which any wording can take; "" without.
    """

    family: Family
    slots: dict[str, str]
    how: str = ""

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...], str]:
        """Equal for two clauses of the same meaning."""
        return self.family.name, tuple(sorted((k, _bare(v)) for k, v in self.slots.items())), self.how

    @property
    def is_empty(self) -> bool:
        """Whether a thing is to become itself."""
        before, after = self.slots.get("was", self.slots.get("old")), self.slots.get("new", self.slots.get("color"))
        return before is not None and after is not None and _bare(before) == _bare(after)

    def wordings(self, *, alone: bool, british: bool) -> Iterator[str]:
        """All ways to write it; `alone` with those that are whole sentences."""
        for template in (*self.family.writes, *(self.family.alone if alone else ())):
            text = template.write(self.slots, british=british)
            if text is None:
                continue
            if not self.how:
                yield text
                continue
            yield f"{text} {self.how}"
            if self.how.endswith("ly") and not re.match(r"(?:have|let|the|I|do)\b", text):
                yield f"{self.how} {text}"


def _bare(words_of_slot: str) -> str:
    return re.sub(r"^(?:to the|towards? the|the|a|an) ", "", words_of_slot.lower())


@cache
def table() -> tuple[Family, ...]:
    """The families of verbs.yaml, in order."""
    text = files("icve.data.curation.text").joinpath("verbs.yaml").read_text(encoding="utf-8")
    return tuple(map(Family.parse, yaml.safe_load(text)))


def understand(clause: str, edit_type: str) -> Meaning | None:
    """The first family that a clause (no lead, no full stop) belongs to, in an instruction of a type."""
    clause = " ".join(clause.split())
    for family in table():
        if family.types is not None and edit_type not in family.types:
            continue
        for how, text in _without_adverb(clause) if family.adverb else (("", clause),):
            for template in family.reads:
                slots = template.match(text)
                if slots is not None:
                    meaning = Meaning(family, slots, how)
                    return None if meaning.is_empty else meaning
    return None


def _without_adverb(clause: str) -> Iterator[tuple[str, str]]:
    yield "", clause
    for pattern in HOWS:
        match = pattern.fullmatch(clause)
        if match:
            yield match["how"].lower(), " ".join(f"{match['before']} {match['after']}".split())
