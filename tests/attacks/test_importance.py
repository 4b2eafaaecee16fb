import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from mlu.attacks.importance import BINNED, SCORES, Bench, Importance, bins_of, filters_of
from mlu.methods.parts.readings import contrast
from mlu.methods.weight_filter import contrasted, sensitivities
from mlu.metrics.findings import Removals
from mlu.models.network import watched
from mlu.models.tasks import ForgetRequest
from mlu.scores.gradients import body_weights
from mlu.unlearning.contract import Problem
from tests.methods.test_weight_filter import weight_filter
from tests.methods.test_weight_pruning import weight_pruning
from tests.support.coloured import TASKS, coloured_victim, knowing, silenced

by_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
SETTINGS = {"scored": 40, "score_batch": 8, "delta": 0.1, "asked": 120, "single": 6, "parts": 4}
RED = "importance/label/Red"


@pytest.fixture(scope="module")
def evidence():
    return Importance(**SETTINGS).observe(coloured_victim())


def figures(evidence):
    found = [*Importance(**SETTINGS).conclude(evidence)]
    assert len({finding.path for finding in found}) == len(found)
    return {finding.path: finding for finding in found}


def loss_slowly(net, split, changed, column, rows):
    """Mean binary cross-entropy of one label, by the whole network with other weights."""
    with torch.no_grad():
        logits = functional_call(net, changed, split[rows].images).double()
    return F.binary_cross_entropy_with_logits(
        logits[:, column], split.targets[rows, column].double()
    ).item()


def test_costs_are_those_of_the_whole_network_without_the_weights():
    victim = coloured_victim()
    net, asked = victim.net, victim.splits["validation"]
    before = copy.deepcopy(net.state_dict())
    bench = Bench(net, victim.task, asked, seed=3)
    for group in list(filters_of(body_weights(net)))[::3]:
        rise, fall = bench.cost(group)
        weight = net.get_parameter(group.layer).detach().clone()
        weight[int(group.places[0]) // weight[0].numel()] = 0
        for half, rows in enumerate(bench.halves):
            for column in range(3):
                wanted = loss_slowly(net, asked, {group.layer: weight}, column, rows)
                wanted -= loss_slowly(net, asked, {}, column, rows)
                assert rise[half, column].item() == pytest.approx(wanted, abs=1e-5)

        with torch.no_grad():
            said = functional_call(net, {group.layer: weight}, asked[range(120)].images) > 0
        right = said == (asked.targets > 0)
        rates = [
            torch.stack([right[asked.targets[:, c] == v, c].double().mean() for v in (0, 1)]).mean()
            for c in range(3)
        ]
        torch.testing.assert_close(bench.balance - fall, torch.stack(rates))

    # Each time the weights are put back, and nobody else's network was touched.
    assert torch.equal(bench.losses_of(bench.logits_from("block1")), bench.losses)
    torch.testing.assert_close(dict(net.state_dict()), dict(before), rtol=0, atol=0)


def test_halves_share_nobody_and_hold_all():
    victim = coloured_victim()
    asked = victim.splits["validation"]
    one, other = Bench(victim.net, victim.task, asked, seed=0).halves
    assert not {*asked.identities[one]} & {*asked.identities[other]}
    assert len(one) + len(other) == len(asked)


@by_task
def test_scores_are_those_that_the_methods_rank_by(task):
    victim = coloured_victim(task)
    train, net = victim.splits["train"], victim.net
    request = ForgetRequest((1,), (0, 2))
    problem = Problem(net, net, task, request, train, train, seed=victim.seed)
    found = Importance(**SETTINGS).scores(victim, body_weights(net), 1)

    def assert_same(name, layers):
        assert list(found[name]) == list(body_weights(net))
        for layer, score in found[name].items():
            torch.testing.assert_close(score.float(), layers[layer].float(), msg=f"{name} {layer}")

    filtering, pruning = weight_filter(score_batch=8), weight_pruning(score_batch=8)
    assert_same("sensitivity", sensitivities(filtering, problem, train))
    assert_same("fisher_ratio", contrasted(filtering, problem, train))
    derivatives = pruning.scores(problem, train)
    ours = pruning.importances(problem, derivatives["forgotten"])
    theirs = pruning.importances(problem, derivatives["retained"])
    assert_same("importance", ours)
    assert_same("importance_ratio", contrast(ours, theirs, 0.1))


def test_groups_hold_each_weight_once_and_bins_go_by_importance():
    layers = body_weights(knowing("multilabel"))
    for name, layer in layers.items():
        places = [group.places for group in filters_of(layers) if group.layer == name]
        assert torch.equal(torch.cat(places).sort().values, torch.arange(layer.numel()))
        assert len(places) == len(layer)

        parts = [group.places for group in bins_of({name: layer.abs()}, 4)]
        assert torch.equal(torch.cat(parts).sort().values, torch.arange(layer.numel()))
        sizes = [layer.abs().reshape(-1)[part] for part in parts]
        assert all(one.min() >= next_.max() for one, next_ in itertools.pairwise(sizes))


def test_the_original_alone_is_measured():
    victim = coloured_victim()
    attack = Importance(**SETTINGS)
    assert attack.observe(replace(victim, net=silenced(victim.net, victim.task))) == {}
    assert attack.observe(replace(victim, original_net=None)) == {}
    assert figures({}) == {}
    assert list(attack.compare({}, None)) == []


def test_every_label_has_figures_and_the_forgotten_one_more(evidence):
    assert all(isinstance(found, Removals) for found in evidence.values())
    red = {path for path in evidence if path.startswith(f"{RED}/")}
    kinds = {"filters": SCORES, "singles": SCORES, "bins": BINNED}
    assert red == {f"{RED}/{kind}/{score}" for kind, scores in kinds.items() for score in scores}
    assert f"{RED.replace('Red', 'Blue')}/bins/fisher" not in evidence

    found = figures(evidence)
    for end in ("own/spearman", "own/pearson", "others/spearman", "halves/spearman"):
        finding = found[f"{RED}/filters/fisher/{end}"]
        assert finding.low <= finding.value <= finding.high
    assert found[f"{RED}/filters/fisher/layer/block2.conv/own/pearson"].value is not None
    assert f"{RED.replace('Red', 'Blue')}/filters/fisher/layer/block2.conv/own/pearson" not in found


def test_importance_tells_the_cost_and_random_numbers_do_not(evidence):
    """The network's labels are colours, which few filters carry."""
    found = figures(evidence)
    told = found[f"{RED}/filters/importance/own/spearman"]
    assert told.value > 0.6
    assert told.low > 0.2
    nothing = found[f"{RED}/filters/random/own/spearman"]
    assert nothing.low < 0 < nothing.high
    first, last = (found[f"{RED}/bins/fisher/bin_{number}/own"].value for number in (1, 4))
    assert first > 3 * abs(last)


def test_costs_of_bins_are_means_over_layers(evidence):
    removals, found = evidence[f"{RED}/bins/fisher"], figures(evidence)
    assert removals.layers.tolist() == ["block1.conv"] * 4 + ["block2.conv"] * 4
    for number in range(4):
        wanted = np.mean([removals.others[:, number], removals.others[:, 4 + number]])
        assert found[f"{RED}/bins/fisher/bin_{number + 1}/others"].value == pytest.approx(wanted)


@by_task
def test_the_same_victim_gives_the_same_evidence(task):
    attack = Importance(**SETTINGS | {"single": 0})
    once, again = (attack.observe(coloured_victim(task)) for _ in range(2))
    assert list(once) == list(again)
    assert not any("/singles/" in path for path in once)
    for path, removals in once.items():
        np.testing.assert_array_equal(removals.own, again[path].own)
        np.testing.assert_array_equal(removals.importance, again[path].importance)


def test_looking_leaves_no_hook_behind():
    victim = coloured_victim()
    Bench(victim.net, victim.task, victim.splits["validation"], seed=0)
    with watched(victim.net, ["block1"]) as means:
        victim.net(victim.splits["test"][[0, 1]].images)
    assert len(means["block1"]) == 2
    assert not any(module._forward_pre_hooks for module in victim.net.modules())
