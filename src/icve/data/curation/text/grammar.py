"""A little grammar of instructions: quoted text, sentences, clauses, and what is a demand.

Rules and word lists, no parser and no model: an instruction is a short sentence that opens with a verb, which is easy
to see, and a rule's answer is the same on every machine and for every seed.
"""

import re
from functools import cache
from importlib.resources import files
from itertools import pairwise

import yaml

TOKEN = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
# Stand-ins for quoted texts, from Unicode's private use area: no instruction has them.
MASK = 0xE000
MASKED = re.compile("[\ue000-\ue0ff]")
QUOTED = re.compile(r"“[^”]*”|\"[^\"]*\"|(?<!\w)‘[^’]*’(?!\w)|(?<!\w)'[^']+'(?!\w)|«[^»]*»")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'“‘\ue000-\ue0ff])")
ABBREVIATION = re.compile(r"(?:^|\s)(?:mr|mrs|ms|dr|st|vs|e\.g|i\.e|etc|no)\.$", re.IGNORECASE)
CONNECTOR = re.compile(
    r"\s*[,;]\s*(?:and then |then |and also |and |but |also )?|\s+(?:and then|and also|then|and|but)\s+",
    re.IGNORECASE,
)
POLITE = re.compile(
    r"(?:please|kindly|now|then|next|first|finally|also|just|simply|again|so|okay|ok|lastly|afterwards|go ahead and)"
    r"\b,?\s+",
    re.IGNORECASE,
)
ADVERB = re.compile(r"([a-z]+ly),?\s+", re.IGNORECASE)
GERUND = re.compile(r"[a-z]+ing\b[^,.;]*,\s+", re.IGNORECASE)
WISH = re.compile(
    r"(?:i|we)(?:['’]d| would)? (?:do not |don['’]t |really |just )*(?:like|want|need|prefer|wish)\b"
    r"(?! to (?:know|understand|describe|clarify|mention|note|point|ask)| more (?:info|context|detail))"
    r"|let['’]s\b",
    re.IGNORECASE,
)
SHOULD = re.compile(
    r"(?P<subject>[^,;:]+?) (?:should|must|needs? to|ought to)\b(?! be (?:noted|mentioned))", re.IGNORECASE
)
STATED = {
    "is",
    "are",
    "was",
    "were",
    "shows",
    "show",
    "depicts",
    "features",
    "has",
    "have",
    "what",
    "how",
    "why",
    "which",
}
# "the scene without the red ball"
WITHOUT = re.compile(
    r"(?:(?:the|this|same|whole|entire) )*(?:scene|video|clip|picture|image|view|room|street) "
    r"without \w(?!.*\b(?:is|are|was|were)\b)"
)
# "the rest of the scene stays as it is"; never the only sentence
CONSTRAINT = re.compile(
    r"\b(?:stays?|remains?|unchanged|untouched|unaffected|the same|as (?:it|they) (?:is|are))\b", re.IGNORECASE
)
NEGATIVE = re.compile(r"(?:do not|don['’]t|never) (?=\w)", re.IGNORECASE)
DETERMINERS = frozenset(
    [
        "the",
        "a",
        "an",
        "this",
        "that",
        "these",
        "those",
        "his",
        "her",
        "their",
        "its",
        "my",
        "our",
        "your",
        "all",
        "every",
        "each",
        "both",
    ]
)


@cache
def vocabulary(name: str) -> frozenset[str]:
    """The words of one list of words.yaml, in lower case."""
    return _lists()[name]


@cache
def _lists() -> dict[str, frozenset[str]]:
    text = files("icve.data.curation.text").joinpath("words.yaml").read_text(encoding="utf-8")
    return {name: frozenset(words.split()) for name, words in yaml.safe_load(text).items()}


def words(text: str) -> list[str]:
    """The words in lower case, with straight apostrophes; "man's" and "close-up" are one each."""
    return [token.lower().replace("’", "'") for token in TOKEN.findall(text)]


def mask_quotes(text: str) -> tuple[str, list[str]]:
    """The text with each quoted part as one private character, and these parts with their quotation marks."""
    quotes: list[str] = []

    def mask(match: re.Match[str]) -> str:
        quotes.append(match.group())
        return chr(MASK + len(quotes) - 1)

    return (QUOTED.sub(mask, text) if len(QUOTED.findall(text)) <= 0x100 else text), quotes


def unmask(text: str, quotes: list[str]) -> str:
    """Undoes `mask_quotes`."""
    return MASKED.sub(lambda match: quotes[ord(match.group()) - MASK], text)


def sentences(text: str) -> list[str]:
    """The sentences of a text whose quotes are masked."""
    parts: list[str] = []
    for part in SENTENCE_END.split(text.strip()):
        if parts and ABBREVIATION.search(parts[-1]):
            parts[-1] += " " + part
        else:
            parts.append(part)
    return parts


def split_clauses(sentence: str) -> list[str]:
    """A sentence as clauses with their connectors between them: ["zoom out", " and ", "pan right"].

    It is split only where a verb surely follows; joined, the parts are the sentence again.
    """
    parts, start = [], 0
    for match in CONNECTOR.finditer(sentence):
        if match.start() > start and opens_clause(sentence[match.end() :]):
            parts += [sentence[start : match.start()], match.group()]
            start = match.end()
    return [*parts, sentence[start:]]


def opens_clause(text: str) -> bool:
    """Whether the text surely begins with an imperative: an edit's verb, or any other with an object after it."""
    while match := POLITE.match(text):
        text = text[match.end() :]
    adverb = ADVERB.match(text)
    if adverb and adverb.group(1).lower() not in vocabulary("verbs"):
        text = text[adverb.end() :]
    first, second = _first_two(text)
    if first in vocabulary("edit_verbs"):
        return first not in vocabulary("verbs_or_nouns") or second in vocabulary("after_verbs")
    is_verb = first in vocabulary("verbs") or first in vocabulary("verbs_or_nouns")
    return is_verb and second in DETERMINERS | {"it", "them", "him", "everything"}


def split_lead(text: str) -> tuple[str, str]:
    """What may stand before a demand ("please ", "slowly ", "in the second half, ") and the rest."""
    rest = text
    for _ in range(4):
        match = POLITE.match(rest) or _lead_phrase().match(rest)
        if match is None and _first_two(rest)[0] not in vocabulary("verbs"):  # "bring", "apply"
            match = GERUND.match(rest) or ADVERB.match(rest)
        if match is None or not rest[match.end() :]:
            break
        rest = rest[match.end() :]
    return text[: len(text) - len(rest)], rest


@cache
def _lead_phrase() -> re.Pattern[str]:
    return re.compile(rf"(?:{'|'.join(sorted(vocabulary('prepositions')))})\b[^,.;]*,\s+", re.IGNORECASE)


def is_demand(sentence: str) -> bool:
    """Whether a sentence asks for something: an imperative, "the car should ...", "I want ...".

    Descriptions ("The man is ..."), reports ("Added a hat"), and gerunds ("Zooming out") do not.
    """
    _, rest = split_lead(sentence.strip())
    negative = NEGATIVE.match(rest)
    if negative:
        return is_imperative(rest[negative.end() :])
    return bool(
        is_imperative(rest) or WISH.match(rest) or WITHOUT.match(rest.lower()) or _says_should(rest) or _late_verb(rest)
    )


def is_constraint(sentence: str) -> bool:
    """Whether a sentence says what stays: "Everything else remains the same."."""
    return bool(CONSTRAINT.search(sentence))


def is_imperative(text: str) -> bool:
    """Whether the first word is a verb in its base form, used as one."""
    first, second = _first_two(text)
    if re.match(r"close up (?:of|shot|view)\b", text, re.IGNORECASE):
        return False
    if first in vocabulary("verbs"):
        return second not in vocabulary("after_nouns") and f"{first} {second}" != "change in"
    if first in vocabulary("verbs_or_nouns"):
        return second in vocabulary("after_verbs") or second.endswith("'s") or second.isdigit() or _is_plural(second)
    # A word in none of the lists is a verb if it has a verb's form and an object.
    known = first in vocabulary("not_verbs") or first in vocabulary("foreign") or not re.fullmatch("[a-z]{3,}", first)
    inflected = re.search(r"(?:[^s]s|ed|ing|ly|tion|ment|ness|ity)$", first)
    return not known and not inflected and second in DETERMINERS


def _is_plural(word: str) -> bool:
    """Whether "paint flowers" is a verb and things, unlike "paint peels"."""
    stems = {word[:-1], word[:-2]}
    return bool(re.fullmatch("[a-z]+[^s]s", word)) and not stems & (vocabulary("verbs") | vocabulary("verbs_or_nouns"))


def _first_two(text: str) -> tuple[str, str]:
    found = words(text[:200])[:2]
    first, second = (*found, "", "")[:2]
    return first, second


def _says_should(text: str) -> bool:
    match = SHOULD.match(text)
    return match is not None and not STATED & set(words(match.group("subject")))


def _late_verb(text: str) -> bool:
    """Whether an edit's verb with an object follows a prepositional phrase: "on the left add a ball"."""
    found = words(text)
    if not found or found[0] not in vocabulary("prepositions"):
        return False
    return any(verb in vocabulary("edit_verbs") and after in DETERMINERS for verb, after in pairwise(found[2:]))
