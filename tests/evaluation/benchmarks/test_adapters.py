"""Adapters against tiny folders in the authors' layouts, whole and damaged."""

import json
from pathlib import Path

import pytest

from icve.errors import InputError
from icve.evaluation.benchmarks import reading
from icve.evaluation.benchmarks.registry import BENCHMARKS, find_benchmark
from icve.evaluation.cases import Case
from icve.evaluation.clips import read_clip, read_mask
from icve.evaluation.judges import RUBRICS
from icve.evaluation.metrics.registry import METRICS
from tests.evaluation.benchmarks.layouts import LAYOUTS, OPENVE, video

DOCS = Path(__file__).parents[3] / "docs"


def cases_of(name: str, root: Path) -> list[Case]:
    return list(find_benchmark(name).cases(root))


def test_every_benchmark_has_a_layout_here():
    assert set(BENCHMARKS) == {*LAYOUTS, "world"}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_scorers_are_there_and_documented(name):
    docs = {page: (DOCS / f"{page}.md").read_text() for page in ("benchmarks", "metrics", "judges")}
    judge, *metrics = find_benchmark(name).scorers
    assert judge in RUBRICS or judge == name == "world"
    assert judge == "world" or f"| `{judge}` |" in docs["judges"]
    assert {*metrics} <= {*METRICS}
    assert all(f"| `{metric}` |" in docs["metrics"] for metric in metrics)
    row = f"| `{name}` | {' '.join(f'`{metric}`' for metric in metrics)} |"
    assert (row in docs["benchmarks"]) == bool(metrics)


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_is_read(name, tmp_path):
    LAYOUTS[name](tmp_path)
    cases = cases_of(name, tmp_path)
    assert len({case.id for case in cases}) == len(cases) > 1
    for case in cases:
        assert read_clip(case.source).shape == (3, 16, 16, 3)
        assert case.instruction
        assert case.category
        json.dumps(dict(case.details))
    assert [case.id for case in cases_of(name, tmp_path)] == [case.id for case in cases]


def test_openve_has_all_eight_categories(tmp_path):
    LAYOUTS["openve-bench"](tmp_path)
    cases = cases_of("openve-bench", tmp_path)
    assert [case.category for case in cases] == OPENVE
    assert cases[0].id == "0000_global_style_Edit_it_now"
    assert cases[0].instruction == 'Do the "global_style", and keep the rest.'


def test_editverse_tags(tmp_path):
    LAYOUTS["editverse-bench"](tmp_path / "EditVerseBench")  # as in the authors' commands, one folder down
    add, propagate = cases_of("editverse-bench", tmp_path)
    assert (add.instruction, add.category, add.target_prompt) == ("Add a crown.", "add object", "A crown.")
    assert "inputs" not in add.details
    assert propagate.details["inputs"]["<video2>"].endswith("edited_first_frame/x.mp4")
    assert propagate.instruction == "Propagate the edit of <video2> to all frames."


def test_ivebench_subsets(tmp_path):
    LAYOUTS["ivebench"](tmp_path)
    assert [case.id for case in cases_of("ivebench", tmp_path)] == ["short-1", "long-1"]
    (tmp_path / "ivebenchdb_prompt_long.json").unlink()
    (case,) = cases_of("ivebench", tmp_path)
    assert case.details["target_phrase"] == "the grass"
    assert case.details["subcategory"] == "remove existing subject"


def test_five_masks_prompts_and_questions(tmp_path):
    LAYOUTS["five-bench"](tmp_path)
    cases = cases_of("five-bench", tmp_path)
    assert len(cases) == 12
    assert len({case.category for case in cases}) == 6
    assert cases[0].instruction == "Edit the video so that it shows: A tram on a road."
    assert cases[1].instruction == "Make the bus a tram."
    assert cases[0].source_prompt == "A bus on a road."
    assert set(cases[0].details) == {
        "source_yes_no_question",
        "target_yes_no_question",
        "multiple_choice_question",
    }
    mask = read_mask(cases[0].mask)
    assert mask.shape == (3, 16, 16)
    assert mask[:, :7].all()
    assert not mask[:, 9:].any()


def test_covebench_checklist(tmp_path):
    table = LAYOUTS["covebench"](tmp_path)
    case = cases_of("covebench", tmp_path)[0]
    assert case.category == "Background + Camera"
    assert case.details["evaluation_groups"][1]["questions"][0]["expected_answer"] == "5"
    rows = json.loads(table.read_text())
    del rows[1]["evaluation_groups"][0]["questions"][0]["expected_answer"]
    table.write_text(json.dumps(rows))
    with pytest.raises(InputError, match=r"checklist.json row 2: the question Q1 has no text or no expected"):
        cases_of("covebench", tmp_path)


def test_reco_reference_pictures_and_colons(tmp_path):
    LAYOUTS["reco-bench"](tmp_path)
    cases = cases_of("reco-bench", tmp_path)
    assert len(cases) == 8
    assert cases[0].instruction == "add this: a rabbit"
    assert cases[0].details == {"reference": "asserts/rabbit.png"}
    assert cases[1].details == {}


def test_videocof_tasks(tmp_path):
    LAYOUTS["videocof-bench"](tmp_path)
    assert [case.category for case in cases_of("videocof-bench", tmp_path)] == [
        "obj_removal",
        "obj_addition",
        "obj_swap",
        "obj_swap",
        "local_style_transfer",
    ]


@pytest.mark.parametrize("name", LAYOUTS)
def test_empty_folder(name, tmp_path):
    with pytest.raises(InputError, match=r"is not there|holds no"):
        cases_of(name, tmp_path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_missing_video_names_file_and_row(name, tmp_path):
    table = LAYOUTS[name](tmp_path)
    for path in tmp_path.rglob("*.mp4"):
        path.unlink()
    with pytest.raises(InputError, match=rf"{table.name} (row|line) .*\.mp4 is not there") as caught:
        cases_of(name, tmp_path)
    assert "bad rows" in str(caught.value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_cut_off_metadata(name, tmp_path):
    table = LAYOUTS[name](tmp_path)
    table.write_bytes(table.read_bytes()[:-9] if name != "openve-bench" else b"edited_type,prompt\n")
    if name == "reco-bench":
        table.write_text("no colon in this line")
    with pytest.raises(InputError, match=rf"{table.name}"):
        cases_of(name, tmp_path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_not_text(name, tmp_path):
    table = LAYOUTS[name](tmp_path)
    table.write_bytes(b"\xff\xfe\x00" * 50)
    with pytest.raises(InputError, match=f"{table.name}"):
        cases_of(name, tmp_path)


@pytest.mark.parametrize("name", ["openve-bench", "editverse-bench", "covebench", "reco-bench", "videocof-bench"])
@pytest.mark.parametrize("way", ["../outside.mp4", "ABSOLUTE", "LINK"])
def test_path_that_leaves_the_folder(name, way, tmp_path):
    outside = video(tmp_path / "outside.mp4")
    table = LAYOUTS[name](root := tmp_path / "bench")
    old = {
        "openve-bench": "videos/0000_global_style_Edit, it (now).mp4",
        "editverse-bench": "videos/1-2.mp4",
        "covebench": "data/6.mp4",
        "reco-bench": "855029-hd_1920_1080_30fps.mp4",
        "videocof-bench": "obj_swap/videos/source.mp4",
    }[name]
    if way == "LINK":
        path = root / ("ori_videos" if name == "reco-bench" else "") / old
        path.unlink()
        path.symlink_to(outside)
    else:
        table.write_text(table.read_text().replace(old, str(outside) if way == "ABSOLUTE" else way))
    with pytest.raises(InputError, match=r"leads out of the folder"):
        cases_of(name, root)


def test_names_that_leave_the_folder(tmp_path):
    for name, old in [("five-bench", "0001_bus"), ("ivebench", "0001.mp4")]:
        table = LAYOUTS[name](root := tmp_path / name)
        table.write_text(table.read_text().replace(old, "../0001"))
        with pytest.raises(InputError, match=r"row 1: .*leads out of the folder"):
            cases_of(name, root)


@pytest.mark.parametrize("name", ["covebench", "videocof-bench"])
def test_duplicate_ids(name, tmp_path):
    table = LAYOUTS[name](tmp_path)
    old, new = ('"id": 2', '"id": 1') if name == "covebench" else ("instance_023_1", "instance_023_2")
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(InputError, match=r"(row 2|line 4): the id \S+ stands in an earlier row"):
        cases_of(name, tmp_path)


def test_rows_of_another_kind(tmp_path):
    table = LAYOUTS["covebench"](tmp_path)
    table.write_text("[1, null, []]")
    with pytest.raises(InputError, match=r"3 bad rows.*row 1: the row lacks 'editing_instruction'"):
        cases_of("covebench", tmp_path)
    table.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"checklist.json is no JSON"):
        cases_of("covebench", tmp_path)
    table.write_text("[]")
    with pytest.raises(InputError, match=r"has no rows"):
        cases_of("covebench", tmp_path)


def test_only_some_bad_rows_are_named(tmp_path):
    table = LAYOUTS["videocof-bench"](tmp_path)
    table.write_text('{"id": "obj_swap_1"}\n' * 40)
    with pytest.raises(InputError, match=r"40 bad rows.*line 5.*and 35 more\.$") as caught:
        cases_of("videocof-bench", tmp_path)
    assert "line 6" not in str(caught.value)


def test_metadata_too_large(tmp_path, monkeypatch):
    LAYOUTS["covebench"](tmp_path)
    monkeypatch.setattr(reading, "MAX_METADATA", 100)
    with pytest.raises(InputError, match=r"checklist.json has more than"):
        cases_of("covebench", tmp_path)


def test_unknown_benchmark():
    with pytest.raises(InputError, match=r"no benchmark 'openve'; there are world, openve-bench"):
        find_benchmark("openve")
