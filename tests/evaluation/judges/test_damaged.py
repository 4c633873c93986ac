"""Damaged answers, errors, silence and kills: nothing is lost, nothing counts twice, and no figure is made up."""

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from icve.errors import InputError
from icve.evaluation.judges import RUBRICS, Judge, JudgeScorer, controls, pairwise
from icve.evaluation.scorers import MissingError
from tests.data.curation import endpoint as ours
from tests.data.curation.endpoint import Act, says, status
from tests.data.curation.vlm_runs import FAILURES, NONSENSE
from tests.evaluation.judges.endpoint import Asked, Benchmark, JudgeEndpoint, honest, judge

OPENVE = RUBRICS["openve"]
CASES = range(16)
SLOW = ("timeout", "drip", "endless body", "gzip bomb")
DAMAGE = {name: act for name, act in (FAILURES | NONSENSE).items() if name not in SLOW} | {
    "a mark off the scale": says('{"reason": "", "compliance": 6, "consistency": 1, "quality": 1}'),
    "a mark left out": says('{"reason": "", "compliance": 5, "quality": 1}'),
    "refusal": says("", finish_reason="content_filter"),
}


def score_all(one: Judge, bench: Benchmark) -> dict[int, dict[str, float] | str]:
    """Each case's scores, or why there are none; asked about as a run does."""
    scorer = JudgeScorer(one, OPENVE)

    def score(number: int) -> dict[str, float] | str:
        try:
            return dict(scorer.score(*bench.clips(number, number)))
        except MissingError as error:
            return str(error)

    with ThreadPoolExecutor(scorer.at_once) as pool:
        return dict(zip(CASES, pool.map(score, CASES), strict=True))


def truth(number: int) -> dict[str, float]:
    return {figure.name + "@judge": 1 + round(number / 15 * 4) for figure in OPENVE.figures}


def test_after_damage_of_any_kind_the_right_answer_counts_once(bench: Benchmark, tmp_path: Path):
    """Each kind meets a clip of its own, the first time that it is asked about."""
    kinds = {16 * (n % 16) + 1 + n // 16: name for n, name in enumerate(DAMAGE)}
    places = {name: divmod(clip, 16) for clip, name in kinds.items()}

    def act(asked: Asked) -> Act:
        return honest(asked) if asked.times else DAMAGE[kinds[asked.shown["EDITED"]]]

    def score(one: Judge, name: str) -> dict[str, float] | str:
        try:
            return dict(JudgeScorer(one, OPENVE).score(*bench.clips(*places[name])))
        except MissingError as error:
            return str(error)

    with JudgeEndpoint(act) as endpoint:
        with closing(judge(endpoint, tmp_path)) as one, ThreadPoolExecutor(4) as pool:
            first = dict(zip(DAMAGE, pool.map(lambda name: score(one, name), DAMAGE), strict=True))
        assert "was that it declines" in str(first.pop("refusal"))  # is an answer: it will not judge this clip
        assert first == {name: truth(places[name][1]) for name in first}
        assert set(endpoint.answered.values()) == {1}
        assert len(endpoint.answered) == len(DAMAGE) - 1
        asked = len(endpoint.asked)
        assert asked == 2 * len(DAMAGE) - 1
        with closing(judge(endpoint, tmp_path)) as one:
            assert {name: score(one, name) for name in first} == first
            assert "declines" in str(score(one, "refusal"))
        assert len(endpoint.asked) == asked


def test_a_judge_that_stays_silent_is_asked_again(bench: Benchmark, tmp_path: Path):
    late = JudgeEndpoint(lambda asked: honest(asked) if asked.times else ours.hang)
    with late as endpoint, closing(judge(endpoint, tmp_path, timeout=0.5)) as one:
        assert JudgeScorer(one, OPENVE).score(*bench.clips(7, 7)) == truth(7)
        assert one.usage.retries == 1


def test_chaos_loses_and_doubles_nothing(bench: Benchmark, tmp_path: Path):
    """Every request has a fate of its own, drawn from all of the above and the right answer."""
    fates: list[Any] = [None] * 30 + [*DAMAGE.values()]

    def act(asked: Asked) -> Act:
        drawn = hashlib.sha256(repr((asked.shown, asked.times)).encode()).digest()
        return fates[int.from_bytes(drawn[:4]) % len(fates)] or honest(asked)

    values: dict[str, Any] = {"concurrency": 8, "retries": 2, "reasks": 1, "longest_wait": 0.02, "give_up": 1000}
    with JudgeEndpoint(act) as endpoint:
        with closing(judge(endpoint, tmp_path, **values)) as one:
            first = score_all(one, bench)
            usage = one.usage
            spent = one.open().spent()
        right = {number for number, given in first.items() if given == truth(number)}
        assert right | {number for number, given in first.items() if isinstance(given, str)} == {*CASES}
        assert 4 < len(right) < 16
        assert max(endpoint.answered.values()) == 1  # never asked again after the right answer
        assert usage.requests == len(endpoint.asked)
        assert spent.prompt_tokens <= usage.prompt_tokens == 1000 * _billed(endpoint, act)
        # What was answered comes from the file; what got no answer gets its next chance.
        endpoint.act = honest
        answered = Counter(endpoint.answered)
        with closing(judge(endpoint, tmp_path, **values)) as one:
            second = score_all(one, bench)
        assert all(second[number] == first[number] for number in right)
        assert all(endpoint.answered[key] == 1 for key in answered)
        open_ = [number for number in CASES if number not in right and "the endpoint" in first[number]]
        assert all(second[number] == truth(number) for number in open_)


def _billed(endpoint: JudgeEndpoint, act: Any) -> int:
    """Requests that were answered with a chat completion, which counts tokens."""
    replies = {id(one) for one in [*NONSENSE.values(), *list(DAMAGE.values())[-3:]]}
    acts = [act(asked) for asked in endpoint.asked]
    known = {id(one) for one in DAMAGE.values()}
    return sum(id(one) in replies or id(one) not in known for one in acts)


@pytest.mark.parametrize(("act", "reason"), [(status(401), "refuses the key"), (status(503), "overloaded")])
def test_an_endpoint_in_trouble_costs_what_is_missing_and_the_next_run_asks_that(
    bench: Benchmark, tmp_path: Path, act: Act, reason: str
):
    with JudgeEndpoint() as endpoint:
        endpoint.act = lambda asked: honest(asked) if len(endpoint.asked) <= 6 else act
        with closing(judge(endpoint, tmp_path, retries=1, concurrency=2)) as one:
            first = score_all(one, bench)
            assert reason in str(one.trouble)
        told = [given for given in first.values() if isinstance(given, str)]
        assert len(told) >= 16 - 6
        assert any(reason in sentence and "run the same command again" in sentence for sentence in told)
        assert len(endpoint.asked) < 16
        assert all(given == truth(number) for number, given in first.items() if not isinstance(given, str))

        asked, answered = len(endpoint.asked), sum(endpoint.answered.values())
        endpoint.act = honest
        with closing(judge(endpoint, tmp_path)) as one:
            assert score_all(one, bench) == {number: truth(number) for number in CASES}
        assert len(endpoint.asked) == asked + 16 - answered


def test_a_vote_that_cannot_be_used_is_left_out_and_one_that_may_still_come_is_waited_for(
    bench: Benchmark, tmp_path: Path
):
    def second(asked: Asked) -> bool:
        return asked.body["seed"] // 1000 == 1

    values: dict[str, Any] = {"votes": 3, "temperature": 0.7, "reasks": 0, "retries": 0}
    with JudgeEndpoint(lambda asked: says("Hello!") if second(asked) else honest(asked)) as endpoint:
        with closing(judge(endpoint, tmp_path, "strange", **values)) as one:
            scorer = JudgeScorer(one, OPENVE)
            assert len(scorer.score(*bench.clips(7, 7)).votes) == 2
            assert scorer.score(*bench.clips(7, 7))["openve_compliance@strange"] == 3
        endpoint.act = lambda asked: status(500) if second(asked) else honest(asked)
        with closing(judge(endpoint, tmp_path, "broken", **values)) as one, pytest.raises(MissingError, match="fails"):
            JudgeScorer(one, OPENVE).score(*bench.clips(7, 7))
        endpoint.act = honest
        with closing(judge(endpoint, tmp_path, "broken", **values)) as one:
            assert len(JudgeScorer(one, OPENVE).score(*bench.clips(7, 7)).votes) == 3
            assert one.usage.requests == 1


def test_comparisons_keep_what_was_answered(bench: Benchmark, tmp_path: Path):
    rounds = [pairwise.Round(bench.case(n), bench.edit(n, 9), bench.edit(n, 4)) for n in CASES]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    rounds[3] = pairwise.Round(rounds[3].case, broken, rounds[3].b)
    with JudgeEndpoint() as endpoint:
        endpoint.act = lambda asked: honest(asked) if len(endpoint.asked) <= 9 else status(401)
        with closing(judge(endpoint, tmp_path)) as one, pytest.raises(InputError, match="refuses the key"):
            list(pairwise.compare(one, rounds))
        asked, answered = len(endpoint.asked), sum(endpoint.answered.values())
        assert answered == 9
        endpoint.act = honest
        with closing(judge(endpoint, tmp_path)) as one:
            outcomes = [outcome for _, outcome in pairwise.compare(one, rounds)]
        assert len(endpoint.asked) == asked + 2 * 15 - answered
        assert isinstance(outcomes.pop(3), MissingError)
        assert pairwise.summarise(outcomes).win_rate.mean == 1  # type: ignore[arg-type]


def test_controls_end_with_a_sentence_when_the_endpoint_is_down(bench: Benchmark, tmp_path: Path):
    down = JudgeEndpoint(lambda _: status(401))
    refused = pytest.raises(InputError, match="refuses the key")
    with down as endpoint, closing(judge(endpoint, tmp_path)) as one, refused:
        list(controls.ask_controls(JudgeScorer(one, OPENVE), [bench.case(1)]))
