"""Rubrics: figures that follow from answers, against their benchmarks' definitions worked out by hand."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from icve.evaluation.cases import Case
from icve.evaluation.judges.rubric import PROMPTS, prompt
from icve.evaluation.judges.rubrics import RUBRICS, covebench, editverse, five, openve, reco, videocof
from icve.evaluation.judges.rubrics.ivebench import MEASURES, aggregate
from icve.evaluation.scorers import MissingError
from icve.vlm.schema import json_schema, read_answer


def case(**details: Any) -> Case:
    return Case("one", "remove", "Remove the swan.", Path("source.mp4"), details=details)


def test_openve_caps_the_last_two_scores_by_the_first():
    for compliance, consistency, quality in itertools.product(range(1, 6), repeat=3):
        verdict = openve.Verdict(compliance=compliance, consistency=consistency, quality=quality)
        capped = [compliance, min(compliance, consistency), min(compliance, quality)]
        assert [*RUBRICS["openve"].score(case(), [verdict]).values()] == [*capped, pytest.approx(sum(capped) / 3)]


def test_editverse_sums_three_criteria_over_three_frames():
    frames = [
        editverse.Verdict(following=f, quality=q, preservation=p) for f, q, p in [(3, 3, 3), (0, 1, 2), (3, 2, 1)]
    ]
    scores = RUBRICS["editverse"].score(case(), frames)
    assert scores["editverse_vlm"] == pytest.approx((9 + 3 + 6) / 3)
    assert scores["editverse_following"] == pytest.approx(2)


def test_videocof_gives_marks_and_a_rate():
    verdict = videocof.Verdict(follow=7, preserve=8, quality=9)
    for word, rate in (("yes", 100), ("no", 0)):
        scores = RUBRICS["videocof"].score(case(), [verdict, videocof.Success(success=word)])
        assert [*scores.values()] == [7, 8, 9, rate]


def test_reco_takes_geometric_means_in_groups_and_their_mean():
    marks = dict(zip(reco.ABOUT, [8, 1, 8, 10, 10, 10, 2, 4, 8], strict=True))
    scores = RUBRICS["reco"].score(case(), [reco.Verdict(**marks)])
    assert scores["reco_accuracy"] == pytest.approx(4)
    assert scores["reco_quality"] == pytest.approx(10)
    assert scores["reco_naturalness"] == pytest.approx(4)
    assert scores["reco_overall"] == pytest.approx(6)
    assert scores["reco_scope"] == 1
    failed = RUBRICS["reco"].score(case(), [reco.Verdict(**dict.fromkeys(reco.ABOUT, 0))])
    assert set(failed.values()) == {0}


QUESTIONS = {
    "source_yes_no_question": "Is there a swan in the video?",
    "target_yes_no_question": "Is there a flamingo in the video?",
    "multiple_choice_question": "What is in the video? a) A swan b) A flamingo",
}


@pytest.mark.parametrize(
    ("target", "choice", "source", "expected"),
    [
        ("yes", "b", "no", (1, 1, 1, 1)),
        ("yes", "b", "yes", (0, 1, 1, 0)),
        ("no", "b", "no", (0, 1, 1, 0)),
        ("yes", "a", "no", (1, 0, 1, 0)),
        ("no", "a", "yes", (0, 0, 0, 0)),
        ("yes", "b", None, (1, 1, 1, 1)),
        ("no", "a", None, (0, 0, 0, 0)),
    ],
)
def test_five_counts_yes_no_choice_union_and_intersection(target, choice, source, expected):
    asked = case(**{name: text for name, text in QUESTIONS.items() if source or not name.startswith("source")})
    asks = RUBRICS["five"].asks(asked)
    assert [ask.text for ask in asks][:2] == [
        f"Question: {QUESTIONS[name]}" for name in ("target_yes_no_question", "multiple_choice_question")
    ]
    assert not any(ask.source for ask in asks)
    answers = [five.Fact(answer=target), five.Choice(answer=choice), *([five.Fact(answer=source)] if source else [])]
    assert len(asks) == len(answers)
    scores = RUBRICS["five"].score(asked, answers)
    assert [scores[f"five_{name}"] / 100 for name in ("yes_no", "choice", "union", "intersection")] == [*expected]
    assert scores["five_acc"] == 25 * sum(expected)


def question(kind: str, dimension: str, expected: str, **more: Any) -> dict[str, Any]:
    return {"id": "Q", "type": kind, "dimension": dimension, "question": "What?", "expected_answer": expected} | more


GROUPS = [
    {
        "target_element": "background",
        "questions": [
            question("Single-TF", "Execution Accuracy", "No"),
            question("AB-MCQ", "Execution Accuracy", "B", options={"A": "a window", "B": "a wall"}),
            question("Dual-TF", "Execution Accuracy", "Yes"),
            question("Single-TF", "Physical Logic", "Yes"),
        ],
    },
    {"target_element": "kept", "questions": [question("Score-MCQ", "Semantic Preservation", "5")] * 2},
]


def test_covebench_compares_answers_with_what_is_expected():
    rubric, asked = RUBRICS["covebench"], case(evaluation_groups=GROUPS)
    alone, both = rubric.asks(asked)
    assert (alone.source, both.source) == (False, True)
    assert alone.text.splitlines() == [
        "Instruction: Remove the swan.",
        "q1: What? [yes or no]",
        "q2: What? a) a window b) a wall [a or b]",
        "q3: What? [yes or no]",
    ]
    assert json_schema(both.shape)["properties"]["q2"] == {"type": "integer", "enum": [*range(1, 11)]}
    assert json_schema(alone.shape)["properties"]["q2"] == {"type": "string", "enum": ["a", "b"]}
    right = alone.shape(q1="no", q2="b", q3="yes"), both.shape(q1="yes", q2=9, q3=6)
    assert dict(rubric.score(asked, right)) == {
        "covebench_uas": 100,
        "covebench_ifs": 100,
        "covebench_vrs": 100,
        "covebench_sem": 7.5,
    }
    wrong = alone.shape(q1="yes", q2="b", q3="no"), both.shape(q1="no", q2=1, q3=1)
    scores = rubric.score(asked, wrong)
    assert scores["covebench_ifs"] == pytest.approx(100 / 3)
    assert (scores["covebench_vrs"], scores["covebench_uas"], scores["covebench_sem"]) == (0, 0, 1)


@pytest.mark.parametrize(
    "groups",
    [
        None,
        [],
        "text",
        [1],
        [{"questions": None}],
        [{"questions": [{"type": "Single-TF"}]}],
        [{"questions": [question("Essay", "Physical Logic", "Yes")]}],
        [{"questions": [question("AB-MCQ", "Physical Logic", "A")]}],
        [{"questions": [question("AB-MCQ", "Physical Logic", "A", options={"(": "x", "B": "y"})]}],
        [{"questions": [question("Single-TF", "Physical Logic", "Yes", question="x" * 3000)]}],
        [{"questions": [question("Single-TF", "Physical Logic", "Yes")] * 101}],
    ],
)
def test_a_checklist_that_is_none_is_missing(groups: Any):
    with pytest.raises(MissingError):
        RUBRICS["covebench"].asks(case(evaluation_groups=groups))


def test_five_without_its_questions_is_missing():
    with pytest.raises(MissingError, match="has no target_yes_no_question"):
        RUBRICS["five"].asks(case())
    with pytest.raises(MissingError, match="has no multiple_choice_question"):
        RUBRICS["five"].asks(case(target_yes_no_question="Is it?", multiple_choice_question=7))


def test_ivebench_weighs_its_twelve_measures():
    best = {name: measure.high for name, measure in MEASURES.items()}
    worst = {name: measure.low for name, measure in MEASURES.items()}
    assert aggregate(best).total == pytest.approx(1)
    assert aggregate(worst).total == pytest.approx(0)
    found = aggregate(worst | {"vtss": 0.1, "instruction_satisfaction": 5, "content_fidelity": 3})
    assert found.quality == pytest.approx(4 / 8)
    assert found.compliance == pytest.approx(3 / 6)
    assert found.fidelity == pytest.approx(3 * 0.5 / 5)
    assert found.total == pytest.approx((0.5 + 0.5 + 0.3) / 3)
    heavy = aggregate(worst | {"vtss": 0.1}, {"quality": 2.0})
    assert heavy.total == pytest.approx(2 * 0.5 / 4)
    some = aggregate({"instruction_satisfaction": 3, "content_fidelity": math.nan})
    assert (some.compliance, some.total) == (0.5, 0.5)
    assert math.isnan(some.fidelity)
    assert len(some.missing) == 11
    assert math.isnan(aggregate({}).total)


@pytest.mark.parametrize("name", sorted({name for rubric in RUBRICS.values() for name in rubric.prompts}))
def test_prompts_carry_a_version_and_show_the_answers_form(name: str):
    wording = prompt(name)
    assert wording.version.startswith(f"{name}-1-")
    assert '{"reason": "..."' in wording.text
    assert max(map(len, wording.text.splitlines())) <= 120


def test_prompts_name_every_field_that_is_wanted():
    shown = case(**QUESTIONS, evaluation_groups=GROUPS)
    for rubric in RUBRICS.values():
        assert {ask.prompt for ask in rubric.asks(shown)} == {*rubric.prompts}
        for ask in rubric.asks(shown):
            if rubric.name != "covebench":
                assert all(f'"{field}"' in prompt(ask.prompt).text for field in json_schema(ask.shape)["properties"])
    assert {path.stem for path in PROMPTS.glob("*.txt")} == {
        *(name for rubric in RUBRICS.values() for name in rubric.prompts),
        "pairwise",
    }


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"reason": "r", "compliance": 3, "consistency": 2, "quality": 5}', (3, 2, 5)),
        ('{"compliance": "3", "consistency": 2.0, "quality": " 5 "}', (3, 2, 5)),
        ('{"reason": null, "compliance": 3, "consistency": 2, "quality": 5}', (3, 2, 5)),
        ('{"compliance": 6, "consistency": 2, "quality": 5}', None),
        ('{"compliance": 0, "consistency": 2, "quality": 5}', None),
        ('{"compliance": 2.5, "consistency": 2, "quality": 5}', None),
        ('{"compliance": true, "consistency": 2, "quality": 5}', None),
        ('{"compliance": "five", "consistency": 2, "quality": 5}', None),
        ('{"compliance": "' + "9" * 5000 + '", "consistency": 2, "quality": 5}', None),
        ('{"compliance": 1e999, "consistency": 2, "quality": 5}', None),
        ('{"consistency": 2, "quality": 5}', None),
        ('[{"compliance": 3, "consistency": 2, "quality": 5}]', None),
    ],
)
def test_marks_are_read_strictly_but_not_pedantically(text: str, read: tuple[int, ...] | None):
    answer = read_answer(openve.Verdict, text)
    if read is None:
        assert not isinstance(answer, openve.Verdict)
    else:
        assert isinstance(answer, openve.Verdict)
        assert (answer.compliance, answer.consistency, answer.quality) == read


@pytest.mark.parametrize(
    ("given", "read"), [("Yes.", "yes"), (" NO ", "no"), (True, "yes"), (False, "no"), ("maybe", None), (1, None)]
)
def test_words_are_read_whatever_their_case(given: Any, read: str | None):
    import json

    answer = read_answer(five.Fact, json.dumps({"answer": given}))
    assert getattr(answer, "answer", None) == read


def test_reasons_are_shortened_and_made_one_line():
    answer = five.Fact(reason="a\x00\n" * 2000, answer="yes")
    assert len(answer.reason) <= 600
    assert answer.reason.isprintable()


def test_a_shape_depends_on_its_questions_alone():
    kinds = ("yes|no", "score")
    assert json_schema(covebench.shape(kinds)) == json_schema(covebench.shape.__wrapped__(kinds))
    assert SimpleNamespace(**covebench.shape(kinds)(q1="no", q2=3).model_dump()).q2 == 3
