"""What several commands take, for argparse: types of numbers, names of the world's operations and splits."""

import argparse

# of the world, as icve.data.world names them, which would be slow to import for a parser
OPERATIONS = ("add", "remove", "replace", "recolour", "background", "look", "camera", "double", "timed")
FULL_ONLY = ("camera", "double", "timed")
SPLITS = ("core", "full", "plain")


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def not_negative(text: str) -> float:
    """A finite number of at least 0."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 0")
    return value


def seed(text: str) -> int:
    """A seed that torch and numpy both take."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2^63 - 1")
    return value
