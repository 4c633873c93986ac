"""The engine: cached by content, resumable, and a damaged file costs its own case."""

import shutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from icve.errors import InputError
from icve.evaluation.cache import ScoreCache, case_content
from icve.evaluation.cases import Case
from icve.evaluation.edits import Edits, check_names, find_edits
from icve.evaluation.run import Run
from icve.video import VideoInfo, VideoWriter
from tests.evaluation.scorers import Brightness


def write(path, value, frames=3, size=16):
    info = VideoInfo(None, size, size, Fraction(1, 8), Fraction(8))
    with VideoWriter(path, info, lossless=True, overwrite=True) as writer:
        for number in range(frames):
            writer.write(np.full((size, size, 3), value, np.uint8), number, 1)
    return path


@pytest.fixture
def bench(tmp_path):
    """Three cases and a folder with their edits."""
    source = write(tmp_path / "source.mp4", 10)
    cases = [Case(name, "kind", f"make {name}", source) for name in ("a", "b", "c")]
    edits = tmp_path / "edits"
    edits.mkdir()
    for number, case in enumerate(cases):
        write(edits / f"{case.id}.mp4", 50 * number)
    return tmp_path, cases


def run(bench, *scorers, cases=None, edits=None):
    folder, known = bench
    done = Run(
        cases or known, [edits or find_edits(str(folder / "edits"))], scorers, ScoreCache(folder / "cache.jsonl")
    )
    done.score(workers=2)
    return {(case, scorer): value for (_, case, scorer), value in done.outcomes.items()}


def calls(scorer):
    try:
        with open(scorer.calls) as file:  # noqa: PTH123
            return sorted(file.read().split("\n"))[1:]
    except FileNotFoundError:
        return []


def scorer(bench, name="brightness", **options):
    return Brightness(str(bench[0] / "calls"), name=name, **options)


@pytest.mark.parametrize("kind", [{"heavy": False}, {"heavy": True}, {"heavy": True, "at_once": 3}])
def test_scores_are_made_once(bench, kind):
    first = run(bench, scorer(bench, **kind))
    assert {case: dict(value) for (case, _), value in first.items()} == {
        "a": {"brightness": 0},
        "b": {"brightness": 50},
        "c": {"brightness": 100},
    }
    assert first["b", "brightness"].reasons == ("seen b",)
    again = scorer(bench, **kind)
    second = run(bench, again)
    assert second == first
    assert second["b", "brightness"].reasons == ("seen b",)
    assert again.loaded == []  # nothing to score, nothing to load
    assert len(calls(again)) == 3


def test_what_changed_is_scored_again_and_nothing_else(bench):
    folder, cases = bench
    run(bench, scorer(bench))
    other = scorer(bench, "other")
    run(bench, scorer(bench), other)  # a scorer added later computes only itself
    assert calls(other) == [f"{name} {case}" for name in ("brightness", "other") for case in "abc"]
    write(folder / "edits/b.mp4", 200)
    changed = [cases[0], cases[1], replace(cases[2], instruction="another")]
    assert run(bench, scorer(bench), cases=changed)["b", "brightness"] == {"brightness": 200}
    assert len(calls(other)) == 6 + 2
    run(bench, scorer(bench, version="2"))
    assert len(calls(other)) == 8 + 3


def test_copies_elsewhere_are_not_scored_again(bench):
    folder, cases = bench
    run(bench, scorer(bench))
    shutil.move(folder / "edits", folder / "moved")
    moved = shutil.copy(folder / "source.mp4", folder / "same.mp4")
    run(bench, scorer(bench), cases=[replace(c, source=moved) for c in cases], edits=find_edits(str(folder / "moved")))
    assert len(calls(scorer(bench))) == 3
    assert case_content(cases[0]) == case_content(replace(cases[0], source=moved)) != case_content(cases[1])


def test_a_killed_run_goes_on(bench):
    run(bench, scorer(bench))
    cache = bench[0] / "cache.jsonl"
    whole = cache.read_bytes()
    lines = whole.splitlines(keepends=True)
    cache.write_bytes(lines[0] + b'{"key": 7, "figures": []}\n' + lines[1] + lines[2][:20])
    results = run(bench, scorer(bench))
    assert results["c", "brightness"] == {"brightness": 100}
    assert len(calls(scorer(bench))) == 4
    assert sorted(cache.read_bytes().splitlines())[:-1] == sorted(whole.splitlines())


def test_damage_costs_its_own_case_and_says_why(bench):
    folder, cases = bench
    ids = ("killer", "wrong", "infinite", "gone", "torn", "text", "twice")
    more = [Case(name, "kind", name, folder / "source.mp4") for name in ids]
    for name in ("killer", "wrong", "infinite", "torn", "twice"):
        write(folder / f"edits/{name}.mp4", 5)
    torn = folder / "edits/torn.mp4"
    torn.write_bytes(torn.read_bytes()[:200])
    (folder / "edits/text.mp4").write_text("<script>")
    write(folder / "edits/twice.mkv", 6)
    light, heavy = scorer(bench), scorer(bench, "heavy", heavy=True)
    results = run(bench, light, heavy, cases=[*more, *cases])
    assert results["b", "brightness"] == {"brightness": 50}
    assert results["b", "heavy"] == {"heavy": 50}
    said = {name: results[name, "brightness"] for name in ids}
    assert "crashed" in said["killer"]
    assert "crashed" in results["killer", "heavy"]  # not tried where it would end the run
    assert said["wrong"] == "ValueError: two lines"
    assert said["infinite"] == {}
    assert said["gone"] == "There is no edited clip."
    assert "torn.mp4" in said["torn"]
    assert "text.mp4" in said["text"]
    assert results["text", "heavy"] == said["text"]
    assert "several edits" in said["twice"]


def test_missing_sources_and_scorers_that_cannot_load(bench):
    folder, cases = bench
    lost = replace(cases[0], source=folder / "lost.mp4")
    results = run(bench, scorer(bench), scorer(bench, "b", broken="No weights here."), cases=[lost, *cases[1:]])
    assert "lost.mp4 cannot be read" in results["a", "brightness"]
    assert results["c", "brightness"] == {"brightness": 100}
    assert results["c", "b"] == "No weights here."


def test_edits_in_a_csv(bench, tmp_path):
    table = tmp_path / "my edits!.csv"
    table.write_text("id,edited\na,edits/a.mp4\nb,\n")
    edits = find_edits(str(table))
    assert edits == Edits("my-edits-", {"a": tmp_path / "edits/a.mp4"})
    assert find_edits(f"mine={table}").name == "mine"
    results = run(bench, scorer(bench), edits=edits)
    assert results["a", "brightness"] == {"brightness": 0}
    assert results["b", "brightness"] == "There is no edited clip."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,video\na,b\n", "lacks the column edited"),
        ("id,edited\n", "no row"),
        ("id,edited\na,1\na,2\n", "twice"),
        ("id,edited\n\xff", "UTF-8"),
    ],
)
def test_csvs_that_are_none(tmp_path, content, said):
    (tmp_path / "edits.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=said):
        find_edits(str(tmp_path / "edits.csv"))


def test_the_names_of_a_benchmarks_own_code_are_known(tmp_path):
    for name in ("1/generate.mp4", "1/video1.mp4", "2.mkv", "gen_a_1.mp4", "b.mp4", "gen_b.mp4", "._b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    by_folder = find_edits(str(tmp_path), "{id}/generate.mp4").files
    assert by_folder["1"] == tmp_path / "1/generate.mp4"
    assert {*by_folder} == {"1", "2", "gen_a_1", "b", "gen_b"}
    by_name = find_edits(str(tmp_path), "gen_{id}.mp4")
    assert by_name.files == {"a_1": tmp_path / "gen_a_1.mp4", "2": tmp_path / "2.mkv"}
    assert "several edits of b" in by_name.reason("b")


def test_folders_and_names_that_will_not_do(tmp_path):
    with pytest.raises(InputError, match="no video"):
        find_edits(str(tmp_path))
    with pytest.raises(InputError, match="neither"):
        find_edits(f"name={tmp_path / 'nothing'}")
    with pytest.raises(InputError, match="Two editors are called mini"):
        check_names(["mini", "other", "mini"])
