"""Checkpointer: exact for each optimizer and any number of ranks; a kill, a full disk or damage costs one at most."""

import multiprocessing
import resource
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tests.distributed import run
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from icve.errors import InputError
from icve.training import checkpoint
from icve.training.checkpoint import Checkpointer
from icve.training.optimizer import MasterOptimizer


def names(folder):
    return sorted(f.name for f in folder.iterdir())


def test_round_trip_is_exact(tmp_path):
    tensors = {
        "half": torch.randn(5, 3).bfloat16(),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "number": torch.tensor(3.5),
        "count": torch.tensor(2**40),
        "transposed": torch.randn(4, 6).T,
        "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }
    checkpoints = Checkpointer(tmp_path / "run" / "checkpoints")
    assert checkpoints.latest() is None
    checkpoints.save(200, tensors, {"step": 200, "loader": {"a": [1, 2]}})
    checkpoints.wait()
    assert names(checkpoints.folder) == ["step-00000200"]
    assert {f.suffix for f in (checkpoints.folder / "step-00000200").iterdir()} == {".json", ".safetensors"}
    found = Checkpointer(checkpoints.folder)
    read = {n: torch.zeros_like(t) for n, t in tensors.items()}
    assert found.load(found.latest(), read) == {"step": 200, "loader": {"a": [1, 2]}}
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor), name


def make(kind, shard=False):
    torch.manual_seed(0)
    whole = nn.Linear(7, 3)
    model = nn.Sequential(nn.Conv1d(5, 7, 1), nn.Flatten(2), nn.Conv1d(7, 1, 1))
    if shard:
        fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    return (model, whole), MasterOptimizer({"a": model, "b": whole}, kind=kind, weight_decay=0.01, ema=0.9)


def train(modules, optimizer, first, last):
    losses = []
    for i in range(first, last):
        model, whole = modules
        x = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(i))
        loss = whole(model(x)).square().mean()
        loss.backward()
        optimizer.step(1e-2, 1.0)
        losses.append(loss.item())
    return losses


def start(kind, folder, shard):
    """Three steps, a checkpoint, three more: their losses."""
    modules, optimizer = make(kind, shard)
    train(modules, optimizer, 0, 3)
    checkpoints = Checkpointer(folder)
    checkpoints.save(3, optimizer.state_tensors(), {})
    after = train(modules, optimizer, 3, 6)  # changes the tensors while they are written
    checkpoints.wait()
    return after


def resume(kind, folder, shard):
    modules, optimizer = make(kind, shard)
    checkpoints = Checkpointer(folder)
    tensors = optimizer.state_tensors()
    checkpoints.load(checkpoints.latest(), tensors)
    optimizer.load_state_tensors(tensors)
    return train(modules, optimizer, 3, 6)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path, kind):
    assert start(kind, tmp_path, False) == resume(kind, tmp_path, False)


def test_a_resumed_run_with_bfloat16_weights_and_eight_bit_state_is_the_same_run(tmp_path):
    pytest.importorskip("torchao", reason="an extra: pip install -e .[adam8bit]")

    def begin():
        torch.manual_seed(0)
        model = nn.Linear(256, 16).bfloat16()
        return model, MasterOptimizer({"m": model}, kind="adamw8bit", weight_decay=0.01, ema=0.9)

    def go(model, optimizer, first, last):
        for i in range(first, last):
            x = torch.randn(4, 256, generator=torch.Generator().manual_seed(i)).bfloat16()
            model(x).float().square().mean().backward()
            optimizer.step(1e-2, 1.0)
        return {n: t.clone() for n, t in optimizer.state_tensors().items()}

    model, optimizer = begin()
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(2, go(model, optimizer, 0, 2), {})
    expected = go(model, optimizer, 2, 4)
    checkpoints.wait()
    model, optimizer = begin()
    tensors = optimizer.state_tensors()
    checkpoints.load(checkpoints.latest(), tensors)
    optimizer.load_state_tensors(tensors)
    resumed = go(model, optimizer, 2, 4)
    assert "state.m.weight.exp_avg.codes" in resumed
    assert all(torch.equal(t, expected[n]) for n, t in resumed.items())


def two_processes(folder, alone):
    mine = {kind: start(kind, Path(folder) / kind, True) for kind in alone}
    again = {kind: resume(kind, Path(folder) / kind, True) for kind in alone}
    other = {kind: resume(kind, Path(folder) / "alone" / kind, True) for kind in alone}
    return mine, again, other


def test_two_processes_write_what_one_reads_and_back(tmp_path):
    kinds = ("adamw", "muon")
    alone = {kind: start(kind, tmp_path / "alone" / kind, False) for kind in kinds}
    for mine, again, other in run(two_processes, 2, str(tmp_path), kinds):
        for kind in kinds:
            assert again[kind] == mine[kind]  # 2 to 2: exact
            assert other[kind] == pytest.approx(alone[kind], abs=1e-5)  # 1 to 2
            assert resume(kind, tmp_path / kind, False) == pytest.approx(mine[kind], abs=1e-5)  # 2 to 1


SHAPES = {"even": (8, 3), "uneven": (5, 3), "one row": (1, 3), "vector": (3,)}


def awkward():
    generator = torch.Generator().manual_seed(0)
    values = {n: torch.randn(s, generator=generator) for n, s in SHAPES.items()}
    return {**values, "half": values["uneven"].bfloat16(), "bytes": (values["uneven"] * 50).to(torch.uint8)}


def shards(folder, write):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    tensors = {n: distribute_tensor(t, mesh, [Shard(0)]) for n, t in awkward().items()}
    tensors |= {"number": torch.tensor(1.5), "rank": torch.arange(4)}
    checkpoints = Checkpointer(Path(folder))
    if write:
        checkpoints.save(1, tensors, {"rank": dist.get_rank()})
        checkpoints.wait()
    read = {n: torch.zeros_like(t) for n, t in tensors.items()}
    assert checkpoints.load(checkpoints.latest(), read) == {"rank": 0}
    return {n: t.full_tensor() if isinstance(t, DTensor) else t for n, t in read.items()}


def test_shards_are_cut_anew_for_another_number_of_ranks(tmp_path):
    expected = awkward() | {"number": torch.tensor(1.5), "rank": torch.arange(4)}
    for ranks, write in ((3, True), (2, False)):
        for read in run(shards, ranks, str(tmp_path), write):
            assert read.keys() == expected.keys()
            assert all(torch.equal(read[n], t) for n, t in expected.items())
    read = {n: torch.zeros_like(t) for n, t in expected.items()}
    checkpoints = Checkpointer(tmp_path)
    checkpoints.load(checkpoints.latest(), read)
    assert all(torch.equal(read[n], t) for n, t in expected.items())


def test_large_states_are_cut_into_files(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "PART_BYTES", 1000)
    tensors = {str(i): torch.full((100,), float(i)) for i in range(5)}
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(1, tensors, {})
    checkpoints.wait()
    assert len(list(checkpoints.latest().glob("*.safetensors"))) == 3
    read = {n: torch.zeros_like(t) for n, t in tensors.items()}
    checkpoints.load(checkpoints.latest(), read)
    assert all(torch.equal(read[n], t) for n, t in tensors.items())


def test_the_last_ones_are_kept(tmp_path):
    checkpoints = Checkpointer(tmp_path, keep=2)
    for step in range(5):
        checkpoints.save(step, {"a": torch.ones(2)}, {})
    checkpoints.wait()
    assert names(tmp_path) == ["step-00000003", "step-00000004"]
    checkpoints.save(4, {"a": torch.zeros(2)}, {})  # the same step once more
    checkpoints.wait()
    read = {"a": torch.ones(2)}
    checkpoints.load(checkpoints.latest(), read)
    assert names(tmp_path) == ["step-00000003", "step-00000004"]
    assert read["a"].sum() == 0


@pytest.mark.parametrize("damage", ["cut short", "overwritten", "lost", "trainer.json"])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path, capsys, damage):
    checkpoints = Checkpointer(tmp_path, keep=1)
    checkpoints.save(1, {"a": torch.ones(100)}, {})
    checkpoints.wait()
    checkpoints.keep = 2
    checkpoints.save(2, {"a": torch.full((100,), 2.0)}, {})
    checkpoints.wait()
    newest = tmp_path / "step-00000002"
    file = next(newest.glob("*.safetensors"))
    if damage == "cut short":
        file.write_bytes(file.read_bytes()[:-8])
    elif damage == "overwritten":
        file.write_bytes(b"\xff" * file.stat().st_size)
    elif damage == "lost":
        file.unlink()
    else:
        (newest / "trainer.json").write_text("{")
    checkpoints = Checkpointer(tmp_path, keep=1)
    assert checkpoints.latest() == tmp_path / "step-00000001"
    assert f"{newest} is not used" in capsys.readouterr().err
    # going on from step 1, the damaged one must not push out a good one
    checkpoints.save(2, {"a": torch.full((100,), 3.0)}, {})
    checkpoints.wait()
    assert checkpoints.latest() == newest
    newest_file = next(newest.glob("*.safetensors"))
    newest_file.write_bytes(b"")
    checkpoints.save(1, {"a": torch.ones(100)}, {})
    checkpoints.wait()
    assert names(tmp_path) == ["step-00000001"]


def test_another_model_is_named(tmp_path):
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(1, {"a": torch.ones(2, 3)}, {})
    checkpoints.wait()
    with pytest.raises(InputError, match=r"has no b, it is of another model"):
        checkpoints.load(checkpoints.latest(), {"a": torch.ones(2, 3), "b": torch.ones(1)})
    with pytest.raises(InputError, match=r"has a of shape \(2, 3\), not \(3, 2\)"):
        checkpoints.load(checkpoints.latest(), {"a": torch.ones(3, 2)})


def test_what_is_written_is_what_was_there_at_the_call(tmp_path):
    tensors = {"a": torch.zeros(2_000_000)}
    checkpoints = Checkpointer(tmp_path)
    release = threading.Event()
    checkpoints._thread.submit(release.wait)  # keeps the writing thread busy until the change is made
    checkpoints.save(1, tensors, {})
    tensors["a"].fill_(1.0)
    assert checkpoints.latest() is None
    checkpoints.poll()  # still going on: nothing to raise
    release.set()
    checkpoints.wait()
    checkpoints.load(checkpoints.latest(), tensors)
    assert not tensors["a"].any()


def limited(size):
    """Let this process write files of at most so many bytes, as a full disk would."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def poll_for_long(checkpoints):
    for _ in range(1000):
        checkpoints.poll()
        time.sleep(0.01)


@contextmanager
def small_files():
    """Within a test's body alone: pytest itself may write to a file that is longer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    limited(100_000)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path):
    checkpoints = Checkpointer(tmp_path)
    checkpoints.save(1, {"a": torch.ones(3)}, {})
    checkpoints.wait()
    with small_files():
        checkpoints.save(2, {"a": torch.ones(100_000)}, {})
        with pytest.raises(InputError) as caught:
            poll_for_long(checkpoints)
    assert str(caught.value) == (
        f"The checkpoint of step 2 could not be written to {tmp_path} (File too large): make room there and run the "
        "same command, which goes on from the last checkpoint before it."
    )
    assert names(tmp_path) == ["step-00000001"]
    checkpoints.wait()  # said once
    checkpoints.save(3, {"a": torch.ones(3)}, {})
    checkpoints.wait()
    assert checkpoints.latest() == tmp_path / "step-00000003"


def one_rank_fails(folder):
    checkpoints = Checkpointer(Path(folder))
    mesh = init_device_mesh("cpu", (2,))
    small, large = (distribute_tensor(torch.ones(n), mesh, [Shard(0)]) for n in (4, 200_000))
    checkpoints.save(1, {"a": small}, {})
    checkpoints.wait()
    if dist.get_rank() == 1:
        limited(100_000)
    checkpoints.save(2, {"a": large}, {})
    with pytest.raises(InputError, match=r"step 2 could not be written .*File too large"):
        checkpoints.wait()
    assert names(Path(folder)) == ["step-00000001"]
    dist.barrier()  # both have looked before either goes on
    checkpoints.save(3, {"a": small}, {})
    checkpoints.wait()
    return checkpoints.latest().name


def test_a_rank_that_cannot_write_is_heard_by_all(tmp_path):
    assert run(one_rank_fails, 2, str(tmp_path)) == ["step-00000003"] * 2


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/checkpoints cannot hold checkpoints \(Not a directory\)"):
        Checkpointer(tmp_path / "file" / "checkpoints")


def save_for_ever(folder):
    checkpoints = Checkpointer(Path(folder), keep=2)
    for step in range(1, 100_000):
        checkpoints.save(step, {str(i): torch.full((1_000_000,), float(step)) for i in range(4)}, {"step": step})


def test_a_kill_while_saving_costs_no_checkpoint_that_was_there(tmp_path):
    process = multiprocessing.get_context("forkserver").Process(target=save_for_ever, args=(str(tmp_path),))
    process.start()
    try:
        deadline = time.monotonic() + 60
        done = unfinished = []
        while not (done and unfinished):  # killed in the middle of one, with another one there
            assert time.monotonic() < deadline
            assert process.is_alive()
            found = names(tmp_path)
            done = [n for n in found if not n.endswith(".tmp")]
            unfinished = [n for n in found if n.endswith(".tmp") and (tmp_path / n).is_dir()]
    finally:
        process.kill()
        process.join()
    checkpoints = Checkpointer(tmp_path)
    assert not list(tmp_path.glob("*.tmp"))
    latest = checkpoints.latest()
    assert latest.name >= max(done)
    read = {str(i): torch.zeros(1_000_000) for i in range(4)}
    step = checkpoints.load(latest, read)["step"]
    assert all((t == step).all() for t in read.values())
