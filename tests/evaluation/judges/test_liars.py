"""Judges that lie (always 5, always the first, lots) beside an honest one: figures and signs give each of them away."""

from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from icve.evaluation.judges import RUBRICS, JudgeScorer, agreement, controls, pairwise
from icve.evaluation.judges.signs import signs, spread
from tests.evaluation.judges.endpoint import (
    Benchmark,
    JudgeEndpoint,
    Manner,
    first_always,
    flatterer,
    honest,
    judge,
    lots,
)

OPENVE = RUBRICS["openve"]
CASES = range(16)
FIGURE = "openve_compliance"
A = [(7 * number) % 16 for number in CASES]  # how good editor A's edits are
B = [(5 * number + 3) % 16 for number in CASES]
MANNERS = {"honest": honest, "flatterer": flatterer, "lots": lots}


@contextmanager
def judging(manner: Manner, folder: Path, name: str = "judge", **values):
    with JudgeEndpoint(manner) as endpoint, closing(judge(endpoint, folder, name, **values)) as one:
        yield one


def ratings(manner: Manner, bench: Benchmark, folder: Path, name: str) -> dict[str, float]:
    """The main figure of editor A's edits."""
    with judging(manner, folder, name) as one:
        scorer = JudgeScorer(one, OPENVE)
        return {f"{n}": scorer.score(*bench.clips(n, A[n]))[f"{FIGURE}@{name}"] for n in CASES}


@pytest.fixture(scope="module")
def scored(bench: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """The ratings of each judge, a second honest one among them."""
    folder = tmp_path_factory.mktemp("scored")
    manners = MANNERS | {"honest2": honest}
    return {name: ratings(manner, bench, folder, name) for name, manner in manners.items()}


def test_honest_judges_agree_and_nothing_is_held_against_them(scored):
    found = agreement.between({name: scored[name] for name in ("honest", "honest2")})
    assert (found.alpha, found.kappa, found.n) == (1, 1, 16)
    assert signs("honest", spread=spread([*scored["honest"].values()]), agreement=found) == []


def test_a_judge_that_always_gives_5_is_shown_by_its_spread_and_by_the_others(scored):
    found = spread([*scored["flatterer"].values()])
    assert (found.commonest, found.share, found.deviation) == (5, 1, 0)
    with_honest = agreement.between({name: scored[name] for name in ("flatterer", "honest")})
    assert with_honest.alpha < 0.2
    assert with_honest.kappa == pytest.approx(0, abs=1e-9)
    told = signs("flatterer", spread=found, agreement=with_honest)
    assert told[0] == "flatterer gives the same score, 5, to 100% of the clips."
    assert told[1].startswith("flatterer agrees with honest hardly better than chance")


def test_a_judge_that_draws_lots_is_shown_by_the_others_and_by_its_own_votes(scored, bench: Benchmark, tmp_path: Path):
    with_honest = agreement.between({name: scored[name] for name in ("lots", "honest")})
    assert abs(with_honest.alpha) < 0.4
    alphas = {}
    for name in ("honest", "lots"):
        with judging(MANNERS[name], tmp_path, name, votes=3, temperature=0.7) as one:
            scorer = JudgeScorer(one, OPENVE)
            votes = [[vote[f"{FIGURE}@{name}"] for vote in scorer.score(*bench.clips(n, A[n])).votes] for n in CASES]
        alphas[name] = agreement.among_votes(votes)
    assert alphas["honest"] == 1
    assert alphas["lots"] < 0.2
    assert signs("honest", votes=alphas["honest"]) == []
    assert signs("lots", votes=alphas["lots"])[0].startswith("lots's own votes agree hardly better than chance")


def compared(manner: Manner, bench: Benchmark, folder: Path, name: str) -> pairwise.Summary:
    rounds = [pairwise.Round(bench.case(n), bench.edit(n, A[n]), bench.edit(n, B[n])) for n in CASES]
    with judging(manner, folder, name) as one:
        outcomes = list(pairwise.compare(one, rounds))
        assert [done.case.id for done, _ in outcomes] == [done.case.id for done in rounds]
        assert one.usage.requests == 2 * len(rounds)
    return pairwise.summarise([outcome for _, outcome in outcomes if isinstance(outcome, pairwise.Outcome)])


def test_an_honest_comparison_is_consistent_and_finds_the_better_editor(bench: Benchmark, tmp_path: Path):
    found = compared(honest, bench, tmp_path, "honest")
    truth = sum((a > b) + (a == b) / 2 for a, b in zip(A, B, strict=True)) / 16
    assert found.win_rate.mean == pytest.approx(truth)
    assert (found.consistent, found.kappa, found.first) == (1, 1, 0.5)
    assert found.ties == sum(a == b for a, b in zip(A, B, strict=True)) / 16
    assert signs("honest", pairwise=found) == []


def test_a_judge_that_always_names_the_first_is_shown_by_the_swapped_order(bench: Benchmark, tmp_path: Path):
    found = compared(first_always, bench, tmp_path, "first")
    assert (found.first, found.consistent) == (1, 0)
    assert found.kappa == pytest.approx(0)
    assert found.win_rate.mean == 0.5  # no editor gains by it
    assert signs("first", pairwise=found) == [
        "first names the first of two shown edits in 100% of its choices.",
        "first keeps its choice in 0% of the cases when the order is swapped, hardly better than chance (kappa 0.00).",
    ]


def test_a_judge_that_draws_lots_is_shown_by_the_swapped_order(bench: Benchmark, tmp_path: Path):
    found = compared(lots, bench, tmp_path, "lots")
    assert 0.2 < found.consistent < 0.8
    assert found.kappa < 0.5
    assert found.win_rate.low < 0.5 < found.win_rate.high


def known(manner: Manner, bench: Benchmark, folder: Path, name: str) -> controls.Controls:
    with judging(manner, folder, name) as one:
        scorer = JudgeScorer(one, OPENVE)
        return controls.summarise(scorer, list(controls.ask_controls(scorer, [bench.case(n) for n in CASES])))


def test_clips_whose_place_is_known_show_who_sees_the_edit(bench: Benchmark, tmp_path: Path):
    good = known(honest, bench, tmp_path, "honest")
    assert (good.source.mean, good.target.mean, good.ranked.mean) == (1, 5, 1)
    assert signs("honest", controls=good) == []
    bad = known(flatterer, bench, tmp_path, "flatterer")
    assert (bad.source.mean, bad.target.mean, bad.ranked.mean) == (5, 5, 0.5)
    assert signs("flatterer", controls=bad) == [
        "flatterer does not place true edits above unedited sources by openve_compliance@flatterer "
        "(50% of the cases, 95% interval from 50%)."
    ]
    random = known(lots, bench, tmp_path, "lots")
    assert random.ranked.low < 0.8


def test_a_case_without_a_true_edit_still_shows_what_no_edit_is_given(bench: Benchmark, tmp_path: Path):
    from dataclasses import replace

    with judging(honest, tmp_path) as one:
        scorer = JudgeScorer(one, OPENVE)
        (control,) = controls.ask_controls(scorer, [replace(bench.case(1), target=None)])
    assert (control.source, control.target) == (1, None)


def test_columns_are_sorted_to_judges_and_what_was_not_scored_is_left_out():
    columns = {
        "openve_overall@qwen": {"a": 1.0, "b": 2.0, "c": 3.0},
        "openve_overall@gemini": {"a": 1.0, "b": 2.0, "d": 5.0},
        "psnr": {"a": 30.0},
    }
    by_figure = agreement.by_figure(columns)
    assert list(by_figure) == ["openve_overall"]
    found = agreement.between(by_figure["openve_overall"])
    assert (found.judges, found.n) == (("qwen", "gemini"), 2)
    alone = agreement.between({"qwen": {"a": 1.0}})
    assert alone.n == 0
    assert alone.alpha != alone.alpha  # nan
    three = agreement.between({name: {"a": 1.0, "b": 2.0} for name in "xyz"})
    assert (three.alpha, three.kappa) == (1, None)


def test_nothing_is_said_of_few_scores():
    assert signs("new", spread=spread([5.0] * 9)) == []
    assert signs("new", spread=spread([5.0] * 10)) != []
    assert spread([]).n == 0


def test_what_editors_gain_by_a_bias_cancels_out():
    assert pairwise.chosen("first", swapped=False) == pairwise.chosen("second", swapped=True) == "a"
    assert pairwise.chosen("second", swapped=False) == pairwise.chosen("first", swapped=True) == "b"
    assert pairwise.chosen("tie", swapped=True) == "tie"
    empty = pairwise.summarise([])
    assert empty.n == 0
    assert empty.first != empty.first
