"""The loader: the same samples whatever the ranks and workers, each exactly once an epoch, resumed at any step."""

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import psutil
import pytest
import torch

from icve.data.buckets import Bucket
from icve.data.loader import Loader
from icve.data.mixing import BucketPlan
from icve.data.samples import BadSampleError, Batch, Sample, TextEmbedding
from icve.data.shards import ShardSet, ShardWriter
from icve.data.world_set import WorldSet
from icve.errors import InputError

STILL, CLIP = Bucket(1, 64, 64), Bucket(9, 64, 64)


@dataclass
class LatentSet:
    """Latents in memory, drawn from a seed; `bad` numbers cannot be read, `deadly` ones kill the process that reads
    them, as a decoder does."""

    name: str
    sizes: dict[Bucket, int]
    bad: set[int] = field(default_factory=set)
    deadly: set[int] = field(default_factory=set)
    embedded: bool = False
    with_source: bool = True
    channels: int = 4
    dtype: torch.dtype = torch.float32

    @property
    def buckets(self) -> list[Bucket]:
        return list(self.sizes)

    def size(self, bucket):
        return self.sizes[bucket]

    def order(self, bucket, seed, epoch):
        return np.random.default_rng((seed, epoch, *bucket)).permutation(self.sizes[bucket])

    def load(self, bucket, number):
        if number in self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if number in self.bad:
            raise BadSampleError(f"{self.name}: sample {number} is torn.")
        generator = torch.Generator().manual_seed(number)
        latents = torch.randn(2, self.channels, 1 + bucket.frames // 4, 8, 8, generator=generator).to(self.dtype)
        states = torch.randn(3 + number % 4, 6, generator=generator)
        return Sample(
            f"{self.name}-{bucket}-{number}",
            latents[0],
            latents[1] if self.with_source else None,
            f"edit {number}",
            TextEmbedding(states, states[0, :2]) if self.embedded else None,
            {"number": torch.tensor([number, bucket.frames])},
        )


def sets() -> list[tuple[LatentSet, float]]:
    first = LatentSet("first", {STILL: 23, CLIP: 7}, embedded=True)
    return [(first, 2.0), (LatentSet("second", {STILL: 5, CLIP: 11}, embedded=True), 1.0)]


def plans() -> list[BucketPlan]:
    return [BucketPlan(STILL, 12, weight=2.0), BucketPlan(CLIP, 4)]


def loader(**options) -> Loader:
    return Loader(sets(), plans(), **{"seed": 3} | options)


def assert_same(one: Batch, other: Batch) -> None:
    for name in ("step", "bucket", "slots", "ids", "texts", "problems", "state"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("target", "source", "valid"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert torch.equal(one.labels["number"], other.labels["number"])
    for a, b in zip(one.text_embeddings, other.text_embeddings, strict=True):
        assert torch.equal(a.states, b.states)
        assert torch.equal(a.pooled, b.pooled)


@pytest.fixture(scope="module")
def reference() -> list[Batch]:
    return list(loader().batches(0, 30))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_ranks_and_workers_do_not_change_what_is_read(reference, ranks, workers):
    parts = [loader(rank=r, ranks=ranks, workers=workers).batches(0, 30) for r in range(ranks if workers < 2 else 1)]
    for whole in reference:
        size = len(whole.ids) // ranks
        for rank, part in enumerate(parts):
            batch = next(part)
            expected = whole.rows(rank * size, (rank + 1) * size)
            assert_same(batch, expected)
    for part in parts:
        assert next(part, None) is None


def test_samples_are_what_the_set_holds(reference):
    batch = next(b for b in reference if b.bucket == CLIP)
    for i, (number, frames) in enumerate(batch.labels["number"].tolist()):
        sample = LatentSet(batch.ids[i].split("-")[0], {CLIP: 11}, embedded=True).load(CLIP, number)
        assert frames == CLIP.frames
        assert batch.ids[i] == sample.id
        assert torch.equal(batch.target[i], sample.target)
        assert torch.equal(batch.source[i], sample.source)
        assert torch.equal(batch.text_embeddings[i].states, sample.text_embedding.states)
    assert {len(e.states) for b in reference for e in b.text_embeddings} == {3, 4, 5, 6}


def read_by_place(batches) -> dict[tuple[str, Bucket], list[str]]:
    read: dict[tuple[str, Bucket], list[str]] = {}
    for batch in batches:
        for name in batch.ids:
            read.setdefault((name.split("-")[0], batch.bucket), []).append(name)
    return read


def test_every_sample_exactly_once_an_epoch_and_epochs_differ():
    one = loader()
    read = read_by_place(one.batches(0, 60))
    assert len(read) == 4
    for (name, bucket), ids in read.items():
        size = next(each for each, _ in sets() if each.name == name).size(bucket)
        epochs = [ids[i : i + size] for i in range(0, len(ids), size)]
        assert len(epochs) > 3
        assert all(len(set(epoch)) == len(epoch) for epoch in epochs)
        assert all(len(epoch) == size for epoch in epochs[:-1])
        assert len({tuple(epoch) for epoch in epochs[:-1]}) > 1
        entry = one.state_dict()[name][str(bucket)]
        assert entry["epoch"] * size + entry["position"] == len(ids)


def test_resumed_after_any_step_it_goes_on_as_if_it_had_not_stopped(reference):
    for k in range(0, 12, 2):
        before = loader(workers=1)
        batches = before.batches(0, 30)  # read ahead beyond step k: that does not count
        for _ in range(k):
            next(batches)
        state = before.state_dict()
        batches.close()
        assert state == (reference[k - 1].state if k else loader().state_dict())
        after = loader(workers=1)
        after.load_state_dict(state)
        for batch, expected in zip(after.batches(k, 4), reference[k : k + 4], strict=True):
            assert_same(batch, expected)


def test_resumed_within_the_same_loader(reference):
    one = loader()
    parts = [*one.batches(0, 7), *one.batches(7, 1), *one.batches(8, 22)]
    for batch, expected in zip(parts, reference, strict=True):
        assert_same(batch, expected)


def test_a_change_of_ranks_loses_and_repeats_nothing(reference):
    state, ids, step = loader().state_dict(), [], 0
    for ranks in (1, 4, 2):
        parts = [loader(rank=rank, ranks=ranks) for rank in range(ranks)]
        for part in parts:
            part.load_state_dict(state)
        shares = [list(part.batches(step, 10)) for part in parts]
        ids += [[name for share in shares for name in share[i].ids] for i in range(10)]
        states = [part.state_dict() for part in parts]
        assert all(s == states[0] for s in states)
        state, step = states[0], step + 10
    assert ids == [batch.ids for batch in reference]


def test_sets_and_buckets_may_come_and_go():
    before = loader()
    list(before.batches(0, 8))
    state = before.state_dict()
    other = LatentSet("other", {CLIP: 9}, embedded=True)
    after = Loader([sets()[0], (other, 1.0)], [BucketPlan(CLIP, 3), BucketPlan(Bucket(5, 64, 64), 2)], seed=3)
    after.load_state_dict(state)
    assert after.state_dict() == {
        "first": {str(CLIP): state["first"][str(CLIP)]},
        "other": {str(CLIP): {"epoch": 0, "position": 0, "size": 9}},
    }
    grown = Loader([(LatentSet("first", {STILL: 24, CLIP: 7}), 1.0)], plans(), seed=3)
    with pytest.raises(InputError, match="set first has 24 samples of 1x64x64 but had 23"):
        grown.load_state_dict(state)


def test_weights_hold():
    one = loader()
    drawn = Counter(batch.bucket for batch in one.batches(0, 400))
    assert 0.60 < drawn[STILL] / 400 < 0.73
    from_first = sum(n for (name, _), n in counts(one).items() if name == "first")
    assert abs(from_first / sum(counts(one).values()) - 2 / 3) < 0.03  # 4 deviations: about 3,700 samples


def counts(one: Loader) -> dict[tuple[str, str], int]:
    state = one.state_dict().items()
    return {(n, b): e["epoch"] * e["size"] + e["position"] for n, buckets in state for b, e in buckets.items()}


def test_a_curriculum_and_buckets_that_no_set_has():
    stills_only = LatentSet("stills", {STILL: 9, CLIP: 0}, embedded=True)
    buckets = [BucketPlan(STILL, 2, last_step=5), BucketPlan(CLIP, 2, first_step=3), BucketPlan(Bucket(5, 32, 32), 2)]
    one = Loader([(stills_only, 5.0), (LatentSet("clips", {CLIP: 4}, embedded=True), 1.0)], buckets, seed=0)
    drawn = [batch.bucket for batch in one.batches(0, 40)]
    assert drawn[:3] == [STILL] * 3
    assert drawn[5:] == [CLIP] * 35
    rows = one.describe(40)
    assert [row.share for row in rows] == pytest.approx([(3 + 1) / 40, (1 + 35) / 40, 0])
    assert [row.samples for row in rows] == [{"stills": 9}, {"stills": 0, "clips": 4}, {}]
    with pytest.raises(InputError, match=r"step 5: no set has samples .* \(9x64x64\)"):
        list(Loader([(stills_only, 1.0)], buckets[:2], seed=0).batches(0, 40))


def test_samples_that_cannot_be_read_are_zeros_and_said():
    torn = LatentSet("torn", {STILL: 10}, bad={2, 5}, embedded=True)
    batches = list(Loader([(torn, 1.0)], [BucketPlan(STILL, 5)], seed=0, workers=1).batches(0, 2))
    assert sorted(problem for batch in batches for problem in batch.problems) == [
        f"torn: sample {n} is torn." for n in (2, 5)
    ]
    for batch in batches:
        assert len(batch.problems) == (~batch.valid).sum()
        for i, valid in enumerate(batch.valid):
            assert (batch.target[i].abs().sum() > 0) == (batch.source[i].abs().sum() > 0) == valid
            assert (batch.texts[i] != "") == valid
            assert len(batch.text_embeddings[i].states) >= 1
            assert batch.text_embeddings[i].states.any() == valid


def test_a_share_of_which_nothing_can_be_read_has_the_form_of_the_others():
    torn = LatentSet("torn", {STILL: 100}, bad=set(range(40)), embedded=True)
    batches = list(Loader([(torn, 1.0)], [BucketPlan(STILL, 1)], seed=0).batches(0, 100))
    assert sum(not batch.valid.any() for batch in batches) == 40
    assert len({(batch.target.shape, batch.source.shape, *batch.labels) for batch in batches}) == 1
    torn.bad = set(range(100))
    with pytest.raises(InputError, match=r"set torn: its 1x64x64 samples cannot be read \(torn: sample \d+ is torn"):
        list(Loader([(torn, 1.0)], [BucketPlan(STILL, 4)], seed=0).batches(0, 1))


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (WorldSet("other", [STILL], pairs="paired", operations={"add": 1}), "latents, other has pixels"),
        (LatentSet("other", {STILL: 5}, with_source=False), "sources, other has no sources"),
        (LatentSet("other", {STILL: 5}, embedded=True), "raw texts, other has embedded texts"),
        (LatentSet("other", {STILL: 5}, channels=16), r"targets of shape \(4, 1, 8, 8\), other has .*\(16, 1, 8, 8\)"),
    ],
    ids=["pixels", "source", "text", "shape"],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_sets_that_cannot_be_mixed_are_named(other, difference, workers):
    one = LatentSet("one", {STILL: 50})
    mixed = Loader([(one, 1.0), (other, 1.0)], [BucketPlan(STILL, 16)], seed=1, workers=workers)
    pattern = f"^sets (one and other|other and one) cannot share .*({difference}|other has .*, one has .*);"
    with pytest.raises(InputError, match=pattern):
        next(mixed.batches(0, 1))


def test_sets_of_other_precision_mix():
    one, half = LatentSet("one", {STILL: 50}), LatentSet("half", {STILL: 50}, dtype=torch.bfloat16)
    mixed = Loader([(one, 1.0), (half, 1.0)], [BucketPlan(STILL, 16)], seed=1)
    for batch in mixed.batches(0, 3):
        for i, name in enumerate(batch.ids):
            expected = {"one": one, "half": half}[name.split("-")[0]].load(STILL, int(batch.labels["number"][i][0]))
            assert torch.equal(batch.target[i], expected.target.float())
    alone = Loader([(half, 1.0)], [BucketPlan(STILL, 16)], seed=1)
    assert next(alone.batches(0, 1)).source.dtype == torch.bfloat16


@pytest.mark.timeout(60)
def test_a_worker_that_dies_is_one_sentence():
    deadly = LatentSet("deadly", {STILL: 40}, deadly={7})
    fatal = int(np.flatnonzero(deadly.order(STILL, 2, 0) == 7)[0]) // 4
    batches = Loader([(deadly, 1.0)], [BucketPlan(STILL, 4)], seed=2, workers=2).batches(0, 10)
    steps: list[int] = []

    def train():
        for batch in batches:
            steps.append(batch.step)
            time.sleep(0.5)  # one dies while the training computes, which must not notice

    with pytest.raises(InputError, match=r"^step \d: one of the loader's 2 `workers` processes died") as error:
        train()
    assert steps == list(range(len(steps)))
    assert str(error.value).startswith(f"step {len(steps)}:")
    assert fatal - 4 <= len(steps) <= fatal  # what it had read ahead may be lost with it


def test_other_errors_are_not_hidden():
    class Broken(LatentSet):
        def load(self, _bucket, number):
            raise RuntimeError(f"a mistake at {number}")

    with pytest.raises(RuntimeError, match="a mistake at"):
        next(Loader([(Broken("broken", {STILL: 3}), 1.0)], [BucketPlan(STILL, 2)], seed=0).batches(0, 1))


def test_workers_leave_stopping_to_the_training(reference):
    multiprocessing.forkserver._forkserver._stop()  # another test's server would not hold the signals back
    before = set(multiprocessing.active_children())
    batches = loader(workers=2).batches(0, 30)
    read = [next(batches)]
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    server = psutil.Process(next(iter(workers)).pid).ppid()
    assert server != os.getpid()
    for pid in (server, *(worker.pid for worker in workers)):
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    for batch, expected in zip([*read, *batches], reference, strict=True):
        assert_same(batch, expected)


TRAINING = """
import multiprocessing, os, signal, sys
from icve.data.loader import Loader
from icve.data.mixing import BucketPlan
from icve.data.buckets import Bucket
from icve.data.world_set import WorldSet

still = Bucket(1, 64, 64)
world = WorldSet("world", [still], pairs="text_to_video")
batches = Loader([(world, 1.0)], [BucketPlan(still, 4)], seed=0, workers=2).batches(0, 100)
for batch in batches:
    if batch.step == 2:
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        if sys.argv[1] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("a mistake in the training")
"""


@pytest.mark.parametrize("end", ["killed", "error"])
@pytest.mark.timeout(120)
def test_workers_end_with_the_training(end):
    run = subprocess.Popen(
        [sys.executable, "-c", TRAINING, end], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    workers = [psutil.Process(int(pid)) for pid in run.stdout.readline().split()]
    assert len(workers) == 2
    try:
        assert run.wait(30) == (-signal.SIGKILL if end == "killed" else 1)
        assert not psutil.wait_procs(workers, timeout=30)[1]
    finally:
        run.kill()
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()


def test_the_training_s_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    list(loader(workers=1).batches(0, 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_mistakes_are_one_sentence():
    with pytest.raises(InputError, match=r"a batch of 4 .* cannot be shared by 3 ranks"):
        loader(ranks=3)
    with pytest.raises(InputError, match="two sets are called first"):
        Loader([sets()[0], sets()[0]], plans(), seed=0)


def test_shards_world_and_workers_together(tmp_path):
    world = WorldSet("world", [CLIP], pairs="paired", operations={"recolour": 1.0})
    with ShardWriter(tmp_path / "set", name="made", licence="CC0-1.0", lossless=True, shard_bytes=100_000) as writer:
        for i in range(10):
            sample = world.load(CLIP, i)
            writer.add_clip(f"s{i}", sample.source, fps=8)
            writer.add_clip(f"t{i}", sample.target, fps=8)
            writer.add_pair(f"p{i}", f"s{i}", f"t{i}", sample.text, "recolour")
    shards = ShardSet(tmp_path / "set")
    shards.load(CLIP, 0)  # opens its files here, before the workers start
    runs = []
    for workers in (0, 2):
        mixed = Loader([(shards, 1.0), (world, 1.0)], [BucketPlan(CLIP, 4)], seed=0, workers=workers)
        runs.append(list(mixed.batches(0, 12)))
        state = mixed.state_dict()
        assert state["made"][str(CLIP)]["epoch"] * 10 + state["made"][str(CLIP)]["position"] > 20
    for one, other in zip(*runs, strict=True):
        assert one.ids == other.ids
        assert torch.equal(one.target, other.target)
        assert one.valid.all()
    from_shards = [name for batch in runs[0] for name in batch.ids if not name.startswith("world/")]
    assert len(set(from_shards[:10])) == len(set(from_shards[10:20])) == 10
    assert from_shards[:10] != from_shards[10:20]
