"""`icve evaluate BENCH --data FOLDER --edits DIR` on every adapter's layout: exported, edited, scored, reported."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import yaml

from icve.cli import main
from icve.evaluation.benchmarks.published import published
from icve.evaluation.benchmarks.registry import find_benchmark
from icve.evaluation.clips import read_clip
from icve.evaluation.judges import RUBRICS
from icve.video import VideoWriter, probe
from tests.evaluation.benchmarks.layouts import LAYOUTS
from tests.evaluation.judges.endpoint import JudgeEndpoint, config, flatterer

AUTHORS = {"editverse-bench": "{}/generate.mp4", "videocof-bench": "gen_{}.mp4"}  # what their own code calls an edit
CATEGORIES = {
    "openve-bench": 8,
    "editverse-bench": 2,
    "ivebench": 1,
    "five-bench": 6,
    "covebench": 1,
    "reco-bench": 4,
    "videocof-bench": 4,
}


def brighten(source, output, by):
    """An edit whose figures are known: every pixel `by` lighter, without loss."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(output, probe(source), lossless=True) as writer:
        for number, frame in enumerate(read_clip(source)):
            writer.write(frame + np.uint8(by), number, 1)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_benchmark_from_its_folder_to_the_report(name, tmp_path):
    data, todo, output = (tmp_path / part for part in ("data", "todo", "out"))
    LAYOUTS[name](data)
    benchmark = ["evaluate", name, "--data", str(data)]
    assert main([*benchmark, "--export", str(todo)]) == 0
    edits = tmp_path / "shade"
    rows = list(csv.DictReader((todo / "edits.csv").open()))
    for row in rows:
        brighten(todo / row["source"], edits / AUTHORS.get(name, "{}.mp4").format(row["id"]), 10)
    rubric = next(each for each in find_benchmark(name).scorers if each in RUBRICS)
    metrics = ["psnr", "flicker", rubric, *(["five_pixels"] if name == "five-bench" else [])]
    with JudgeEndpoint(act=flatterer) as server:
        judges = tmp_path / "judges.yaml"
        judges.write_text(yaml.safe_dump({"judges": [config(server, "five-stars").model_dump(exclude_unset=True)]}))
        more = ["--edits", str(edits), "--metrics", ",".join(metrics), "--judges", str(judges), "--workers", "1"]
        assert main([*benchmark, *more, "-o", str(output)]) == 0

    summary = json.loads((output / "summary.json").read_text())
    cases = [json.loads(line) for line in (output / "cases.jsonl").read_text().splitlines()]
    assert [case["id"] for case in cases] == [row["id"] for row in rows]
    counts = Counter(case["category"] for case in cases)
    assert len(counts) == CATEGORIES[name]
    figures = summary["editors"]["shade"]
    for figure, value in (("psnr_source", 20 * np.log10(255 / 10)), ("flicker", 254 / 255)):
        assert figures[figure]["all"]["mean"] == pytest.approx(value, rel=1e-3)
        by_category = figures[figure]["categories"]
        assert {category: mean["n"] for category, mean in by_category.items()} == counts
        assert all(mean["mean"] == pytest.approx(value, rel=1e-3) for mean in by_category.values())
    judged = {figure: mean["all"] for figure, mean in figures.items() if "@" in figure}
    assert {figure.name for figure in RUBRICS[rubric].figures} == {figure.partition("@")[0] for figure in judged}
    assert all(mean["missing"] == 0 for mean in judged.values())

    page = (output / "report.html").read_text()
    assert page.count("<article") == len(cases)
    shared = [row for row in published(name) if row.figure in {figure.partition("@")[0] for figure in figures}]
    assert ("Where it would stand" in page) == bool(shared)
    assert bool(shared) == (name in {"openve-bench", "five-bench", "reco-bench", "videocof-bench"})
    for row in shared:
        assert row.method in page
        assert row.judge in page
