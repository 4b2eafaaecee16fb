import copy
from dataclasses import dataclass, replace

import pytest
import torch
from scipy.stats import chisquare
from torch.nn import functional as F

from benchmarks import plain
from mlu.methods.parts.losses import loss_of_both
from mlu.methods.salun import SalUn
from mlu.models.tasks import ForgetRequest
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Problem
from mlu.unlearning.unlearner import edited
from tests.support.learnt import brief_problem, bright, learnt_problem, one_thread, unlearnt
from tests.support.planted import FORGOTTEN, RETAINED, planted_problem
from tests.support.readings import assert_never_predicted, auroc_interval

TUNING = Tuning(epochs=12, lr=0.1, momentum=0.0, batch_size=32)
HARSH = Tuning(epochs=2, lr=0.05, momentum=0.9, weight_decay=0.5, batch_size=32)
PARTS = ("body.", "head.")
by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def salun(kind=SalUn, **changes) -> SalUn:
    defaults = {
        "name": "salun",
        "fraction": 0.5,
        "ranking": "parts",
        "relabel": "prior",
        "resample": True,
        "order": "mixed",
        "tuning": TUNING,
    }
    return kind(**defaults | changes)


class Unmasked(SalUn):
    def edit(self, problem) -> Edit:
        return Edit()


class MasksGradients(SalUn):
    """As the source did at first: gradients alone are masked."""

    def edit(self, problem) -> Edit:
        return Edit()

    def passes(self, problem):
        moving = {name: radius > 0 for name, radius in super().edit(problem).radius.items()}

        def loss(net, batch):
            for name, parameter in net.named_parameters():
                if not parameter._backward_hooks:
                    parameter.register_hook(lambda slope, where=moving[name]: slope * where)
            return loss_of_both(problem, net, batch)

        return [replace(one, loss=loss) for one in super().passes(problem)]


class WrongLabel(SalUn):
    """The mask of what is to be retained."""

    def edit(self, problem) -> Edit:
        request = ForgetRequest(problem.request.retained, problem.request.forgotten)
        return super().edit(replace(problem, request=request))


class NotRelabelled(SalUn):
    def relabelled(self, problem, split, generator):
        return split


def moving(method, problem):
    """True at the weights that may move."""
    return {name: radius > 0 for name, radius in method.edit(problem).radius.items()}


def joined(tensors, part):
    return torch.cat([value.flatten() for name, value in tensors.items() if name.startswith(part)])


def plain_saliency(problem):
    """Of the mean forgotten loss of all images at once, every parameter alike."""
    net, train = copy.deepcopy(problem.net).requires_grad_(True), problem.train
    logits = net(train[torch.arange(len(train))].images)
    if problem.task.name == "multilabel":
        F.binary_cross_entropy_with_logits(logits[:, 0], train.targets[:, 0]).backward()
    else:
        F.cross_entropy(
            logits[train.targets[:, 0] > 0], train.targets[train.targets[:, 0] > 0]
        ).backward()
    return {name: parameter.grad.abs() for name, parameter in net.named_parameters()}


@by_task
@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5, 1.0])
def test_the_most_salient_share_of_the_body_and_of_the_head_moves(fraction, task):
    """Signed gradients are added up over batches, 256 images in two of them; batch norms and biases
    count."""
    problem = learnt_problem(task, norm=True)
    saliency, mask = plain_saliency(problem), moving(salun(fraction=fraction), problem)
    assert set(mask) == set(saliency)
    for part in PARTS:
        scores, moves = joined(saliency, part), joined(mask, part)
        depends = (
            scores > 1e-12 * scores.max()
        )  # in front of a batch norm a bias has none but rounding
        wanted = fraction * len(scores)
        if wanted <= depends.sum() or fraction == 1:
            assert abs(moves.sum() - wanted) <= 1
        else:
            assert moves.sum() < wanted
        if 0 < moves.sum() < len(moves):
            assert scores[moves].min() >= scores[~moves].max() * (1 - 1e-4)


@by_task
@pytest.mark.parametrize("fraction", [0.05, 0.1])
def test_the_whole_network_is_ranked_together_where_that_is_asked_for(fraction, task):
    problem = learnt_problem(task, norm=True)
    mask = joined(moving(salun(fraction=fraction, ranking="whole"), problem), "")
    scores = joined(plain_saliency(problem), "")
    assert mask.sum() == round(fraction * len(scores))
    assert scores[mask].min() >= scores[~mask].max() * (1 - 1e-4)

    by_parts = joined(moving(salun(fraction=fraction), problem), "")
    assert not torch.equal(mask, by_parts)


@by_task
def test_all_that_is_forgotten_may_come_before_all_that_is_retained(task):
    problem = learnt_problem(task)
    method = salun(order="forget_first", relabel="uniform", tuning=replace(TUNING, epochs=3))
    passes = method.passes(problem)
    assert len(passes) == 6
    for first, then in (passes[:2], passes[2:4], passes[4:]):
        assert (first.images.rows == problem.forget.rows).all()
        assert (first.images.known == problem.forget.known).all()
        assert then.images is problem.retain

    drawn = [one.images.targets for one in passes[::2]]
    assert not torch.equal(drawn[0], drawn[1])
    if task == "singlelabel":
        # Any class, the true one too.
        classes = torch.cat(drawn).argmax(1)
        assert set(classes.tolist()) == {0, 1, 2, 3}

    steps = salun(order="forget_first", tuning=Tuning(steps=3, batch_size=32)).passes(problem)
    assert len(steps) == 2


def test_of_a_multilabel_head_the_forgotten_row_alone_moves_below_one():
    for fraction in (0.5, 0.99):
        mask = moving(salun(fraction=fraction), learnt_problem())["head.weight"]
        assert mask[0].any()
        assert not mask[1:].any()


def assert_masks_the_forgotten_half(kind):
    mask = moving(salun(kind, fraction=0.5), planted_problem())["body.conv.weight"]
    assert mask[FORGOTTEN].all()
    assert not mask[RETAINED].any()


def test_of_a_planted_network_the_forgotten_half_moves():
    assert_masks_the_forgotten_half(SalUn)


@pytest.mark.parametrize("kind", [WrongLabel, Unmasked])
def test_a_mask_of_other_weights_is_caught(kind):
    with pytest.raises((AssertionError, KeyError)):
        assert_masks_the_forgotten_half(kind)


def assert_the_rest_stays(kind, task):
    problem = brief_problem(task)
    mask, net = moving(salun(), problem), unlearnt(salun(kind, tuning=HARSH), problem)
    for name, moves in mask.items():
        before, after = problem.net.get_parameter(name), net.get_parameter(name)
        assert torch.equal(after[~moves], before[~moves]), name
    assert not all(
        torch.equal(net.get_parameter(name), problem.net.get_parameter(name)) for name in mask
    )


@by_task
def test_masked_weights_stay_bit_for_bit_under_momentum_and_weight_decay(task):
    assert_the_rest_stays(SalUn, task)


@by_task
@pytest.mark.parametrize("kind", [MasksGradients, WrongLabel, Unmasked])
def test_a_mask_that_leaks_is_caught(kind, task):
    with pytest.raises(AssertionError, match=r"body\.|head\."):
        assert_the_rest_stays(kind, task)


@by_task
def test_a_fraction_of_one_is_the_unmasked_run(task):
    problem = brief_problem(task)
    masked, unmasked = (
        unlearnt(salun(kind, fraction=1.0, tuning=HARSH), problem) for kind in (SalUn, Unmasked)
    )
    torch.testing.assert_close(masked.state_dict(), unmasked.state_dict(), rtol=0, atol=0)


@by_task
def test_it_is_plain_descent_on_new_targets_of_the_salient_weights(task):
    problem, method = (
        brief_problem(task),
        salun(tuning=replace(TUNING, epochs=2, momentum=0.5, weight_decay=0.01)),
    )
    ours, theirs = unlearnt(method, problem), plain.salun(method, problem)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-9, atol=1e-12)


@dataclass(frozen=True)
class Rule:
    """Chances of the new targets of one old kind of target: those of 0 and 1, or of each class."""

    task: str
    relabel: str
    chances: dict[int, list[float]]


RATES = (0.25, 0.45, 0.1, 0.2)
"""Of four classes; the first two are forgotten."""

RULES = [
    Rule("multilabel", "prior", {0: [0.75, 0.25], 1: [0.75, 0.25]}),
    Rule("multilabel", "uniform", {0: [0.5, 0.5], 1: [0.5, 0.5]}),
    Rule("multilabel", "flip", {0: [0, 1], 1: [1, 0]}),
    Rule("singlelabel", "prior", {0: [0, 0, 1 / 3, 2 / 3], 1: [0, 0, 1 / 3, 2 / 3]}),
    Rule("singlelabel", "uniform", {0: [0.25] * 4, 1: [0.25] * 4}),
    Rule("singlelabel", "flip", {0: [0, 1 / 3, 1 / 3, 1 / 3], 1: [1 / 3, 0, 1 / 3, 1 / 3]}),
]


def many(task) -> Problem:
    """Two thousand images, of which only the targets count."""
    problem, train = learnt_problem(task), bright(2000, task, seed=5)
    if task == "multilabel":
        return replace(problem, train=train)
    classes = torch.repeat_interleave(
        torch.arange(4), torch.tensor([round(2000 * rate) for rate in RATES])
    )
    targets = F.one_hot(classes, 4).float()
    return replace(
        problem, train=replace(train, targets=targets), request=ForgetRequest((0, 1), (2, 3))
    )


def relabelled(problem, relabel):
    return salun(relabel=relabel).relabelled(problem, problem.train, problem.generator())


def kinds(targets, task):
    return targets[:, 0].long() if task == "multilabel" else targets.argmax(1)


def improbability(problem, rule) -> float:
    """Smallest p of a chi-square test of the new targets, over the old kinds; 0 where what has no
    chance occurs."""
    new = kinds(relabelled(problem, rule.relabel).targets, rule.task)
    old, smallest = kinds(problem.train.targets, rule.task), 1.0
    for kind, chances in rule.chances.items():
        counts = torch.bincount(new[old == kind], minlength=len(chances)).double()
        possible = torch.tensor(chances) > 0
        if counts[~possible].any():
            return 0.0
        if possible.sum() > 1:
            expected = torch.tensor(chances, dtype=torch.float64)[possible] * counts.sum()
            smallest = min(smallest, chisquare(counts[possible], expected).pvalue)
    return smallest


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.task}-{rule.relabel}")
def test_new_targets_follow_their_rule_whatever_the_old_one(rule):
    assert improbability(many(rule.task), rule) > 1e-3


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.task}-{rule.relabel}")
def test_the_other_rules_targets_would_be_noticed(rule):
    for other in RULES:
        if other.task == rule.task and other != rule:
            assert improbability(many(rule.task), replace(rule, relabel=other.relabel)) < 1e-3


@pytest.mark.parametrize("relabel", ["prior", "uniform", "flip"])
@by_task
def test_retained_targets_and_what_is_unknown_stay(relabel, task):
    problem = many(task)
    train, new = problem.train, relabelled(problem, relabel)
    untouched = train.targets[:, list(problem.request.forgotten)].sum(1) == 0
    if task == "multilabel":
        assert torch.equal(new.targets[:, 1:], train.targets[:, 1:])
    else:
        assert torch.equal(new.targets[untouched], train.targets[untouched])
        assert (new.targets.sum(1) == 1).all()
    assert torch.equal(new.known, train.known)
    assert new.images is train.images


@by_task
@pytest.mark.parametrize("resample", [True, False])
def test_every_epoch_draws_anew_or_none_does(resample, task):
    passes = salun(resample=resample, tuning=replace(TUNING, epochs=3)).passes(learnt_problem(task))
    first, second, third = (one.images.targets for one in passes)
    assert torch.equal(first, second) != resample
    assert torch.equal(second, third) != resample


@by_task
def test_what_is_forgotten_is_never_predicted_again(task):
    problem = learnt_problem(task)
    assert_never_predicted(unlearnt(salun(), problem), problem)


@by_task
@pytest.mark.parametrize(
    "method", [None, salun(NotRelabelled), salun(fraction=0.0)], ids=["original", "old", "frozen"]
)
def test_a_network_that_has_not_forgotten_is_caught(method, task):
    problem = learnt_problem(task)
    net = unlearnt(method, problem) if method else problem.net
    with pytest.raises(AssertionError, match="it is remembered"):
        assert_never_predicted(net, problem)


def test_flip_keeps_a_label_as_readable_as_it_was_and_prior_does_not():
    """Areas under the curve near 1, 0 and between.

    Of inverted outputs an attacker reads as much.
    """
    problem = learnt_problem()
    flipped, prior = (
        auroc_interval(unlearnt(salun(relabel=relabel), problem), problem)
        for relabel in ("flip", "prior")
    )
    low, _ = auroc_interval(problem.net, problem)
    assert 1 - flipped[0] >= low
    assert flipped[1] < prior[0] < prior[1] < low


def test_the_saliency_is_of_the_original_forgotten_output_where_an_earlier_round_silenced_it():
    problem = learnt_problem()
    silent = edited(
        problem.net,
        Edit(weights={"head.weight": problem.net.head.weight * torch.tensor([[0], [1], [1]])}),
    )
    again, first = (moving(salun(), one) for one in (replace(problem, net=silent), problem))
    assert all(torch.equal(again[name], first[name]) for name in first)
