import numpy as np
import pytest

from mlu.metrics.overlap import NOTHING_CHOSEN, overlap_findings, share_findings

SIZES = {"one": (60, 20, 30), "two": (40, 4, 10)}


def drawn(random):
    """Two random choices of the sizes above."""
    sides = {}, {}
    for layer, (weights, *counts) in SIZES.items():
        for side, count in zip(sides, counts, strict=True):
            side[layer] = np.zeros(weights, bool)
            side[layer][random.permutation(weights)[:count]] = True
    return sides


def found_of(ours, theirs):
    return {finding.path: finding for finding in overlap_findings("any", ours, theirs)}


def test_what_is_shared_is_counted_over_all_layers():
    ours = {"one": np.array([[True, True], [False, False]]), "two": np.array([True, False])}
    theirs = {"one": np.array([[True, False], [True, False]]), "two": np.array([True, True])}
    found = found_of(ours, theirs)
    assert found["any/overlap"].value == pytest.approx(2 / 3)
    assert found["any/by_chance"].value == pytest.approx((2 * 2 / 4 + 1) / 3)
    assert found_of(ours, ours)["any/overlap"].value == 1


def test_chance_is_what_random_choices_share():
    random = np.random.default_rng(0)
    ours, theirs = drawn(random)
    chance = found_of(ours, theirs)["any/by_chance"]
    shares = [found_of(ours, drawn(random)[1])["any/overlap"].value for _ in range(500)]
    assert np.mean(shares) == pytest.approx(chance.value, abs=0.01)
    inside = [chance.low <= share <= chance.high for share in shares]
    assert 0.92 <= np.mean(inside) <= 0.995


def test_shares_of_layers_and_of_all():
    ours = drawn(np.random.default_rng(1))[0]
    found = {finding.path: finding.value for finding in share_findings("any", ours)}
    assert found == {
        "any/chosen": 0.24,
        "any/layer/one/chosen": pytest.approx(1 / 3),
        "any/layer/one/weights": 60,
        "any/layer/two/chosen": 0.1,
        "any/layer/two/weights": 40,
    }


def test_an_empty_choice_shares_nothing_and_says_so():
    nothing = {"one": np.zeros(3, bool)}
    found = found_of(nothing, nothing).values()
    assert {finding.missing for finding in found} == {NOTHING_CHOSEN}
