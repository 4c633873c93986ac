"""One-file HTML pages that trust nothing they show: texts are escaped, and no request leaves the file."""

import base64
import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from icve.video.files import replacing, write_errors

LONGEST_TEXT = 1000  # characters


def write_page(output: Path, package: str, template: str, parts: Mapping[str, str]) -> None:
    """Writes a page: a package's template with `{{name}}` replaced by parts, which are HTML, and by its `policy`.

    Raises:
        InputError: the file cannot be written.
    """
    page = resources.files(package).joinpath(template).read_text("utf-8")
    known = {**parts, "policy": policy(page)}
    # In one pass: what is put in is not looked at again.
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: known[match[1]], page)
    with write_errors(output), replacing(output) as partial:
        partial.write_bytes(page.encode("utf-8", "replace"))


def policy(template: str) -> str:
    """A Content-Security-Policy: the template's own style and script, if it has them, by their hashes, media in the
    page, no more."""

    def hashed(tag: str) -> str:
        contents = re.findall(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
        if not contents:
            return "'none'"
        (content,) = contents
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; style-src {hashed('style')}; script-src {hashed('script')}; img-src data:; "
        "media-src data:; base-uri 'none'; form-action 'none'"
    )


def text(value: Any, longest: int = LONGEST_TEXT) -> str:
    """A value as HTML: escaped, cut where it is too long, without characters that nobody can see."""
    plain = str(value)
    cut = plain if len(plain) <= longest else plain[:longest] + "…"
    seen = (c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "\ufffd" for c in cut)
    return escape("".join(seen))


def data_uri(kind: str, data: bytes) -> str:
    """Media as part of the page.

    Args:
        kind: such as "image/png".
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def short(value: float) -> str:
    """A number for people: four digits, no noise."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def ticks(start: float, end: float, least: float = 0) -> list[float]:
    """Two to six round numbers from start to end, at least `least` apart."""
    step = 10.0 ** math.floor(math.log10((end - start) / 2))
    step = max(least, next(step * factor for factor in (1, 2, 5, 10) if (end - start) / (step * factor) <= 5))
    return [number * step for number in range(math.ceil(start / step - 1e-9), math.floor(end / step + 1e-9) + 1)]
