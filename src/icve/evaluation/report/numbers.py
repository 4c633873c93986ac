"""Numbers as a reader of the report sees them."""

from icve.evaluation.scorers import Figure
from icve.page import short


def number(figure: Figure, value: float, rate: bool = False) -> str:
    """A value with the digits and the unit that a reader wants; a success `rate` in per cent."""
    if rate:
        return f"{value:.1%}"
    return short(value) + (f" {figure.unit}" if figure.unit else "")
