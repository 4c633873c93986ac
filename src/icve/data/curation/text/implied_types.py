"""Which types an instruction's words can belong to, where they leave little doubt."""

import re

from icve.data.curation.text.grammar import sentences, split_clauses, split_lead, vocabulary, words

SCENE = r"(?:it|everything|(?:the |this )?(?:whole |entire )?(?:video|scene|clip|footage|image|picture|film))"
GO = "walk|run|jump|swim|climb"  # which may bring things into view or out of it
MOVE = "dance|smile|wave|sit|stand|clap|nod|laugh|kneel|bow|cry|sing|drink|eat|wink|hug|yawn"
DOER = r"(?:make|have|let|get) (?:the|his|her|their) \w+ (?:\w+ )?(?:to )?"
# Of a view, not of a thing that a camera sees: "remove the camera shake", "add a slow zoom".
VIEW = re.compile(r"\b(?:camera|zoom|shot|angle|view|viewpoint|perspective|framing|close-?up|shake|lens)\b")
NEVER = r"(?!)"

# How a clause opens, the types that it can then belong to, and what leaves it open after all. The first that fits
# decides. Generous on purpose: "add stripes to the shirt" may be called an attribute, a replaced sky a background.
RULES: tuple[tuple[re.Pattern[str], frozenset[str], re.Pattern[str]], ...] = tuple(
    (re.compile(opening), frozenset(types.split()), re.compile(unless))
    for opening, types, unless in (
        (r"(?:zoom|pan|dolly)(?![\w-])", "camera", NEVER),
        (
            r"(?:move|tilt|rotate|shift|swing|roll|slide|pull|push|turn) (?:the )?camera\b",
            "camera action",
            r"\b(?:into|from|off)\b",
        ),
        (
            r"(?:have|let|make|get) the camera (?:to )?(?:zoom|pan|tilt|pull|push|move|rotate|turn|roll|swing|orbit)\b",
            "camera",
            NEVER,
        ),
        (
            r"(?:change|replace|swap|set|switch|transform|convert) (?:the )?(?:whole |entire )?(?:background|backdrop) "
            r"(?:with|to|from|into|for|by)\b",
            "background replace style attribute",
            NEVER,
        ),
        (
            r"(?:remove|delete|erase|eliminate|get rid of|i do not want to see)\b|take .* away$|i want .* gone$"
            r"|(?:(?:make|have|let|get) .*|.* should )\b(?:disappear|vanish)$",
            "remove background attribute style action",
            NEVER,
        ),
        (
            r"(?:add|insert|include|introduce)\b|(?:make|have|let) an? .*\bappear\b"
            r"|(?:there should be|i want to see) an?\b",
            "add attribute background style action",
            r"\b(?:in place of|instead of|replac\w+)\b",
        ),
        (
            r"(?:replace|swap|substitute|exchange)\b",
            "replace attribute background style action",
            r"\b(?:nothing|empty|bare|background)\b",
        ),
        (
            r"(?:recolou?r|dye|(?:change|switch|alter) the colou?r of)\b",
            "attribute style replace background",
            NEVER,
        ),
        (
            rf"(?:render|restyle|stylize|redraw|transform|convert|turn|make) {SCENE} (?:in the style|into|look like)\b",
            "style background attribute replace action",
            NEVER,
        ),
        (rf"{DOER}(?:{GO})\b", "action add remove replace attribute", NEVER),
        (rf"{DOER}(?:{MOVE})\b", "action attribute", NEVER),
    )
)


def contradicts(text: str, edit_type: str) -> bool:
    """Whether every clause surely asks for another type, or nothing in a "camera" text is about the view.

    Args:
        text: with its quotes masked.
        edit_type: one of `icve.data.pairs.base.TYPES`.
    """
    if edit_type == "camera" and not any(word in vocabulary("camera") for word in words(text)):
        return True
    possible: set[str] = set()
    clauses = [clause for part in sentences(text) for clause in split_clauses(part)[::2]]
    for clause in clauses:
        types = implied_types(clause)
        if types is None or (edit_type == "camera" and VIEW.search(clause.lower())):
            return False
        possible |= types
    if {"add", "remove"} <= possible and len(clauses) > 1:  # "remove the cup and add a glass"
        possible.add("replace")
    return edit_type not in possible


def implied_types(clause: str) -> frozenset[str] | None:
    """The types that a clause can belong to; None where it may be any."""
    text = split_lead(clause.strip())[1].lower().rstrip(".! ")
    for opening, types, unless in RULES:
        if opening.match(text):
            return None if unless.search(text) else types
    return None
