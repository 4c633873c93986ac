"""Balancing: the wanted mix, the most pairs, the same ones in any order."""

import random
from collections import Counter
from itertools import product

import pytest
from pydantic import ValidationError

from icve.data.curation.text.balance import BINS, BalanceConfig, Balancer, keep_counts


def pairs(**counts: int) -> list[tuple[str, str]]:
    return [(f"{name}-{i}", name) for name, count in counts.items() for i in range(count)]


def kept(config: BalanceConfig, given: list[tuple[str, str]], seed: int = 0) -> set[str]:
    balancer = Balancer(config, seed)
    for pair in given:
        balancer.count(*pair)
    balancer.prepare()
    chosen = [pair for pair in given if balancer.keep(*pair)]
    assert Counter(name for _, name in chosen) == Counter({name: n for name, n in balancer.kept.items() if n})
    return {pair_id for pair_id, _ in chosen}


@pytest.mark.parametrize(
    ("counts", "target", "slack", "expected"),
    [
        ({"add": 10, "camera": 100}, None, 0, {"add": 10, "camera": 100}),
        ({"add": 10, "camera": 100}, {"add": 1, "camera": 1}, 0, {"add": 10, "camera": 10}),
        ({"add": 10, "camera": 100}, {"add": 0.2, "camera": 0.8}, 0, {"add": 10, "camera": 40}),
        ({"add": 100, "camera": 3}, {"add": 0.7, "camera": 0.3}, 0, {"add": 7, "camera": 3}),  # not 6.99
        ({"add": 10, "camera": 100, "style": 7}, {"add": 1, "camera": 1}, 0, {"add": 10, "camera": 10, "style": 7}),
        ({"add": 10, "camera": 100}, {"add": 1, "camera": 0}, 0, {"add": 10, "camera": 0}),
        ({"add": 10, "camera": 100}, {"add": 1, "camera": 1, "remove": 8}, 0, {"add": 10, "camera": 10}),
        ({"add": 10, "remove": 0}, {"add": 1, "remove": 1}, 0, {"add": 10, "remove": 0}),
        ({"add": 10}, {"add": 0}, 0, {"add": 0}),
        ({}, {"add": 1}, 0, {}),
        # Half more than its half: three quarters of what is kept may be of the camera.
        ({"add": 10, "camera": 100}, {"add": 1, "camera": 1}, 0.5, {"add": 10, "camera": 30}),
        ({"add": 10, "camera": 100}, {"add": 1, "camera": 1}, 1.0, {"add": 10, "camera": 100}),
        (
            {"add": 1, "camera": 100, "style": 100},
            {"add": 1, "camera": 1, "style": 1},
            0,
            {"add": 1, "camera": 1, "style": 1},
        ),
        (
            {"add": 1, "camera": 90, "style": 60},
            {"add": 1, "camera": 1, "style": 1},
            0.5,
            {"add": 1, "camera": 61, "style": 60},
        ),
    ],
)
def test_keep_counts(counts, target, slack, expected):
    assert keep_counts(counts, target, slack) == expected


def test_no_larger_total_keeps_the_mix():
    """Against every choice of counts, for small numbers."""
    target = {"add": 3.0, "camera": 2.0, "style": 1.0}
    for counts, slack in product(product((1, 2, 5, 9), repeat=3), (0.0, 0.25, 0.6)):
        supply = dict(zip(target, counts, strict=True))
        found = keep_counts(supply, target, slack)
        largest = 0
        for choice in product(*(range(count + 1) for count in counts)):
            total = sum(choice)
            caps = [(1 + slack) * share / 6 * total for share in target.values()]
            if all(number <= cap + 1e-9 for number, cap in zip(choice, caps, strict=True)):
                largest = max(largest, total)
        total = sum(found.values())
        assert largest - 2 <= total  # rounded down for each type
        caps = [(1 + slack) * share / 6 * (total + 3) for share in target.values()]
        assert all(number <= cap for number, cap in zip(found.values(), caps, strict=True))


def test_the_mix_is_exact_and_the_choice_does_not_depend_on_order():
    given = pairs(add=3000, camera=9000, style=500, action=50)
    config = BalanceConfig(target={"add": 2, "camera": 1, "style": 1})
    chosen = kept(config, given)
    assert Counter(name.split("-")[0] for name in chosen) == {"add": 1000, "camera": 500, "style": 500, "action": 50}
    shuffled = list(given)
    random.Random(3).shuffle(shuffled)
    assert kept(config, shuffled) == chosen
    other = kept(config, given, seed=1)
    assert len(other) == len(chosen)
    shared = sum(name.startswith("add") for name in other & chosen)
    assert 250 < shared < 420  # a third of a third, drawn anew


def test_the_choice_is_spread_over_the_pairs():
    chosen = kept(BalanceConfig(target={"add": 1, "style": 1}), pairs(add=20_000, style=2000))
    places = [int(name.split("-")[1]) for name in chosen if name.startswith("add")]
    quarters = Counter(place // 5000 for place in places)
    assert all(430 < quarters[quarter] < 570 for quarter in range(4))


def test_many_more_pairs_than_bins_fall_short_by_a_bin_at_most():
    balancer = Balancer(BalanceConfig(target={"add": 1, "style": 1}), seed=0)
    for name, count in (("add", 4 * BINS), ("style", 1000)):
        for i in range(count):
            balancer.count(f"{name}-{i}", name)
    balancer.prepare()
    assert 1000 - 15 <= balancer.kept["add"] <= 1000
    assert balancer.kept["style"] == 1000


def test_nothing_is_dropped_by_default():
    given = pairs(add=30, camera=5)
    assert kept(BalanceConfig(), given) == {name for name, _ in given}


def test_names_with_any_characters_have_a_place():
    assert len(kept(BalanceConfig(target={"add": 1}), [("\ud83d", "add"), ("é\0", "add")])) == 2


def test_mistakes_are_named():
    with pytest.raises(ValidationError, match="'zoom' is no type of edit; use some of add"):
        BalanceConfig(target={"zoom": 1})
    with pytest.raises(ValidationError, match="share of add is -1"):
        BalanceConfig(target={"add": -1})
    with pytest.raises(ValidationError):
        BalanceConfig(slack=-0.1)
    with pytest.raises(RuntimeError, match="before"):
        Balancer(BalanceConfig(), 0).keep("a", "add")
