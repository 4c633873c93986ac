"""Runs of the `vlm` instructor against our endpoint, what to expect of them, and all the ways to spoil them.

As a program it is one such run, for tests that stop it: `python -m tests.data.curation.vlm_runs URL ANSWERS PAIRS`.
"""

import gzip
import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from icve.data.curation.records import Instruction
from icve.data.curation.vlm import PairFrames, Refused, VlmConfig, VlmInstructor
from tests.data.curation import endpoint as ours
from tests.data.curation.endpoint import Endpoint, clip, says, sends, status

KEY = "sk-CANARY-0123456789abcdef"


FAILURES = {
    "busy": status(429),
    "busy, wait": status(429, Retry_After="0"),
    "busy, wait an hour": status(429, Retry_After="3600"),
    "busy, wait for nonsense": status(429, Retry_After="soon\x00"),
    "500": status(500),
    "502": status(502),
    "503": status(503),
    "timeout": ours.hang,
    "drip": ours.drip,
    "closed at once": ours.drop,
    "closed midway": ours.cut,
    "endless body": ours.endless,
    "another protocol": ours.not_http,
    "web page": sends(b"<html><body>Sign in</body></html>", Content_Type="text/html"),
    "cut JSON": sends(b'{"choices": [{"message": {"content": "{'),
    "empty body": sends(b""),
    "no choices": sends(b'{"choices": []}'),
    "an error with status 200": sends(b'{"error": {"message": "overloaded"}}'),
    "a list": sends(b"[1, 2]"),
    "deep JSON": sends(b"[" * 200_000),
    "gzip bomb": sends(gzip.compress(b" " * (64 << 20)), Content_Encoding="gzip"),
    "binary": sends(bytes(range(256))),
    "content is a number": says(7),
}

NONSENSE = {
    "prose": says("I see a thing on a table."),
    "empty": says(""),
    "null": says(None),
    "broken JSON": says('{"description": "Thing", "instruction": "Do'),
    "an array": says('[{"description": "A thing.", "instruction": "Do it.", "type": "add"}]'),
    "a string": says('"description"'),
    "missing keys": says('{"text": "A thing."}'),
    "wrong kinds": says('{"description": 7, "instruction": ["Do it."], "type": "add"}'),
    "nested": says('{"description": {"description": "A thing."}, "instruction": {"a": 1}, "type": "add"}'),
    "empty texts": says('{"description": " ", "instruction": "", "type": "add"}'),
    "no words": says('{"description": "...", "instruction": "?!", "type": "add"}'),
    "unprintable": says('{"description": "\\ud800\\u0000", "instruction": "\\u0007", "type": "add"}'),
    "too long": says(json.dumps({"description": "a " * 1000, "instruction": "Do " * 200, "type": "add"})),
    "huge": says(json.dumps({"description": "a" * 1_000_000, "instruction": "a" * 1_000_000, "type": "add"})),
    "deep": says('{"a":' * 100_000),
    "cut off": says('{"description": "A th', finish_reason="length"),
    "huge number": says('{"description": ' + "9" * 10_000 + "}"),
}

DOWN = {
    "timeouts": (ours.hang, "gave no answer within 1 seconds"),
    "wrong key": (status(401), "refuses the key"),
    "forbidden": (status(403), "refuses the key"),
    "unknown model": (status(404), "knows no such address or model"),
    "no credit": (status(402), "wants to be paid"),
    "redirect": (status(302, Location="http://127.0.0.1:9/v1"), "answers with a redirect"),
    "busy": (status(429), "is overloaded"),
    "not ready": (status(503), "is overloaded"),
    "broken": (status(500), "fails (HTTP 500)"),
    "rejects all": (status(400), "rejects what it is sent (HTTP 400)"),
    "web page": (FAILURES["web page"], "sent no chat completion"),
    "drops all": (ours.drop, "closed the connection"),
}


def pair(source: int, target: int, load: Callable[[], Any] | None = None) -> PairFrames:
    """The pair of two clips."""
    return PairFrames(
        f"{source}-{target}", f"clip-{source}", f"clip-{target}", load or (lambda: (clip(source), clip(target)))
    )


def config(url: str, **values: Any) -> VlmConfig:
    """A config whose patience fits a test."""
    quick = {"backoff": 0.01, "longest_wait": 0.1, "timeout": 5.0, "retries": 3, "concurrency": 4, "frames": 3}
    return VlmConfig(**({"base_url": url, "model": "tiny-vlm"} | quick | values))


def chain(count: int) -> Iterator[PairFrames]:
    """Pairs (0, 1), (1, 2) …: `count` of them, of one clip more."""
    return (pair(number, number + 1) for number in range(count))


def run(endpoint: Endpoint | str, answers: Path, pairs: Any, **values: Any) -> tuple[dict[str, Any], VlmInstructor]:
    """Results by pair, in order and checked to be one for each pair, and the instructor."""
    url = endpoint if isinstance(endpoint, str) else endpoint.url
    pairs = list(pairs)
    with VlmInstructor(config(url, **values), answers) as instructor:
        results = list(instructor.run(pairs))
    assert [pair_id for pair_id, _ in results] == [one.pair_id for one in pairs]
    return dict(results), instructor


def is_right(pair_id: str, result: object) -> bool:
    source, target = map(int, pair_id.split("-"))
    expected = ours.edit(source, target)
    return (
        isinstance(result, Instruction)
        and (result.text, result.type) == (expected["instruction"], expected["type"])
        and (result.source_caption, result.target_caption) == (ours.caption(source), ours.caption(target))
    )


def all_right(results: dict[str, Any]) -> bool:
    return bool(results) and all(is_right(pair_id, result) for pair_id, result in results.items())


def not_called() -> Any:
    """A pair's `load` that must not be needed."""
    raise AssertionError("loaded, though everything about the pair is known")


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def main() -> None:
    """Runs the instructor over a chain of pairs and prints every result as it comes."""
    url, answers, count, *more = sys.argv[1:]
    with VlmInstructor(config(url, **json.loads(more[0] if more else "{}")), Path(answers)) as instructor:
        for pair_id, result in instructor.run(chain(int(count))):
            text = result.reason if isinstance(result, Refused) else result.text
            print(json.dumps([pair_id, text]), flush=True)
        print(json.dumps(["requests", instructor.usage.requests]), flush=True)


if __name__ == "__main__":
    main()
