"""The world as a set: what training draws, one sample at a time, and nothing that is held out."""

import pickle
from collections import Counter

import numpy as np
import pytest

from icve.data.buckets import Bucket
from icve.data.world import HELD_OUT, Scene, generator, render, sample_edit, unpaired
from icve.data.world.language import UNSEEN
from icve.data.world.names import UNKNOWN, name_tokens
from icve.data.world.scene import COLOURS, SHAPES
from icve.data.world_set import WorldSet
from icve.errors import InputError

STILL, CLIP, WIDE = Bucket(1, 64, 64), Bucket(9, 64, 64), Bucket(5, 48, 80)
OPERATIONS = {"add": 1.0, "remove": 2.0, "timed": 1.0, "camera": 1.0}


def world(**options) -> WorldSet:
    return WorldSet("world", [STILL, CLIP, WIDE], **{"pairs": "paired", "operations": OPERATIONS} | options)


@pytest.mark.parametrize("pairs", ["paired", "unpaired", "text_to_video"])
@pytest.mark.parametrize("bucket", [STILL, CLIP, WIDE], ids=str)
def test_samples_are_functions_of_their_number(pairs, bucket):
    one = world(pairs=pairs, names_cell=16, full_share=0.5)
    sample, again = one.load(bucket, 4), pickle.loads(pickle.dumps(one)).load(bucket, 4)
    assert sample.target.shape == (*bucket, 3)
    assert sample.target.dtype == np.uint8
    assert sample.text == again.text
    assert np.array_equal(sample.target, again.target)
    assert len({one.load(bucket, n).target.tobytes() for n in range(20)}) == 20
    tokens = (1 + bucket.frames // 4, bucket.height // 16, bucket.width // 16, 2)
    assert sample.labels["target_names"].shape == tokens
    if pairs == "text_to_video":
        assert sample.source is None
        assert set(sample.labels) == {"target_names"}
    else:
        assert np.array_equal(sample.source, again.source)
        assert sample.labels["source_names"].shape == tokens
        assert not np.array_equal(sample.source, sample.target)


def test_parts_seeds_and_sizes_draw_other_samples():
    drawn = [world(seed=s, part=p).load(b, 0).text for s in (0, 1) for p in ("train", "held_out") for b in (CLIP, WIDE)]
    sources = [world(seed=s, part=p).load(CLIP, 0).source for s in (0, 1) for p in ("train", "held_out")]
    assert len({s.tobytes() for s in sources}) == 4
    assert len(set(drawn)) > 4


def named(labels) -> set[tuple[int, int]]:
    return {(int(s), int(c)) for s, c in labels.reshape(-1, 2) if s > 0 and c != UNKNOWN}


@pytest.mark.parametrize("pairs", ["paired", "unpaired", "text_to_video"])
@pytest.mark.parametrize("part", ["train", "held_out"])
def test_no_held_out_combination_and_no_unseen_wording(pairs, part):
    held_out = {(list(SHAPES).index(s) + 1, list(COLOURS).index(c) + 1) for s, c in HELD_OUT}
    one = world(pairs=pairs, names_cell=8, full_share=0.3, part=part)
    seen: set[tuple[int, int]] = set()
    for number in range(150):
        sample = one.load(STILL, number)
        for labels in sample.labels.values():
            seen |= named(labels)
        for template in UNSEEN["add"] + UNSEEN["remove"]:
            assert not sample.text.lower().startswith(template.split("{")[0].lower().rstrip() + " ")
    assert not seen & held_out
    assert len(seen) > 50


def test_operations_by_weight_and_moving_ones_only_in_clips():
    adds = world(operations={"add": 1.0, "camera": 1e6})
    still_texts = [adds.load(STILL, n) for n in range(30)]
    assert all((s.source != s.target).any() for s in still_texts)  # a camera move of one frame would show nothing
    moves = Counter(adds.load(CLIP, n).text for n in range(30))
    assert all(any(w in text.lower() for w in ("zoom", "pan", "move")) for text in moves)

    changed = world(operations={"look": 1.0, "add": 3.0})  # a look changes nearly everything, a new thing little
    looks = 0
    for number in range(200):
        sample = changed.load(STILL, number)
        looks += bool((sample.source != sample.target).any(-1).mean() > 0.5)
    assert 30 < looks < 70


def test_unpaired_targets_are_another_moment():
    still_there = 0
    for number in range(40):
        paired = world(operations={"recolour": 1.0}).load(CLIP, number)
        moved = world(operations={"recolour": 1.0}, pairs="unpaired").load(CLIP, number)
        assert moved.text == paired.text
        assert np.array_equal(moved.source, paired.source)
        still_there += np.array_equal(moved.target, paired.target)
    assert still_there < 8


def test_names_are_those_of_what_is_drawn():
    edit = unpaired(sample_edit((5, 5), operation="add"), (5, 5))
    names = name_tokens(edit.target, 3, 64, 64, 8)
    thing = edit.target.things[edit.made]
    empty = Scene(edit.target.background, (), edit.target.camera)
    differs = (render(edit.target) != render(empty)).any(-1)[[0, 4, 8]].reshape(3, 8, 8, 8, 8).mean((2, 4))
    assert (differs[names[..., 0] > 0] > 0.1).all()
    here = (names == (list(SHAPES).index(thing.shape) + 1, list(COLOURS).index(thing.colour) + 1)).all(-1)
    assert here.any()
    assert not name_tokens(empty, 3, 64, 64, 8).any()


def test_core_and_full_scenes_by_share():
    """Photographs are in full scenes alone, three in ten of them."""

    def photographs(share: float) -> int:
        one = world(operations={"background": 1.0}, full_share=share)
        return sum("a photo of" in one.load(STILL, n).text for n in range(300))

    assert photographs(0.0) == 0
    assert 20 < photographs(0.5) < 70
    assert 60 < photographs(1.0) < 120


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"operations": {"ad": 1.0}}, "set world: there is no operation 'ad'; use some of add, remove"),
        ({"operations": {"camera": 1.0}}, "set world: no operation with a weight suits 1x64x64"),
        ({"operations": {}}, "set world: no operation with a weight suits 1x64x64"),
        ({"names_cell": 32}, "set world: the sides of 5x48x80 must be multiples of 32"),
    ],
)
def test_mistakes_are_one_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence):
        world(**options)


def test_it_is_endless():
    one = world()
    assert one.size(CLIP) is None
    assert one.buckets == (STILL, CLIP, WIDE)
    far = one.load(CLIP, 10**9)
    assert not np.array_equal(far.source, one.load(CLIP, 0).source)
    assert generator(0).random() == generator(0, 0).random()  # why no stream's last word may be 0
