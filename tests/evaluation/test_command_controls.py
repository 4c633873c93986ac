"""`icve evaluate --controls`: clips whose place is known, before an honest judge and two that lie, on a real server."""

import json
from dataclasses import dataclass, replace

import pytest
import yaml

from icve.cli import main
from icve.evaluation.benchmarks.registry import BENCHMARKS
from tests.evaluation.judges.endpoint import Benchmark, JudgeEndpoint, config, flatterer, honest, lots

CASES = range(12)
VOTING = {"votes": 3, "temperature": 0.7}


@dataclass
class Known:
    """A benchmark whose clips the endpoint can read; the last case has no true edit."""

    clips: Benchmark
    name = title = "known"
    home = "bundled"
    licence = size = needs = ""
    scorers = ("openve",)

    def cases(self, root):  # noqa: ARG002
        cases = [self.clips.case(number) for number in CASES]
        return [*cases[:-1], replace(cases[-1], target=None)]


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command without its judges."""
    clips = Benchmark(tmp_path / "clips")
    clips.folder.mkdir()
    monkeypatch.setitem(BENCHMARKS, "known", Known(clips))
    rows = [f"case-{number},{clips.edit(number, 1 + 5 * number % 14)}" for number in CASES]
    (tmp_path / "edits.csv").write_text("\n".join(["id,edited", *rows]))
    return [
        "evaluate",
        "known",
        "--data",
        str(tmp_path),
        "--edits",
        str(tmp_path / "edits.csv"),
        "--controls",
        "--workers",
        "1",
    ]


def told(output):
    summary = json.loads((output / "summary.json").read_text())
    return {key: summary[key] for key in ("controls", "votes", "signs", "notes")}


def test_controls_and_votes_give_judges_away(command, tmp_path, capsys):
    output, file = tmp_path / "out", tmp_path / "judges.yaml"
    with JudgeEndpoint(act=honest) as good, JudgeEndpoint(act=flatterer) as bad, JudgeEndpoint(act=lots) as random:
        servers = {"good": good, "bad": bad, "random": random}
        more = {"good": VOTING, "bad": {}, "random": VOTING}
        listed = [config(server, name, **more[name]).model_dump(exclude_unset=True) for name, server in servers.items()]
        file.write_text(yaml.safe_dump({"judges": listed}))
        asked_for = [*command, "--judges", str(file), "-o", str(output)]
        assert main(asked_for) == 0
        counts = [len(server.asked) for server in servers.values()]
        assert counts == [3 * 35, 35, 3 * 35]  # edits, sources and true edits
        found = told(output)
        assert main(asked_for) == 0
        assert [len(server.asked) for server in servers.values()] == counts  # a rerun asks nothing
    assert told(output) == found
    controls = {each["figure"].split("@")[1]: each for each in found["controls"]}
    means = {judge: [each[part]["mean"] for part in ("source", "target", "ranked")] for judge, each in controls.items()}
    assert means["good"] == [1, 5, 1]
    assert means["bad"] == [5, 5, 0.5]
    assert [controls["good"][part]["n"] for part in ("source", "target", "ranked")] == [12, 11, 11]
    assert {name: own["n"] for name, own in found["votes"].items() if "compliance" in name} == {
        "openve_compliance@good": 12,
        "openve_compliance@random": 12,
    }
    assert found["votes"]["openve_compliance@good"]["alpha"] == 1
    assert found["votes"]["openve_compliance@random"]["alpha"] < 0.2
    assert any(sign.startswith("bad does not place true edits above") for sign in found["signs"])
    assert any("random's own votes agree hardly better than chance" in sign for sign in found["signs"])
    assert not any("good does not" in sign or "good's own" in sign for sign in found["signs"])
    page = (output / "report.html").read_text()
    assert "true edit above source" in page
    assert "own votes: 1 where" in page

    for answers in (output / "judges").iterdir():
        answers.unlink()
    capsys.readouterr()
    assert main(asked_for) == 0  # the servers are gone: scores are kept, and the rest is told of
    assert "The controls of openve@good are missing" in capsys.readouterr().err
    without = told(output)
    assert without["controls"] == []
    assert without["votes"] == found["votes"]


def test_controls_need_a_judge(command, tmp_path, capsys):
    assert main([*command, "--metrics", "psnr", "-o", str(tmp_path / "out")]) == 2
    assert "--controls needs judges" in capsys.readouterr().err
