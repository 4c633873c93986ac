"""Reads YAML configs: dotted overrides, strict models, and one sentence for whatever is wrong with them."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from icve.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def read_values(path: Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """A YAML file's values with dotted `key=value` overrides applied (`data.sets.0.path=…` works).

    Raises:
        InputError: no such file, not YAML, or not overrides.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML ({str(error).splitlines()[0]}); give a config file.") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a config: it must hold `key: value` lines.")
    for override in overrides:
        apply_override(values, override)
    return values


def validate(model: type[Model], values: dict[str, Any], where: object) -> Model:
    """The config that `values` are; `InputError` names `where` they stand, and the nearest key for an unknown one."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{where}: {_explain(error.errors()[0], model)}") from None


def apply_override(values: dict[str, Any], override: str) -> None:
    """Applies a dotted `key=value` to nested values; the value is YAML, and places in lists are numbers.

    Raises:
        InputError: it is not an override, or leads through something that has no keys.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise InputError(f"{override!r} is not an override: write key=value.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"{override!r} is not an override: {text!r} is not a YAML value.") from None
    place_value(values, key, _number(value) if isinstance(value, str) else value)


def place_value(values: dict[str, Any], key: str, value: Any) -> None:
    """Sets the value at a dotted key (`data.sets.0.path`) of nested groups and lists; missing groups are made.

    Raises:
        InputError: the key leads through something that has no keys.
    """
    place: Any = values
    *parents, last = key.split(".")
    for parent in parents:
        if isinstance(place, list):
            place = place[_index(place, parent, key)]
        else:
            place = place.setdefault(parent, {})
        if not isinstance(place, (dict, list)):
            raise InputError(f"{key}: {parent} is a value, not a group of keys.")
    if isinstance(place, list):
        place[_index(place, last, key)] = value
    else:
        place[last] = value


def _number(text: str) -> str | float:
    """YAML 1.1 reads 1e-4 as text; who writes it means the number."""
    try:
        return float(text)
    except ValueError:
        return text


def _index(place: list[Any], part: str, key: str) -> int:
    if not part.isdecimal() or int(part) >= len(place):
        raise InputError(f"{key}: {part} is not a place in a list of {len(place)}; count from 0.")
    return int(part)


def _explain(error: Any, model: type[BaseModel]) -> str:
    """One sentence for pydantic's first error; for an unknown key, the nearest known one."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg'].removeprefix('Value error, ')}."
    known = sorted(_keys(model))
    nearest = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0)
    return f"there is no key {where}; did you mean {nearest[0]}?"


def _keys(annotation: Any) -> set[str]:
    """All keys of a model and of the models inside it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        return set(fields).union(*(_keys(field.annotation) for field in fields.values()))
    return set().union(*(_keys(argument) for argument in get_args(annotation)))
