"""Which weights are edited in place of those of highest score, held against slow ways to choose."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from mlu.methods.parts.selection import refuse_selection, selected
from mlu.system.errors import UserError
from mlu.unlearning.edits import highest
from tests.support.planted import planted_problem

PROBLEM = planted_problem(images=4)
SHAPES = {"one": (3, 2, 2), "two": (7,), "none": (4,)}


def made_scores(seed, kinds=4):
    """Scores of few kinds, so that many are equal, 0 among them; a layer without any."""
    random = torch.Generator().manual_seed(seed)
    scores = {}
    for name, shape in SHAPES.items():
        scores[name] = torch.randint(0, kinds, shape, generator=random).float()
    return scores | {"none": torch.zeros(SHAPES["none"])}


CHOICES = st.tuples(st.integers(0, 99), st.floats(0, 1), st.sampled_from(["layer", "global"]))


def chosen_of(seed, phi, scope):
    scores = made_scores(seed)
    return highest(scores, dict.fromkeys(scores, phi), scope), scores


@given(CHOICES, st.sampled_from(["random", "worst"]))
def test_each_tensor_loses_as_many_as_by_the_rule(choice, select):
    chosen, scores = chosen_of(*choice)
    found = selected(PROBLEM, chosen, scores, select)
    assert list(found) == list(chosen)
    for name, hit in chosen.items():
        assert found[name].dtype == torch.bool
        assert found[name].shape == hit.shape
        assert found[name].sum() == hit.sum()


@given(CHOICES)
def test_the_rules_own_choice_is_left_as_it_is(choice):
    chosen, scores = chosen_of(*choice)
    assert selected(PROBLEM, chosen, scores, "score") is chosen


@given(CHOICES)
def test_the_worst_are_those_that_a_sorted_list_begins_with(choice):
    chosen, scores = chosen_of(*choice)
    for name, found in selected(PROBLEM, chosen, scores, "worst").items():
        places = range(scores[name].numel())
        listed = sorted(places, key=lambda place: (scores[name].flatten()[place].item(), place))
        expected = {*listed[: int(chosen[name].sum())]}
        assert {*np.flatnonzero(found.flatten())} == expected


@pytest.mark.parametrize("scores", ["equal", "rising"])
def test_at_random_every_weight_is_taken_alike_often_whatever_its_score(scores):
    """With 3 of 12 taken, of 2,000 draws a quarter takes each; and 6 in 132 take a given pair."""
    draws, beyond = 2000, 1e-6
    values = {"layer": torch.ones(12) if scores == "equal" else torch.arange(12.0)}
    chosen = highest(values, {"layer": 0.25}, "layer")

    taken = np.zeros(12)
    pairs = 0
    for seed in range(draws):
        found = selected(replace(PROBLEM, seed=seed), chosen, values, "random")["layer"]
        taken += found.numpy()
        pairs += bool(found[0] and found[11])

    low, high = binom.ppf([beyond, 1 - beyond], draws, 3 / 12)
    assert ((low <= taken) & (taken <= high)).all()
    low, high = binom.ppf([beyond, 1 - beyond], draws, 3 * 2 / (12 * 11))
    assert low <= pairs <= high
    # The negative control: the rule takes the same three each time.
    assert (draws * chosen["layer"].numpy() > high).sum() == 3


@given(CHOICES, st.integers(0, 99))
def test_at_random_the_scores_do_not_count_and_the_seed_does(choice, other):
    chosen, scores = chosen_of(*choice)
    found = selected(PROBLEM, chosen, scores, "random")
    again = selected(PROBLEM, chosen, made_scores(other), "random")
    assert all(torch.equal(found[name], again[name]) for name in found)

    wide = {"layer": torch.arange(400) < 200}
    masks = [
        selected(replace(PROBLEM, seed=seed), wide, wide, "random")["layer"] for seed in (0, 1)
    ]
    assert not torch.equal(*masks)


@pytest.mark.parametrize("select", ["random", "worst"])
def test_a_larger_share_takes_all_that_a_smaller_one_takes(select):
    values = {"layer": torch.arange(40.0).flip(0)}
    small, large = (
        selected(PROBLEM, highest(values, {"layer": phi}, "layer"), values, select)["layer"]
        for phi in (0.2, 0.7)
    )
    assert (large | ~small).all()
    assert (small.sum(), large.sum()) == (8, 28)


def test_where_the_lowest_are_taken_already_nothing_else_is_worse():
    said = r"^method\.select=worst has no .*reading=selective"
    with pytest.raises(UserError, match=said) as error:
        refuse_selection("worst", "printed")
    assert "\n" not in str(error.value)
    for select, reading in (("score", "printed"), ("worst", "above"), ("random", "selective")):
        refuse_selection(select, reading)
