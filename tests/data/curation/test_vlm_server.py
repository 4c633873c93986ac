"""The `vlm` instructor against a real server: `transformers serve` over loopback, with tiny vision-language models.

Their weights are random. One may write anything, and cannot be used. The other may only write whole answers, as with
constrained decoding, and chooses among them by what it sees.
"""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from icve.data.curation.records import Instruction
from icve.data.curation.vlm import Refused
from icve.errors import InputError
from tests.data.curation.vlm_runs import chain, pair, run

SIDE, PATCH = 28, 14  # of a picture as the model sees it
THINGS = ("red", "green", "blue", "grey", "round", "square", "old", "new")
# The model's vocabulary holds each of these as one token.
ANSWERS = [
    f'{{"description": "It is {thing}.", "instruction": "Make it {thing}.", "type": "attribute"}}' for thing in THINGS
]
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


def save_model(folder: Path, sensible: bool) -> None:
    """A LLaVA of two layers each, with a tokenizer of bytes and whole answers; it writes either those or no JSON."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = Tokenizer(models.BPE(vocab={text: number for number, text in enumerate(alphabet)}, merges=[]))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )
    tokenizer.add_tokens(ANSWERS)
    answers = tokenizer.convert_tokens_to_ids(ANSWERS)
    pictures = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    processor = LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(image_size=SIDE, patch_size=PATCH, projection_dim=32, **size).to_dict(),
            text_config=LlamaConfig(
                vocab_size=len(tokenizer), max_position_embeddings=8192, initializer_range=0.5, **size
            ).to_dict(),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            image_seq_length=(SIDE // PATCH) ** 2,
        )
    )
    everything = set(range(len(tokenizer)))
    with torch.no_grad():  # words say nothing and colours much, so that what it sees decides
        model.get_input_embeddings().weight[sorted(everything - {*answers})] = 0.0
        model.model.vision_tower.embeddings.patch_embedding.weight.mul_(50.0)
    kept = {*answers} if sensible else everything - {*answers, *tokenizer.convert_tokens_to_ids(["{", "["])}
    model.generation_config = GenerationConfig(
        do_sample=True,
        suppress_tokens=sorted(everything - kept),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the models `sensible` and `random`."""
    folder = tmp_path_factory.mktemp("vlm")
    for name in ("sensible", "random"):
        save_model(folder / name, name == "sensible")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's base URL; it loads the model that a request names."""
    for package in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(package, reason="transformers serve needs it")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        sys.executable,
        "-m",
        "transformers.cli.transformers",
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--device", "cpu"],
            env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=file,
        )
    try:
        end = time.monotonic() + 120
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            try:
                if httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                    break
            except httpx2.TransportError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_a_real_model_gets_the_pictures_and_its_answers_become_instructions(folder: Path, server: str, tmp_path: Path):
    values = {"model": str(folder / "sensible"), "max_tokens": 16, "temperature": 0.0, "timeout": 60.0}
    clips = (12, 205, 240)  # red, yellow and green
    pairs = [pair(source, target) for source, target in itertools.permutations(clips, 2)]
    results, instructor = run(server, tmp_path / "answers", pairs, **values)
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
    again, instructor = run(server, tmp_path / "answers", pairs, **values)
    assert (again, instructor.usage.requests) == (results, 0)


def test_a_real_model_that_talks_nonsense_costs_its_pairs(folder: Path, server: str, tmp_path: Path):
    values = {"model": str(folder / "random"), "max_tokens": 16, "reasks": 1, "timeout": 60.0}
    results, instructor = run(server, tmp_path / "answers", chain(3), **values)
    assert all(isinstance(result, Refused) for result in results.values())
    assert {result.kind for result in results.values()} <= {"answer cut off", "answer not JSON", "empty answer"}
    assert instructor.usage.requests == 8
    again, instructor = run(server, tmp_path / "answers", chain(3), **values)
    assert (again, instructor.usage.requests) == (results, 0)


def test_a_real_server_without_the_model_ends_the_run(server: str, tmp_path: Path):
    with pytest.raises(InputError, match=r"The endpoint 127\.0\.0\.1:\d+ .*run the same command again"):
        run(server, tmp_path / "answers", chain(20), model="no/such-model", retries=1)
