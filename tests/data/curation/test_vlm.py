"""The `vlm` instructor: what it asks, what it reads, and what it keeps."""

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from icve.data.curation.vlm import PairFrames, VlmInstructor
from icve.data.curation.vlm.questions import PROMPTS, Questions
from icve.data.curation.vlm.schema import Description, Edit
from icve.data.pairs.base import TYPES
from icve.errors import InputError
from icve.vlm.questions import Prompt
from icve.vlm.schema import read_answer
from tests.data.curation.endpoint import Endpoint, clip, good, says
from tests.data.curation.vlm_runs import (
    KEY,
    all_right,
    chain,
    config,
    is_right,
    not_called,
    pair,
    run,
)


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


def test_every_clip_is_described_once_and_every_pair_gets_the_instruction_of_its_own_clips(answers: Path):
    pairs = [pair(source, target) for source in range(5) for target in range(5) if source != target]
    with Endpoint(delay=0.05) as endpoint:
        results, instructor = run(endpoint, answers, pairs, price_in=2.0, price_out=8.0)
        assert all_right(results)
        assert set(endpoint.count().values()) == {1}
        assert len(endpoint.asked) == 5 + 20
        assert 1 < endpoint.most_under_way <= 4  # the concurrency; a busy machine may not use all of it
    usage = instructor.usage
    assert (usage.requests, usage.retries) == (25, 0)
    assert (usage.prompt_tokens, usage.completion_tokens) == (25_000, 1250)
    assert usage.cost == pytest.approx(0.05 + 0.01)
    method = next(iter(results.values())).method
    assert method.startswith("vlm/1 tiny-vlm describe-1-")
    assert Prompt.read(PROMPTS / "instruct.txt").version in method


def test_requests_are_those_that_vllm_and_openai_document(answers: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLM_KEY", KEY)
    big = PairFrames("7-8", "clip-7", "clip-8", lambda: (clip(7, 16, (300, 900)), clip(8, 2, (300, 900))))
    with Endpoint() as endpoint:
        values: dict[str, Any] = {"frames": 4, "image_side": 90, "seed": 5, "temperature": 0.0, "max_tokens": 99}
        run(endpoint, answers, [big], api_key_env="VLM_KEY", parameters={"top_p": 0.9}, **values)
        by_clips = {asked.clips: asked for asked in endpoint.asked}
    assert by_clips[7,].frames == ((0, 5, 10, 15),)
    assert by_clips[7, 8].frames == ((0, 5, 10, 15), (0, 1))
    assert by_clips[7, 8].sizes == {(90, 30)}
    body = by_clips[7, 8].body
    assert {key: body[key] for key in ("model", "temperature", "max_tokens", "seed", "top_p")} == {
        "model": "tiny-vlm",
        "temperature": 0.0,
        "max_tokens": 99,
        "seed": 5,
        "top_p": 0.9,
    }
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "edit",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {
                    "instruction": {"type": "string"},
                    "type": {
                        "type": "string",
                        "enum": [*TYPES],
                    },
                },
                "required": ["instruction", "type"],
                "additionalProperties": False,
            },
        },
    }
    assert by_clips[7, 8].headers["Authorization"] == f"Bearer {KEY}"
    assert by_clips[7, 8].headers["Content-Type"] == "application/json"


def test_fields_can_be_left_out_for_endpoints_that_do_not_take_them(answers: Path):
    with Endpoint() as endpoint:
        parameters = {"seed": None, "max_tokens": None, "max_completion_tokens": 300}
        results, _ = run(endpoint, answers, chain(1), parameters=parameters)
        assert all_right(results)
        for asked in endpoint.asked:
            assert asked.body["max_completion_tokens"] == 300
            assert not {"seed", "max_tokens"} & set(asked.body)
            assert "Authorization" not in asked.headers


def test_a_rerun_costs_nothing_and_loads_nothing(answers: Path):
    with Endpoint() as endpoint:
        first, _ = run(endpoint, answers, chain(20))
        known = [pair(number, number + 1, not_called) for number in range(20)]
        again, instructor = run(endpoint, answers, known, concurrency=1, price_in=1.0, timeout=9.0)
        assert again == first
        assert len(endpoint.asked) == 41
    assert (instructor.usage.requests, instructor.usage.cached, instructor.usage.cost) == (0, 60, 0.0)
    # Nobody is even connected to: the endpoint is gone.
    again, _ = run(endpoint.url, answers, known)
    assert again == first


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other-vlm"},
        {"seed": 1},
        {"temperature": 0.3},
        {"max_tokens": 100},
        {"frames": 2},
        {"image_side": 60},
        {"jpeg_quality": 90},
        {"parameters": {"top_p": 0.5}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_the_answer_depends_on_asks_anew(answers: Path, change: dict[str, Any]):
    with Endpoint() as endpoint:
        run(endpoint, answers, chain(1))
        run(endpoint, answers, chain(1), **change)
        assert len(endpoint.asked) == 6


def test_another_prompt_asks_anew_and_has_another_version(answers: Path, tmp_path: Path, monkeypatch):
    before = Questions(config("http://127.0.0.1:9/v1"))
    with Endpoint() as endpoint:
        run(endpoint, answers, chain(1))
        for name in ("describe", "instruct"):
            text = (PROMPTS / f"{name}.txt").read_text()
            (tmp_path / f"{name}.txt").write_text(text + ("Be brief.\n" if name == "instruct" else ""))
        monkeypatch.setattr("icve.data.curation.vlm.questions.PROMPTS", tmp_path)
        run(endpoint, answers, chain(1))
        assert endpoint.count() == {(0,): 1, (1,): 1, (0, 1): 2}
    after = Questions(config("http://127.0.0.1:9/v1"))
    assert after.describe == before.describe
    assert after.instruct.version != before.instruct.version


def test_input_is_taken_a_bounded_number_of_pairs_ahead(answers: Path):
    taken = given = most = loaded = most_loaded = 0
    lock = threading.Lock()

    def load(source: int, target: int) -> Any:
        nonlocal loaded, most_loaded
        with lock:
            loaded += 1
            most_loaded = max(most_loaded, loaded)
        time.sleep(0.002)
        with lock:
            loaded -= 1
        return clip(source), clip(target)

    def pairs() -> Any:
        nonlocal taken, most
        for number in range(200):
            taken += 1
            most = max(most, taken - given)
            yield pair(number, number + 1, lambda number=number: load(number, number + 1))

    slow = {(0,): 0.5}  # the first clip holds all results up
    with Endpoint(act=lambda asked: time.sleep(slow.get(asked.clips, 0)) or good) as endpoint:
        with VlmInstructor(config(endpoint.url, concurrency=2), answers) as instructor:
            for pair_id, result in instructor.run(pairs()):
                given += 1
                assert is_right(pair_id, result)
        assert given == 200
        assert endpoint.most_under_way == 2
    assert most <= 2 * 4 + 1
    assert most_loaded <= 2


def test_many_pairs_whose_answers_are_known_pass_quickly(answers: Path):
    """A million of them must not take hours."""
    with Endpoint() as endpoint:
        run(endpoint, answers, chain(1))
        started = time.process_time()
        with VlmInstructor(config(endpoint.url), answers) as instructor:
            passed = sum(is_right(*result) for result in instructor.run(pair(0, 1, not_called) for _ in range(3000)))
        assert passed == 3000
        assert time.process_time() - started < 3000 * 1e-3
        assert len(endpoint.asked) == 3


@pytest.mark.parametrize(
    "text",
    [
        '{"description": "A cat."}',
        '\n  {"description": "A cat."}\n\n',
        '```json\n{"description": "A cat."}\n```',
        '```\n{"description": "A cat."}```',
        'Sure! Here it is: {"description": "A cat."} I hope this helps.',
        '<think>{"description": "A dog?"} No.</think>{"description": "A cat."}',
        '{"description": "A cat.", "confidence": 1.0, "notes": [1, {"a": null}]}',
        '{"description": "  A\\n cat.\\u0000\\ud800 "}',
        '{"description": "A cat."}{"description": "A dog."}',
    ],
)
def test_json_is_found_in_what_models_write_around_it(text: str):
    answer = read_answer(Description, text)
    assert answer == Description(description="A cat.")


def test_types_are_read_whatever_their_case():
    assert read_answer(Edit, '{"instruction": "Zoom in.", "type": " Camera"}') == Edit(
        instruction="Zoom in.", type="camera"
    )
    assert "invalid type" in read_answer(Edit, '{"instruction": "Zoom in.", "type": "zoom"}').reason  # type: ignore[union-attr]


def test_the_file_belongs_to_one_run_at_a_time(answers: Path):
    with VlmInstructor(config("http://127.0.0.1:9/v1"), answers):
        with pytest.raises(InputError, match="used by another run"):
            VlmInstructor(config("http://127.0.0.1:9/v1"), answers)
        code = "import sys, pathlib, icve.vlm.answers as a; a.Answers(pathlib.Path(sys.argv[1]))"
        process = subprocess.run(
            [sys.executable, "-c", code, str(answers)], capture_output=True, text=True, check=False
        )
        assert "used by another run" in process.stderr
    with VlmInstructor(config("http://127.0.0.1:9/v1"), answers):
        pass


def test_a_file_that_is_no_file_of_answers_is_left_alone(tmp_path: Path):
    text, other, folder = tmp_path / "text", tmp_path / "other.sqlite", tmp_path / "folder"
    text.write_text("my notes, of which I have no copy" * 100)
    with contextlib.closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE answers (key TEXT)")
    folder.mkdir()
    for path, reason in ((text, "damaged or no file of answers"), (other, "another program's"), (folder, "cannot be")):
        before = path.read_bytes() if path.is_file() else b""
        with pytest.raises(InputError, match=reason):
            VlmInstructor(config("http://127.0.0.1:9/v1"), path)
        assert not path.is_file() or path.read_bytes() == before


def test_a_full_disk_ends_the_run_with_a_sentence_and_keeps_the_rest(answers: Path):
    with Endpoint() as endpoint:
        with VlmInstructor(config(endpoint.url), answers) as instructor:
            pages = instructor._answers.database.execute("PRAGMA page_count").fetchone()[0]
            instructor._answers.database.execute(f"PRAGMA max_page_count = {pages + 4}")
            with pytest.raises(InputError, match=r"answers\.sqlite cannot be used .*full"):
                list(instructor.run(chain(200)))
        results, instructor = run(endpoint, answers, chain(200))
        assert all_right(results)
        assert instructor.usage.requests < 401


def test_what_all_runs_took_is_known(answers: Path):
    with Endpoint(act=lambda asked: good if asked.times else says("Hm.")) as endpoint:
        run(endpoint, answers, chain(2))
        with VlmInstructor(config(endpoint.url), answers) as instructor:
            assert len(list(instructor.run(chain(4)))) == 4
        with VlmInstructor(config(endpoint.url), answers) as instructor:
            spent = instructor.spent()
    assert (spent.requests, spent.prompt_tokens, spent.completion_tokens) == (18, 18_000, 900)
