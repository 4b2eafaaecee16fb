import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mlu.unlearning.edits import (
    above_threshold,
    bound,
    constrain,
    halving_decay,
    highest,
    root_mean_square,
    shrink,
    top_fraction,
)

ROUNDING = 1e-14
law = settings(deadline=None, derandomize=True, max_examples=50)
SEEDS = st.integers(0, 999)
FRACTIONS = st.floats(0, 1)
SIZES = st.integers(1, 60)


def draw(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def scores_with_ties(seed, size):
    return draw(seed, size).mul(2).round().abs()


@law
@given(SEEDS, SIZES, FRACTIONS)
def test_top_fraction_takes_the_highest_and_exactly_as_many(seed, size, fraction):
    scores = scores_with_ties(seed, size)
    hit = top_fraction(scores, fraction)
    assert hit.sum().item() == round(fraction * size)
    if hit.any() and not hit.all():
        assert scores[hit].min() >= scores[~hit].max()


@law
@given(SEEDS, SIZES, FRACTIONS, FRACTIONS)
def test_a_larger_fraction_contains_a_smaller_one(seed, size, one, other):
    scores = scores_with_ties(seed, size)
    small, large = top_fraction(scores, min(one, other)), top_fraction(scores, max(one, other))
    assert not (small & ~large).any()


@law
@given(SIZES, FRACTIONS)
def test_equal_scores_are_taken_in_their_order(size, fraction):
    count = round(fraction * size)
    assert top_fraction(torch.full((size,), 3.0), fraction).tolist() == [True] * count + [False] * (
        size - count
    )


def test_top_fraction_keeps_the_shape_and_leaves_the_scores():
    scores = draw(0, 4, 3, 3, 3)
    before = scores.clone()
    assert not top_fraction(scores, 0).any()
    assert top_fraction(scores, 1).all()
    hit = top_fraction(scores, 0.25)
    assert (hit.shape, hit.dtype) == (scores.shape, torch.bool)
    threshold = scores.flatten().sort(descending=True).values[26]
    assert torch.equal(hit, scores >= threshold)
    assert torch.equal(scores, before)


def test_top_fraction_does_not_depend_on_how_a_layer_lies_in_memory():
    scores = scores_with_ties(0, 4 * 3 * 3 * 3).view(4, 3, 3, 3)
    for other in (
        scores.to(memory_format=torch.channels_last),
        scores.transpose(0, 1).contiguous().transpose(0, 1),
    ):
        assert other.stride() != scores.stride()
        assert torch.equal(top_fraction(other, 0.4), top_fraction(scores, 0.4))


@law
@given(SEEDS, SIZES)
def test_the_halving_decay_halves_the_median(seed, size):
    importance, weight = draw(seed, size).abs(), draw(seed + 1, size)
    middle = importance.sort().indices[(size - 1) // 2]
    shrunk = shrink(weight, importance, halving_decay(importance))
    torch.testing.assert_close(shrunk[middle], weight[middle] / 2)
    factor = shrunk / weight
    assert ((factor > 0) & (factor <= 1)).all()
    # What matters more shrinks more.
    assert (factor[importance.sort().indices].diff() <= 0).all()


def test_no_decay_where_there_is_no_importance():
    assert halving_decay(torch.empty(0)) == 0
    assert halving_decay(torch.tensor([0.0, 0.0, 5.0])) == 0
    weight = draw(0, 6)
    assert torch.equal(shrink(weight, draw(1, 6).abs(), 0.0), weight)


def test_bounds_are_relative_to_the_layer_or_absolute():
    weight, hit = (
        torch.tensor([3.0, -4.0, 0.0, 0.0]).double(),
        torch.tensor([True, False, True, False]),
    )
    assert root_mean_square(weight) == 2.5
    assert bound(weight, hit, 0.1, "relative").tolist() == [0.25, math.inf, 0.25, math.inf]
    assert bound(weight, hit, 0.1, "absolute").tolist() == [0.1, math.inf, 0.1, math.inf]
    assert bound(weight, hit, 0.0, "relative").tolist() == [0, math.inf, 0, math.inf]


@pytest.mark.parametrize("mode", ["relative", "absolute"])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_an_infinite_bound_is_free_whatever_the_layer(mode, scale):
    radius = bound(scale * draw(0, 2, 3), torch.ones(2, 3).bool(), math.inf, mode)
    assert torch.equal(radius, torch.full((2, 3), math.inf).to(radius))


@law
@given(SEEDS, st.floats(1e-3, 1e3))
def test_a_relative_bound_follows_the_scale_of_the_layer(seed, scale):
    weight, hit = draw(seed, 8), draw(seed + 1, 8) > 0
    torch.testing.assert_close(
        bound(scale * weight, hit, 0.1, "relative"), scale * bound(weight, hit, 0.1, "relative")
    )


def around(centre, radius):
    return {"w": centre - radius}, {"w": centre + radius}


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1)


def random_step(optimiser, seed):
    for number, parameter in enumerate(optimiser.param_groups[0]["params"]):
        parameter.grad = draw(100 * seed + number, *parameter.shape)
    optimiser.step()


@law
@given(SEEDS, st.floats(0, 0.5))
def test_constrained_weights_stay_in_their_ball(seed, size):
    weight, free = nn.Parameter(draw(seed, 4, 5)), nn.Parameter(draw(seed + 1, 3))
    centre, radius = (
        weight.detach().clone(),
        torch.where(draw(seed + 2, 4, 5) > 0, size, math.inf).double(),
    )
    optimiser = sgd([weight, free])

    for step in range(10):
        random_step(optimiser, seed + step)
        raw, raw_free = weight.detach().clone(), free.detach().clone()
        stopped = constrain({"w": weight, "free": free}, {}, *around(centre, radius), {})
        away = (raw - centre).abs()
        assert ((weight - centre).abs() <= radius + ROUNDING).all()
        # Reported, and put back to the nearest point of the ball, is exactly what was outside.
        assert set(stopped) == {"w"}
        assert torch.equal(stopped["w"], weight != raw)
        assert (stopped["w"] | (away <= radius + ROUNDING)).all()
        assert not (stopped["w"] & (away < radius - ROUNDING)).any()
        torch.testing.assert_close(
            (weight - centre).abs().detach(), away.minimum(radius), rtol=0, atol=1e-14
        )
        assert torch.equal(free, raw_free)


def test_masking_gradients_alone_would_leave_the_ball():
    # What `constrain` is needed for: the same walk, where a weight at the edge has its gradient
    # zeroed instead.
    weight, size = nn.Parameter(draw(0, 4, 5)), 0.2
    centre, optimiser = weight.detach().clone(), sgd([weight])
    for step in range(10):
        gradient = draw(100 * step, 4, 5)
        weight.grad = torch.where(
            (weight - 0.1 * gradient - centre).abs() <= size, gradient, 0
        ).detach()
        optimiser.step()

    assert ((weight - centre).abs() > size).any()
    # And a frozen weight, whose gradient is never anything but zero, decays.
    weight.grad.zero_()
    before = weight.detach().clone()
    optimiser.step()
    assert (weight != before).all()


@law
@given(SEEDS, st.sampled_from(["radius", "rate"]))
def test_radius_or_rate_zero_freezes_to_the_bit(seed, how):
    parameter = nn.Parameter(draw(seed, 4, 5))
    start, rows = parameter.detach().clone(), torch.tensor([True, False, False, True])
    optimiser = sgd([parameter])
    for step in range(5):
        before = {"w": parameter.detach().clone()}
        random_step(optimiser, seed + step)
        if how == "radius":
            radius = torch.where(rows, 0, math.inf).unsqueeze(1)
            constrain({"w": parameter}, {}, *around(start, radius), {})
        else:
            constrain(
                {"w": parameter}, before, {}, {}, {"w": torch.where(rows, 0.0, 1.0).unsqueeze(1)}
            )

    assert torch.equal(parameter[rows], start[rows])
    assert (parameter[~rows] != start[~rows]).all()


@law
@given(SEEDS, st.floats(0, 1))
def test_a_rate_is_a_factor_on_the_whole_step(seed, rate):
    # The step and not the gradient: the first moves by momentum and weight decay too.
    parameter = nn.Parameter(draw(seed, 6))
    optimiser = sgd([parameter])
    random_step(optimiser, seed)
    before = parameter.detach().clone()
    random_step(optimiser, seed + 1)
    step = parameter.detach() - before

    assert (
        constrain(
            {"w": parameter}, {"w": before}, {}, {}, {"w": torch.tensor(rate, dtype=torch.float64)}
        )
        == {}
    )
    torch.testing.assert_close(parameter.detach() - before, rate * step, rtol=0, atol=1e-14)


def test_the_ball_holds_for_slowed_weights_too():
    parameter = nn.Parameter(torch.tensor([10.0, 1.0, -10.0]))
    zeros = torch.zeros(3)
    stopped = constrain(
        {"w": parameter}, {"w": zeros}, *around(zeros, torch.tensor(2.0)), {"w": torch.tensor(0.5)}
    )
    assert parameter.tolist() == [2, 0.5, -2]
    assert stopped["w"].tolist() == [True, False, True]


def test_the_highest_of_each_layer_or_of_all():
    scores = {
        "one": torch.tensor([5.0, 4.0, 3.0, 2.0]),
        "two": torch.tensor([[1.0, 0.5], [0.0, 0.0]]),
    }
    half = dict.fromkeys(scores, 0.5)
    layered = highest(scores, half, "layer")
    assert layered["one"].tolist() == [True, True, False, False]
    assert layered["two"].tolist() == [[True, True], [False, False]]
    together = highest(scores, half, "global")
    assert together["one"].all()
    assert not together["two"].any()
    for scope in ("layer", "global"):
        everything = highest(scores, dict.fromkeys(scores, 1.0), scope)
        assert everything["one"].all()
        assert everything["two"].tolist() == [
            [True, True],
            [False, False],
        ]  # never where the score is 0

    assert highest(scores, {"one": 0.25, "two": 0.0}, "layer")["one"].sum() == 1
    assert not highest(scores, dict.fromkeys(scores, 0.0), "global")["one"].any()


@law
@given(SEEDS, FRACTIONS)
def test_a_higher_threshold_takes_fewer_and_equals_plain_counting(seed, threshold):
    scores = {"one": draw(seed, 4, 5).square(), "two": 3 * draw(seed + 1, 6).square()}
    for scope in ("layer", "global"):
        found = above_threshold(scores, threshold, scope)
        fewer = above_threshold(scores, min(1.0, threshold + 0.1), scope)
        largest = max(layer.max() for layer in scores.values())
        for name, layer in scores.items():
            most = layer.max() if scope == "layer" else largest
            wanted = [value > threshold * most for value in layer.flatten()]
            assert found[name].flatten().tolist() == wanted
            assert not (fewer[name] & ~found[name]).any()
        assert not any(one.any() for one in above_threshold(scores, 1.0, scope).values())
