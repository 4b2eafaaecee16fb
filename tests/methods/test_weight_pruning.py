from dataclasses import replace

import numpy as np
import pytest
import torch
from planted import FORGOTTEN, RETAINED, entangled_problem, planted_problem

from mlu.contracts import ForgetRequest, Tuning
from mlu.edits import halving_decay
from mlu.methods.parts import calibration, fisher_pair, printed_sensitivity
from mlu.methods.weight_pruning import WeightPruning, treated
from mlu.scores.gradients import all_weights, fisher

CONV = "body.conv.weight"


def weight_pruning(**changes) -> WeightPruning:
    settings = {
        "name": "wp",
        "reading": "selective",
        "phi": 0.5,
        "epsilon": 0.1,
        "epsilon_mode": "relative",
        "alpha": 0.5,
        "beta": 0.5,
        "slow": 0.1,
        "rounds": 1,
        "images": 64,
        "score_batch": 8,
        "delta": 0.1,
        "soft": 0.0,
        "decorrelation": 0.0,
        "tuning": Tuning(),
    }
    return WeightPruning(**settings | changes)


def test_selective_zeroes_exactly_the_forgotten_half_of_a_planted_network():
    """The retained labels need nothing of that half, so that all of it lies on the lowest threshold."""
    problem = planted_problem()
    edit = weight_pruning().edit(problem)
    assert (edit.weights[CONV][FORGOTTEN] == 0).all()
    assert torch.equal(edit.weights[CONV][RETAINED], problem.net.body.conv.weight[RETAINED])
    images = problem.train[torch.arange(32)].images
    after = torch.func.functional_call(problem.net, dict(edit.weights), images)
    torch.testing.assert_close(after[:, 1:], problem.net(images)[:, 1:], atol=1e-6, rtol=0)
    assert after[:, 0].std() < 1e-6


def test_scores_of_the_wrong_labels_would_zero_the_other_half():
    problem = planted_problem()
    wrong = replace(problem, request=ForgetRequest(forgotten=(1, 2), retained=(0,)))
    weights = weight_pruning().edit(wrong).weights[CONV]
    assert (weights[RETAINED] == 0).all()
    assert not (weights[FORGOTTEN] == 0).any()


def test_selective_equals_the_rule_written_out_weight_by_weight():
    problem, method = entangled_problem(), weight_pruning(phi=0.4)
    edit = method.edit(problem)
    forgotten, retained = fisher_pair(problem, calibration(problem, method.images), method.score_batch)
    layer = problem.net.body.conv.weight.flatten().double().numpy()

    def importance(squares):
        squares = squares.flatten().double().numpy()
        first, second = np.sqrt(squares) * np.abs(layer), squares * layer**2 / 2
        return method.alpha * first / first.mean() + method.beta * second / second.mean()

    ours, theirs = importance(forgotten[CONV]), importance(retained[CONV])
    contrast = (ours / ours.mean()) / (theirs / theirs.mean() + method.delta)
    chosen = set(np.argsort(-contrast)[: round(0.4 * len(layer))])
    low, high = np.quantile([theirs[i] for i in chosen], [0.25, 0.75])
    middle = [i for i in chosen if low < theirs[i] < high]
    decay = np.log(2) / sorted(ours[i] for i in middle)[(len(middle) - 1) // 2]
    expected, rate = layer.copy(), np.ones(len(layer))
    for i in chosen:
        if theirs[i] <= low:
            expected[i] = 0
        elif theirs[i] < high:
            expected[i] = layer[i] * np.exp(-decay * ours[i])
        else:
            rate[i] = method.slow
    np.testing.assert_allclose(edit.weights[CONV].flatten().numpy(), expected, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(edit.rate[CONV].flatten().numpy(), rate, rtol=1e-6)
    assert set(np.flatnonzero(edit.radius[CONV].flatten().isfinite())) == chosen


def test_printed_equals_the_rule_written_out():
    problem, method = entangled_problem(), weight_pruning(reading="printed", alpha=0.7, beta=0.3)
    edit = method.edit(problem)
    points, weights = calibration(problem, method.images), all_weights(problem.net)
    slopes = printed_sensitivity(problem, points)
    curvature = fisher(problem.net, problem.task, points.batches(8), {"u": (0,)}, weights, problem.generator())["u"]
    scores = {name: 0.7 * slopes[name] + 0.3 * curvature[name] * weights[name] ** 2 / 2 for name in weights}
    low, high = np.quantile(torch.cat([score.flatten() for score in scores.values()]).numpy(), [0.25, 0.75])
    for name, score in scores.items():
        assert (edit.weights[name][score < low] == 0).all()
        assert torch.equal(edit.weights[name][score >= high], weights[name][score >= high])
        assert edit.rate[name][score >= high] == pytest.approx(method.slow)
        middle = (score >= low) & (score < high)
        assert (edit.weights[name][middle].abs() <= weights[name][middle].abs()).all()


def test_a_weight_of_median_importance_is_halved():
    layer, importance = torch.full((5,), 2.0), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    nowhere = torch.zeros(5, dtype=torch.bool)
    assert treated(layer, importance, zeroed=nowhere, kept=nowhere)[2] == pytest.approx(1.0)
    assert halving_decay(importance) == pytest.approx(np.log(2) / 3)


@pytest.mark.parametrize("reading", ["selective", "printed"])
def test_weights_never_grow_and_never_change_sign(reading):
    problem = entangled_problem()
    edit = weight_pruning(reading=reading).edit(problem)
    for name, layer in all_weights(problem.net).items():
        if name.startswith("body."):
            assert (edit.weights[name] * layer >= 0).all()
            assert (edit.weights[name].abs() <= layer.abs()).all()


def test_phi_zero_edits_no_weight_of_the_body():
    problem = entangled_problem()
    edit = weight_pruning(phi=0.0).edit(problem)
    assert torch.equal(edit.weights[CONV], problem.net.body.conv.weight)
    assert edit.radius[CONV].isinf().all()
