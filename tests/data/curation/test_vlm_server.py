"""The `vlm` instructor at a real server: a tiny model that chooses among answers, one that talks nonsense, and none."""

import itertools
from pathlib import Path

import pytest

from icve.data.curation.records import Instruction
from icve.data.curation.vlm import Refused
from icve.errors import InputError
from tests.data.curation.vlm_runs import chain, pair, run
from tests.vlm_server import PATCH, SIDE, save_model

THINGS = ("red", "green", "blue", "grey", "round", "square", "old", "new")
# The model's vocabulary holds each of these as one token.
ANSWERS = [
    f'{{"description": "It is {thing}.", "instruction": "Make it {thing}.", "type": "attribute"}}' for thing in THINGS
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the models `sensible` and `random`."""
    folder = tmp_path_factory.mktemp("vlm")
    for name in ("sensible", "random"):
        save_model(folder / name, ANSWERS, name == "sensible")
    return folder


def test_a_real_model_gets_the_pictures_and_its_answers_become_instructions(
    folder: Path, vlm_server: str, tmp_path: Path
):
    values = {"model": str(folder / "sensible"), "max_tokens": 16, "temperature": 0.0, "timeout": 60.0}
    clips = (12, 205, 240)  # red, yellow and green
    pairs = [pair(source, target) for source, target in itertools.permutations(clips, 2)]
    results, instructor = run(vlm_server, tmp_path / "answers", pairs, **values)
    allowed = {f"Make it {thing}." for thing in THINGS}
    for result in results.values():
        assert isinstance(result, Instruction)
        assert result.text in allowed
        assert result.type == "attribute"
    # It tells the clips apart, by their pictures: nothing else differs between the questions about them.
    assert len({result.source_caption for result in results.values()}) > 1
    usage = instructor.usage
    assert (usage.requests, usage.retries) == (3 + 6, 0)
    assert usage.completion_tokens == 16 * 9
    assert usage.prompt_tokens > 9 * 3 * (SIDE // PATCH) ** 2
    again, instructor = run(vlm_server, tmp_path / "answers", pairs, **values)
    assert (again, instructor.usage.requests) == (results, 0)


def test_a_real_model_that_talks_nonsense_costs_its_pairs(folder: Path, vlm_server: str, tmp_path: Path):
    values = {"model": str(folder / "random"), "max_tokens": 16, "reasks": 1, "timeout": 60.0}
    results, instructor = run(vlm_server, tmp_path / "answers", chain(3), **values)
    assert all(isinstance(result, Refused) for result in results.values())
    assert {result.kind for result in results.values()} <= {"answer cut off", "answer not JSON", "empty answer"}
    assert instructor.usage.requests == 8
    again, instructor = run(vlm_server, tmp_path / "answers", chain(3), **values)
    assert (again, instructor.usage.requests) == (results, 0)


def test_a_real_server_without_the_model_ends_the_run(vlm_server: str, tmp_path: Path):
    with pytest.raises(InputError, match=r"The endpoint 127\.0\.0\.1:\d+ .*run the same command again"):
        run(vlm_server, tmp_path / "answers", chain(20), model="no/such-model", retries=1)
