"""What a model must answer, as JSON, and how strictly that is read."""

import functools
import json
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

LONGEST = 20_000  # characters of an answer that are looked at


def _clean(value: Any) -> Any:
    """One line without control characters, lone surrogates and the like, which no table or shell should meet."""
    if not isinstance(value, str):
        return value
    return "".join(character for character in " ".join(value.split()) if character.isprintable()).strip()


def _worded(value: str) -> str:
    if not any(character.isalnum() for character in value):
        raise ValueError("no words")
    return value


Text = Annotated[str, BeforeValidator(_clean), AfterValidator(_worded)]


class Answer(BaseModel):
    """Any answer. Further keys are ignored: models without constrained decoding like to add some."""

    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True)
class Unusable:
    """Why an answer cannot be used: `kind` in few words, `reason` goes behind "The answer"; neither quotes it."""

    kind: str
    reason: str


@functools.cache
def json_schema(shape: type[Answer]) -> dict[str, Any]:
    """The schema that is sent: only what every implementation of constrained decoding knows."""
    properties = {
        name: {key: value for key, value in field.items() if key in ("type", "enum")}
        for name, field in shape.model_json_schema()["properties"].items()
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_answer(shape: type[Answer], text: str) -> Answer | Unusable:
    """Reads an answer: a JSON object, bare, in a code fence, or with words or thoughts around it."""
    if not text.strip():
        return Unusable("empty answer", "was empty")
    value = _first_json(text[:LONGEST])
    if value is None:
        return Unusable("answer not JSON", "held no JSON")
    if not isinstance(value, dict):
        return Unusable("answer not by the schema", "was JSON, but no object")
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        field = str(first["loc"][0]) if first["loc"] else "object"
        problem = {"missing": "has no", "string_too_long": "has too long a"}.get(first["type"], "has an invalid")
        # `field` is one of the schema's own names: other keys are not looked at.
        return Unusable("answer not by the schema", f"{problem} {field}")


def _first_json(text: str) -> Any:
    """The first JSON object or array in a text, or None."""
    text = text.rpartition("</think>")[2]
    fenced = re.search(r"```[a-zA-Z]*\s(.*?)```", text, re.DOTALL)
    text = fenced[1] if fenced else text
    start = re.search(r"[{\[]", text)
    if start is None:
        return None
    try:
        return json.JSONDecoder().raw_decode(text, start.start())[0]
    except (ValueError, RecursionError):
        return None
