"""A judge as a scorer: what it is sent, what becomes of its answers, and what a second run costs."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from icve.errors import InputError
from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.judges import RUBRICS, JudgeScorer, open_judges, read_judges
from icve.evaluation.judges.judge import usage_of
from icve.evaluation.scorers import MissingError, Scorer
from tests.data.curation.endpoint import Act, says
from tests.evaluation.judges.endpoint import Asked, Benchmark, JudgeEndpoint, answer, config, honest, judge, write_clip

OPENVE, VIDEOCOF, EDITVERSE = RUBRICS["openve"], RUBRICS["videocof"], RUBRICS["editverse"]


def test_an_edit_is_shown_beside_its_source_and_scored(bench: Benchmark, tmp_path: Path):
    with JudgeEndpoint(honest) as endpoint, closing(judge(endpoint, tmp_path, "qwen", image_side=32)) as one:
        scorer: Scorer = JudgeScorer(one, OPENVE)
        scorer.load()
        scores = scorer.score(*bench.clips(3, 8))
        assert scorer.name == "openve@qwen"
        assert [figure.name for figure in scorer.figures] == list(scores)
        assert scores == dict.fromkeys(scores, 3)  # 8 of 15 on a scale from 1 to 5
        assert next(iter(scores)) == "openve_compliance@qwen"
        assert scores.reasons == ("Seen at 0.53.",)
        (asked,) = endpoint.asked
    assert asked.shown == {"SOURCE": 48, "EDITED": 56}
    assert asked.frames == {"SOURCE": [0, 4, 8], "EDITED": [0, 4, 8]}
    assert asked.sizes == {(32, 24)}
    assert asked.text == "Kind of edit: remove\nInstruction: Remove thing 3."
    assert asked.schema["compliance"] == {"type": "integer", "enum": [1, 2, 3, 4, 5]}
    assert asked.body["response_format"]["json_schema"]["strict"] is True
    assert next(iter(asked.schema)) == "reason"  # thought before scored


def test_frames_that_one_clip_has_beyond_the_other_are_left_out(bench: Benchmark, tmp_path: Path):
    case = bench.case(2)
    short = write_clip(tmp_path / "short.mp4", 40, frames=5)
    with JudgeEndpoint(honest) as endpoint, closing(judge(endpoint, tmp_path, frames=8)) as one:
        JudgeScorer(one, OPENVE).score(case, Clips(case, short))
        (asked,) = endpoint.asked
    assert asked.frames == {"SOURCE": [0, 1, 2, 3, 4], "EDITED": [0, 1, 2, 3, 4]}


def test_rubrics_show_the_frames_of_their_benchmarks(bench: Benchmark, tmp_path: Path):
    with JudgeEndpoint(honest) as endpoint, closing(judge(endpoint, tmp_path, frames=5)) as one:
        JudgeScorer(one, EDITVERSE).score(*bench.clips(1, 15))
        assert sorted(asked.frames["EDITED"] for asked in endpoint.asked) == [[0], [4], [8]]
        endpoint.asked.clear()
        scores = JudgeScorer(one, VIDEOCOF).score(*bench.clips(1, 15))
        assert sorted(asked.frames["EDITED"] for asked in endpoint.asked) == [[0], [0, 4, 8]]
        assert scores["videocof_success@judge"] == 100


def test_votes_are_other_draws_of_the_same_question_and_their_mean_counts(bench: Benchmark, tmp_path: Path):
    shares = [0.0, 0.5, 0.5]

    def act(asked: Asked) -> Act:
        return says(json.dumps(answer(asked, shares[asked.body["seed"] // 1000])))

    with JudgeEndpoint(act) as endpoint, closing(judge(endpoint, tmp_path, votes=3, temperature=0.7)) as one:
        scorer = JudgeScorer(one, OPENVE)
        scores = scorer.score(*bench.clips(3, 8))
        assert scores["openve_compliance@judge"] == pytest.approx((1 + 3 + 3) / 3)
        assert [vote["openve_compliance@judge"] for vote in scorer.score(*bench.clips(3, 8)).votes] == [1, 3, 3]
        assert len(endpoint.asked) == 3
        assert len({asked.body["seed"] for asked in endpoint.asked}) == 3
        assert len(scores.reasons) == 3


def test_a_rerun_costs_nothing_and_reads_no_frame(bench: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with JudgeEndpoint(honest) as endpoint:
        with closing(judge(endpoint, tmp_path)) as one:
            first = JudgeScorer(one, VIDEOCOF).score(*bench.clips(3, 8))
            assert usage_of([one])["judge"] == {
                "requests": 2,
                "cached": 0,
                "retries": 0,
                "prompt_tokens": 2000,
                "completion_tokens": 100,
                "cost": 0.0,
            }
        monkeypatch.setattr("icve.evaluation.judges.messages.SmallFrames", None)
        with closing(judge(endpoint, tmp_path)) as one:
            scorer = JudgeScorer(one, VIDEOCOF)
            assert scorer.score(*bench.clips(3, 8)) == first
            assert (one.usage.requests, one.usage.cached) == (0, 2)
        assert len(endpoint.asked) == 2


def test_the_same_clip_elsewhere_is_known_and_another_clip_or_wording_is_not(bench: Benchmark, tmp_path: Path):
    case, _ = bench.clips(3, 8)
    moved = tmp_path / "moved.mp4"
    moved.write_bytes(bench.edit(3, 8).read_bytes())
    with JudgeEndpoint(honest) as endpoint, closing(judge(endpoint, tmp_path)) as one:
        scorer = JudgeScorer(one, OPENVE)
        scorer.score(*bench.clips(3, 8))
        scorer.score(case, Clips(case, moved))
        assert len(endpoint.asked) == 1
        scorer.score(*bench.clips(3, 9))
        other = Case(case.id, case.category, "Remove it.", case.source)
        scorer.score(other, Clips(other, moved))
        assert len(endpoint.asked) == 3


@pytest.mark.parametrize(
    "change",
    [{"model": "other"}, {"frames": 4}, {"image_side": 100}, {"temperature": 0.5}, {"votes": 2, "temperature": 0.5}],
    ids=lambda change: next(iter(change)),
)
def test_whatever_the_scores_depend_on_is_in_the_version(tmp_path: Path, change: dict):
    url = "http://127.0.0.1:9/v1"
    before, after = (JudgeScorer(judge(url, tmp_path, **values), OPENVE).version for values in ({}, change))
    assert before != after
    assert JudgeScorer(judge(url, tmp_path, timeout=99, concurrency=2), OPENVE).version == before
    assert JudgeScorer(judge(url, tmp_path), VIDEOCOF).version != before


def test_many_clips_are_asked_about_at_once_but_no_more_than_configured(bench: Benchmark, tmp_path: Path):
    with JudgeEndpoint(honest, delay=0.3) as endpoint, closing(judge(endpoint, tmp_path, concurrency=3)) as one:
        scorer = JudgeScorer(one, OPENVE)
        assert scorer.at_once == 3
        pairs = [bench.clips(number, 5) for number in range(8)]
        with ThreadPoolExecutor(scorer.at_once) as pool:
            scores = list(pool.map(lambda pair: scorer.score(*pair), pairs))
        assert len(scores) == len(endpoint.asked) == 8
        assert endpoint.most_under_way == 3


def test_two_judges_name_their_figures_and_keep_their_answers_apart(bench: Benchmark, tmp_path: Path):
    with JudgeEndpoint(honest) as endpoint:
        configs = [config(endpoint, "qwen"), config(endpoint, "gemini")]
        with open_judges(configs, tmp_path / "answers") as judges:
            scores = [JudgeScorer(one, OPENVE).score(*bench.clips(3, 8)) for one in judges]
        assert "openve_overall@qwen" in scores[0]
        assert "openve_overall@gemini" in scores[1]
        assert len(endpoint.asked) == 2
    assert {path.name for path in (tmp_path / "answers").glob("*.sqlite")} == {"qwen.sqlite", "gemini.sqlite"}


def test_a_judge_without_its_key_is_missing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    one = judge("http://127.0.0.1:9/v1", tmp_path, api_key_env="JUDGE_KEY")
    with pytest.raises(MissingError, match="environment variable JUDGE_KEY is not set"):
        JudgeScorer(one, OPENVE).load()


def test_the_key_goes_to_the_endpoint_and_nowhere_else(bench, tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setenv("JUDGE_KEY", "sk-CANARY")
    caplog.set_level("DEBUG")
    with JudgeEndpoint(honest) as endpoint, closing(judge(endpoint, tmp_path, api_key_env="JUDGE_KEY")) as one:
        scores = JudgeScorer(one, OPENVE).score(*bench.clips(3, 8))
        assert endpoint.asked[0].headers["Authorization"] == "Bearer sk-CANARY"
        shown = repr((scores, scores.reasons, one.config, one.usage))
    assert "CANARY" not in shown + caplog.text + "".join(capfd.readouterr())
    assert all(b"CANARY" not in path.read_bytes() for path in tmp_path.glob("*.sqlite*"))


def test_an_unreadable_clip_is_missing_and_costs_no_other(bench: Benchmark, tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    case = bench.case(3)
    with JudgeEndpoint(honest) as endpoint, closing(judge(endpoint, tmp_path)) as one:
        scorer = JudgeScorer(one, OPENVE)
        for path in (broken, tmp_path / "none.mp4"):
            with pytest.raises(MissingError, match=path.name):
                scorer.score(case, Clips(case, path))
        assert scorer.score(*bench.clips(3, 15))["openve_overall@judge"] == 5
        assert len(endpoint.asked) == 1


YAML = """
judges:
  - {name: qwen, base_url: "http://localhost:8000/v1", model: Qwen/Qwen3-VL-32B-Instruct, votes: 3, temperature: 0.7}
  - {name: gemini, base_url: "https://example.com/v1", model: gemini-2.5-pro, api_key_env: GEMINI_KEY}
"""


def test_judges_are_read_from_a_file(tmp_path: Path):
    path = tmp_path / "judges.yaml"
    path.write_text(YAML)
    assert [one.name for one in read_judges(path)] == ["qwen", "gemini"]
    assert [one.model for one in read_judges(path, ["gemini"])] == ["gemini-2.5-pro"]
    with pytest.raises(InputError, match=r"judges.yaml holds no judge claude; it has qwen, gemini"):
        read_judges(path, ["claude"])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (YAML.replace("gemini,", "qwen,"), "two judges of one name"),
        (YAML.replace("temperature: 0.7", "temperature: 0.0"), "votes above 1 need a temperature above 0"),
        (YAML.replace("name: qwen", "name: ../qwen"), "name"),
        (YAML.replace("api_key_env: GEMINI_KEY", "api_key: sk-CANARY"), "api_key"),
        ("judges: []", "judges"),
        ("- a", "not a config"),
    ],
)
def test_a_wrong_file_of_judges_is_said_in_one_sentence(tmp_path: Path, wrong: str, sentence: str):
    path = tmp_path / "judges.yaml"
    path.write_text(wrong)
    with pytest.raises(InputError, match=sentence) as error:
        read_judges(path)
    assert "CANARY" not in str(error.value)
