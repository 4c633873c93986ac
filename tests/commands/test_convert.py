"""`icve convert`: a checkpoint file becomes a folder that from_pretrained reads, in little memory."""

import argparse
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from icve.commands import convert
from icve.errors import InputError
from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.models.conversion import reference_layout
from tests.models.samples import golden_inputs, golden_state_dict, run


def call(checkpoint: Path, folder: Path, *options: str) -> int:
    parser = argparse.ArgumentParser()
    convert.add_arguments(parser)
    return convert.run(parser.parse_args([str(checkpoint), str(folder), *options]))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("shard_size", ["4GB", "200KB"])
def test_round_trip(tmp_path: Path, suffix: str, shard_size: str):
    checkpoint, folder = tmp_path / f"original{suffix}", tmp_path / "models" / "converted"
    if suffix == ".pt":
        torch.save({"module": golden_state_dict()}, checkpoint)
    else:
        save_file(golden_state_dict(), checkpoint)
    assert call(checkpoint, folder, "--shard-size", shard_size) == 0
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) == 1 if shard_size == "4GB" else len(files) > 3
    assert [path.name for path in folder.parent.iterdir()] == ["converted"], "nothing is left beside it"

    model = InContextHunyuanVideoTransformer3DModel.from_pretrained(folder)
    arguments, velocity = golden_inputs()
    assert (run(model, arguments) - velocity).abs().max() <= 1e-5


def test_shards_keep_to_their_size(tmp_path: Path):
    save_file(golden_state_dict(), tmp_path / "original.safetensors")
    call(tmp_path / "original.safetensors", tmp_path / "converted", "--shard-size", "150 kB")
    header = 20_000  # names, shapes and offsets
    sizes = [path.stat().st_size for path in (tmp_path / "converted").glob("*.safetensors")]
    assert max(sizes) < 150_000 + header
    index = json.loads((tmp_path / "converted" / "diffusion_pytorch_model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in golden_state_dict().values())


PEAK = """
import sys
from pathlib import Path
from tests.commands.test_convert import call

def memory(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))

before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # resets the peak that VmHWM tells
call(Path(sys.argv[1]), Path(sys.argv[2]), "--shard-size", "32MB")
print(memory("VmHWM") - before)
"""


def added_memory(checkpoint: Path, folder: Path) -> int:
    """Bytes that a process of its own takes more at its peak; in this one, what other tests freed is at hand."""
    command = [sys.executable, "-c", PEAK, str(checkpoint), str(folder)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_about_one_shard(tmp_path: Path):
    """300 MB in shards of 32 MB take a shard and the largest tensor, and some MB of keys and buffers."""
    config = {"num_attention_heads": 8, "attention_head_dim": 64, "num_layers": 6, "num_single_layers": 4}
    state_dict = {
        name: torch.zeros(sum(shape[0] for shape in targets.values()), *next(iter(targets.values()))[1:])
        for name, targets in reference_layout(config | {"rope_axes_dim": (8, 28, 28)}).items()
    }
    largest = max(tensor.nbytes for tensor in state_dict.values())
    save_file(state_dict, tmp_path / "a.safetensors")
    torch.save(state_dict, tmp_path / "b.pt")
    del state_dict
    for checkpoint in (tmp_path / "a.safetensors", tmp_path / "b.pt"):
        assert checkpoint.stat().st_size > 290e6
        assert 20e6 < added_memory(checkpoint, checkpoint.with_suffix("")) < 32e6 + largest + 16e6
        assert len(list(checkpoint.with_suffix("").glob("*.safetensors"))) >= 9


def test_wrong_files_are_refused(tmp_path: Path):
    good = tmp_path / "good.safetensors"
    save_file(golden_state_dict(), good)
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    (tmp_path / "model.bin").write_text("")
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-1000])
    torch.save(golden_state_dict(), tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:-1000])
    torch.save(torch.zeros(2), tmp_path / "tensor.pt")
    torch.save({"module": Path("x")}, tmp_path / "object.pt")  # a class that weights_only refuses
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    for name in (
        *("missing.pt", "text.safetensors", "text.pt", "model.bin", "cut.safetensors", "cut.pt"),
        *("tensor.pt", "object.pt", "other.safetensors"),
    ):
        with pytest.raises(InputError) as error:
            call(tmp_path / name, tmp_path / "out")
        assert "\n" not in str(error.value), name
        assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_kept(tmp_path: Path):
    save_file(golden_state_dict(), tmp_path / "good.safetensors")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="exists"):
        call(tmp_path / "good.safetensors", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_failure_to_write_leaves_nothing(tmp_path: Path):
    save_file(golden_state_dict(), tmp_path / "good.safetensors")
    before = sorted(tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # as a full disk, the system refuses more
    try:
        with pytest.raises(InputError, match="cannot be written"):
            call(tmp_path / "good.safetensors", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("size", ["", "0", "4 apples", "-1GB"])
def test_wrong_shard_size_is_refused(tmp_path: Path, size: str):
    with pytest.raises(InputError, match="shard-size"):
        call(tmp_path / "x.pt", tmp_path / "out", f"--shard-size={size}")
