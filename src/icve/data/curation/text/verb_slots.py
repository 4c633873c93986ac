"""Kinds of slots in the table of wordings: which words may stand in each."""

import re
from collections.abc import Callable

from icve.data.curation.text.grammar import DETERMINERS, MASKED, opens_clause, vocabulary, words
from icve.data.curation.text.phrases import UNFINISHED

PREPOSITIONS = (
    r"(?:on|in|at|behind|beside|beneath|next to|near|under|underneath|over|above|below|between|around|inside|against|"
    r"along|across|outside|by|in front of|to the (?:left|right|side|top|bottom) of|on top of|onto)"
)
ADDED_TO = r"\bto (?:the|his|her|their|its|a|an)\b"
# "in a suit" is no place
PLACE = re.compile(rf"(?!in (?!the|front|his|her|their|its|between)){PREPOSITIONS} ", re.IGNORECASE)
PLACED = re.compile(rf"\b{PREPOSITIONS} |{ADDED_TO}", re.IGNORECASE)
PRONOUNS = frozenset({"it", "them", "him", "her", "everything", "everyone"})
TURN = r"(?:anti-?|counter-?)?clockwise"
DEGREES = r"(?:by )?\d+ ?(?:°|degrees?)"
SIDE = r"(?:(?:to|towards?) the |slightly )?(?:upper |lower |top |bottom )?(?:left|right)"
HEIGHT = r"(?:up|down)(?:wards?)?"


def _one_of(name: str) -> str:
    """A list of words.yaml as a pattern, longer words first."""
    return "|".join(sorted(vocabulary(name), key=lambda word: (-len(word), word)))


def colour() -> str:
    """A pattern for "red", "light blue", "black and white"."""
    one = rf"(?:(?:{_one_of('colour_shades')})[ -])?(?:{_one_of('colours')})"
    return rf"{one}(?: and {one})?"


# Slots whose words are a closed list, each a pattern.
CLOSED: dict[str, Callable[[], str]] = {
    "color": colour,
    "way": lambda: rf"(?:{SIDE}|{HEIGHT})(?: and (?:{SIDE}|{HEIGHT}))?",
    "height": lambda: HEIGHT,
    "turn": lambda: rf"(?:{DEGREES} )?{TURN}(?: {DEGREES})?",
    "scene": lambda: (
        r"(?:it|everything|(?:the|this) (?:whole |entire )?(?:video|scene|clip|footage|image|picture|shot))"
    ),
    "background": lambda: r"(?:the|this) (?:whole |entire |current )?(?:background|backdrop)",
    "setting": lambda: rf"the (?:whole |entire |current )?(?:time of day|{_one_of('settings')})",
    "surroundings": lambda: rf"(?:the|this|his|her|their) (?:\w+ )?(?:{_one_of('surroundings')})",
    "tone": lambda: r"(?:black and white|black-and-white|monochrome|gr[ae]yscale|sepia)",
}


def is_phrase(text: str, *, anywhere: bool = False) -> bool:
    """Some words that belong together: no stray preposition first, no second demand inside.

    "from" may be the verb's ("change it from"), unless it may be `anywhere`.
    """
    found = words(text)
    if not found and not MASKED.search(text):
        return False
    if (found and (found[0] in vocabulary("loose") or found[-1] in UNFINISHED)) or (not anywhere and " from " in text):
        return False
    return not any(map(opens_clause, re.split(r",? (?:and|then) |, ", text)[1:]))


def is_noun_phrase(text: str, *, anywhere: bool = False) -> bool:
    """ "the man with a hat", "two dogs", "Anna's coat"; `anywhere` as in `is_phrase`."""
    found = words(text)
    starts = bool(found) and (
        found[0] in DETERMINERS | vocabulary("quantities") or found[0].isdigit() or found[0].endswith("'s")
    )
    return starts and len(found) > 1 and is_phrase(text, anywhere=anywhere)


def is_indefinite(text: str) -> bool:
    """A noun phrase that names something new: "a dog", "some trees"."""
    first = words(text)[:1]
    return is_noun_phrase(text) and (
        first[0] in ("a", "an") or first[0] in vocabulary("quantities") or first[0].isdigit()
    )


def is_plain(text: str) -> bool:
    """A noun phrase without a verb in it, so that what follows begins where it seems to."""
    if text.lower() in PRONOUNS:
        return True
    if not is_noun_phrase(text) or text.endswith(("'s", "’s")) or "," in text:
        return False
    rest = words(text)[1:]
    unfit = vocabulary("verbs") | vocabulary("not_in_names")
    return rest[-1] not in vocabulary("prepositions") and not any(word in unfit for word in rest)


def is_doer(text: str) -> bool:
    """A plain name in which no word may be what is done: not "the kayakers paddle"."""
    return is_plain(text) and not any(word in vocabulary("verbs_or_nouns") for word in words(text)[2:])


def is_act(text: str) -> bool:
    """What someone does: "wave at the camera"."""
    first, *rest = words(text) or [""]
    return first in vocabulary("verbs") and is_phrase(f"x {text}") and not (rest and rest[0] in vocabulary("colours"))


def is_acting(text: str) -> bool:
    """Someone and what they do: "the traffic light turn green"."""
    found = words(text)
    if not found or found[0] not in DETERMINERS or " from " in text:
        return False
    return any(
        word in vocabulary("verbs")
        or (word in vocabulary("verbs_or_nouns") and (not after or after in vocabulary("after_verbs")))
        for word, after in zip(found[2:], [*found[3:], ""], strict=True)
    )


def _ends_in(text: str, name: str) -> bool:
    return (words(text) or [""])[-1] in vocabulary(name)


# Slots that take any words which pass a test.
OPEN: dict[str, Callable[[str], bool]] = {
    "text": is_phrase,
    "whole": lambda text: is_phrase(text, anywhere=True),
    "np": is_noun_phrase,
    "indefinite": is_indefinite,
    "plain": is_plain,
    "person": lambda text: is_plain(text) and _ends_in(text, "people"),
    "surface": lambda text: is_plain(text) and _ends_in(text, "surfaces"),
    "look": lambda text: is_indefinite(text) and _ends_in(text, "looks"),
    "hued": lambda text: is_noun_phrase(text, anywhere=True) or bool(re.match(rf"{colour()}\b", text, re.IGNORECASE)),
    # a new thing with no place, with no place and an article, with any place but "to", with a place to put it
    "bare": lambda text: is_phrase(text, anywhere=True) and not PLACED.search(text),
    "barely": lambda text: is_indefinite(text) and not PLACED.search(text),
    "placed": lambda text: is_phrase(text, anywhere=True) and not re.search(ADDED_TO, text, re.IGNORECASE),
    "put": lambda text: is_indefinite(text) and any(PLACE.match(text, m.end()) for m in re.finditer(" ", text)),
    "place": lambda text: bool(PLACE.match(text)) and "," not in text,
    "doer": is_doer,
    "act": is_act,
    "acting": is_acting,
}
