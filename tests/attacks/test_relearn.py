import copy
import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score

from mlu.attacks import relearn
from mlu.attacks.relearn import RECOVERY_METRICS, Relearning, arrival, endless, look_steps
from mlu.metrics.findings import NO_REFERENCE, Recovery
from mlu.models.outputs import respond
from tests.support.coloured import LABELS, SPLITS, TASKS, blind, coloured_victim, silenced

UNREACHABLE = 2.0
"""Share of the original's balanced accuracy that keeps the attacker learning to the cap."""
by_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


@pytest.fixture
def attacked():
    return coloured_victim


@pytest.fixture
def judged(monkeypatch):
    """Every network that is judged, as it was then, and what it said."""
    seen = []

    def watched(net, split):
        logits, features = respond(net, split)
        seen.append((net, copy.deepcopy(net), logits))
        return logits, features

    monkeypatch.setattr(relearn, "respond", watched)
    return seen


def attack(**settings):
    given_ = {
        "samples": (8,),
        "recovered": 0.95,
        "cap": 40,
        "draws": 1,
        "lr": 0.01,
        "batch_size": 64,
        "judged": 80,
    }
    return Relearning(**given_ | settings)


def recovery(victim, **settings):
    (found,) = attack(**settings).observe(victim).values()
    return found


def steps_of(victim, **settings):
    return arrival(recovery(victim, **settings))[0][0]


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 5000))
def test_the_label_is_looked_for_often_at_first_and_at_the_cap(cap):
    found = look_steps(cap).tolist()
    assert found[: min(cap, 10) + 1] == list(range(min(cap, 10) + 1))
    assert found[-1] == cap
    for before, after in itertools.pairwise(found[10:]):
        assert before < after == min(cap, math.floor(before + before / 4))


def test_looks_at_fifty_steps_are_these():
    assert look_steps(50).tolist() == [*range(11), 12, 15, 18, 22, 27, 33, 41, 50]


NEVER, NAN = [0.5, 0.6, 0.7, 0.7, 0.6], math.nan


def made(*curves, goal=0.8):
    return Recovery(np.array([0, 1, 2, 5, 9]), np.array(curves, float), np.array(goal))


@pytest.mark.parametrize(
    ("curve", "steps", "back"),
    [
        ([0.8, NAN, NAN, NAN, NAN], 0, True),
        ([0.5, 0.7, 0.9, NAN, NAN], 2, True),
        ([0.5, 0.9, 0.6, 0.9, 0.6], 1, True),
        ([0.5, 0.6, 0.7, 0.7, 0.8], 9, True),
        (NEVER, 9, False),
    ],
)
def test_arrival_is_the_first_look_at_or_above_the_goal_else_the_cap(curve, steps, back):
    found = arrival(made(curve, NEVER))
    assert [part.tolist() for part in found] == [[steps, 9], [back, False]]


def test_findings_are_medians_over_draws_and_the_share_that_never_came_back():
    curves = [0.8, NAN, NAN, NAN, NAN], [0.5, 0.7, 0.95, NAN, NAN], [0.5, 0.6, 0.7, 0.9, NAN], NEVER
    evidence = {"relearn/8": made(*curves), "relearn/64": "no images"}
    found = {finding.path: finding for finding in attack().conclude(evidence)}
    assert {path: finding.value for path, finding in found.items()} == {
        "relearn/8/steps": 3.5,
        "relearn/8/censored": 0.25,
        "relearn/8/balanced_accuracy": pytest.approx((0.8 + 0.9) / 2),
        **{f"relearn/64/{metric}": None for metric in RECOVERY_METRICS},
    }
    assert {finding.missing for path, finding in found.items() if "64" in path} == {"no images"}


AT = {
    steps: [0.5] * place + [0.9] + [NAN] * (4 - place)
    for place, steps in enumerate((0, 1, 2, 5, 9))
}


@pytest.mark.parametrize(
    ("own", "retrain", "value", "missing"),
    [
        ([AT[5], AT[2], AT[1]], [AT[5], AT[5], AT[9]], 2 / 5, None),
        ([NEVER, NEVER], [AT[1], AT[2]], 9 / 1.5, None),
        ([AT[0]], [AT[2]], 0, None),
        ([AT[1]], [AT[1], AT[1], NEVER], None, "not back at the cap"),
        ([AT[1]], [AT[0]], None, "at once"),
        ([AT[1]], None, None, NO_REFERENCE),
        ([AT[1]], "theirs is missing", None, "theirs is missing"),
        ("ours is missing", [AT[1]], None, "ours is missing"),
        ("ours is missing", None, None, "ours is missing"),
    ],
)
def test_the_ratio_is_to_retrains_median_or_says_why_there_is_none(own, retrain, value, missing):
    ours, theirs = (
        found if isinstance(found, str | None) else made(*found) for found in (own, retrain)
    )
    reference = None if theirs is None else {"relearn/8": theirs}
    (found,) = attack().compare({"relearn/8": ours}, reference)
    assert (found.path, found.value) == (
        "relearn/8/ratio",
        value if value is None else pytest.approx(value),
    )
    assert found.missing is None if missing is None else missing in found.missing


@by_task
def test_who_knows_needs_no_step_who_was_silenced_some_and_who_lacks_the_label_more(attacked, task):
    knows, silent, lacks = (
        steps_of(attacked(task, done), samples=(32,), cap=150)
        for done in (lambda net, _: net, silenced, blind)
    )
    assert knows == 0 <= silent < lacks
    # An image that is of no other class is of this one.
    assert silent > 0 or task.name == "singlelabel"


@by_task
def test_labels_that_tell_nothing_bring_nothing_back(attacked, task):
    """Negative control: the label is learnt from the images' targets, not found in the network."""
    victim = attacked(task, blind)
    targets = victim.splits["validation"].targets
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(1))
    wrong = replace(victim.splits["validation"], targets=targets[order])
    told, untold = (
        recovery(
            replace(victim, splits=victim.splits | {"validation": part}), samples=(64,), cap=150
        )
        for part in (victim.splits["validation"], wrong)
    )

    assert [arrival(found)[1].item() for found in (told, untold)] == [True, False]


@by_task
def test_only_silenced_rows_lose_their_bias_and_the_victim_stays_as_it_was(attacked, judged, task):
    victim = attacked(task, silenced, columns=(0, 1))
    before = copy.deepcopy(victim.net.state_dict())
    recovery(victim, cap=3, recovered=UNREACHABLE)
    torch.testing.assert_close(dict(victim.net.state_dict()), dict(before), rtol=0, atol=0)

    assert not victim.net.training
    (copied, woken, _), (last, _, _) = judged[0], judged[-1]
    wanted = before | {"head.bias": before["head.bias"] * torch.tensor([0.0, 1, 1])}
    assert before["head.bias"].all()
    torch.testing.assert_close(dict(woken.state_dict()), dict(wanted), rtol=0, atol=0)
    # All that is trained has moved; the statistics of batch norm have not.
    assert copied is last is not victim.net
    learnt = {name for name, _ in victim.net.named_parameters()}
    for name, value in last.state_dict().items():
        assert torch.equal(value, wanted[name]) == (name not in learnt), name


@pytest.mark.parametrize(
    ("samples", "batch_size", "columns"), [(8, 64, (0,)), (40, 16, (0,)), (40, 16, (0, 2))]
)
def test_it_learns_from_validation_images_alone_half_of_them_with_the_label(
    attacked, samples, batch_size, columns
):
    victim = attacked(done=lambda net, task: silenced(net, task, columns), columns=columns)
    recovery(victim, samples=(samples,), batch_size=batch_size, cap=6, recovered=UNREACHABLE)
    images, validation = victim.splits["test"].images, victim.splits["validation"]
    steps = images.learnt_from()
    assert [len(rows) for rows in steps] == ([8] * 6 if samples == 8 else [16, 16, 8, 16, 16, 8])
    rounds = [
        np.concatenate(steps[:1] if samples == 8 else steps[start : start + 3]) for start in (0, 3)
    ]
    used = np.unique(np.concatenate(steps))
    assert len(used) == samples
    for rows in rounds[: 1 + (samples > 8)]:
        np.testing.assert_array_equal(np.sort(rows), used)

    assert samples == 8 or (rounds[0] != rounds[1]).any()
    assert set(used) <= set(validation.rows)
    has = (validation.targets[:, list(columns)] > 0).any(1)[
        torch.from_numpy(used - SPLITS["validation"].start)
    ]
    assert has.sum() == samples // 2
    # Judged on test images, and nothing else is ever looked at.
    looked_at = np.unique(np.concatenate([rows for rows, learning in images.asked if not learning]))
    np.testing.assert_array_equal(looked_at, victim.splits["test"].rows)


def mean_recall(true, said, columns):
    """Balanced accuracy by its definition."""
    return np.mean(
        [
            recall_score(true[:, at], said[:, at], pos_label=side)
            for at in columns
            for side in (0, 1)
        ]
    )


def by_hand(victim, columns, steps, taken, lr):
    """Adam (Kingma and Ba, 2015) from its equations on given batches.

    Logits and balanced accuracy at each look.
    """
    task, test, images = victim.task, victim.splits["test"], victim.splits["test"].images.pixels
    validation, net = victim.splits["validation"], copy.deepcopy(victim.net).eval()
    with torch.no_grad():
        net.head.bias[columns] = 0

    weights = {name: value.detach() for name, value in net.named_parameters()}
    first, second = (
        {name: torch.zeros_like(value) for name, value in weights.items()} for _ in range(2)
    )
    count, said, found = 0, [], []

    def loss(weights, rows):
        logits = torch.func.functional_call(net, weights, torch.from_numpy(images[rows]))
        true = validation.targets[torch.from_numpy(rows - validation.rows[0])].double()
        if task.name == "singlelabel":
            probs = logits.exp() / logits.exp().sum(1, keepdim=True)
        else:
            probs = 1 / (1 + torch.exp(-logits))
        likely = torch.where(true > 0, probs, 1 - probs)[:, columns]
        return -likely.log().mean()

    for look in steps:
        while count < look:
            slopes, count = torch.func.grad(loss)(weights, taken[count]), count + 1
            for name, slope in slopes.items():
                first[name] = 0.9 * first[name] + 0.1 * slope
                second[name] = 0.999 * second[name] + 0.001 * slope**2
                ahead, spread = first[name] / (1 - 0.9**count), second[name] / (1 - 0.999**count)
                weights[name] = weights[name] - lr * ahead / (spread.sqrt() + 1e-8)

        logits = torch.func.functional_call(net, weights, torch.from_numpy(images[test.rows]))
        said.append(logits)
        decided = logits > 0 if task.name == "multilabel" else torch.eye(LABELS)[logits.argmax(1)]
        found.append(mean_recall(test.targets, decided, columns))

    return torch.stack(said), found


@by_task
@pytest.mark.parametrize("columns", [[0], [0, 2]])
@pytest.mark.parametrize("batch_size", [64, 6])
def test_it_is_plain_adam_on_the_forgotten_label(attacked, judged, task, columns, batch_size):
    victim = attacked(
        task, lambda net, task: blind(net, task, columns).double(), columns=tuple(columns)
    )
    found = recovery(
        victim, samples=(16,), batch_size=batch_size, cap=12, lr=0.003, recovered=UNREACHABLE
    )
    taken = victim.splits["test"].images.learnt_from()
    said = torch.stack([logits for _, _, logits in judged])
    wanted, rates = by_hand(victim, columns, found.steps, taken, lr=0.003)

    assert (said[1:] - said[:-1]).abs().amax((1, 2)).min() > 1e-3
    torch.testing.assert_close(said, wanted.float(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.balanced_accuracy, [rates], atol=1e-12)


def test_a_seed_decides_all_and_every_draw_is_another_one(attacked):
    first, again, other = (
        recovery(attacked(done=silenced, seed=seed), draws=3, cap=12, recovered=UNREACHABLE)
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first.balanced_accuracy, again.balanced_accuracy)
    assert not np.array_equal(first.balanced_accuracy, other.balanced_accuracy, equal_nan=True)
    assert len({tuple(curve) for curve in first.balanced_accuracy}) == 3
    images = {}
    for samples in (8, 16):
        victim = attacked(done=silenced)
        recovery(victim, samples=(samples,), draws=2, cap=1, recovered=UNREACHABLE)
        images[samples] = [frozenset(rows) for rows in victim.splits["test"].images.learnt_from()]

    assert images[8][0] != images[8][1]
    assert not images[8][0] <= images[16][0]


def test_batches_are_the_generators_alone_and_every_round_has_all_images_in_another_order():
    def rounds(seed):
        torch.manual_seed(seed)
        batches = itertools.islice(endless(6, 4, torch.Generator().manual_seed(0)), 4)
        return torch.cat([*batches]).view(2, 6).tolist()

    first, second = rounds(1)
    assert [first, second] == rounds(2)
    assert sorted(first) == sorted(second) == [*range(6)]
    assert first != second


def test_every_number_of_images_has_its_path_and_nothing_is_judged_beyond_the_goal(attacked):
    evidence = attack(samples=(32, 64), draws=2, cap=150).observe(attacked(done=silenced))
    assert list(evidence) == ["relearn/32", "relearn/64"]
    for found in evidence.values():
        assert found.balanced_accuracy.shape == (2, len(found.steps))
        for curve in found.balanced_accuracy:
            seen = curve[~np.isnan(curve)]
            assert np.isnan(curve[len(seen) :]).all()
            assert (seen[:-1] < found.goal).all()
            assert seen[-1] >= found.goal


@by_task
def test_the_goal_is_a_share_of_the_originals_on_the_images_judged(attacked, task):
    victim = attacked(task, silenced, columns=(1, 2))
    logits = victim.original["test"].logits
    logits += 4 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
    found = recovery(victim, recovered=0.9, judged=31)
    rows = np.unique(
        np.concatenate(
            [rows for rows, learning in victim.splits["test"].images.asked if not learning]
        )
    )

    assert len(rows) == 31
    assert np.sort(list(Counter(rows // 2).values())).tolist() == [1, *[2] * 15], (
        "whole persons, but for the last"
    )
    kept = torch.from_numpy(rows - SPLITS["test"].start)
    rate = mean_recall(victim.splits["test"].targets[kept], task.predictions(logits[kept]), [1, 2])
    assert rate < 1
    assert found.goal == pytest.approx(0.9 * rate, abs=1e-12)


def test_images_whose_target_is_unknown_are_neither_learnt_from_nor_judged(attacked):
    victim = attacked(done=silenced)
    for part in ("validation", "test"):
        split = victim.splits[part]
        split.known[::2, 0] = False
        split.targets[::2, 0] = 1 - split.targets[::2, 0]

    found = recovery(victim, samples=(40,), cap=1)
    asked = np.concatenate([rows for rows, _ in victim.splits["test"].images.asked])
    assert (asked % 2 == 1).all()
    rate = mean_recall(
        victim.splits["test"].targets[1::2], victim.original["test"].logits[1::2] > 0, [0]
    )
    assert found.goal == pytest.approx(0.95 * rate)


@pytest.mark.parametrize("side", [0, 1])
def test_too_few_images_on_a_side_are_a_reason(attacked, side):
    victim = attacked(done=silenced)
    targets, known = (
        victim.splits["validation"].targets[:, 0],
        victim.splits["validation"].known[:, 0],
    )
    known[(targets == side).nonzero()[3:]] = False
    evidence = attack(samples=(6, 8)).observe(victim)

    assert isinstance(evidence["relearn/6"], Recovery)
    assert evidence["relearn/8"].startswith("fewer than 4 validation images")
    victim.splits["test"].targets[:, 0] = side
    assert "does not occur both ways" in attack(samples=(6,)).observe(victim)["relearn/6"]


@by_task
def test_a_goal_that_a_constant_reaches_is_a_reason(attacked, task):
    known, barely = (
        recovery(attacked(task, silenced), recovered=share, cap=1) for share in (0.5, 0.51)
    )
    assert known == "0.5 of the original's balanced accuracy is no more than chance"
    assert isinstance(barely, Recovery)
