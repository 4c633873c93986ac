"""The `vlm` instructor keeps keys, prompts and pictures to itself."""

import itertools
import json
import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from icve.data.curation.vlm import VlmConfig, VlmInstructor
from icve.data.curation.vlm.questions import PROMPTS
from icve.errors import InputError
from icve.vlm import client
from icve.vlm.questions import Prompt
from tests.data.curation import endpoint as ours
from tests.data.curation.endpoint import Asked, Endpoint, completion, good
from tests.data.curation.vlm_runs import DOWN, FAILURES, KEY, NONSENSE, all_right, chain, closed_port, config, run


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


def secrets_of(asked: Asked) -> str:
    """All that a request holds and nobody else is to see, as one line without braces."""
    image = asked.body["messages"][0]["content"][1]["image_url"]["url"]
    text = " ".join([asked.headers["Authorization"], *asked.texts, image])
    return " ".join(text.translate({ord(bracket): None for bracket in "{}[]"}).split())


def echo(number: int, body: Callable[[str], bytes]) -> ours.Act:
    """Says what it was sent back, in its headers, its status line, and in a body made of it."""

    def act(handler: ours.Handler, asked: Asked) -> None:
        secrets = secrets_of(asked)
        headers = {"X-Secrets": secrets[:2000], "Location": f"/{KEY}", "Retry-After": KEY, "Set-Cookie": f"a={KEY}"}
        handler.send(number, body(secrets), headers, reason=secrets[:2000])

    return act


def answer(make: Callable[[str], Any]) -> Callable[[str], bytes]:
    """A body whose answer is made of the secrets."""
    return lambda secrets: completion(json.dumps(make(secrets)))


ECHOES = [
    *(
        echo(number, lambda secrets: json.dumps({"error": secrets}).encode())
        for number in (200, 302, 400, 401, 429, 500)
    ),
    echo(200, str.encode),
    echo(200, completion),
    echo(200, lambda secrets: completion('{"description": "' + secrets)),
    echo(200, lambda secrets: completion('{"description": "' + secrets, finish_reason="length")),
    echo(200, answer(lambda secrets: [secrets])),
    echo(200, answer(lambda secrets: {secrets: secrets})),
    echo(200, answer(lambda secrets: {"description": [secrets], "instruction": {secrets: 1}, "type": "add"})),
    echo(200, answer(lambda secrets: {"description": secrets * 9, "instruction": secrets, "type": "add"})),
    echo(200, answer(lambda secrets: {"description": "", "instruction": "Do it.", "type": secrets})),
]


def test_neither_keys_nor_prompts_nor_pictures_are_ever_shown(answers: Path, monkeypatch, caplog, capfd):
    monkeypatch.setenv("VLM_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    for name in client.LOGGERS:
        assert logging.getLogger(name).isEnabledFor(logging.DEBUG)
    shown: list[str] = []
    acts = [*ECHOES, *FAILURES.values(), *NONSENSE.values(), *(act for act, _ in DOWN.values())]
    with Endpoint() as endpoint:
        for number, (act, clips) in enumerate(itertools.product(acts, (1, 2))):
            endpoint.act = lambda asked, act=act, clips=clips: act if len(asked.clips) == clips else good
            path = answers.with_name(f"{number}.sqlite")
            values: dict[str, Any] = {"timeout": 0.3, "retries": 1, "reasks": 0, "give_up": 3, "longest_wait": 0.01}
            with VlmInstructor(config(endpoint.url, api_key_env="VLM_KEY", **values), path) as instructor:
                try:
                    shown += [repr(result) for result in instructor.run(chain(2))]
                except InputError as error:
                    shown += ["".join(traceback.format_exception(error)), repr(error)]
                shown += [repr(instructor), repr(instructor.config), repr(instructor.usage)]
        # A request of anyone else's is logged as ever, and would show it all.
        endpoint.act = lambda _: ECHOES[0]
        mine = len(caplog.records)
        body = endpoint.asked[0].body
        httpx2.post(f"{endpoint.url}/chat/completions", json=body, headers={"Authorization": f"Bearer {KEY}"})
        others = "\n".join(record.getMessage() for record in caplog.records[mine:])
        assert KEY in others
    out, err = capfd.readouterr()
    logged = [caplog.handler.format(record) for record in caplog.records[:mine]]
    text = "\n".join([*logged, out, err, *shown])
    assert len(shown) > 100
    prompts = [Prompt.read(PROMPTS / f"{name}.txt").text for name in ("describe", "instruct")]
    for secret in (KEY, "CANARY", "Bearer", prompts[0][:40], prompts[1][:40], "base64,", "/9j/"):
        assert secret not in text
    # Nor in the file of answers.
    for path in answers.parent.glob("*.sqlite*"):
        data = path.read_bytes()
        assert KEY.encode() not in data
        assert prompts[0][:40].encode() not in data
        assert b"/9j/" not in data


@pytest.mark.parametrize("key", [None, "", "  ", "sk-a\nb", "sk-ä", "a b"])
def test_a_key_that_cannot_be_one_is_said_without_it(answers: Path, monkeypatch, key: str | None):
    monkeypatch.delenv("VLM_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("VLM_KEY", key)
    with pytest.raises(InputError, match=r"^The environment variable VLM_KEY (is not set|holds something)") as error:
        VlmInstructor(config("http://127.0.0.1:9/v1", api_key_env="VLM_KEY"), answers)
    assert not (key or "").strip() or key not in str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": f"https://user:{KEY}@host/v1"},
        {"base_url": f"https://host/v1?key={KEY}"},
        {"base_url": f"https://host/v1#{KEY}"},
        {"base_url": f"file:///{KEY}"},
        {"base_url": f"ftp://host/{KEY}"},
        {"base_url": f"{KEY}"},
        {"base_url": f"http://[{KEY}"},
        {"base_url": f"http://host:{KEY}/v1"},
        {"base_url": f"http://host/{KEY}\r\nX: y"},
        {"api_key_env": KEY},
        {"api_key_env": "0" + KEY},
        {"api_key": KEY},
        {"parameters": {"messages": KEY}},
        {"parameters": {"seed": KEY}},
        {"frames": 0},
        {"frames": KEY},
        {"concurrency": 0},
        {"model": ""},
    ],
    ids=str,
)
def test_a_wrong_config_is_an_error_that_does_not_show_what_may_be_a_secret(wrong: dict[str, Any]):
    with pytest.raises(ValidationError) as error:
        VlmConfig(**({"base_url": "http://localhost:8000/v1", "model": "m"} | wrong))
    assert KEY not in str(error.value)
    assert KEY not in error.value.errors()[0]["msg"]


def test_this_machines_server_is_reached_past_a_proxy(answers: Path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://user:{KEY}@127.0.0.1:{closed_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Endpoint() as endpoint:
        results, _ = run(endpoint, answers, chain(2))
        assert all_right(results)


def test_a_proxy_that_cannot_be_used_is_said_without_its_password(answers: Path, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", f"gopher://user:{KEY}@127.0.0.1:1")
    with pytest.raises(InputError, match=r"correct HTTPS_PROXY.*NO_PROXY=vlm\.example") as error:
        VlmInstructor(config("http://vlm.example/v1"), answers)
    assert KEY not in "".join(traceback.format_exception(error.value))
