import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch.distributions import Bernoulli, Categorical, kl_divergence

from benchmarks import plain
from mlu.methods.finetune import FineTuning
from mlu.methods.scrub import Scrub
from mlu.models.network import Network
from mlu.models.tasks import MultiLabel, SingleLabel
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit
from mlu.unlearning.unlearner import edited
from tests.support.learnt import brief_problem, learnt_problem, one_thread, unlearnt
from tests.support.readings import assert_never_predicted, auroc

TUNING = Tuning(epochs=8, lr=0.1, momentum=0.0, batch_size=32)
by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])
by_objective = pytest.mark.parametrize("objective", ["kl_max", "kl_max_clipped", "kl_prior"])


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def scrub(kind=Scrub, **changes) -> Scrub:
    defaults = {
        "name": "scrub",
        "objective": "kl_prior",
        "alpha": 0.5,
        "gamma": 1.0,
        "temperature": 2.0,
        "max_passes": 7,
        "forget_fraction": 1.0,
        "forget_batch_size": 32,
        "milestones": (),
        "decay": 0.1,
        "rewind": False,
        "tuning": TUNING,
    }
    return kind(**defaults | changes)


class SharedTeacher(Scrub):
    """The teacher is the student itself: its divergence has no slope anywhere."""

    def forgetting_loss(self, problem, net, batch):
        return super().forgetting_loss(replace(problem, original=net), net, batch)


class IgnoresForgetting(Scrub):
    def forgetting_loss(self, problem, net, batch):
        return 0 * net(batch.images).sum()


class SoftmaxOverLabels(MultiLabel):
    distillation = SingleLabel.distillation


def logits_of(seed, spread=3.0):
    """Of a teacher and a student, for 16 images and 4 labels."""
    return spread * torch.randn(
        2, 16, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_divergence_is_that_of_torchs_distributions_times_the_squared_temperature(temperature):
    teacher, student = logits_of(0)
    theirs, ours = (values / temperature for values in (teacher, student))
    labels = kl_divergence(
        Bernoulli(logits=theirs[:, [1, 3]]), Bernoulli(logits=ours[:, [1, 3]])
    ).mean(1)
    classes = kl_divergence(Categorical(logits=theirs), Categorical(logits=ours))
    for task, expected in ((MultiLabel(), labels), (SingleLabel(), classes)):
        divergence = task.distillation(teacher, student, (1, 3), temperature)
        torch.testing.assert_close(divergence, temperature**2 * expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), temperature=st.floats(0.5, 8), spread=st.floats(0.01, 10))
def test_the_divergence_is_positive_and_zero_at_the_teacher_itself(seed, temperature, spread):
    teacher, student = logits_of(seed, spread)
    for task in (MultiLabel(), SingleLabel()):
        rounding = temperature**2 * spread * 1e-13
        assert (task.distillation(teacher, student, (0, 2), temperature) > 0).all()
        assert (task.distillation(teacher, teacher, (0, 2), temperature).abs() < rounding).all()


def slope(method, net, problem, images=64):
    """Gradient of the forgetting loss on plain images, by parameter."""
    net = copy.deepcopy(net).requires_grad_(True)
    loss = method.forgetting_loss(
        problem, net, problem.forget[torch.arange(min(images, len(problem.forget)))]
    )
    parameters = dict(net.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def astray(problem, by=0.3) -> Network:
    """A student that has left the teacher."""
    generator = torch.Generator().manual_seed(7)
    moved = {
        name: value + by * torch.randn(value.shape, dtype=value.dtype, generator=generator)
        for name, value in problem.net.named_parameters()
    }
    return edited(problem.net, Edit(weights=moved))


def assert_spares_retained_rows(method, problem):
    found = slope(method, astray(problem), problem)
    assert found["head.weight"][0].any()
    assert not found["head.weight"][1:].any()
    assert not found["head.bias"][1:].any()


@by_objective
def test_forgetting_has_no_slope_at_retained_rows_of_a_multilabel_head(objective):
    assert_spares_retained_rows(scrub(objective=objective), learnt_problem())


@by_objective
def test_a_softmax_over_labels_would_have_a_slope_there(objective):
    problem = replace(learnt_problem(), task=SoftmaxOverLabels())
    with pytest.raises(AssertionError):
        assert_spares_retained_rows(scrub(objective=objective), problem)


@pytest.mark.parametrize("objective", ["kl_max", "kl_max_clipped"])
@by_task
def test_a_divergence_that_is_maximised_has_no_slope_at_the_teacher_and_one_at_the_start(
    objective, task
):
    problem, method = learnt_problem(task), scrub(objective=objective)
    start = edited(problem.net, method.edit(problem))
    stuck, moving = (slope(method, net, problem) for net in (problem.net, start))
    # Exactly zero of labels; of classes the sum over the softmax is rounded.
    bound = 0 if task == "multilabel" else 1e-14
    assert all((value.abs() <= bound).all() for value in stuck.values())
    assert all(value.abs().max() > 1e-6 for value in moving.values())


def test_the_start_is_moved_by_a_thousandth_of_each_layers_root_mean_square():
    problem = learnt_problem(norm=True)
    for name, value in scrub(objective="kl_max").edit(problem).weights.items():
        before = problem.net.get_parameter(name)
        if before.any():
            step = (value - before) / (1e-3 * before.square().mean().sqrt())
            # Standard normal draws: the mean square of n has a standard deviation of sqrt(2 / n).
            assert abs(step.square().mean() - 1) < 4 * (2 / step.numel()) ** 0.5, name


@pytest.mark.parametrize(
    "changes", [{"objective": "kl_prior"}, {"objective": "kl_max", "max_passes": 0}]
)
def test_nothing_is_edited_where_no_divergence_is_maximised(changes):
    assert scrub(**changes).edit(learnt_problem()) == Edit()


@by_objective
@by_task
def test_without_forgetting_and_distance_it_is_plain_fine_tuning_bit_for_bit(objective, task):
    problem = brief_problem(task)
    tuning = replace(TUNING, epochs=2, momentum=0.9, weight_decay=0.01)
    ours = unlearnt(scrub(objective=objective, alpha=0.0, max_passes=0, tuning=tuning), problem)
    tuned = unlearnt(FineTuning(name="finetune", tuning=tuning), problem)
    torch.testing.assert_close(ours.state_dict(), tuned.state_dict(), rtol=0, atol=0)


def constant_problem(teacher=2.0):
    """The forgotten logit is a bias alone: one parameter.

    The teacher's is the same on every image.
    """
    problem = learnt_problem()
    net = copy.deepcopy(problem.net)
    net.head.weight[0], net.head.bias[0] = 0, teacher
    return replace(problem, net=net, original=net)


def driven(method, problem, start):
    """Where 60 steps of plain gradient descent on the forgetting loss leave a forgotten logit that
    is a bias alone."""
    net, batch = copy.deepcopy(problem.net), problem.forget[torch.arange(4)]
    net.head.bias[0] = start
    for _ in range(60):
        bias = net.head.bias.requires_grad_(True)
        (found,) = torch.autograd.grad(method.forgetting_loss(problem, net, batch), bias)
        # The curvature of a Bernoulli's divergence is at most 1/4: descent at a rate of 4 never
        # overshoots.
        net.head.bias.requires_grad_(False)[0] -= 4 * found[0]
    return net.head.bias[0].item()


@pytest.mark.parametrize("start", [-6.0, 0.0, 2.0, 6.0])
def test_kl_prior_ends_at_the_base_rate_from_any_start(start):
    problem = constant_problem()
    rate = problem.train.targets[:, 0].mean().item()
    assert rate != 0.5
    # The loss is flat to 1e-16 within the square root of that.
    assert driven(scrub(), problem, start) == pytest.approx(math.log(rate / (1 - rate)), abs=1e-7)


@pytest.mark.parametrize("double", ["softmax", "ignored"])
def test_kl_prior_of_a_wrong_loss_would_end_elsewhere(double):
    problem = constant_problem()
    if double == "softmax":
        end = driven(scrub(), replace(problem, task=SoftmaxOverLabels()), 6.0)
    else:
        end = driven(scrub(IgnoresForgetting), problem, 6.0)
    assert end != pytest.approx(math.log(1 / 3), abs=0.1)


@pytest.mark.parametrize(("offset", "inverts"), [(-1e-3, True), (1e-3, False)])
def test_kl_max_has_two_ways_out_and_one_inverts_the_label(offset, inverts):
    teacher = 2.0
    end = driven(
        scrub(objective="kl_max", temperature=1.0), constant_problem(teacher), teacher + offset
    )
    assert (end < -teacher) == inverts
    assert (end > teacher) != inverts


@pytest.mark.parametrize("objective", ["kl_max", "kl_max_clipped"])
def test_only_the_clipped_divergence_has_no_slope_beyond_ln_2(objective):
    problem, method = constant_problem(teacher=2.0), scrub(objective=objective, temperature=1.0)
    for bias in (-4.0, -1.0, 1.0, 3.0):
        net = copy.deepcopy(problem.net)
        net.head.bias[0] = bias
        teacher, student = (
            torch.tensor(2.0, dtype=torch.float64),
            torch.tensor(bias, dtype=torch.float64),
        )
        divergence = kl_divergence(Bernoulli(logits=teacher), Bernoulli(logits=student))
        free = objective == "kl_max" or divergence < math.log(2)
        expected = -(student.sigmoid() - teacher.sigmoid()) if free else torch.zeros(())
        torch.testing.assert_close(slope(method, net, problem)["head.bias"][0], expected.double())


@by_objective
@by_task
def test_it_is_the_plain_loop_of_its_authors(objective, task):
    problem = brief_problem(task)
    method = scrub(
        objective=objective,
        max_passes=2,
        gamma=0.9,
        forget_batch_size=16,
        milestones=(1, 2),
        tuning=replace(TUNING, epochs=3, momentum=0.5, weight_decay=0.01),
    )
    ours, theirs = unlearnt(method, problem), plain.scrub(method, problem)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-9, atol=1e-12)


def test_each_of_the_first_epochs_begins_with_forgetting_and_every_epoch_ends_with_retaining():
    problem = learnt_problem()
    method = scrub(
        max_passes=2, forget_batch_size=16, milestones=(1, 3), tuning=replace(TUNING, epochs=4)
    )
    passes = method.passes(problem)
    kinds = [one.loss.func.__name__.removesuffix("_loss") for one in passes]
    assert kinds == ["forgetting", "retaining"] * 2 + ["retaining"] * 2
    assert [one.batch_size for one in passes] == [16, None, 16, None, None, None]
    assert [one.lr for one in passes] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.01, 0.001])
    for one in passes:
        hidden = [1, 2] if one.loss.func.__name__ == "forgetting_loss" else [0]
        assert not one.images.known[:, hidden].any()


def test_every_forgetting_pass_draws_another_share_of_the_images():
    problem = learnt_problem()
    first, second, *_ = [
        set(one.images.rows)
        for one in scrub(forget_fraction=0.25).passes(problem)
        if one.batch_size is not None
    ]
    assert len(first) == len(second) == len(problem.train) // 4
    assert first != second


@by_task
def test_the_teacher_is_left_alone(task):
    problem = brief_problem(task)
    before = copy.deepcopy(problem.original.state_dict())
    net = unlearnt(scrub(max_passes=1, tuning=replace(TUNING, epochs=1)), problem)
    torch.testing.assert_close(problem.original.state_dict(), before, rtol=0, atol=0)
    assert not problem.original.training
    assert all((net.state_dict()[name] != value).any() for name, value in before.items())


@by_task
def test_what_is_forgotten_is_never_predicted_again(task):
    problem = learnt_problem(task)
    assert_never_predicted(unlearnt(scrub(), problem), problem)


@by_task
@pytest.mark.parametrize(
    "kind", [None, IgnoresForgetting, SharedTeacher], ids=["original", "ignored", "shared"]
)
def test_a_network_that_has_not_forgotten_is_caught(kind, task):
    """A shared teacher has a slope where the prior is aimed at: that does not depend on the
    teacher."""
    problem = learnt_problem(task)
    objective = "kl_max" if kind is SharedTeacher else "kl_prior"
    net = unlearnt(scrub(kind, objective=objective), problem) if kind else problem.net
    with pytest.raises(AssertionError, match="it is remembered"):
        assert_never_predicted(net, problem)


def assert_driven_away(kind, objective, problem):
    """On most images that it was not trained on, the forgotten output has left the teacher's by a
    whole bit."""
    method = scrub(
        kind,
        objective=objective,
        max_passes=3,
        tuning=replace(TUNING, epochs=3, momentum=0.9, lr=0.05),
    )
    images = problem.task.only(problem.validation, (0,))
    batch = images[torch.arange(len(images))]
    teacher, student = (net(batch.images) for net in (problem.original, unlearnt(method, problem)))
    divergence = plain.divergence(problem, teacher, student, [0], method.temperature)
    assert (divergence > math.log(2)).double().mean() > 0.5


@by_task
@pytest.mark.parametrize("objective", ["kl_max", "kl_max_clipped"])
def test_maximising_drives_the_forgotten_output_away_from_the_teachers(objective, task):
    assert_driven_away(Scrub, objective, learnt_problem(task))


@by_task
@pytest.mark.parametrize("kind", [SharedTeacher, IgnoresForgetting])
def test_a_student_that_nothing_drives_away_is_caught(kind, task):
    with pytest.raises(AssertionError):
        assert_driven_away(kind, "kl_max", learnt_problem(task))


@by_task
def test_with_a_teacher_that_shares_the_students_weights_maximising_does_nothing(task):
    problem = brief_problem(task, norm=False)
    shared, nothing, ours = (
        unlearnt(
            scrub(kind, objective="kl_max", max_passes=2, tuning=replace(TUNING, epochs=2)), problem
        )
        for kind in (SharedTeacher, IgnoresForgetting, Scrub)
    )
    torch.testing.assert_close(shared.state_dict(), nothing.state_dict(), rtol=0, atol=1e-12)
    assert (ours.head.weight - nothing.head.weight).abs().max() > 1e-3


def known_by_hand(net, problem):
    """What rewinding compares, and with what: figure, wanted."""
    if problem.task.name == "multilabel":
        return auroc(net, problem), 0.5
    errors = []
    for split in (problem.train, problem.validation):
        rows = (split.targets[:, 0] > 0).nonzero().squeeze(1)
        errors.append((net(split[rows].images).argmax(1) != 0).double().mean().item())
    return tuple(errors)


@pytest.mark.parametrize(
    ("task", "lr", "momentum"), [("multilabel", 0.05, 0.9), ("singlelabel", 0.01, 0.0)]
)
def test_rewinding_keeps_the_epoch_that_comes_nearest(task, lr, momentum):
    problem, method = learnt_problem(task), scrub(max_passes=3)
    tunings = [replace(TUNING, epochs=epochs, lr=lr, momentum=momentum) for epochs in (2, 3, 4)]
    kept = unlearnt(replace(method, rewind=True, tuning=tunings[-1]), problem)
    epochs = [unlearnt(replace(method, tuning=tuning), problem) for tuning in tunings]
    figures = [known_by_hand(net, problem) for net in epochs]
    wanted = figures[-1][1]
    nearest = min(range(3), key=lambda number: abs(figures[number][0] - wanted))
    assert abs(figures[nearest][0] - wanted) < abs(
        figures[-1][0] - wanted
    )  # else the last epoch would do as well
    torch.testing.assert_close(kept.state_dict(), epochs[nearest].state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("max_passes", [0, 1, 2, 9])
def test_only_the_ends_of_epochs_from_the_second_on_are_candidates(max_passes):
    method = scrub(rewind=True, max_passes=max_passes, tuning=replace(TUNING, epochs=4))
    passes = method.passes(learnt_problem())
    ends = [
        number for number, one in enumerate(passes) if one.loss.func.__name__ == "retaining_loss"
    ]
    assert len(ends) == 4
    assert [number for number, one in enumerate(passes) if one.judge is not None] == ends[1:]
    assert all(one.judge is None for one in replace(method, rewind=False).passes(learnt_problem()))


def test_of_several_labels_the_one_that_is_known_best_or_inverted_most_is_judged():
    problem = learnt_problem()
    problem = replace(problem, request=replace(problem.request, forgotten=(0, 1), retained=(2,)))
    net = copy.deepcopy(problem.net)
    for row, factor in ((0, 0.0), (1, -1.0)):
        net.head.weight[row] *= factor
    logits = net(problem.validation[torch.arange(len(problem.validation))].images)
    inverted = roc_auc_score(problem.validation.targets[:, 1], logits[:, 1])
    assert inverted < 0.1
    assert scrub().judge(problem, net) == (pytest.approx(inverted, abs=1e-6), 0.5)


def test_a_label_of_one_kind_alone_counts_as_unknown():
    problem = learnt_problem()
    validation = problem.validation.subset(
        (problem.validation.targets[:, 0] == 0).nonzero().squeeze(1)
    )
    assert scrub().judge(replace(problem, validation=validation), problem.net) == (0.5, 0.5)
