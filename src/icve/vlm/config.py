"""Which endpoint is asked, what it is shown, and how patiently it is asked."""

import os
import re
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from icve.errors import InputError

# Fields of a request that are filled in here.
OWN_FIELDS = {"model", "messages", "response_format", "temperature", "max_tokens", "seed", "stream", "n"}
REMOVABLE = {"temperature", "max_tokens", "seed"}
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  (reading it checks it)
    except ValueError:
        raise ValueError("must be an address such as http://localhost:8000/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and name a host: http://localhost:8000/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("must hold no user, password, query or fragment; give a key through api_key_env")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be plain ASCII without spaces")
    return value.rstrip("/")


def _variable(value: str | None) -> str | None:
    # In capitals only, so that a key given by mistake is refused here rather than printed as a name later.
    if value is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
        raise ValueError("is the NAME of an environment variable, in capitals, such as VLM_API_KEY; not the key itself")
    return value


def _fields(value: dict[str, Any]) -> dict[str, Any]:
    for name in sorted(OWN_FIELDS & set(value)):
        if name not in REMOVABLE or value[name] is not None:
            raise ValueError(f"cannot set {name}: icve fills it in")
    return value


class VlmConfig(BaseModel):
    """One endpoint. Errors never show a value: it may be a secret at the wrong place."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    base_url: Annotated[str, AfterValidator(_url)] = Field(description="up to and with /v1: http://localhost:8000/v1")
    model: str = Field(min_length=1, description="as the endpoint calls it")
    api_key_env: Annotated[str | None, AfterValidator(_variable)] = Field(
        default=None, description="name of the environment variable that holds the key; null: no key is sent"
    )

    frames: int = Field(default=6, ge=1, le=64, description="of each clip, evenly spaced with the first and the last")
    image_side: int = Field(default=448, ge=28, le=4096, description="longest side of a frame, in pixels")
    jpeg_quality: int = Field(default=85, ge=1, le=100)
    temperature: float = Field(default=0.2, ge=0, le=2)
    max_tokens: int = Field(default=400, ge=16, description="of an answer")
    seed: int = Field(default=0, ge=0)
    parameters: Annotated[dict[str, JsonValue], AfterValidator(_fields)] = Field(
        default={}, description="further fields of a request, such as top_p; seed: null leaves that field out"
    )

    concurrency: int = Field(default=16, ge=1, le=1024, description="requests at a time")
    timeout: float = Field(default=120.0, gt=0, description="seconds for one request, all in all")
    retries: int = Field(default=6, ge=0, description="of a request that failed or was turned away")
    backoff: float = Field(default=1.0, gt=0, description="seconds before the first retry; each further one twice that")
    longest_wait: float = Field(default=60.0, gt=0, description="seconds between two tries, whatever Retry-After says")
    reasks: int = Field(default=2, ge=0, description="times that an unusable answer is asked for again")
    give_up: int = Field(default=8, ge=1, description="questions in a row without any answer that end the run")
    ask_refused: bool = Field(default=False, description="ask again about what got no usable answer in earlier runs")

    price_in: float = Field(default=0.0, ge=0, description="of a million prompt tokens")
    price_out: float = Field(default=0.0, ge=0, description="of a million completion tokens")

    @property
    def host(self) -> str:
        """The endpoint's host and port, as sentences call it."""
        return self._parts.netloc

    @property
    def loopback(self) -> bool:
        """Whether the endpoint is on this machine."""
        return self._parts.hostname in LOOPBACK

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.base_url)

    def api_key(self) -> str | None:
        """The key, from the environment.

        Raises:
            InputError: the variable is not set, or cannot be a key.
        """
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not re.fullmatch(r"[\x21-\x7e]+", key):
            problem = "holds something that cannot be a key" if key else "is not set"
            raise InputError(
                f"The environment variable {self.api_key_env} {problem}; set it to the key of {self.host}, "
                "or leave api_key_env out where none is needed."
            )
        return key
