"""What the model must answer about a clip and about a pair."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from icve.data.pairs.base import TYPES
from icve.vlm.schema import Answer, Text

DESCRIPTION_LENGTH = 1500  # characters; four long sentences have about 600
INSTRUCTION_LENGTH = 300  # 30 words have about 180


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _type(value: str) -> str:
    if value not in TYPES:
        raise ValueError("not a type")
    return value


class Description(Answer):
    """What a clip shows."""

    description: Annotated[Text, Field(max_length=DESCRIPTION_LENGTH)]


class Edit(Answer):
    """What turns one clip into the other."""

    instruction: Annotated[Text, Field(max_length=INSTRUCTION_LENGTH)]
    type: Annotated[str, BeforeValidator(_lower), AfterValidator(_type), Field(json_schema_extra={"enum": [*TYPES]})]
