"""The configs of the 13B: keys that exist, sizes that the model takes, batches that their processes can share."""

from pathlib import Path

import pytest

from icve.pipelines.windows import latent_frames
from icve.training.config_file import load_config

FOLDER = Path(__file__).parents[2] / "configs" / "hunyuan"
HEADS = 24
# processes that the comments of each name
PROCESSES = {"pretrain_240p": (8, 32), "finetune_480p": (8, 32), "finetune_480p_lora": (4, 8), "single_gpu_lora": (1,)}


def test_all_are_here():
    assert {path.stem for path in FOLDER.iterdir()} == set(PROCESSES)


@pytest.mark.parametrize("name", PROCESSES)
def test_sizes_and_batches(name):
    config = load_config(FOLDER / f"{name}.yaml")
    ulysses = config.parallel.ulysses
    assert HEADS % ulysses == 0
    for bucket in config.data.buckets:
        frames, height, width = bucket.size
        assert (frames - 1) % 4 == height % 16 == width % 16 == 0
        assert latent_frames(frames) * (height // 16) * (width // 16) % ulysses == 0
        for processes in PROCESSES[name]:
            assert bucket.batch % (processes // ulysses * config.accumulate) == 0
    assert config.parallel.checkpointing == "full"
    assert (config.train.what == "lora") == ("lora" in name)
    assert config.train.base.offload == (name == "single_gpu_lora")
