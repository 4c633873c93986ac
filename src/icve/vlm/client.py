"""One request to an OpenAI-compatible endpoint, with a typed outcome: it never raises, and never quotes what it got.

Whatever a server or the HTTP library says may hold the key or a prompt, so sentences are made of our own words, and
the library's log records about these requests are dropped.
"""

import asyncio
import email.utils
import json
import logging
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

from icve.errors import InputError
from icve.vlm.config import VlmConfig

LONGEST_BODY = 4 << 20  # bytes; an answer has some kilobytes, a model's thoughts perhaps a hundred
CONNECT_SECONDS = 10.0
LOGGERS = ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))

# HTTP statuses that say "not now"; 529 is Anthropic's and Cloudflare's "overloaded".
BUSY = {408, 425, 429, 502, 503, 504, 529}
# Statuses that concern the account or the address rather than what was asked.
SHUT = {
    401: ("refuses the key", "key"),
    402: ("wants to be paid", "account"),
    403: ("refuses the key", "key"),
    404: ("knows no such address or model", "address"),
    405: ("knows no such address or model", "address"),
    407: ("is behind a proxy that wants a password", "proxy"),
}
REMEDIES = {
    "key": "see that api_key_env names the variable with the right key",
    "account": "see to the account's credit",
    "address": "see that base_url ends as the server wants it (mostly /v1) and that model is a name it serves",
    "proxy": "see to the proxy that the environment names",
    "server": "see that the server runs and that base_url is right",
    "load": "lower concurrency or raise timeout",
    "log": "see the server's log",
    "content": "see in the server's log what it does not take: often so many frames, or a field in parameters",
}


@dataclass(frozen=True)
class Reply:
    """A chat completion.

    Attributes:
        cut: whether it ends because max_tokens were reached.
        declined: whether the model or a filter before it would not answer.
    """

    content: str
    cut: bool
    declined: bool
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Trouble:
    """A request without a reply.

    Attributes:
        reason: goes behind the endpoint's name: "refuses the key (HTTP 401)".
        remedy: what its user may do.
        again: whether the same request may succeed later.
        down: whether the endpoint as a whole is to blame, whatever was asked.
        status: of HTTP, 0 where none came.
        wait: seconds that the endpoint asks to wait.
    """

    reason: str
    remedy: str
    again: bool
    down: bool
    status: int = 0
    wait: float = 0.0


class Client:
    """Sends requests to one endpoint; an asynchronous context manager."""

    def __init__(self, config: VlmConfig, key: str | None) -> None:
        """
        Args:
            config: of the endpoint.
            key: sent as a bearer token, where there is one.

        Raises:
            InputError: the environment's proxies or certificates cannot be used.
        """
        self.config = config
        self.url = f"{config.base_url}/chat/completions"
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "icve"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        try:
            self.http = httpx2.AsyncClient(
                headers=headers,
                timeout=httpx2.Timeout(config.timeout, connect=min(CONNECT_SECONDS, config.timeout)),
                limits=httpx2.Limits(max_connections=config.concurrency, max_keepalive_connections=config.concurrency),
                follow_redirects=False,
                trust_env=not config.loopback,  # a proxy cannot reach this machine's own server
            )
        except (ValueError, ImportError, OSError, httpx2.InvalidURL) as error:  # its text may hold a proxy's password
            raise InputError(
                f"The proxy or certificate settings of the environment cannot be used ({type(error).__name__}); "
                f"correct HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or SSL_CERT_FILE, or set NO_PROXY={config.host}."
            ) from None

    async def __aenter__(self) -> Self:
        self.silence = Silence()
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self.silence)
        await self.http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.__aexit__(kind, error, trace)
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(self.silence)

    async def post(self, body: dict[str, Any]) -> Reply | Trouble:
        """Asks for one chat completion."""
        try:
            async with asyncio.timeout(self.config.timeout):
                async with self.http.stream("POST", self.url, json=body) as response:
                    data = await read_body(response)
        except (TimeoutError, httpx2.TimeoutException) as error:
            connecting = isinstance(error, httpx2.ConnectTimeout)
            reason = "cannot be reached" if connecting else f"gave no answer within {self.config.timeout:g} seconds"
            return Trouble(reason, REMEDIES["server" if connecting else "load"], again=True, down=True)
        except httpx2.ConnectError:
            return Trouble("cannot be reached", REMEDIES["server"], again=True, down=True)
        except httpx2.ProxyError:
            return Trouble("cannot be reached through the proxy", REMEDIES["proxy"], again=True, down=True)
        except httpx2.TransportError:
            return Trouble("closed the connection", REMEDIES["log"], again=True, down=False)
        except Exception as error:  # of any kind, because its text may hold the headers
            reason = f"made the HTTP library fail ({type(error).__name__})"
            return Trouble(reason, REMEDIES["log"], again=True, down=False)
        if response.status_code in (400, 403) and filtered(data):
            return Reply("", cut=False, declined=True, prompt_tokens=0, completion_tokens=0)
        if response.status_code != 200:
            return turned_away(response.status_code, response.headers.get("retry-after", ""))
        if data is None:
            return Trouble(f"sent more than {LONGEST_BODY >> 20} MB", REMEDIES["log"], again=True, down=False)
        reply = read_reply(data)
        if reply is None:
            return Trouble("sent no chat completion", REMEDIES["address"], again=True, down=False)
        return reply


class Silence(logging.Filter):
    """Drops the records of the thread that made it."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record stays."""
        return record.thread != self.thread


async def read_body(response: httpx2.Response) -> bytes | None:
    """A response's bytes as they came, or None where there are too many. They are not unpacked: none was asked for."""
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > LONGEST_BODY:
            return None
    return bytes(data)


def turned_away(status: int, retry_after: str) -> Trouble:
    """What a status other than 200 means."""
    again, down, wait = False, True, 0.0
    if status in BUSY:
        reason, remedy, again, wait = "is overloaded or not ready", "load", True, seconds(retry_after)
    elif status in SHUT:
        reason, remedy = SHUT[status]
    elif status >= 500:
        reason, remedy, again, down = "fails", "log", True, False
    elif status >= 400:
        reason, remedy, down = "rejects what it is sent", "content", False
    else:
        reason, remedy = "answers with a redirect or with nothing", "address"
    return Trouble(f"{reason} (HTTP {status})", REMEDIES[remedy], again, down, status, wait)


def filtered(data: bytes | None) -> bool:
    """Whether an error says that a content filter turned the request away: as OpenAI and Azure do, or OpenRouter."""
    try:
        error = json.loads(data or b"")["error"]
        metadata = error.get("metadata") or {}
        return error.get("code") in ("content_filter", "content_policy_violation") or "flagged_input" in metadata
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return False


def seconds(retry_after: str) -> float:
    """The header Retry-After, in seconds from now; 0 where it is missing or unreadable."""
    try:
        return max(0.0, float(int(retry_after)))
    except (ValueError, OverflowError):
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError, TypeError, OSError):
        return 0.0


def read_reply(data: bytes) -> Reply | None:
    """A chat completion from its JSON, or None where it is none."""
    try:
        body = json.loads(data)
        choice = body["choices"][0]
        message = choice["message"]
        content = message.get("content")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    if isinstance(content, list):  # some servers answer in parts, as requests are
        content = "".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    if content is not None and not isinstance(content, str):
        return None
    usage = body.get("usage")
    finish = choice.get("finish_reason")
    return Reply(
        content or "",
        cut=finish == "length",
        declined=finish == "content_filter" or bool(message.get("refusal")),
        prompt_tokens=count(usage, "prompt_tokens"),
        completion_tokens=count(usage, "completion_tokens"),
    )


def count(usage: Any, name: str) -> int:
    """A number of tokens, 0 where there is none."""
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value < 1 << 40 else 0
