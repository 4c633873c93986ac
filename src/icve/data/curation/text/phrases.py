"""Phrases that give away what is wrong with an instruction, for icve.data.curation.text.instruction_filter.

Patterns are matched in any case of letters unless they say otherwise, against text whose quoted parts are masked.
"""

import re


def _any(*patterns: str, flags: re.RegexFlag = re.IGNORECASE) -> re.Pattern[str]:
    return re.compile("|".join(patterns), flags)


# --- what is no prose ---
MARKUP = _any(
    r"https?:|www\.|\w\.(?:com|org|net|io|mp4|avi|mov|jpg|png)\b",
    r"```|--|->|=>|::|\w+\(\)|&\w+;|&#\d+;|\\[nrtu\"]",
    r"</?(?:br|b|i|p|div|span|a|img|h\d|em|strong|think|answer|json)\b[^>]*>",
    r"^\s*(?:[-*•#>]+|\(?\d{1,2}[.)]|\(?[a-z]\)|step \d+\s*:)\s",
    r"^[\"“'‘][^\"”]*[\"”'’][.]?$",
)
STRAY = re.compile(r"[{}\[\]<>|\\`~^*_=#@§¶→←↑↓]")
BRACKETED = re.compile(r"\[[^\]]{1,60}\]|\{[^}\":]{1,60}\}|<[^>/]{1,60}>")
PLACEHOLDER = _any(
    r"_{2,}|\.{3,}|…",
    r"\b(?:TODO|TBD|XXX+|N/A|NaN|lorem ipsum|undefined|null|foo|foobar)\b",
    r"\b(?:[Rr]eplace|[Cc]hange|[Tt]urn|[Ss]wap|[Aa]dd|[Rr]emove|[Mm]ake|[Dd]elete|with|to|into|for|from|of) [XYZ]\b"
    r"(?!-| mark)",
    r"\b(?:object|subject|item|person|thing|element|colou?r|style)[ _]?(?:[A-Z]|\d)\b(?!-)",
    flags=re.RegexFlag(0),
)

# --- what is about frames, clips and other pictures ---
ORDINAL = (
    "(?:first|second|third|fourth|last|final|next|previous|prior|initial|other|1st|2nd|3rd|starting|ending|opening|"
    "closing|following|latter|former|later|earlier)"
)
MADE = "(?:original|source|target|edited|input|output|reference|given|provided|unedited|modified|resulting)"
CLIPS = _any(
    rf"\b{ORDINAL} (?:video|clip|frame|footage|keyframe)s?\b(?! (?:camera|game|player|screen)s?)",
    rf"\b(?:next|previous|{MADE}) (?:video|clip|frame|image|picture|photo|shot|footage|scene|sequence|screenshot)s?\b",
    # "remove the second picture on the wall" is about the scene
    rf"\b(?:in|from|of|as in|to|like) the {ORDINAL} "
    r"(?:image|picture|photo|shot|scene|screenshot|view|half of the clip)s?\b(?! on)",
    r"\banother (?:video|clip|frame|shot|scene)\b",
    r"\b(?:both|two|these|those|between the|each of the) (?:videos|clips|frames|shots|images|scenes)\b",
    r"\bthe (?:videos|frames)\b(?! on)",
    r"\b(?:each|every|all|all the|per) frames?\b(?! on)|\bframe by frame\b|\bframe ?rate\b|\bkey ?frames?\b",
    r"\b(?:videos?|clips?|frames?|images?|shots?|scenes?) (?:#?\d+|(?-i:[AB]))\b|\bvideo (?:one|two)\b",
    r"\bframes? \d|\b(?:at|until|after) (?:the )?\d+(?::\d+|(?:st|nd|rd|th)? (?:frame|second mark))\b",
    r"\bsource (?:in)?to (?:the )?target\b|\bby (?:a few|several|\d+) (?:seconds|frames)\b",
    r"\btime ?stamps?\b|\b(?:seconds?|moments?|frames?) (?:later|earlier)\b",
    r"^(?:smash |jump )?cut (?:back )?to\b|\bcut to (?:a|the) (?:\w+ )?(?:shot|scene|view|close-?up)\b",
    r"\b(?:before|after) (?:image|video|clip|frame)\b",
    r"\b(?:first|last|final|next) (?:\w+ )?(?:seconds?|frames?)\b",
    r"^(?:extend|loop|trim|shorten|lengthen|merge|concatenate|rewind|split|stitch|play) (?:the |this )?"
    r"(?:video|clip|footage)\b",
)

# --- what tells of whoever wrote it ---
ANNOTATOR = _any(
    r"\bas an? (?:AI|language model|assistant|annotator|editor)\b|\blanguage model\b|\bthe user\b|\bground truth\b",
    r"\bI(?: am|'m) (?:sorry|unable|not able)\b|\bunable to\b",
    r"\bI (?:can(?:not|'t)|apologi[sz]e|notice|observe|see|think|believe|will|would (?:suggest|describe|recommend))\b",
    r"\bno(?:t enough| additional| further) (?:information|context|details?)\b",
    r"\b(?:based on|according to|match(?:es|ing)?|from|in|per|both|two|these|the|given|provided|following) "
    r"(?:\w+ )?descriptions?\b",
    r"\b(?:source|target|first|second|provided|given|above|original|two|both) captions?\b",
    r"\b(?:edit(?:ing)?|the|this|following|final|imperative|above) instructions?\b",
    r"^(?:\w+ )?(?:instruction|edit|output|answer|response|prompt|type|result|task|caption|description|change|action|"
    r"command)s?\s*:",
    r"\bprompts?\b|\bJSON\b|\bannotat\w+",
    r"^(?:sure|certainly|of course|absolutely|okay|ok|here(?:'s| is| are)|note)\b[ ,:!]",
    r"\b(?:the|this) (?:edit|change|transformation|difference)s? (?:is|are|should|would|involves?|consists?)\b",
    r"\b(?:be|worth) (?:noted|mentioned|noting|mentioning)\b|\bmentioned (?:above|earlier|before|in)\b",
    r"\bas (?:described|specified|stated)\b|\bmodel's (?:output|answer)\b",
    r"\bto (?:simulate|achieve|reflect) the (?:transition|difference|change)\b",
)
QUESTION = _any(
    r"\?",
    r"^(?:please )?(?:can|could|would|will|may|might|shall|is|are|was|were|does|did|has|have|do) "
    r"(?:you|we|i|it|there|he|she|they|this|that)\b",
    r"^(?:what|where|why|how|who|which|when) "
    r"(?:is|are|was|do|does|did|would|could|can|should|will|if|about|many|much)\b",
)

# Words on which no sentence ends.
UNFINISHED = frozenset(
    {"the", "a", "an", "and", "or", "of", "with", "into", "from", "than", "my", "your", "its", "their"}
)

# --- what changes nothing ---
NO_CHANGE = _any(
    r"^(?:there (?:is|are|was|were|should be|has been) )?no(?: \w+){0,3} "
    r"(?:changes?|differences?|edits?|modifications?|alterations?)\b",
    r"^(?:none|nothing)\b|^no (?:edit|change)|^do nothing\b|\bidentical to\b|^(?:same|unchanged)\b",
)
SAME = (
    r"\b(?:same|unchanged|unaltered|untouched|unedited|unmodified|as (?:it|they|he|she) (?:is|are|was|were)|as[- ]is|"
    r"intact|identical|consistent|alone)\b"
)
# the beginning of a clause
PRESERVING = _any(
    r"(?:do not|don't|never) (?:change|alter|modify|edit|touch|adjust)\b|(?:preserve|retain)\b",
    rf"(?:keep|leave|maintain|hold|make|continue|ensure|show|repeat)\b.*{SAME}",
    r"(?:keep|maintain) (?:the )?(?:current|original|existing)\b|maintain\b(?! eye)",
    rf"(?:let|have)\b.* (?:stay|remain)\b.*{SAME}",
    r"make no (?:\w+ )?(?:changes?|edits?|alterations?)\b",
    rf"(?:everything|all|the rest|the \w+)\b.* (?:stays?|remains?|should (?:stay|remain|be)).*{SAME}",
)
# "replace the cat with a cat", "change the shirt from red to red"
TO_ITSELF = _any(
    r"\b(?:replace|swap|exchange|switch|change|turn|transform|convert)\s+(?:(?:the|a|an|his|her) )?(.+?)\s+"
    r"(?:with|for|to|into|by)\s+(?:(?:the|a|an|his|her|the same) )?\1[.!]?$",
    r"\bfrom (.{2,}?) to \2\b(?! \w)",
)
