import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from mlu.methods.parts.decorrelation import OFF
from mlu.methods.parts.influential import other_points
from mlu.methods.parts.scoring import calibration
from mlu.methods.parts.silence import silent_head
from mlu.methods.weight_filter import WeightFilter, contrasted, sensitivities
from mlu.models.tasks import ForgetRequest
from mlu.scores.gradients import all_weights, sensitivity
from mlu.scores.influence import influence
from mlu.system.errors import UserError
from mlu.training.optimise import Tuning
from tests.support.planted import FORGOTTEN, RETAINED, entangled_problem, planted_problem

CONV = "body.conv.weight"


def weight_filter(**changes) -> WeightFilter:
    settings = {
        "name": "wf",
        "reading": "selective",
        "phi": 0.5,
        "threshold": None,
        "select": "score",
        "scope": None,
        "adaptive": False,
        "rounds": 1,
        "verify": None,
        "perturbation": "label_flip",
        "influential": 0.25,
        "damping": 1e-3,
        "curvature_images": 16,
        "epsilon": 0.1,
        "epsilon_mode": "relative",
        "sigma": 0.0,
        "influence": "none",
        "images": 64,
        "score_batch": 8,
        "delta": 0.1,
        "soft": 0.0,
        "decorrelation": OFF,
        "refit": 0,
        "share": None,
        "tuning": Tuning(steps=0),
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


@pytest.mark.parametrize("phi", [0.1, 0.25, 1.0])
def test_phi_is_the_fraction_of_each_layer(phi):
    problem = entangled_problem()
    edit = weight_filter(phi=phi).edit(problem)
    hit = edit.radius[CONV].isfinite()
    assert hit.sum() == round(phi * hit.numel())
    assert (edit.weights[CONV][hit] == 0).all()
    assert torch.equal(edit.weights[CONV][~hit], problem.net.body.conv.weight[~hit])


@pytest.mark.parametrize("reading", ["selective", "above", "printed"])
def test_without_weights_to_choose_nothing_is_scored(reading, monkeypatch):
    problem = entangled_problem()
    monkeypatch.setattr("mlu.methods.weight_filter.calibration", lambda *_: pytest.fail("scored"))
    edit = weight_filter(reading=reading, phi=0.0).edit(problem)
    silent = silent_head(problem) if reading == "selective" else {}
    torch.testing.assert_close(dict(edit.weights), silent, rtol=0, atol=0)
    assert set(edit.radius) == set(silent)


def test_the_worst_choice_resets_the_other_half_of_a_planted_network():
    problem = planted_problem()
    weights = edited(problem, weight_filter(select="worst"))
    assert (weights[CONV][RETAINED] == 0).all()
    assert torch.equal(weights[CONV][FORGOTTEN], problem.net.body.conv.weight[FORGOTTEN])


@pytest.mark.parametrize("reading", ["selective", "above"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_another_choice_resets_as_many_of_each_layer_and_bounds_just_these(reading, scope):
    problem = entangled_problem()
    edits = {
        select: weight_filter(reading=reading, scope=scope, phi=0.3, select=select).edit(problem)
        for select in ("score", "random", "worst")
    }
    original = dict(problem.net.named_parameters())
    for name in edits["score"].radius:
        if reading == "selective" and name.startswith("head"):
            continue
        hits = {select: edit.radius[name].isfinite() for select, edit in edits.items()}
        assert len({int(hit.sum()) for hit in hits.values()}) == 1
        for select, edit in edits.items():
            expected = original[name].masked_fill(hits[select], 0)
            assert torch.equal(edit.weights[name], expected), select

    masks = [edits[select].radius[CONV].isfinite() for select in edits]
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 3


@pytest.mark.parametrize("select", ["random", "worst"])
def test_as_printed_there_is_no_other_choice(select):
    with pytest.raises(UserError, match=f"method.select={select} has no meaning under"):
        weight_filter(reading="printed", select=select)


def test_a_larger_phi_adds_to_a_smaller_one():
    problem = planted_problem()
    small, large = (
        weight_filter(phi=phi).edit(problem).radius[CONV].isfinite() for phi in (0.2, 0.6)
    )
    assert (large | ~small).all()


def test_radius_is_epsilon_times_the_layers_root_mean_square():
    problem = planted_problem()
    layer = problem.net.body.conv.weight
    radius = weight_filter(epsilon=0.3).edit(problem).radius[CONV]
    torch.testing.assert_close(
        radius[radius.isfinite()].unique(), 0.3 * layer.square().mean().sqrt().reshape(1)
    )
    radius = weight_filter(epsilon=0.3, epsilon_mode="absolute").edit(problem).radius[CONV]
    assert radius[radius.isfinite()].unique().item() == pytest.approx(0.3)


def test_noise_fills_with_the_layers_spread():
    problem = entangled_problem()
    edit = weight_filter(phi=1.0, sigma=2.0).edit(problem)
    wanted = 2 * problem.net.body.conv.weight.std()
    # 108 normal draws: their standard deviation is within 3 sqrt(1 / (2 n)) of the truth,
    # relatively.
    assert edit.weights[CONV].std() == pytest.approx(wanted.item(), rel=3 / (2 * 108) ** 0.5)


def test_printed_zeroes_every_retained_head_row_and_keeps_the_forgotten_one():
    """The rule as printed is backwards: the forgotten loss does not depend on the rows that it
    zeroes."""
    problem = planted_problem()
    weights = edited(problem, weight_filter(reading="printed", phi=1e-6))
    assert (weights["head.weight"][1:] == 0).all()
    assert (weights["head.weight"][0, FORGOTTEN] != 0).all()
    assert not (edited(problem, weight_filter())["head.weight"][1:, RETAINED] == 0).any()


def test_printed_threshold_is_relative_to_the_largest_score():
    problem = planted_problem()
    everything = weight_filter(reading="printed", phi=1.0).edit(problem).weights
    assert sum((everything[name] != 0).sum() for name in everything) == 1


def test_editing_leaves_the_problem_alone():
    problem = planted_problem()
    before = {name: value.clone() for name, value in problem.net.state_dict().items()}
    weight_filter().edit(problem)
    for name, value in problem.net.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in problem.net.parameters())


def test_above_resets_what_the_forgotten_label_needs_most():
    problem = entangled_problem()
    edit = weight_filter(reading="above", phi=0.25).edit(problem)
    points, weights = calibration(problem, 64), all_weights(problem.net)
    scores = sensitivity(problem.net, problem.task, points.batches(128), {"u": (0,)}, weights)["u"]
    for name, layer in weights.items():
        hit = edit.radius[name].isfinite()
        assert scores[name][hit].min() >= scores[name][~hit].max()
        assert hit.sum() == min(round(0.25 * layer.numel()), (scores[name] > 0).sum())
    # What no forgotten loss depends on is never reset: the retained rows, all of which the printed
    # rule zeroes.
    assert torch.equal(edit.weights["head.weight"][1:], problem.net.head.weight[1:])


@pytest.mark.parametrize("reading", ["selective", "above", "printed"])
def test_scope_decides_what_phi_is_meant_for(reading):
    problem = entangled_problem()
    layered, together = (
        weight_filter(reading=reading, scope=scope, phi=0.3) for scope in ("layer", "global")
    )
    counts = [
        {
            name: radius.isfinite().sum().item()
            for name, radius in method.edit(problem).radius.items()
        }
        for method in (layered, together)
    ]
    default = weight_filter(reading=reading, phi=0.3).edit(problem)
    same = {name: radius.isfinite().sum().item() for name, radius in default.radius.items()}
    assert same == counts[reading == "printed"]
    sizes = {name: weight.numel() for name, weight in all_weights(problem.net).items()}
    if reading == "above":
        assert sum(counts[1].values()) == round(0.3 * sum(sizes.values()))
        assert counts[0] == {
            name: min(round(0.3 * size), 4 if "head" in name else size)
            for name, size in sizes.items()
        }


def test_an_adaptive_phi_spares_layers_that_retained_labels_share():
    problem, method = entangled_problem(), weight_filter(adaptive=True, phi=0.4)
    points = calibration(problem, 64)
    scores = dict.fromkeys(all_weights(problem.net))
    found = method.fractions(problem, points, scores)
    columns = {str(column): (column,) for column in range(3)}
    maps = sensitivity(
        problem.net, problem.task, points.batches(128), columns, all_weights(problem.net)
    )
    for name, fraction in found.items():
        rows = [maps[str(column)][name].flatten().double().numpy() for column in range(3)]
        cosine = [rows[0] @ row / np.linalg.norm(rows[0]) / np.linalg.norm(row) for row in rows[1:]]
        assert fraction == pytest.approx(0.4 * (1 - max(cosine)), rel=1e-4)
    planted = weight_filter(adaptive=True, phi=0.4).fractions(
        planted_problem(), points, {CONV: None}
    )
    # No weight of the planted network serves both, so nothing is spared there.
    assert planted[CONV] == pytest.approx(0.4)
    assert found[CONV] < planted[CONV]


@pytest.mark.parametrize(
    ("sharper", "scale"), [(1.0, 1.0), (1.5, 1 / 1.5), (100.0, 0.5), (0.01, 2.0)]
)
def test_an_adaptive_phi_follows_the_curvature_within_bounds(sharper, scale, monkeypatch):
    problem = planted_problem()
    later = replace(problem, net=planted_problem().net)
    bends = {id(problem.original): 1.0, id(later.net): sharper}
    monkeypatch.setattr(WeightFilter, "bend", lambda self, problem, points, net: bends[id(net)])
    found = weight_filter(adaptive=True, phi=0.4).fractions(
        later, calibration(later, 64), {CONV: None}
    )
    assert found[CONV] == pytest.approx(0.4 * scale)


def test_curvature_is_the_trace_over_all_weights():
    problem, method = entangled_problem(), weight_filter(score_batch=1)
    points = calibration(problem, 64)
    found = method.bend(problem, points, problem.net)
    exact, weights = 0.0, [problem.net.get_parameter(name) for name in all_weights(problem.net)]
    net = copy.deepcopy(problem.net).requires_grad_(True)
    weights = [net.get_parameter(name) for name in all_weights(net)]
    for batch in points.batches(1):
        logits = net(batch.images)
        for column in (1, 2):
            slopes = torch.autograd.grad(logits[0, column], weights, retain_graph=True)
            prob = logits[0, column].sigmoid().item()
            exact += (
                prob
                * (1 - prob)
                * sum(slope.square().sum().item() for slope in slopes)
                / (2 * len(points))
            )
    # Of an image's two numbers the signs are the same half of the time: the cross terms average out
    # over 64 images, each at most as large as the image's own share.
    assert found == pytest.approx(exact, rel=3 / len(points) ** 0.5)


@pytest.mark.parametrize("solver", ["head_exact", "cg", "kfac"])
def test_influence_chooses_the_points_that_scores_are_computed_on(solver):
    problem, method = (
        entangled_problem(),
        weight_filter(influence=solver, images=16, influential=0.25),
    )
    points, candidates = method.points(problem), calibration(problem, 64)
    assert len(points) == round(0.25 * len(candidates))
    others = other_points(problem, candidates, method.curvature_images)
    bearing = influence(
        solver, problem.net, problem.task, candidates, 0, "label_flip", 1e-3, others, problem.seed
    ).abs()
    chosen = np.isin(candidates.rows, points.rows)
    assert bearing[chosen].min() >= bearing[~chosen].max()
    # Control: points drawn at random are others.
    assert set(weight_filter(images=16).points(problem).rows) != set(points.rows)


def test_the_curvature_of_influence_is_of_other_images_than_the_candidates():
    problem, method = (
        planted_problem(128),
        weight_filter(influence="cg", images=8, influential=0.25),
    )
    candidates = calibration(problem, 32)
    others = other_points(problem, candidates, method.curvature_images)
    assert len(others) == method.curvature_images
    assert not set(others.rows) & set(candidates.rows)
    everything = problem.train
    assert (
        len(other_points(problem, everything, method.curvature_images)) == method.curvature_images
    )


@pytest.mark.parametrize("reading", ["selective", "above"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_threshold_takes_what_scores_above_it_whatever_phi_is(reading, scope):
    """Section 3: W_f holds the weights whose influence is above epsilon."""
    problem = entangled_problem()
    method = weight_filter(reading=reading, scope=scope, threshold=0.3, phi=0.0)
    points = calibration(problem, method.images)
    scores = {"selective": contrasted, "above": sensitivities}[reading](method, problem, points)
    most = {name: layer.max() for name, layer in scores.items()}
    if scope == "global":
        most = dict.fromkeys(scores, max(most.values()))
    for name, chosen in method.choice(problem).items():
        assert torch.equal(chosen, scores[name] > 0.3 * most[name])
        assert torch.equal(chosen, method.edit(problem).radius[name].isfinite())


def test_a_threshold_beside_what_decides_in_its_place_is_refused():
    with pytest.raises(UserError, match=r"method\.threshold=0\.3 has no meaning under"):
        weight_filter(reading="printed", threshold=0.3)
    with pytest.raises(UserError, match="takes the place of phi"):
        weight_filter(adaptive=True, threshold=0.3)


def test_rounds_that_nobody_may_repeat_are_not_verified():
    with pytest.raises(UserError, match=r"set method\.rounds=3"):
        weight_filter(verify=0.6)
    assert weight_filter(verify=0.6, rounds=2).verify == 0.6
