"""`icve evaluate`, the real command on the tiny model and on the bundled world."""

import csv
import json
import shutil

import pytest
from pyarrow import parquet

from icve.cli import main

WORLD = ["evaluate", "world", "--metrics", "world", "--workers", "1"]


def evaluate(output, *more):
    return main([*WORLD, "-o", str(output), "--batch", "2", *map(str, more)])


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def rows_of(folder):
    return parquet.read_table(folder / "scores.parquet").to_pylist()


@pytest.fixture(scope="module")
def evaluated(tiny_model, tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluated") / "out"
    assert evaluate(output, "--model", f"tiny={tiny_model}", "--limit", 4, "--steps", 1) == 0
    return output


def test_every_score_the_summary_and_the_report(evaluated):
    success = summary_of(evaluated)["editors"]["tiny"]["success"]
    assert list(success["categories"]) == ["add", "remove", "replace", "recolour"]
    whole = success["all"]
    assert 0 <= whole["low"] <= whole["mean"] <= whole["high"] <= 1
    rows = rows_of(evaluated)
    assert [(row["case"], row["figure"]) for row in rows[:3]] == [
        ("00000-add", "success"),
        ("00000-add", "preservation_psnr"),
        ("00001-remove", "success"),
    ]
    assert {(row["benchmark"], row["editor"], row["scorer"]) for row in rows} == {("world", "tiny", "world")}
    assert all(0 < row["value"] < 40 for row in rows if row["figure"] == "preservation_psnr")  # random weights
    page = (evaluated / "report.html").read_text()
    assert page.count("<article") == 4
    assert page.count("<canvas") == 4 * 3  # source, edit and true edit


def test_goes_on_where_it_stopped(evaluated, tiny_model, capsys):
    edits = evaluated / "edits" / "tiny"
    kept = {path.name: path.stat().st_mtime_ns for path in edits.glob("*.mp4")}
    made = edits / "made.jsonl"
    made.write_text("\n".join(made.read_text().splitlines()[:3]) + '\n{"id": "0000')  # killed while writing
    (edits / "00002-replace.mp4").unlink()
    before = rows_of(evaluated)
    assert evaluate(evaluated, "--model", f"tiny={tiny_model}", "--limit", 5, "--steps", 1) == 0
    assert "background" in capsys.readouterr().out
    after = rows_of(evaluated)
    assert after[:8] == before  # the edit that was lost is made again as it was
    assert len(after) == 10
    for name in ("00000-add.mp4", "00001-remove.mp4"):
        assert (edits / name).stat().st_mtime_ns == kept[name]


def test_other_settings_and_other_cases_are_refused(evaluated, tiny_model, capsys):
    assert evaluate(evaluated, "--model", f"tiny={tiny_model}", "--limit", 4, "--steps", 2) == 2
    assert "another steps" in capsys.readouterr().err
    assert evaluate(evaluated, "--model", f"tiny={tiny_model}", "--limit", 4, "--steps", 1, "--wording", "unseen") == 2
    assert "another case 0000" in capsys.readouterr().err


def test_preserving_is_what_is_judged(tiny_model, evaluated, tmp_path):
    more = ["--model", f"tiny={tiny_model}", "--limit", 2, "--steps", 1]
    assert evaluate(tmp_path / "out", *more, "--preserve", "auto") == 0
    plain, preserved = (
        [row["value"] for row in rows_of(folder)[:4] if row["figure"] == "preservation_psnr"]
        for folder in (evaluated, tmp_path / "out")
    )
    assert all(a < b for a, b in zip(plain, preserved, strict=True))


def test_files_of_other_sizes_are_edited_like_any_video(tiny_model, tmp_path):
    export = tmp_path / "todo"
    assert main([*WORLD, "--limit", "2", "--export", str(export)]) == 0  # 64 x 64; the tiny model's size is 32 x 32
    from icve.evaluation.cases import Case
    from icve.evaluation.editing import ModelEditor
    from icve.video import probe

    rows = list(csv.DictReader((export / "edits.csv").open()))
    cases = [Case(row["id"], "kind", row["instruction"], export / row["source"]) for row in rows]
    cases.append(Case("long", "kind", "remove the circle " * 200, export / rows[0]["source"]))
    cases.append(Case("lost", "kind", "remove it", export / "lost.mp4"))
    edits = ModelEditor("tiny", str(tiny_model), steps=1).edit(cases, tmp_path)
    assert [*edits.files] == [row["id"] for row in rows]
    assert "too long" in edits.reason("long")
    assert "lost.mp4 cannot be read" in edits.reason("lost")
    info = probe(edits.files[rows[0]["id"]])
    assert (info.height, info.width, info.frames) == (64, 64, 9)


def test_edits_of_another_tool_and_comparison_at_another_time(tmp_path, capsys):
    export, theirs = tmp_path / "todo", tmp_path / "theirs"
    assert main([*WORLD, "--limit", "6", "--export", str(export)]) == 0
    assert capsys.readouterr().out.strip() == str(export / "edits.csv")
    todo = list(csv.DictReader((export / "edits.csv").open()))
    assert [*todo[0]] == ["id", "source", "instruction"]
    theirs.mkdir()
    for row in todo[:5]:  # it does nothing, and not even that for the last one
        shutil.copy(export / row["source"], theirs / f"{row['id']}.mp4")
    (theirs / f"{todo[4]['id']}.mp4").write_bytes(b"damaged")
    shutil.copy(theirs / f"{todo[0]['id']}.mp4", theirs / "stranger.mp4")
    assert evaluate(tmp_path / "one", "--limit", 6, "--edits", theirs) == 0
    said = capsys.readouterr()
    assert "1 edits of theirs are of no case here (such as stranger)" in said.err
    assert "(2 missing)" in said.out
    rows = [row for row in rows_of(tmp_path / "one") if row["figure"] == "success"]
    assert [row["value"] for row in rows] == [0, 0, 0, 0, None, None]
    assert [row["missing"] is None for row in rows] == [True] * 4 + [False] * 2

    true = tmp_path / "true.csv"
    cases = [json.loads(line) for line in (tmp_path / "one/cases.jsonl").read_text().splitlines()]
    true.write_text("id,edited\n" + "".join(f"{case['id']},one/{case['target']}\n" for case in cases))
    assert evaluate(tmp_path / "two", "--limit", 8, "--edits", f"theirs={true}") == 0
    assert (
        main(["evaluate", "compare", str(tmp_path / "one"), str(tmp_path / "two"), "-o", str(tmp_path / "both")]) == 0
    )
    assert "2 cases that are not the same in all evaluations were left out" in capsys.readouterr().err
    both = summary_of(tmp_path / "both")
    assert list(both["editors"]) == ["theirs", "theirs-2"]
    versus = both["comparisons"][0]
    assert (versus["figure"], versus["n"], versus["win_rate"], versus["difference"]) == ("success", 4, 0, -1)
    assert versus["p"] == pytest.approx(2 / 2**4)  # exact: all signs alike
    moved = (tmp_path / "one").rename(tmp_path / "moved")
    assert main(["evaluate", "compare", str(moved), str(tmp_path / "both"), "-o", str(tmp_path / "again")]) == 0
    assert len(summary_of(tmp_path / "again")["editors"]) == 3


def test_list_and_what_is_refused(tmp_path, capsys):
    assert main(["evaluate", "list"]) == 0
    listed = capsys.readouterr().out
    assert "openve-bench" in listed
    assert "world" in listed
    for arguments, said in [
        (["world", "--operation", "camera", "-o", tmp_path / "x"], "no operation 'camera'"),
        (["nothing", "-o", tmp_path / "x"], "There is no benchmark 'nothing'"),
        (["openve-bench", "--metrics", "psnr", "-o", tmp_path / "x"], "--data"),
        (["world"], "-o"),
        (["world", "there", "-o", tmp_path / "x"], "too many"),
        (["world", "--edits", tmp_path / "none", "-o", tmp_path / "x"], "neither a folder"),
        (["world", "--metrics", "none", "-o", tmp_path / "x"], "none"),
        (["world", "--models", "none", "-o", tmp_path / "x"], "NAME=FOLDER"),
        (["compare", tmp_path, "-o", tmp_path / "x"], "two evaluations"),
        (["compare", tmp_path, tmp_path, "-o", tmp_path / "x"], "no finished evaluation"),
    ]:
        assert main(["evaluate", *map(str, arguments)]) == 2, arguments
        assert said in capsys.readouterr().err


def test_damaged_results_are_refused(evaluated, tmp_path, capsys):
    for name, content in [("summary.json", "{"), ("cases.jsonl", "{}\n"), ("scores.parquet", "no")]:
        folder = shutil.copytree(evaluated, tmp_path / name)
        (folder / name).write_text(content)
        assert main(["evaluate", "compare", str(folder), str(evaluated), "-o", str(tmp_path / "x")]) == 2
        assert "is damaged" in capsys.readouterr().err
