import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.ao.quantization.observer import PerChannelMinMaxObserver
from torch.nn.utils import prune

from mlu.attacks import durability
from mlu.attacks.attribute import NO_CLASSES
from mlu.attacks.durability import (
    NO_IMAGES,
    NOT_FINITE,
    Durability,
    mixture,
    multiplied,
    on_grid,
    quantised,
    without_smallest,
)
from mlu.data.augment import augmented
from mlu.data.split import Batch
from mlu.metrics.findings import NO_REFERENCE, Trial
from mlu.metrics.trials import observed
from mlu.models.outputs import respond
from mlu.system.seeding import generator
from tests.support.coloured import LABELS, TASKS, blind, coloured_victim, silenced
from tests.support.made_nets import tiny

by_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
TREATMENTS = ("untreated", "finetune_2", "finetune_5", "int8", "int4", "pruned")
PLACES = ("outputs", "features")


def attack(**settings):
    given_ = {
        "steps": (2, 5),
        "lr": 0.01,
        "batch_size": 16,
        "images": 1000,
        "bits": (8, 4),
        "pruned": 0.5,
        "interpolated": (0.5,),
        "learnt": 1000,
        "strength": 1.0,
        "judged": "test",
    }
    return Durability(**given_ | settings)


def figures(evidence, reference=None):
    found = [*attack().conclude(evidence), *attack().compare(evidence, reference)]
    assert len({finding.path for finding in found}) == len(found)
    return {finding.path: finding for finding in found}


def assert_same(one, other):
    assert list(one) == list(other)
    for path, trial in one.items():
        np.testing.assert_array_equal(trial.scores, other[path].scores, err_msg=path)
        np.testing.assert_array_equal(trial.truth, other[path].truth, err_msg=path)


def same(one, other):
    return all(np.array_equal(trial.scores, other[path].scores) for path, trial in one.items())


# Rounding


def rounded_slowly(weight, bits):
    """Each weight by itself, with the nearest level found by looking at all of them."""
    most = 2 ** (bits - 1) - 1
    found = weight.clone()
    for row in found:
        step = max(abs(value) for value in row.flatten().tolist()) / most
        levels = torch.arange(-most, most + 1, dtype=weight.dtype) * step
        flat = row.view(-1)
        for place in range(len(flat)):
            flat[place] = levels[(levels - flat[place]).abs().argmin()]
    return found


@given(
    st.integers(2, 6), st.sampled_from([(1, 1), (3, 4), (2, 3, 2, 2), (2, 5)]), st.integers(0, 99)
)
def test_rounding_is_to_the_nearest_level_of_each_channel(bits, shape, seed):
    weight = torch.randn(shape, dtype=torch.float64, generator=generator(seed))
    weight[0] *= 100
    found, step = on_grid(weight, bits), weight.abs().flatten(1).amax(1) / (2 ** (bits - 1) - 1)
    torch.testing.assert_close(found, rounded_slowly(weight, bits), rtol=1e-12, atol=1e-12)

    # Laws: nothing moves by more than half a step, the largest stays, a sign changes nothing else.
    moved = (found - weight).abs().flatten(1).amax(1)
    assert (moved <= step / 2 * (1 + 1e-9)).all()
    torch.testing.assert_close(found.abs().flatten(1).amax(1), weight.abs().flatten(1).amax(1))
    torch.testing.assert_close(on_grid(-weight, bits), -found, rtol=0, atol=0)
    torch.testing.assert_close(on_grid(found, bits), found)


@pytest.mark.parametrize("bits", [8, 4])
def test_rounding_is_that_of_torch(bits):
    most = 2 ** (bits - 1) - 1
    weight = torch.randn(7, 5, 3, 3, generator=generator(1))
    observer = PerChannelMinMaxObserver(
        ch_axis=0, qscheme=torch.per_channel_symmetric, quant_min=-most, quant_max=most,
        dtype=torch.qint8,
    )  # fmt: skip
    observer(weight)
    scale, zero = observer.calculate_qparams()
    wanted = torch.fake_quantize_per_channel_affine(weight, scale, zero.int(), 0, -most, most)

    torch.testing.assert_close(on_grid(weight, bits), wanted)


def check_rounded(round_all, net, bits):
    """Each channel has few levels, the weights have moved, and nothing else has."""
    before, rounded = copy.deepcopy(net.state_dict()), round_all(net, bits)
    torch.testing.assert_close(dict(net.state_dict()), dict(before), rtol=0, atol=0)

    multiplying = {name for name, _ in net.named_parameters() if weighs(net, name)}
    for name, value in rounded.state_dict().items():
        assert torch.equal(value, before[name]) == (name not in multiplying), name
        for row in value if name in multiplying else ():
            assert len(row.unique()) <= 2**bits - 1


def weighs(net, name):
    """Whether a parameter is the weight of a convolution, a linear layer or attention."""
    module = net.get_submodule(name.rpartition(".")[0])
    kinds = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)
    return isinstance(module, kinds) and name.endswith("weight")


class Attentive(nn.Module):
    """A convolution in groups, batch norm and attention."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)
        self.attend = nn.MultiheadAttention(6, num_heads=2)
        self.head = nn.Linear(6, 3)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator(2))


@pytest.mark.parametrize("net", [tiny(), Attentive()], ids=["tiny", "attentive"])
def test_rounded_are_the_weights_that_multiply_and_nothing_else(net):
    check_rounded(quantised, net, 4)
    assert len(multiplied(net)) == sum(weighs(net, name) for name, _ in net.named_parameters())


def test_a_quantiser_that_does_nothing_or_takes_the_biases_is_found():
    def idle(net, bits):
        return copy.deepcopy(net)

    def greedy(net, bits):
        net = quantised(net, bits)
        with torch.no_grad():
            net.head.bias.mul_(0.9)
        return net

    for fault in (idle, greedy):
        with pytest.raises(AssertionError):
            check_rounded(fault, tiny(), 4)


# Pruning


def check_pruned(pruned_by, net, share):
    """The same weights are zero as torch's own pruning over all layers makes zero."""
    before = copy.deepcopy(net.state_dict())
    found = pruned_by(net, share)
    torch.testing.assert_close(dict(net.state_dict()), dict(before), rtol=0, atol=0)

    wanted = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    layers = [(module, "weight") for module in wanted.modules()
              if isinstance(module, nn.Conv2d | nn.Linear)]  # fmt: skip
    prune.global_unstructured(layers, prune.L1Unstructured, amount=share)
    for module, name in layers:
        prune.remove(module, name)
    torch.testing.assert_close(dict(found.state_dict()), dict(wanted.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_pruning_is_that_of_torch_over_all_layers_together(share):
    check_pruned(without_smallest, tiny(), share)


def test_a_pruner_of_the_largest_of_each_layer_or_of_nothing_is_found():
    def largest(net, share):
        net = copy.deepcopy(net)
        with torch.no_grad():
            for weight in multiplied(net):
                weight[weight.abs() >= weight.abs().quantile(1 - share)] = 0
        return net

    def by_layer(net, share):
        net = copy.deepcopy(net)
        with torch.no_grad():
            for weight in multiplied(net):
                weight[weight.abs() <= weight.abs().quantile(share)] = 0
        return net

    for fault in (largest, by_layer, lambda net, share: copy.deepcopy(net)):
        with pytest.raises(AssertionError):
            check_pruned(fault, tiny(widths=(4, 8)), 0.5)


def test_as_many_weights_are_gone_as_asked_where_many_are_alike():
    net = tiny(widths=(4, 8))
    with torch.no_grad():
        for weight in multiplied(net):
            weight.fill_(0.5)
    left = sum(int(weight.count_nonzero()) for weight in multiplied(without_smallest(net, 0.25)))
    total = sum(weight.numel() for weight in multiplied(net))
    assert left == total - round(total / 4)


# Fine-tuning


def tuned(victim, **settings):
    """Weights and statistics after each number of steps."""
    states = {}
    for steps, net in attack(**settings).fine_tuned(victim):
        assert not net.training
        states[steps] = copy.deepcopy(net.state_dict())
    return states


def by_hand(victim, steps, lr, size):
    """SGD with momentum from its equations on the loss of the retained labels alone."""
    net, train = copy.deepcopy(victim.net).train(), victim.splits["train"]
    images, targets = torch.from_numpy(train.images.pixels[train.rows]), train.targets
    kept = torch.arange(len(train))
    if victim.task.name == "singlelabel":
        kept = kept[targets.argmax(1) != 0]

    momentum = {name: torch.zeros_like(value) for name, value in net.named_parameters()}
    order = [torch.randperm(len(kept), generator=generator(victim.seed, epoch)).split(size)
             for epoch in range(steps)]  # fmt: skip
    batches = [rows for batches in order for rows in batches if len(rows) > 1]
    for step, rows in enumerate(batches[:steps]):
        chosen = kept[rows]
        batch = Batch(images[chosen], targets[chosen], torch.ones(len(chosen), LABELS) > 0)
        logits = net(augmented(batch, generator(victim.seed, step)).images)
        if victim.task.name == "singlelabel":
            probs = logits.exp() / logits.exp().sum(1, keepdim=True)
            loss = -probs[targets[chosen] > 0].log().mean()
        else:
            true = targets[chosen][:, 1:] > 0
            loss = -torch.where(true, logits[:, 1:].sigmoid(), (-logits[:, 1:]).sigmoid()).log()
            loss = loss.mean()

        parameters = dict(net.named_parameters())
        slopes = torch.autograd.grad(loss, [*parameters.values()])
        with torch.no_grad():
            for (name, weight), slope in zip(parameters.items(), slopes, strict=True):
                momentum[name] = 0.9 * momentum[name] + slope
                weight -= lr * momentum[name]

    return net.state_dict()


@by_task
def test_fine_tuning_is_plain_sgd_on_the_retained_labels(task):
    victim = coloured_victim(task, lambda net, _: copy.deepcopy(net).double())
    train = victim.splits["train"]
    exact = replace(train, targets=train.targets.double())
    victim = replace(victim, splits=victim.splits | {"train": exact})
    before = copy.deepcopy(victim.net.state_dict())
    found = tuned(victim, steps=(1, 7), lr=0.05, batch_size=13)
    torch.testing.assert_close(dict(victim.net.state_dict()), dict(before), rtol=0, atol=0)

    for steps, state in found.items():
        wanted = by_hand(victim, steps, 0.05, 13)
        torch.testing.assert_close(dict(state), dict(wanted), rtol=1e-9, atol=1e-9)
        # Batch norm learns too, as in training.
        assert not torch.equal(state["body.block1.bn.running_mean"],
                               before["body.block1.bn.running_mean"])  # fmt: skip


def test_one_fine_tuning_is_read_on_its_way():
    victim = coloured_victim()
    together = tuned(victim, steps=(5, 2, 5))
    assert list(together) == [2, 5]
    for steps in (2, 5):
        (alone,) = tuned(victim, steps=(steps,)).values()
        torch.testing.assert_close(dict(together[steps]), dict(alone), rtol=0, atol=0)


def otherwise_labelled(victim):
    """The same victim where training images say something else of the forgotten label.

    Of classes its images are others, whose class it is.
    """
    train = victim.splits["train"]
    if victim.task.name == "singlelabel":
        pixels = copy.deepcopy(train.images)
        own = train.rows[(train.targets[:, 0] > 0).numpy()]
        pixels.pixels[own] = 255 - pixels.pixels[own]
        changed = replace(train, images=pixels)
    else:
        targets = train.targets.clone()
        targets[:, 0] = 1 - targets[:, 0]
        changed = replace(train, targets=targets)
    return replace(victim, splits=victim.splits | {"train": changed})


@by_task
def test_what_training_images_say_of_the_forgotten_label_changes_nothing(task):
    victim = coloured_victim(task, silenced)
    assert_same(attack().observe(victim), attack().observe(otherwise_labelled(victim)))


@by_task
def test_fine_tuning_on_the_forgotten_label_is_found(task, monkeypatch):
    """A planted fault: the same comparison sees it."""

    def greedy(net, batch, victim, step):
        scope = victim.task.scope(batch.targets, batch.known, range(LABELS))
        return victim.task.loss(net(batch.images), batch.targets, scope)

    monkeypatch.setattr(durability, "retained_loss_at", greedy)
    monkeypatch.setattr(Durability, "retained_images", lambda _, victim: victim.splits["train"])
    victim = coloured_victim(task, silenced)
    one, other = (attack().observe(found) for found in (victim, otherwise_labelled(victim)))
    assert not same(one, other)


def test_a_seed_decides_all_and_nobody_elses_draws_are_touched():
    def found(seed, noise):
        torch.manual_seed(noise)
        victim = coloured_victim(done=with_dropout, seed=seed)
        state = torch.get_rng_state()
        evidence = attack().observe(victim)
        assert torch.equal(torch.get_rng_state(), state)
        return evidence

    assert_same(found(1, noise=1), found(1, noise=2))
    assert not same(found(1, noise=1), found(2, noise=1))


def with_dropout(net, task):
    net = copy.deepcopy(net)
    net.body.block2.relu = nn.Sequential(nn.ReLU(), nn.Dropout(0.5))
    return net


def test_most_images_are_those_of_people_drawn():
    train = coloured_victim().splits["train"]
    images = attack(images=6).retained_images(coloured_victim())
    assert len(images) == 6
    assert set(images.rows) <= set(train.rows)
    assert len(set(images.identities)) == 3


# Mixtures


def test_a_mixture_lies_between_its_ends():
    one, other = tiny(0), tiny(1)
    for share in (0.0, 0.25, 1.0):
        mixed = mixture(one, other, share)
        for name, value in mixed.state_dict().items():
            if value.is_floating_point():
                wanted = (1 - share) * one.state_dict()[name] + share * other.state_dict()[name]
                torch.testing.assert_close(value, wanted)


def test_an_eraser_fades_away_towards_the_original():
    original, erased = tiny(0), tiny(0)
    features = original.head.in_features
    erased.erase(torch.diag(torch.arange(features).float()), torch.ones(features))
    images = torch.rand(4, 3, 32, 32, generator=generator(0))
    mixed = mixture(erased, original, 1.0)
    torch.testing.assert_close(mixed(images), original(images))
    assert not torch.allclose(mixture(erased, original, 0.5)(images), original(images))


# Reading


def read_again(victim, net, column, place):
    """The logistic regression from its parts, on inputs that are standardised by hand."""
    fit = victim.splits["validation"]
    told, said = (
        respond(net, part)[PLACES.index(place)].double().numpy()
        for part in (fit, victim.splits["test"])
    )
    spread = told.std(0)
    spread[spread < 1e-12] = 1
    told, said = (told - told.mean(0)) / spread, (said - told.mean(0)) / spread
    reader = LogisticRegression(max_iter=1000, class_weight="balanced")
    reader.fit(told, fit.targets[:, column].numpy() > 0)
    return reader.decision_function(said)


@by_task
def test_every_treated_model_is_read_from_outputs_and_features(task):
    victim = coloured_victim(task)
    evidence = attack().observe(victim)
    assert list(evidence) == [f"durability/{name}/{place}" for name in TREATMENTS
                              for place in PLACES]  # fmt: skip
    for treatment, net in (("untreated", victim.net), ("int4", quantised(victim.net, 4))):
        for place in PLACES:
            trial = evidence[f"durability/{treatment}/{place}"]
            wanted = read_again(victim, net, 0, place)
            np.testing.assert_allclose(trial.scores, wanted, atol=1e-6)
            np.testing.assert_array_equal(trial.truth, victim.splits["test"].targets[:, 0] > 0)


@by_task
def test_the_original_handed_in_has_an_excess_in_int8_that_is_no_chance(task):
    retrain = attack().observe(coloured_victim(task, blind))
    found = figures(attack().observe(coloured_victim(task)), retrain)
    assert found["durability/int8/excess"].low > 0
    # Eight bits hardly change what is read: not by more than the interval is wide.
    near, released = found["durability/int8/excess"], found["durability/untreated/excess"]
    assert released.low <= near.value <= released.high


@by_task
def test_retrain_handed_in_has_no_excess_after_any_treatment(task):
    one, other = (attack().observe(coloured_victim(task, blind)) for _ in range(2))
    found = figures(one, other)
    excesses = [finding for path, finding in found.items() if path.endswith("/excess")]
    assert len(excesses) == 3 * len(TREATMENTS)
    assert {(one.value, one.low, one.high) for one in excesses} == {(0.0, 0.0, 0.0)}


def test_who_is_silent_is_read_from_features():
    """The outputs of a silenced label are constant: there is nothing to be read but by others."""
    evidence = attack().observe(coloured_victim(done=silenced))
    found = figures(evidence, attack().observe(coloured_victim(done=blind)))
    assert found["durability/untreated/features/excess"].low > 0
    best = found["durability/untreated/excess"]
    assert best.value == found["durability/untreated/features/excess"].value
    assert best.value > found["durability/untreated/outputs/excess"].value


def test_mixtures_are_read_but_have_no_figure():
    evidence = attack().observe(coloured_victim(done=blind))
    mixed = [path for path in evidence if "interpolated" in path]
    assert mixed == [f"durability/interpolated_50/{place}" for place in PLACES]
    assert not any("interpolated" in path for path in figures(evidence, evidence))

    alone = replace(coloured_victim(done=blind), original_net=None)
    assert [path for path in evidence if path not in mixed] == [*attack().observe(alone)]


def test_unknown_targets_and_few_images_are_reasons():
    victim = coloured_victim(done=silenced)
    known = victim.splits["validation"].known
    known[::2, 0] = False
    assert isinstance(attack().observe(victim)["durability/pruned/features"], Trial)
    known[14:, 0] = False
    assert set(attack().observe(victim).values()) == {NO_CLASSES}

    known[:] = True
    victim.splits["train"].targets[:] = torch.tensor([1.0, 0, 0])
    classes = replace(coloured_victim(TASKS[1]), splits=victim.splits)
    found = attack().observe(classes)
    assert found["durability/finetune_2/outputs"] == NO_IMAGES
    assert isinstance(found["durability/untreated/outputs"], Trial)


def test_fine_tuning_that_diverges_is_a_reason():
    found = attack(lr=1e30).observe(coloured_victim())
    assert found["durability/finetune_5/outputs"].startswith(NOT_FINITE)
    assert "attack.durability.lr=1e+30" in found["durability/finetune_5/features"]
    assert isinstance(found["durability/int8/features"], Trial)


def test_a_search_is_judged_on_validation_people_alone():
    victim = coloured_victim()
    victim.splits["test"].images.asked.clear()
    found = attack(judged="validation", steps=(1,)).observe(victim)
    rows = np.concatenate([rows for rows, _ in victim.splits["test"].images.asked])
    assert not set(rows) & set(victim.splits["test"].rows)
    people = set(victim.splits["validation"].identities)
    assert set(found["durability/int8/outputs"].persons) < people


# Figures


def right(share, images=40):
    """A trial whose answers are right of that share, the same of both classes."""
    truth = np.arange(images) % 2 == 0
    wrong = np.arange(images) // 2 >= share * images / 2
    return Trial(np.where(truth ^ wrong, 1.0, -1.0), truth, np.arange(images))


def test_a_treatment_has_the_figures_of_the_place_with_the_larger_excess():
    evidence = {"durability/int8/outputs": right(0.9), "durability/int8/features": right(0.8)}
    reference = {"durability/int8/outputs": right(0.85), "durability/int8/features": right(0.6)}
    found = figures(evidence, reference)
    values = {path: finding.value for path, finding in found.items()}
    assert values == {
        "durability/int8/outputs/balanced_accuracy": pytest.approx(0.9),
        "durability/int8/features/balanced_accuracy": pytest.approx(0.8),
        "durability/int8/outputs/excess": pytest.approx(0.05),
        "durability/int8/features/excess": pytest.approx(0.2),
        "durability/int8/balanced_accuracy": pytest.approx(0.8),
        "durability/int8/excess": pytest.approx(0.2),
    }
    for metric in ("balanced_accuracy", "excess"):
        ours, theirs = (found[f"durability/int8/{part}{metric}"] for part in ("", "features/"))
        assert replace(ours, path="") == replace(theirs, path="")

    trial = evidence["durability/int8/outputs"]
    rate = balanced_accuracy_score(trial.truth, trial.scores > 0)
    assert values["durability/int8/outputs/balanced_accuracy"] == pytest.approx(rate)
    assert observed(trial).balanced_accuracy == pytest.approx(rate)


def test_without_retrain_the_place_that_is_read_better_counts():
    evidence = {"durability/int8/outputs": right(0.3), "durability/int8/features": right(0.6)}
    found = figures(evidence)
    assert found["durability/int8/balanced_accuracy"].value == pytest.approx(0.3)
    assert found["durability/int8/excess"].missing == NO_REFERENCE


def test_a_place_without_a_trial_does_not_count():
    evidence = {"durability/int8/outputs": "why", "durability/int8/features": right(0.6)}
    reference = {"durability/int8/outputs": right(1), "durability/int8/features": right(0.9)}
    found = figures(evidence, reference)
    assert found["durability/int8/outputs/excess"].missing == "why"
    assert found["durability/int8/excess"].value == pytest.approx(-0.3)
    assert figures(dict.fromkeys(evidence, "why"))["durability/int8/excess"].missing == "why"


def test_of_several_labels_each_has_figures_and_the_largest_excess_stands_for_all():
    victim, reference = (coloured_victim(done=done, columns=(0, 1)) for done in (silenced, blind))
    evidence = attack().observe(victim)
    assert [path for path in evidence if "int8" in path] == [
        f"durability/int8/label/{label}/{place}" for label in ("Red", "Green") for place in PLACES
    ]
    for column, label in enumerate(("Red", "Green")):
        wanted = read_again(victim, victim.net, column, "features")
        trial = evidence[f"durability/untreated/label/{label}/features"]
        np.testing.assert_allclose(trial.scores, wanted, atol=1e-6)

    found = figures(evidence, attack().observe(reference))
    for start in ("durability/int8", "durability/int8/outputs", "durability/int8/features"):
        place = start.removeprefix("durability/int8")
        labelled = []
        for path, finding in found.items():
            ours = path.startswith("durability/int8/label/")
            if ours and path.endswith(f"{place}/excess"):
                labelled.append(finding.value)
        assert len(labelled) == (4 if not place else 2)
        assert found[f"{start}/excess"].value == max(labelled)
