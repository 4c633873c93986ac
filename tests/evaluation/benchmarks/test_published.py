"""Published figures, and the list of benchmarks."""

from collections import Counter

import pytest

from icve.evaluation.benchmarks.describing import describe_benchmarks
from icve.evaluation.benchmarks.openve import CATEGORIES
from icve.evaluation.benchmarks.published import FOLDER, published
from icve.evaluation.benchmarks.reco import TASKS
from icve.evaluation.benchmarks.registry import BENCHMARKS
from icve.evaluation.benchmarks.videocof import TASKS as VIDEOCOF

NAMES = sorted(path.stem for path in FOLDER.glob("*.csv"))
KNOWN = {
    "openve-bench": CATEGORIES,
    "videocof-bench": VIDEOCOF,
    "reco-bench": TASKS,
    "five-bench": (),
}
RANGES = {"openve": (1, 5), "videocof": (1, 10), "reco": (0, 10), "five": (0, 100), "videocof_success": (0, 100)}


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_whole(name):
    assert name in BENCHMARKS
    rows = published(name)
    keys = Counter((row.method, row.category, row.figure, row.judge, row.categories) for row in rows)
    assert set(keys.values()) == {1}
    for row in rows:
        assert row.category in (*KNOWN[name], "overall")
        assert row.source
        kind = row.figure.split("_")[0]
        assert bool(row.judge) != row.figure.endswith("_unedit")
        low, high = RANGES.get(row.figure) or RANGES.get(kind, (0, 100))
        assert low <= row.value <= high


def test_the_overall_is_the_mean_of_its_categories():
    """A slip of the pen in a table would show; the sources' tables hold it to 0.02, but for one of them."""
    rows = [row for row in published("openve-bench") if row.categories == 5]
    for method in {row.method for row in rows}:
        values = {row.category: row.value for row in rows if row.method == method}
        overall = values.pop("overall")
        assert len(values) == 5
        assert abs(overall - sum(values.values()) / 5) < 0.04


def test_icve_on_openve_bench():
    rows = [row for row in published("openve-bench") if row.method == "ICVE 13B"]
    overall = {(row.judge, row.categories): row.value for row in rows if row.category == "overall"}
    assert overall == {("Gemini-2.5-Pro", 8): 2.07, ("Gemini-2.5-Pro", 5): 2.18, ("Qwen3-VL", None): 3.76}
    assert {row.category for row in rows if row.categories == 8} == {*CATEGORIES, "overall"}


def test_no_file():
    assert published("world") == []


def test_list():
    text = describe_benchmarks()
    for benchmark in BENCHMARKS.values():
        assert benchmark.home in text
        assert f"{benchmark.name}  ({benchmark.title})" in text
        assert all(scorer in text for scorer in benchmark.scorers)
    assert max(map(len, text.splitlines())) <= 100
    assert "judges: Gemini-2.5-Pro, Qwen3-VL" in text
