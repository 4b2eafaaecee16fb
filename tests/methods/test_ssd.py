import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch.nn import functional as F

from benchmarks import plain
from mlu.methods import ssd as module
from mlu.methods.ssd import SelectiveDampening
from mlu.models.tasks import ForgetRequest, SingleLabel
from mlu.scores.gradients import every_weight
from mlu.system.errors import UserError
from mlu.unlearning.contract import Edit
from mlu.unlearning.unlearner import edited
from tests.support.learnt import learnt_problem
from tests.support.planted import FORGOTTEN, RETAINED, entangled_problem, planted_problem
from tests.support.readings import accuracy, recall

CONV, CONV_BIAS, HEAD, HEAD_BIAS = "body.conv.weight", "body.conv.bias", "head.weight", "head.bias"
by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])


def ssd(kind=SelectiveDampening, **changes) -> SelectiveDampening:
    return kind(
        **{
            "name": "ssd",
            "importance": "image",
            "alpha": 10.0,
            "dampening": 1.0,
            "score_batch": 1,
            "images": None,
        }
        | changes
    )


@dataclass(frozen=True, kw_only=True)
class WrongLabel(SelectiveDampening):
    """Spares what the forgotten labels need and dampens the rest."""

    def importances(self, problem):
        scores = super().importances(problem)
        return {"forgotten": scores["retained"], "retained": scores["forgotten"]}


@dataclass(frozen=True, kw_only=True)
class Unweighed(SelectiveDampening):
    """Does not ask what the retained labels need."""

    def importances(self, problem):
        scores = super().importances(problem)
        return scores | {
            "retained": {
                name: torch.zeros_like(layer) for name, layer in scores["retained"].items()
            }
        }


@dataclass(frozen=True, kw_only=True)
class AmongAll(SelectiveDampening):
    """Weighs the forgotten class against all images, its own among them, as the source does."""

    def importances(self, problem):
        every = tuple(range(problem.train.targets.shape[1]))
        return super().importances(problem) | self.squares_of(
            problem, problem.train, {"retained": every}
        )


def exact_problem(task):
    """Few images, one forgotten and one retained label or three classes, in float64: every score
    can be exact."""
    problem = entangled_problem()
    net = copy.deepcopy(problem.net).double()
    if task == "multilabel":
        train = replace(
            problem.train, targets=problem.train.targets.double(), known=problem.train.known.clone()
        )
        # A network of three labels of which the last is neither forgotten nor retained.
        problem = replace(problem, request=ForgetRequest((0,), (1,)))
        train.known[::5, :2] = False
    else:
        classes = F.one_hot(torch.arange(len(problem.train)) % 3, 3).double()
        problem = replace(problem, task=SingleLabel())
        train = replace(problem.train, targets=classes)
    train = train.subset(torch.arange(12))
    return replace(problem, net=net, original=net, train=train)


def by_hand(problem, alpha, dampening):
    """Image by image and weight by weight, as the paper prints it but with each image's gradient
    squared."""
    importance = {}
    for side, columns in (
        ("forgotten", problem.request.forgotten),
        ("retained", problem.request.retained),
    ):
        squares = []
        for row in range(len(problem.train)):
            batch = problem.train[[row]]
            net = copy.deepcopy(problem.net).requires_grad_()
            logits = net(batch.images)[0]
            if problem.task.name == "multilabel":
                (column,) = columns
                sign = 2 * batch.targets[0, column] - 1
                counts, loss = batch.known[0, column], -F.logsigmoid(sign * logits[column])
            else:
                label = batch.targets[0].argmax()
                counts, loss = label in columns, -logits.log_softmax(0)[label]
            if counts:
                slopes = torch.autograd.grad(loss, list(net.parameters()))
                squares.append(torch.cat([slope.flatten() for slope in slopes]) ** 2)
        importance[side] = torch.stack(squares).mean(0).tolist()
    expected = []
    weights = torch.cat([weight.flatten() for weight in problem.net.parameters()]).tolist()
    for weight, ours, theirs in zip(
        weights, importance["forgotten"], importance["retained"], strict=True
    ):
        expected.append(
            weight * min(dampening * theirs / ours, 1) if ours > alpha * theirs else weight
        )
    return torch.tensor(expected, dtype=torch.float64)


def batches_by_hand(problem, size):
    """Mean squared gradient of batches' mean cross-entropies: of the class's images, and of all."""
    found, (column,) = {}, problem.request.forgotten
    classes = problem.train.targets.argmax(1)
    ours = (classes == column).nonzero().squeeze(1)
    others = [(classes == label).nonzero().squeeze(1) for label in problem.request.retained]
    # The retained classes come first, class by class.
    for side, rows in (("forgotten", ours), ("retained", torch.cat([*others, ours]))):
        squares = []
        for chosen in rows.split(size):
            batch, net = problem.train[chosen], copy.deepcopy(problem.net).requires_grad_()
            loss = F.cross_entropy(net(batch.images), batch.targets.argmax(1))
            slopes = torch.autograd.grad(loss, list(net.parameters()))
            squares.append(torch.cat([slope.flatten() for slope in slopes]) ** 2)
        found[side] = torch.stack(squares).mean(0)

    return found


@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_of_batches_the_mean_gradient_is_squared_and_all_images_are_held_against(size):
    problem = exact_problem("singlelabel")
    method = ssd(importance="batch", score_batch=size)
    found, expected = method.importances(problem), batches_by_hand(problem, size)
    for side in ("forgotten", "retained"):
        torch.testing.assert_close(flat(found[side]), expected[side], rtol=1e-9, atol=0)


def test_of_batches_the_size_matters():
    problem = exact_problem("singlelabel")
    small, large = (
        flat(ssd(importance="batch", score_batch=size).importances(problem)["retained"])
        for size in (1, 12)
    )
    assert (small >= large * (1 - 1e-9)).all()
    assert small.sum() > 1.5 * large.sum()


def flat(weights):
    return torch.cat([value.flatten() for value in weights.values()])


@by_task
@pytest.mark.parametrize(("alpha", "dampening"), [(1.0, 1.0), (0.5, 1.0), (2.0, 3.0), (1.0, 0.0)])
def test_every_weight_is_what_the_formula_gives_by_hand(alpha, dampening, task):
    problem = exact_problem(task)
    found = flat(ssd(alpha=alpha, dampening=dampening).edit(problem).weights)
    changed = (found != flat(every_weight(problem.net))).sum()
    assert 0 < changed < len(found)
    torch.testing.assert_close(found, by_hand(problem, alpha, dampening), rtol=1e-9, atol=1e-12)


@by_task
def test_in_batches_it_is_the_plain_loop_of_its_authors(task):
    problem, method = learnt_problem(task, norm=True), ssd(alpha=1.0, score_batch=16, images=48)
    weights = flat(method.edit(problem).weights)
    assert not torch.equal(weights, flat(every_weight(problem.net)))
    torch.testing.assert_close(
        weights, flat(every_weight(plain.ssd(method, problem))), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("kind", [WrongLabel, Unweighed])
@by_task
def test_other_scores_give_other_weights_than_by_hand(task, kind):
    problem = exact_problem(task)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(
            flat(ssd(kind, alpha=1.0).edit(problem).weights), by_hand(problem, 1.0, 1.0)
        )


@pytest.mark.parametrize(
    "limit", [{"alpha": 1e30}, {"alpha": 1.0, "dampening": 1e30}, {"alpha": 1.0}]
)
def test_without_a_limit_on_either_number_nothing_changes(limit):
    """The last case is the negative control. The forgotten row of the head matters to no retained
    label: it goes."""
    problem = entangled_problem()
    weights, before = dict(ssd(**limit).edit(problem).weights), every_weight(problem.net)
    assert not weights[HEAD][0].any()
    for name in (HEAD, HEAD_BIAS):
        weights[name] = torch.cat([before[name][:1], weights[name][1:]])
    assert torch.equal(flat(weights), flat(before)) == (1e30 in limit.values())


def assert_lost_the_forgotten_half(method):
    """Nothing is left of what the forgotten label needs alone.

    All else is bit for bit as it was.
    """
    problem = planted_problem()
    weights, before = method.edit(problem).weights, every_weight(problem.net)
    for name in (CONV, CONV_BIAS):
        assert not weights[name][FORGOTTEN].any(), name
        assert torch.equal(weights[name][RETAINED], before[name][RETAINED]), name
    for name in (HEAD, HEAD_BIAS):
        assert not weights[name][0].any(), name
        assert torch.equal(weights[name][1:], before[name][1:]), name


def test_a_planted_network_loses_exactly_the_forgotten_half():
    assert_lost_the_forgotten_half(ssd())


def test_scores_of_the_wrong_labels_would_take_the_other_half():
    with pytest.raises(AssertionError, match=r"body\.conv"):
        assert_lost_the_forgotten_half(ssd(WrongLabel))


def test_a_planted_networks_forgotten_output_is_constant_and_its_retained_ones_are_the_same():
    problem = planted_problem()
    images = problem.train[torch.arange(32)].images
    before, after = problem.net(images), edited(problem.net, ssd().edit(problem))(images)
    assert not after[:, 0].any()
    assert before[:, 0].std() > 0
    torch.testing.assert_close(after[:, 1:], before[:, 1:])


STRENGTH = {"multilabel": {}, "singlelabel": {"alpha": 0.3, "dampening": 0.3}}
"""Classes compete for the same eight features, which labels share out."""


def assert_forgets_and_spares(kind, task):
    """Recall of the forgotten label falls beyond doubt, and accuracy of the others does not."""
    problem = learnt_problem(task, norm=True)
    net = edited(problem.net, ssd(kind, images=128, **STRENGTH[task]).edit(problem))
    assert recall(net, problem)[1] < recall(problem.net, problem)[0], "it is remembered"
    assert accuracy(net, problem)[1] >= accuracy(problem.net, problem)[0], "the others suffer"


@by_task
def test_a_small_network_forgets_what_it_should_and_nothing_else(task):
    assert_forgets_and_spares(SelectiveDampening, task)


@dataclass(frozen=True, kw_only=True)
class Idle(SelectiveDampening):
    """Dampens nothing."""

    def edit(self, problem):
        return Edit(weights=every_weight(problem.net))


@pytest.mark.parametrize("kind", [WrongLabel, Unweighed, Idle])
@by_task
def test_scores_of_other_labels_or_of_one_side_alone_or_none_would_be_noticed(task, kind):
    with pytest.raises(AssertionError, match=r"it is remembered|the others suffer"):
        assert_forgets_and_spares(kind, task)


def test_a_class_of_a_quarter_of_the_images_can_matter_five_times_as_much_to_itself():
    """Not if it were weighed against all images, of which it is a quarter: then by four times at
    most."""
    problem = learnt_problem("singlelabel", norm=True)
    problem = replace(problem, train=problem.train.subset(torch.arange(96)))
    assert len(problem.forget) / len(problem.train) == 0.25
    before = flat(every_weight(problem.net))
    changed = {
        (kind, alpha): (flat(ssd(kind, alpha=alpha).edit(problem).weights) != before).any()
        for kind, alpha in ((SelectiveDampening, 5.0), (AmongAll, 5.0), (AmongAll, 1.0))
    }
    assert changed == {
        (SelectiveDampening, 5.0): True,
        (AmongAll, 5.0): False,
        (AmongAll, 1.0): True,
    }


@by_task
def test_as_many_images_are_scored_on_either_side_and_all_of_them_speak_of_it(task, monkeypatch):
    scored, fisher = [], module.fisher

    def spy(net, meaning, batches, columns, *others):
        batches = list(batches)
        for chosen in columns.values():
            scopes = [meaning.scope(batch.targets, batch.known, chosen) for batch in batches]
            scored.append(torch.cat([scope.reshape(len(scope), -1).any(1) for scope in scopes]))
        return fisher(net, meaning, batches, columns, *others)

    monkeypatch.setattr(module, "fisher", spy)
    ssd(images=20, score_batch=8).edit(learnt_problem(task, norm=True))
    assert [len(side) for side in scored] == [20, 20]
    assert torch.cat(scored).all()


@by_task
def test_scores_leave_the_original_alone_and_are_repeatable(task):
    problem = learnt_problem(task, norm=True)
    before = copy.deepcopy(problem.net.state_dict())
    first, again = (ssd(score_batch=32, images=64).edit(problem).weights for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    torch.testing.assert_close(problem.net.state_dict(), before, rtol=0, atol=0)
    assert set(first) == {name for name, _ in problem.net.named_parameters()}


def test_a_class_without_images_is_refused():
    problem = learnt_problem("singlelabel", norm=True)
    with pytest.raises(UserError, match="forgotten already"):
        ssd().edit(replace(problem, train=problem.retain))
