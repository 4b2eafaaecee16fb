from dataclasses import replace

import pytest
import torch
from planted import FORGOTTEN, RETAINED, entangled_problem, planted_problem

from mlu.contracts import ForgetRequest, Tuning
from mlu.methods.weight_filter import WeightFilter
from mlu.scores.gradients import all_weights

CONV = "body.conv.weight"


def weight_filter(**changes) -> WeightFilter:
    settings = {
        "name": "wf",
        "reading": "selective",
        "phi": 0.5,
        "epsilon": 0.1,
        "epsilon_mode": "relative",
        "sigma": 0.0,
        "influence": "none",
        "images": 64,
        "score_batch": 8,
        "delta": 0.1,
        "soft": 0.0,
        "decorrelation": 0.0,
        "tuning": Tuning(),
    }
    return WeightFilter(**settings | changes)


def edited(problem, method):
    """The network's weights after the edit, before fine-tuning."""
    return dict(problem.net.named_parameters()) | method.edit(problem).weights


def test_selective_resets_exactly_the_forgotten_half_of_a_planted_network():
    problem = planted_problem()
    weights = edited(problem, weight_filter())
    assert (weights[CONV][FORGOTTEN] == 0).all()
    assert torch.equal(weights[CONV][RETAINED], problem.net.body.conv.weight[RETAINED])


def test_scores_of_the_wrong_labels_would_reset_the_other_half():
    problem = planted_problem()
    wrong = replace(problem, request=ForgetRequest(forgotten=(1, 2), retained=(0,)))
    weights = edited(wrong, weight_filter())
    assert (weights[CONV][RETAINED] == 0).all()
    assert not (weights[CONV][FORGOTTEN] == 0).any()


def test_selective_silences_the_forgotten_output_and_keeps_retained_ones():
    problem = planted_problem()
    images = problem.train[torch.arange(32)].images
    before = problem.net(images)
    after = torch.func.functional_call(problem.net, edited(problem, weight_filter()), images)
    torch.testing.assert_close(after[:, 1:], before[:, 1:], atol=1e-6, rtol=0)
    torch.testing.assert_close(after[:, 0].sigmoid(), problem.train.targets[:, 0].mean().expand(32))
    assert before[:, 0].std() > 1e-3


def test_weights_that_the_forgotten_labels_do_not_need_stay_whatever_phi_is():
    hit = weight_filter(phi=1.0).edit(planted_problem()).radius[CONV].isfinite()
    assert hit[FORGOTTEN].all()
    assert not hit[RETAINED].any()


@pytest.mark.parametrize("phi", [0.0, 0.1, 0.25, 1.0])
def test_phi_is_the_fraction_of_each_layer(phi):
    problem = entangled_problem()
    edit = weight_filter(phi=phi).edit(problem)
    hit = edit.radius[CONV].isfinite()
    assert hit.sum() == round(phi * hit.numel())
    assert (edit.weights[CONV][hit] == 0).all()
    assert torch.equal(edit.weights[CONV][~hit], problem.net.body.conv.weight[~hit])


def test_a_larger_phi_adds_to_a_smaller_one():
    problem = planted_problem()
    small, large = (weight_filter(phi=phi).edit(problem).radius[CONV].isfinite() for phi in (0.2, 0.6))
    assert (large | ~small).all()


def test_radius_is_epsilon_times_the_layers_root_mean_square():
    problem = planted_problem()
    layer = problem.net.body.conv.weight
    radius = weight_filter(epsilon=0.3).edit(problem).radius[CONV]
    torch.testing.assert_close(radius[radius.isfinite()].unique(), 0.3 * layer.square().mean().sqrt().reshape(1))
    radius = weight_filter(epsilon=0.3, epsilon_mode="absolute").edit(problem).radius[CONV]
    assert radius[radius.isfinite()].unique().item() == pytest.approx(0.3)


def test_noise_fills_with_the_layers_spread():
    problem = entangled_problem()
    edit = weight_filter(phi=1.0, sigma=2.0).edit(problem)
    wanted = 2 * problem.net.body.conv.weight.std()
    # 108 normal draws: their standard deviation is within 3 sqrt(1 / (2 n)) of the truth, relatively.
    assert edit.weights[CONV].std() == pytest.approx(wanted.item(), rel=3 / (2 * 108) ** 0.5)


def test_printed_zeroes_every_retained_head_row_and_keeps_the_forgotten_one():
    """The rule as printed is backwards: the forgotten loss does not depend on the rows that it zeroes."""
    problem = planted_problem()
    weights = edited(problem, weight_filter(reading="printed", phi=1e-6))
    assert (weights["head.weight"][1:] == 0).all()
    assert (weights["head.weight"][0, FORGOTTEN] != 0).all()
    assert not (edited(problem, weight_filter())["head.weight"][1:, RETAINED] == 0).any()


def test_printed_threshold_is_relative_to_the_largest_score():
    problem = planted_problem()
    nothing, everything = (weight_filter(reading="printed", phi=phi).edit(problem).weights for phi in (0.0, 1.0))
    for name, layer in all_weights(problem.net).items():
        assert torch.equal(nothing[name], layer)
    assert sum((everything[name] != 0).sum() for name in everything) == 1


def test_editing_leaves_the_problem_alone():
    problem = planted_problem()
    before = {name: value.clone() for name, value in problem.net.state_dict().items()}
    weight_filter().edit(problem)
    for name, value in problem.net.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in problem.net.parameters())
