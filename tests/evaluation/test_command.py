"""`icve evaluate world`, the real command on the tiny model."""

import json

import pytest
from PIL import Image

from icve.cli import main


def evaluate(model, output, *more):
    return main(["evaluate", "world", "--model", str(model), "-o", str(output), "--batch", "2", *more])


@pytest.fixture(scope="module")
def evaluated(tiny_model, tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluated") / "out"
    assert evaluate(tiny_model, output, "--limit", "4", "--steps", "1") == 0
    return output


def test_figures_samples_and_sheet(evaluated):
    summary = json.loads((evaluated / "summary.json").read_text())
    low, high = summary["success"]["interval"]
    assert 0 <= low <= summary["success"]["mean"] <= high <= 1
    assert list(summary["operations"]) == ["add", "remove", "replace", "recolour"]
    assert 0 < summary["preservation_psnr"]["mean"] < 40  # random weights
    rows = [json.loads(line) for line in (evaluated / "samples.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    assert all(row["success"] == (not row["reasons"]) for row in rows)
    assert Image.open(evaluated / "sheet.png").height > 4 * 200


def test_goes_on_where_it_stopped(evaluated, tiny_model, capsys):
    samples = evaluated / "samples.jsonl"
    before = samples.read_text().splitlines()
    samples.write_text("\n".join(before[:3]) + '\n{"index": 3, "opera')  # killed while writing
    assert evaluate(tiny_model, evaluated, "--limit", "5", "--steps", "1") == 0
    after = samples.read_text().splitlines()
    assert after[:4] == before
    assert len(after) == 5
    assert "background" in capsys.readouterr().out


def test_other_settings_are_refused(evaluated, tiny_model, capsys):
    assert evaluate(tiny_model, evaluated, "--limit", "4", "--steps", "2") == 2
    assert "another steps" in capsys.readouterr().err


def test_preserving_composites_what_is_judged(tiny_model, tmp_path):
    assert evaluate(tiny_model, tmp_path, "--limit", "2", "--steps", "1", "--preserve", "auto") == 0
    assert json.loads((tmp_path / "summary.json").read_text())["settings"]["preserve"] == "auto"


def test_operations_of_the_other_split_are_refused(tiny_model, tmp_path, capsys):
    assert evaluate(tiny_model, tmp_path / "out", "--operation", "camera") == 2
    assert "--split full" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
