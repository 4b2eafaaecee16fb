from dataclasses import replace

import numpy as np
import pytest
import torch

from mlu.methods import weight_pruning as weight_pruning_module
from mlu.methods.parts.decorrelation import OFF
from mlu.methods.parts.scoring import calibration
from mlu.methods.parts.silence import silent_head
from mlu.methods.weight_pruning import GRID, WeightPruning, adaptation, treated
from mlu.models.tasks import ForgetRequest
from mlu.scores.gradients import all_weights, body_weights, fisher, sensitivity
from mlu.system.errors import UserError
from mlu.training.optimise import Tuning
from mlu.unlearning.edits import halving_decay
from tests.support.planted import FORGOTTEN, RETAINED, entangled_problem, planted_problem

CONV = "body.conv.weight"


def weight_pruning(**changes) -> WeightPruning:
    settings = {
        "name": "wp",
        "reading": "selective",
        "phi": 0.5,
        "threshold": None,
        "lowest": 0.25,
        "decay": None,
        "adaptive": False,
        "select": "score",
        "scope": None,
        "curvature": "fisher",
        "epsilon": 0.1,
        "epsilon_mode": "relative",
        "alpha": 0.5,
        "beta": 0.5,
        "slow": 0.1,
        "rounds": 1,
        "verify": None,
        "images": 64,
        "score_batch": 8,
        "delta": 0.1,
        "soft": 0.0,
        "decorrelation": OFF,
        "refit": 0,
        "share": None,
        "tuning": Tuning(steps=0),
    }
    return WeightPruning(**settings | changes)


def test_selective_zeroes_exactly_the_forgotten_half_of_a_planted_network():
    """The retained labels need nothing of that half, so that all of it lies on the lowest
    threshold."""
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
    points, columns = calibration(problem, method.images), {"forgotten": (0,), "retained": (1, 2)}
    found = fisher(
        problem.net,
        problem.task,
        points.batches(8),
        columns,
        body_weights(problem.net),
        problem.generator(),
    )
    forgotten, retained = found["forgotten"], found["retained"]
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


def test_the_worst_choice_treats_the_other_half_of_a_planted_network():
    """The forgotten label needs nothing there: nothing is shrunk by that, and a quarter goes."""
    problem = planted_problem()
    edit, before = weight_pruning(select="worst").edit(problem), problem.net.body.conv.weight
    assert torch.equal(edit.weights[CONV][FORGOTTEN], before[FORGOTTEN])
    assert edit.radius[CONV][RETAINED].isfinite().all()
    assert not edit.radius[CONV][FORGOTTEN].isfinite().any()
    zeroed = edit.weights[CONV][RETAINED] == 0
    assert zeroed.sum() == int(np.floor(0.25 * (zeroed.numel() - 1))) + 1
    assert torch.equal(edit.weights[CONV][RETAINED][~zeroed], before[RETAINED][~zeroed])


@pytest.mark.parametrize("reading", ["selective", "above"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_another_choice_treats_as_many_of_each_layer_by_the_same_quartiles(reading, scope):
    problem = entangled_problem()
    hits, zeroed = {}, {}
    for select in ("score", "random", "worst"):
        method = weight_pruning(reading=reading, scope=scope, phi=0.4, select=select)
        edit = method.edit(problem)
        hits[select] = edit.radius[CONV].isfinite()
        zeroed[select] = edit.weights[CONV] == 0
        assert not (zeroed[select] & ~hits[select]).any()
        slowed = edit.rate[CONV] < 1
        assert not (slowed & ~hits[select]).any()
        assert torch.equal(edit.weights[CONV][slowed], problem.net.body.conv.weight[slowed])

    assert len({int(hit.sum()) for hit in hits.values()}) == 1
    assert len({int(zero.sum()) for zero in zeroed.values()}) == 1, "no two needs are equal here"
    assert len({tuple(hit.flatten().tolist()) for hit in hits.values()}) == 3


@pytest.mark.parametrize("select", ["random", "worst"])
def test_as_printed_there_is_no_other_choice(select):
    with pytest.raises(UserError, match=f"method.select={select} has no meaning under"):
        weight_pruning(reading="printed", select=select)


def test_printed_equals_the_rule_written_out():
    problem, method = entangled_problem(), weight_pruning(reading="printed", alpha=0.7, beta=0.3)
    edit = method.edit(problem)
    points, weights = calibration(problem, method.images), all_weights(problem.net)
    slopes = sensitivity(problem.net, problem.task, points.batches(128), {"u": (0,)}, weights)["u"]
    curvature = fisher(
        problem.net, problem.task, points.batches(8), {"u": (0,)}, weights, problem.generator()
    )["u"]
    scores = {
        name: 0.7 * slopes[name] + 0.3 * curvature[name] * weights[name] ** 2 / 2
        for name in weights
    }
    low, high = np.quantile(
        torch.cat([score.flatten() for score in scores.values()]).numpy(), [0.25, 0.75]
    )
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


@pytest.mark.parametrize("reading", ["selective", "above"])
def test_phi_zero_scores_nothing_and_edits_no_weight_of_the_body(reading, monkeypatch):
    problem = entangled_problem()
    # As printed, phi has no say.
    assert CONV in weight_pruning(reading="printed", phi=0.0).edit(problem).weights
    monkeypatch.setattr("mlu.methods.weight_pruning.calibration", lambda *_: pytest.fail("scored"))
    edit = weight_pruning(reading=reading, phi=0.0).edit(problem)
    silent = silent_head(problem) if reading == "selective" else {}
    torch.testing.assert_close(dict(edit.weights), silent, rtol=0, atol=0)


def test_above_treats_what_the_forgotten_label_needs_and_spares_by_the_neediest_retained_one():
    problem, method = entangled_problem(), weight_pruning(reading="above", phi=0.3)
    edit = method.edit(problem)
    points, weights = calibration(problem, method.images), all_weights(problem.net)
    columns = {"forgotten": (0,), "0": (0,), "1": (1,), "2": (2,)}
    squares = fisher(
        problem.net, problem.task, points.batches(8), columns, weights, problem.generator()
    )

    def importance(name, layer):
        first, second = (
            squares[name][layer].sqrt() * weights[layer].abs(),
            squares[name][layer] * weights[layer] ** 2,
        )
        return (first / first.mean() + second / second.mean()) / 2

    for layer, weight in weights.items():
        ours = importance("forgotten", layer)
        theirs = torch.maximum(importance("1", layer), importance("2", layer))
        hit = edit.radius[layer].isfinite()
        assert hit.sum() == min(round(0.3 * weight.numel()), (ours > 0).sum())
        assert ours[hit].min() >= ours[~hit].max()
        low, high = np.quantile(theirs[hit].numpy(), [0.25, 0.75])
        assert (edit.weights[layer][hit & (theirs < low)] == 0).all()
        assert (edit.rate[layer][hit & (theirs > high)] == torch.tensor(method.slow)).all()
        assert torch.equal(edit.weights[layer][~hit], weight[~hit])


def test_global_scope_takes_the_share_from_all_weights_together():
    problem = entangled_problem()
    every = weight_pruning(reading="above", phi=0.3, scope="global").edit(problem)
    counts = [radius.isfinite().sum().item() for radius in every.radius.values()]
    total = sum(weight.numel() for weight in all_weights(problem.net).values())
    assert sum(counts) == round(0.3 * total)


def test_printed_percentiles_of_each_layer_or_of_all_weights():
    problem = entangled_problem()
    layered, together = (
        weight_pruning(reading="printed", scope=scope).edit(problem) for scope in ("layer", None)
    )
    for name, weight in all_weights(problem.net).items():
        share = (layered.weights[name] == 0).double().mean().item()
        assert share == pytest.approx(0.25, abs=1 / weight.numel()) or name == "head.weight"
    # The rows of the other labels have no score: a quarter of the head lies at its lowest
    # percentile, and is not below.
    assert (layered.weights["head.weight"] == 0).sum() == 0
    assert any((layered.weights[name] != together.weights[name]).any() for name in layered.weights)


@pytest.mark.parametrize("curvature", ["ggn", "hutchinson"])
def test_another_estimator_of_the_curvature_enters_the_importance(curvature):
    """With alpha 0 only the curvature ranks; negative values of Hutchinson's count as none."""
    problem = entangled_problem()
    method = weight_pruning(alpha=0.0, beta=1.0, curvature=curvature)
    scores = method.scores(problem, calibration(problem, 64))
    assert all((layer >= 0).all() for one in scores.values() for layer in one.bend.values())
    other = weight_pruning(alpha=0.0, beta=1.0).edit(problem).radius[CONV].isfinite()
    assert not torch.equal(method.edit(problem).radius[CONV].isfinite(), other)


@pytest.mark.parametrize(
    ("open_", "wanted"),
    [
        ({"alpha": "cv", "beta": "cv"}, [(alpha, 1 - alpha) for alpha in GRID]),
        ({"alpha": "cv", "beta": 2.0}, [(alpha, 2.0) for alpha in GRID]),
        ({"alpha": 0.1, "beta": "cv"}, [(0.1, beta) for beta in GRID]),
    ],
)
def test_cross_validation_chooses_among_the_open_weights_of_the_sum(open_, wanted):
    method = weight_pruning(**open_)
    assert method.candidates() == wanted
    problem = entangled_problem()
    chosen = method.cross_validated(problem, calibration(problem, 64))
    assert chosen in wanted
    edit = weight_pruning(alpha=chosen[0], beta=chosen[1]).edit(problem)
    assert torch.equal(method.edit(problem).weights[CONV], edit.weights[CONV])


def test_cross_validation_takes_the_candidate_that_forgets_and_keeps(monkeypatch):
    """With gains that favour one candidate, by forgetting or by keeping, that one is chosen."""
    problem, method = entangled_problem(), weight_pruning(alpha="cv", beta="cv")
    points = calibration(problem, 64)
    seen = []
    monkeypatch.setattr(
        weight_pruning_module,
        "without_tuning",
        lambda problem, edit, images: seen.append(1) or len(seen),
    )
    for forgetting, retained, best in (
        (lambda net: float(net % 3 == 2), lambda net: 1.0, 1),
        (lambda net: 0.0, lambda net: float(net % 3 == 0), 2),
    ):
        seen.clear()
        monkeypatch.setattr(
            weight_pruning_module, "forgetting_score", lambda net, *_, rule=forgetting: rule(net)
        )
        monkeypatch.setattr(
            weight_pruning_module,
            "retained_accuracy",
            lambda net, *_, rule=retained: rule(net) if isinstance(net, int) else 1.0,
        )
        assert method.cross_validated(problem, points) == (GRID[best], 1 - GRID[best])
        assert len(seen) == 9  # three folds, three candidates


def test_a_decay_of_its_own_is_the_papers_lambda():
    layer, importance = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 1.0, 2.0])
    none = torch.zeros(3, dtype=torch.bool)
    wanted = layer * torch.exp(-0.3 * importance)
    torch.testing.assert_close(treated(layer, importance, none, none, 0.3), wanted)
    assert torch.equal(treated(layer, importance, none, none, 0.0), layer)

    problem, method = entangled_problem(), weight_pruning(decay=0.3)
    _, found = method.scored(problem)
    ours, edit = method.importances(problem, found["forgotten"]), method.edit(problem)
    ratios = edit.weights[CONV] / problem.net.body.conv.weight
    shrunk = (ratios > 0) & (ratios < 1)
    assert shrunk.any()
    torch.testing.assert_close(ratios[shrunk], torch.exp(-0.3 * ours[CONV])[shrunk])


@pytest.mark.parametrize("lowest", [0.0, 0.5])
def test_the_lowest_percentile_decides_what_is_zeroed(lowest):
    problem = entangled_problem()
    for reading in ("selective", "printed"):
        edit = weight_pruning(reading=reading, phi=1.0, lowest=lowest).edit(problem)
        layer, weights = edit.weights[CONV], problem.net.body.conv.weight
        zeroed = ((layer == 0) & (weights != 0)).double().mean().item()
        if reading == "selective":
            assert zeroed == pytest.approx(lowest, abs=0.02)
        assert zeroed <= 0.02 or lowest > 0


@pytest.mark.parametrize(
    ("told", "lost", "wanted"),
    [(1.0, 0.0, 2.0), (1.0, -0.5, 2.0), (0.4, 0.0, 0.8), (0.5, 0.01, 0.5), (0.0, 0.0, 0.5)],
)
def test_shares_adapt_by_what_is_told_and_what_was_lost(told, lost, wanted):
    assert adaptation(told, lost) == pytest.approx(wanted)


def test_a_later_round_prunes_by_what_the_earlier_ones_have_left(monkeypatch):
    first = entangled_problem()
    monkeypatch.setattr(weight_pruning_module, "forgetting_score", lambda *_: 0.3)

    def accuracy(net, *_):
        return 0.9 if net is first.original else 0.896

    monkeypatch.setattr(weight_pruning_module, "retained_accuracy", accuracy)
    later = replace(first, net=entangled_problem().net)
    factor = 2 * 0.7 / (1 + 0.004 / 0.01)

    def treated_share(method, problem):
        return method.choice(problem)[CONV].double().mean().item()

    method = weight_pruning(phi=0.3, adaptive=True)
    assert treated_share(method, first) == pytest.approx(0.3, abs=0.01)
    assert treated_share(method, later) == pytest.approx(0.3 * factor, abs=0.01)
    # The negative control: without the key every round prunes alike.
    assert treated_share(weight_pruning(phi=0.3), later) == pytest.approx(0.3, abs=0.01)

    printed = weight_pruning(reading="printed", adaptive=True)
    assert printed.scored(later)[0].lowest == pytest.approx(0.25 * factor)
    assert printed.scored(first)[0].lowest == 0.25


def test_what_a_round_left_is_judged_by_the_original_s_output():
    """Its own output may be silent, which would say that all is forgotten."""
    first = entangled_problem()
    net = entangled_problem().net
    net.head.weight[0], net.head.bias[0] = 0, 0
    later = replace(first, net=net)
    method = weight_pruning(adaptive=True)
    assert method.adapted(later) == pytest.approx(
        method.adapted(replace(first, net=first.original))
    )


def test_the_choice_is_what_is_held():
    problem = entangled_problem()
    for reading in ("selective", "above", "printed"):
        method = weight_pruning(reading=reading, phi=0.3)
        chosen, edit = method.choice(problem), method.edit(problem)
        for name, hit in chosen.items():
            assert torch.equal(hit, edit.radius[name].isfinite())
    assert weight_pruning(phi=0.0).choice(problem) is None
