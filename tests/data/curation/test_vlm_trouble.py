"""The `vlm` instructor against an endpoint that misbehaves in every way it can: no pair is lost or doubled."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from icve.data.curation.vlm import Refused, VlmInstructor
from icve.errors import InputError
from icve.vlm import client
from icve.vlm.asking import pause
from tests.data.curation import endpoint as ours
from tests.data.curation.endpoint import Asked, Endpoint, good, says, status
from tests.data.curation.vlm_runs import (
    DOWN,
    FAILURES,
    KEY,
    NONSENSE,
    all_right,
    chain,
    closed_port,
    config,
    is_right,
    pair,
    run,
)


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failure_is_tried_again(answers: Path, failure: ours.Act):
    endless = failure in (ours.hang, ours.drip)
    with Endpoint(act=lambda asked: good if asked.times else failure) as endpoint:
        results, instructor = run(endpoint, answers, chain(3), timeout=1.0 if endless else 30.0)
        assert all_right(results)
        assert set(endpoint.count().values()) == {2}
        assert endpoint.megabytes < 7 * 20  # what the sockets hold is more than what is read
    assert (instructor.usage.requests, instructor.usage.retries) == (14, 7)


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_asked_for_again_with_another_seed_and_warmer(answers: Path, nonsense: ours.Act):
    with Endpoint(act=lambda asked: good if asked.times else nonsense) as endpoint:
        results, instructor = run(endpoint, answers, chain(3), seed=3, temperature=0.0)
        assert all_right(results)
        how = {(asked.times, asked.body["seed"], asked.body["temperature"]) for asked in endpoint.asked}
        assert how == {(0, 3, 0.0), (1, 4, 0.5)}
    assert (instructor.usage.requests, instructor.usage.retries) == (14, 7)
    assert instructor.usage.prompt_tokens == 14_000


def test_a_wrong_type_is_asked_for_again(answers: Path):
    def act(asked: Asked) -> ours.Act:
        lie = says('{"instruction": "Turn it.", "type": "explode"}')
        return lie if len(asked.clips) == 2 and asked.times == 0 else good

    with Endpoint(act) as endpoint:
        results, _ = run(endpoint, answers, chain(3))
        assert all_right(results)
        assert endpoint.count()[0, 1] == 2


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
def test_lasting_nonsense_costs_its_pairs_and_no_others(answers: Path, nonsense: ours.Act):
    with Endpoint(act=lambda asked: nonsense if asked.clips == (2,) else good) as endpoint:
        results, _ = run(endpoint, answers, chain(5), reasks=1)
        refused = {pair_id: result for pair_id, result in results.items() if isinstance(result, Refused)}
        assert set(refused) == {"1-2", "2-3"}
        assert all_right({pair_id: result for pair_id, result in results.items() if pair_id not in refused})
        (reason,) = {result.reason for result in refused.values()}
        assert reason.startswith("Asked for a clip's description, the model's answer ")
        assert "hing" not in reason
        assert endpoint.count()[2,] == 2
        # For good: the next run asks nothing …
        again, instructor = run(endpoint, answers, chain(5), reasks=1)
        assert (again, instructor.usage.requests) == (results, 0)
        # … unless it is told to.
        endpoint.act = lambda _: good
        again, instructor = run(endpoint, answers, chain(5), ask_refused=True)
        assert all_right(again)
        assert instructor.usage.requests == 3


DECLINING = {
    "empty": says(None, finish_reason="content_filter"),
    "refusal": says(None, message={"role": "assistant", "content": None, "refusal": "I cannot help with that."}),
    "Azure": ours.sends(b'{"error": {"code": "content_filter", "message": "no"}}', 400),
    "OpenRouter": ours.sends(b'{"error": {"code": 403, "metadata": {"flagged_input": "no"}}}', 403),
}


@pytest.mark.parametrize("declines", DECLINING.values(), ids=DECLINING)
def test_a_model_that_declines_is_not_pressed_however_often(answers: Path, declines: ours.Act):
    with Endpoint(act=lambda asked: good if asked.clips in ((0,), (1,), (0, 1)) else declines) as endpoint:
        results, _ = run(endpoint, answers, chain(80))
        assert is_right("0-1", results.pop("0-1"))
        assert {result.kind for result in results.values()} == {"declined by the model"}
        assert set(endpoint.count().values()) == {1}
        _, instructor = run(endpoint, answers, chain(80))
        assert instructor.usage.requests == 0


def test_what_the_endpoint_rejects_costs_its_pairs_and_is_kept(answers: Path):
    with Endpoint(act=lambda asked: status(400) if asked.clips == (2,) else good) as endpoint:
        results, _ = run(endpoint, answers, chain(6))
        assert {p: r.kind for p, r in results.items() if isinstance(r, Refused)} == {
            "1-2": "rejected by the endpoint",
            "2-3": "rejected by the endpoint",
        }
        assert "HTTP 400" in results["1-2"].reason
        again, instructor = run(endpoint, answers, chain(6))
        assert (again, instructor.usage.requests) == (results, 0)


def test_a_question_that_the_endpoint_breaks_down_over_is_left_out_but_asked_in_the_next_run(answers: Path):
    with Endpoint(act=lambda asked: status(500) if asked.clips == (3,) else good) as endpoint:
        results, _ = run(endpoint, answers, chain(6))
        assert {p: r.kind for p, r in results.items() if isinstance(r, Refused)} == {
            "2-3": "no answer",
            "3-4": "no answer",
        }
        # Also where it is the only question left.
        again, _ = run(endpoint, answers, chain(6))
        assert again == results
        endpoint.act = lambda _: good
        again, instructor = run(endpoint, answers, chain(6))
        assert all_right(again)
        assert instructor.usage.requests == 3


def test_a_lasting_rate_limit_is_waited_out_while_others_get_through(answers: Path):
    # One question is turned away twelve times, three times as often as there are tries.
    def act(asked: Asked) -> ours.Act:
        return status(429) if asked.clips == (0,) and asked.times < 12 else good

    with Endpoint(act, delay=0.02) as endpoint:
        results, _ = run(endpoint, answers, chain(40), concurrency=2)
        assert all_right(results)
        assert endpoint.count()[0,] == 13


def test_retry_after_is_kept_to_and_capped(answers: Path):
    def act(asked: Asked) -> ours.Act:
        return good if asked.times else status(429, Retry_After="1" if asked.clips == (0,) else "3600")

    with Endpoint(act) as endpoint:
        started = time.monotonic()
        results, _ = run(endpoint, answers, chain(1), longest_wait=1.5)
        assert time.monotonic() - started < 20
        assert all_right(results)
        times = {clips: [a.when for a in endpoint.asked if a.clips == clips] for clips in endpoint.count()}
        waits = {clips: after - before for clips, (before, after) in times.items()}
    assert waits[0,] >= 1.0
    assert waits[1,] >= 1.5
    assert client.seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert client.seconds("Wed, 21 Oct 2115 07:28:00 GMT") > 1e9
    for nonsense in ("", "-5", "nan", "9" * 5000, "Wed, 99 Oct 2015", "\x00"):
        assert client.seconds(nonsense) == 0


def test_pauses_double_up_to_the_longest_and_are_spread_in_the_same_way_each_time():
    settled = config("http://127.0.0.1:9/v1", backoff=2.0, longest_wait=30.0)
    keys = [f"key {number}" for number in range(50)]
    for number in range(4):
        pauses = [pause(settled, key, number) for key in keys]
        assert pauses == [pause(settled, key, number) for key in keys]
        assert 2**number < min(pauses) < 1.2 * 2**number
        assert 1.8 * 2**number < max(pauses) < 2 * 2**number
    assert pause(settled, "key", 4000) == 30
    assert pause(settled, "key", 0, wanted=20) == 20
    assert pause(settled, "key", 0, wanted=1e12) == 30


@pytest.mark.parametrize("known", ["json_object", ""])
@pytest.mark.parametrize("number", [400, 422])
def test_an_endpoint_that_does_not_know_schemas_is_asked_without(answers: Path, known: str, number: int):
    fenced = "Here you are:\n```json\n{}\n```\nAnything else?"

    def act(asked: Asked) -> ours.Act:
        if asked.format not in (known, ""):
            return status(number)
        return says(fenced.format(json.dumps(asked.right | {"confidence": 0.9})))

    with Endpoint(act) as endpoint:
        results, instructor = run(endpoint, answers, chain(20))
        assert all_right(results)
        rejected = len(endpoint.asked) - 41
        assert 0 < rejected <= 4 * (2 if known == "" else 1)  # by the first requests, four at a time
    assert instructor.usage.retries == 0


def test_chaos_loses_and_doubles_nothing(answers: Path):
    """Every request has a fate of its own, drawn from all of the above and the right answer."""
    fates = [good] * 30 + [*FAILURES.values()] + [*NONSENSE.values()]
    fates.remove(FAILURES["timeout"])
    fates.remove(FAILURES["drip"])

    def act(asked: Asked) -> ours.Act:
        digest = hashlib.sha256(repr((asked.clips, asked.times)).encode()).digest()
        return fates[int.from_bytes(digest[:4]) % len(fates)]

    with Endpoint(act) as endpoint:
        values: dict[str, Any] = {"concurrency": 8, "retries": 2, "reasks": 1, "timeout": 30.0, "longest_wait": 0.02}
        wanted = [pair(n % 40, (7 * n + 1) % 40) for n in range(150)]
        results, _ = run(endpoint, answers, wanted, **values)
        right = {pair_id for pair_id, result in results.items() if is_right(pair_id, result)}
        refused = {pair_id: result for pair_id, result in results.items() if isinstance(result, Refused)}
        assert right | set(refused) == set(results)
        assert len(right) > 20
        assert len({result.kind for result in refused.values()}) > 2
        assert max(endpoint.answered.values()) == 1  # never asked again after the right answer
        # What is settled stays so, and comes from the file; the rest gets its next chance.
        endpoint.act = lambda _: good
        answered = dict(endpoint.answered)
        again, _ = run(endpoint, answers, wanted, **values)
        for pair_id, result in results.items():
            settled = pair_id in right or refused[pair_id].kind not in ("no answer", "rejected by the endpoint")
            assert again[pair_id] == result if settled else is_right(pair_id, again[pair_id])
        assert all(endpoint.answered[clips] == count for clips, count in answered.items())


@pytest.mark.parametrize(("act", "reason"), DOWN.values(), ids=DOWN)
def test_an_endpoint_in_trouble_ends_the_run_and_the_next_goes_on(answers: Path, monkeypatch, act, reason: str):
    """It answers the first ten questions, then never again."""
    monkeypatch.setenv("VLM_KEY", KEY)
    with Endpoint() as endpoint:
        endpoint.act = lambda _: good if len(endpoint.asked) <= 10 else act
        settled = config(endpoint.url, api_key_env="VLM_KEY", timeout=1.0 if act is ours.hang else 30.0, retries=1)
        results = []
        with VlmInstructor(settled, answers) as instructor, pytest.raises(InputError) as error:
            results += instructor.run(chain(100))
        sentence = str(error.value)
        assert sentence.startswith(f"The endpoint {endpoint.host} ")
        assert reason in sentence
        assert sentence.endswith("and run the same command again to go on.")
        assert KEY not in sentence
        assert len(endpoint.asked) < 100
        assert sum(endpoint.answered.values()) == 10

        endpoint.act = lambda _: good
        again, instructor = run(endpoint, answers, chain(100))
        assert all_right(again)
        assert instructor.usage.requests == 201 - 10


def test_nobody_there_is_said_also_for_a_single_pair(answers: Path):
    port = closed_port()
    with VlmInstructor(config(f"http://127.0.0.1:{port}/v1"), answers) as instructor:
        with pytest.raises(InputError, match=f"endpoint 127.0.0.1:{port} cannot be reached; see that the server runs"):
            list(instructor.run(chain(1)))
        assert instructor.usage.requests >= 4  # it was tried again before that


def test_a_redirect_is_not_followed(answers: Path, monkeypatch):
    monkeypatch.setenv("VLM_KEY", KEY)
    with Endpoint() as other, Endpoint() as endpoint:
        endpoint.act = lambda _: status(307, Location=f"{other.url}/chat/completions")
        with pytest.raises(InputError, match="redirect"):
            run(endpoint, answers, chain(3), api_key_env="VLM_KEY")
        assert endpoint.asked
        assert not other.asked


def test_a_model_that_never_makes_sense_ends_the_run(answers: Path):
    with Endpoint(act=lambda _: says("Hello!")) as endpoint:
        with pytest.raises(InputError, match=r"None of the last 50 questions to tiny-vlm at .* held no JSON"):
            run(endpoint, answers, chain(200), reasks=0)
        assert 50 <= len(endpoint.asked) < 60
