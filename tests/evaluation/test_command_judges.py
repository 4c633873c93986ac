"""`icve evaluate` with judges, on a real server: an honest one and one that always gives the highest mark."""

import json
import shutil

import yaml

from icve.cli import main
from tests.evaluation.judges.endpoint import JudgeEndpoint, config, first_always, flatterer, honest


def test_judges_score_compare_and_are_told_of(tmp_path, capsys):
    todo = tmp_path / "todo"
    world = ["evaluate", "world", "--limit", "10"]
    assert main([*world, "--export", str(todo)]) == 0
    clips = sorted((todo / "cases").glob("*.mp4"))
    for name, shift in (("one", 0), ("two", 1)):
        (tmp_path / name).mkdir()
        for number, line in enumerate((todo / "edits.csv").read_text().splitlines()[1:]):
            shutil.copy(clips[(number + shift) % len(clips)], tmp_path / name / f"{line.split(',')[0]}.mp4")
    output = tmp_path / "out"
    with (
        JudgeEndpoint(act=honest) as good,
        JudgeEndpoint(act=flatterer) as bad,
        JudgeEndpoint(act=first_always) as biased,
    ):
        servers = {"good": good, "bad": bad, "biased": biased}
        listed = [config(server, name).model_dump(exclude_unset=True) for name, server in servers.items()]
        (tmp_path / "judges.yaml").write_text(yaml.safe_dump({"judges": listed}))
        edits = [f"--edits={tmp_path / name}" for name in ("one", "two")]
        judged = [*world, *edits, "--metrics", "openve", "--judges", str(tmp_path / "judges.yaml"), "--pairwise"]
        assert main([*judged, "-o", str(output)]) == 0
        asked = [len(server.asked) for server in servers.values()]
        assert min(asked) >= 20
        assert main([*judged, "-o", str(output)]) == 0
        assert [len(server.asked) for server in servers.values()] == asked  # a rerun asks nothing
    summary = json.loads((output / "summary.json").read_text())
    assert summary["editors"]["one"]["openve_overall@bad"]["all"]["mean"] == 5
    assert summary["agreement"]["openve_overall"]["n"] == 20
    assert len(summary["pairwise"]) == 3
    assert any("bad gives the same score, 5" in sign for sign in summary["signs"])
    assert any("biased names the first" in sign for sign in summary["signs"])
    assert not any("good names" in sign for sign in summary["signs"])
    assert summary["usage"]["good"]["requests"] == 0
    page = (output / "report.html").read_text()
    assert "Agreement of judges" in page
    assert "side by side" in page

    for answers in (output / "judges").iterdir():
        answers.unlink()
    capsys.readouterr()
    assert main([*judged, "-o", str(output)]) == 0  # the servers are gone: scores are kept, and the rest is told of
    assert "The choices of good are missing" in capsys.readouterr().err
    without = json.loads((output / "summary.json").read_text())
    assert without["pairwise"] == []
    assert without["editors"] == summary["editors"]

    assert main([*world, edits[0], "--metrics", "openve", "-o", str(output)]) == 2
    assert "openve needs a judge" in capsys.readouterr().err
