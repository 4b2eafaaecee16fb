import copy
from dataclasses import dataclass, replace

import pytest
import torch
import torchvision
from torch import nn

from benchmarks import plain
from mlu.methods.cfk import CFk, last_layers
from mlu.methods.finetune import FineTuning
from mlu.methods.parts.losses import loss_of_retained
from mlu.models.backbones import ResNet, Tiny
from mlu.models.batch_norm import batch_norms
from mlu.models.weight_names import our_names
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit
from mlu.unlearning.unlearner import edited
from tests.support.learnt import learnt_problem, unlearnt
from tests.support.plain_vit import tiny_vit
from tests.support.readings import accuracy, auroc, recall

GENTLE = Tuning(epochs=6, lr=0.1, batch_size=32)
HARSH = Tuning(epochs=2, lr=0.1, momentum=0.9, weight_decay=0.1)
by_task = pytest.mark.parametrize("task", ["multilabel", "singlelabel"])
by_reinit = pytest.mark.parametrize("reinit", [False, True], ids=["cfk", "euk"])


def cfk(kind=CFk, **changes) -> CFk:
    return kind(**{"name": "cfk", "k": 2, "reinit": False, "tuning": HARSH} | changes)


def deep_problem(task):
    """Three layers with batch norms between them, with random weights and statistics."""
    torch.manual_seed(3)
    problem = learnt_problem(task)
    net = Tiny(name="tiny", widths=(6, 8)).build(problem.train.targets.shape[1]).double()
    for norm in batch_norms(net).values():
        for values in (norm.weight.data, norm.bias.data, norm.running_mean):
            values.normal_()
        norm.running_var.uniform_(0.5, 2)
    net.eval().requires_grad_(False)
    return replace(problem, net=net, original=net)


def assert_only_moved(layers, before, after):
    """Every number of these layers and of no other has changed, those that are no parameters
    included."""
    for name, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[name]) == (
            name.rpartition(".")[0] not in layers
        ), name


@pytest.mark.parametrize(
    ("name", "listed", "millions", "of"),
    [
        (
            "resnet18",
            ["fc", "layer4.1.bn2", "layer4.1.conv2", "layer4.1.bn1", "layer4.1.conv1"],
            4.7,
            11.2,
        ),
        (
            "resnet50",
            ["fc", "layer4.2.bn3", "layer4.2.conv3", "layer4.2.bn2", "layer4.2.conv2"],
            3.4,
            23.5,
        ),
    ],
)
def test_the_last_three_layers_of_a_residual_network_are_those_of_the_source(
    name, listed, millions, of
):
    net = ResNet(name=name).build(10)
    layers = last_layers(net, 3)
    assert layers == ["head" if layer == "fc" else f"body.{layer}" for layer in listed]
    sizes = {
        layer: sum(weight.numel() for weight in net.get_submodule(layer).parameters())
        for layer in layers
    }
    assert round(sum(sizes.values()) / 1e6, 1) == millions
    assert round(sum(weight.numel() for weight in net.parameters()) / 1e6, 1) == of


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_layers_are_counted_as_the_authors_count_them_in_torchvisions_network(name):
    """Their loop; a downsampling convolution, which is registered after those of its block, counts
    as well."""
    net = ResNet(name=name).build(10)
    source = torchvision.models.get_model(name, weights=None, num_classes=10).requires_grad_(False)
    found = 0
    for module in reversed(list(source.modules())):
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            module.requires_grad_(True)
        if isinstance(module, nn.Conv2d | nn.Linear):
            found += 1
            theirs = our_names(
                {name: value for name, value in source.named_parameters() if value.requires_grad},
                net.renames,
            )
            layers = last_layers(net, found)
            assert {
                name for name, _ in net.named_parameters() if name.rpartition(".")[0] in layers
            } == set(theirs)
    assert any("downsample" in name for name in theirs)


def test_the_last_layers_of_a_tiny_network_come_with_the_batch_norms_behind_them():
    net = Tiny(name="tiny").build(10)
    assert last_layers(net, 1) == ["head"]
    assert last_layers(net, 3) == [
        "head",
        *(f"body.block{n}.{kind}" for n in (5, 4) for kind in ("bn", "conv")),
    ]


BLOCK = "body.whole.encoder.layers.encoder_layer_3"


@pytest.mark.parametrize(
    ("k", "added"),
    [
        (1, ["head"]),
        (2, ["body.whole.encoder.ln", f"{BLOCK}.mlp.3"]),
        (3, [f"{BLOCK}.mlp.0"]),
        (4, [f"{BLOCK}.ln_2", f"{BLOCK}.self_attention.out_proj"]),
        (5, [f"{BLOCK}.self_attention"]),
    ],
)
def test_attention_counts_as_the_matrix_that_reads_tokens_and_the_layer_behind_it(k, added):
    net = tiny_vit()
    assert last_layers(net, k) == [*(last_layers(net, k - 1) if k > 1 else []), *added]


def test_all_parameters_of_a_transformer_can_start_anew():
    problem = learnt_problem("multilabel")
    problem = replace(problem, net=tiny_vit(), original=tiny_vit())
    before, anew = (
        dict(problem.net.named_parameters()),
        cfk(k=99, reinit=True).edit(problem).weights,
    )
    assert set(anew) == set(before)
    for name, value in anew.items():
        kind = name.rpartition(".")[2]
        if name.startswith("body.") and value.ndim == 1:
            assert (value == (kind == "weight")).all(), name
        elif name.startswith("body."):
            assert (value != before[name]).all(), name
    joint = torch.stack(
        [anew[f"{BLOCK[:-1]}{number}.self_attention.in_proj_weight"] for number in range(4)]
    )
    assert joint.std().item() == pytest.approx((2 / 8) ** 0.5, rel=3 / (2 * joint.numel()) ** 0.5)
    positions = "body.whole.encoder.pos_embedding"
    assert anew[positions].std().item() == pytest.approx(before[positions].std().item(), rel=0.5)


@by_task
@by_reinit
@pytest.mark.parametrize("k", [1, 2])
def test_what_comes_before_the_last_layers_is_frozen_with_the_statistics_of_its_batch_norms(
    k, reinit, task
):
    """Bit for bit, against momentum and weight decay. Of a new head the forgotten row stays at what
    it was set to."""
    problem, method = deep_problem(task), cfk(k=k, reinit=reinit)
    assert_only_moved(last_layers(problem.net, k), problem.net, unlearnt(method, problem))


@dataclass(frozen=True, kw_only=True)
class Forgets(CFk):
    """CF-k that does not freeze the layers that `loose` names; `reach` is how far they may go."""

    loose: str
    reach: float = torch.inf

    def edit(self, problem) -> Edit:
        edit = super().edit(problem)
        free = torch.tensor(self.reach, dtype=torch.float64)
        return replace(
            edit,
            radius={
                name: free if self.loose in name else radius for name, radius in edit.radius.items()
            },
        )


@pytest.mark.parametrize(
    "fault",
    [{"loose": "conv"}, {"loose": "bn"}, {"loose": "bn", "reach": 1e-300}],
    ids=["layers", "norms", "buffers"],
)
def test_what_is_not_frozen_would_be_seen_to_move(fault):
    """A reach that no number has frees the batch norm's statistics alone."""
    problem = deep_problem("multilabel")
    with pytest.raises(AssertionError, match=r"body\.block1"):
        assert_only_moved(
            last_layers(problem.net, 2), problem.net, unlearnt(cfk(Forgets, **fault), problem)
        )


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_without_weight_decay_nothing_moves_the_forgotten_row_of_a_multilabel_head(decay):
    problem = deep_problem("multilabel")
    moved = unlearnt(cfk(tuning=replace(HARSH, weight_decay=decay)), problem).head
    for before, after in (
        (problem.net.head.weight, moved.weight),
        (problem.net.head.bias, moved.bias),
    ):
        assert torch.equal(before[0], after[0]) == (decay == 0)
        assert (before[1:] != after[1:]).any()


@by_task
@pytest.mark.parametrize("k", [1, 2, 3])
def test_it_is_the_plain_loop_of_its_authors(k, task):
    problem, method = deep_problem(task), cfk(k=k)
    ours, theirs = unlearnt(method, problem), plain.cfk(method, problem)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-9, atol=1e-12)


def test_more_layers_than_there_are_is_plain_fine_tuning():
    problem = deep_problem("multilabel")
    every, fine_tuned = (
        unlearnt(cfk(k=99), problem),
        unlearnt(FineTuning(name="finetune", tuning=HARSH), problem),
    )
    assert cfk(k=99).edit(problem) == Edit()
    torch.testing.assert_close(every.state_dict(), fine_tuned.state_dict(), rtol=0, atol=0)


def test_more_layers_than_there_are_starts_all_of_them_anew():
    problem = deep_problem("multilabel")
    edit = cfk(k=99, reinit=True).edit(problem)
    assert set(edit.weights) == {name for name, _ in problem.net.named_parameters()}
    assert set(edit.radius) == {"head.weight", "head.bias"}


def test_cfk_starts_from_the_original_and_euk_from_a_new_suffix():
    problem = deep_problem("multilabel")
    assert not cfk().edit(problem).weights
    anew = cfk(reinit=True).edit(problem).weights
    suffix = [f"body.block2.{name}" for name in ("conv.weight", "bn.weight", "bn.bias")]
    assert set(anew) == {*suffix, "head.weight", "head.bias"}
    for name, value in anew.items():
        assert (value != problem.net.get_parameter(name)).all(), name
    assert (anew["body.block2.bn.weight"] == 1).all()
    assert not anew["body.block2.bn.bias"].any()
    assert not anew["head.bias"][1:].any()


def test_new_convolutions_have_the_spread_that_keeps_the_variance_behind_a_relu():
    problem = deep_problem("multilabel")
    conv = cfk(reinit=True).edit(problem).weights["body.block2.conv.weight"]
    wanted = (2 / (6 * 3 * 3)) ** 0.5
    # Normal draws: their standard deviation is within 3 sqrt(1 / (2 n)) of the truth, relatively.
    assert conv.std().item() == pytest.approx(wanted, rel=3 / (2 * conv.numel()) ** 0.5)
    assert conv.mean().abs() < 3 * wanted / conv.numel() ** 0.5


def test_another_seed_gives_another_suffix():
    problem, name = deep_problem("multilabel"), "body.block2.conv.weight"
    again, other = (
        cfk(reinit=True).edit(replace(problem, seed=seed)).weights[name] for seed in (0, 1)
    )
    assert torch.equal(again, cfk(reinit=True).edit(problem).weights[name])
    assert (again != other).all()


def assert_ignorant(net, problem):
    """The forgotten output is the base rate, or rules its class out, whatever the image."""
    base_rate = (
        problem.train.targets[:, 0].mean().double() if problem.task.name == "multilabel" else 0.0
    )
    probs = problem.task.probs(net(problem.validation[torch.arange(64)].images))[:, 0]
    torch.testing.assert_close(probs, torch.full_like(probs, base_rate))


@dataclass(frozen=True, kw_only=True)
class Drifts(CFk):
    """EU-k that lets weight decay work on the forgotten row."""

    def edit(self, problem) -> Edit:
        edit = super().edit(problem)
        return replace(
            edit,
            radius={name: radius for name, radius in edit.radius.items() if "head" not in name},
        )


@by_task
def test_euk_sets_the_forgotten_output_to_what_one_knows_without_the_image_and_it_stays_there(task):
    problem = deep_problem(task)
    assert_ignorant(edited(problem.net, cfk(reinit=True).edit(problem)), problem)
    assert_ignorant(unlearnt(cfk(reinit=True), problem), problem)


@pytest.mark.parametrize("kind", [Drifts, CFk], ids=["drifting", "not reinitialised"])
def test_a_forgotten_output_that_says_something_is_noticed(kind):
    problem = deep_problem("multilabel")
    with pytest.raises(AssertionError, match="not close"):
        assert_ignorant(unlearnt(cfk(kind, reinit=kind is Drifts), problem), problem)


def test_cfk_makes_a_class_fade_and_the_original_does_not():
    problem = learnt_problem("singlelabel", norm=True)
    assert (
        recall(unlearnt(cfk(k=1, tuning=GENTLE), problem), problem)[1]
        < recall(problem.net, problem)[0]
    )


def test_cfk_of_the_head_forgets_nothing_in_a_multilabel_task():
    """Neither the forgotten row nor the features that it reads have moved, while the retained rows
    have."""
    problem = learnt_problem("multilabel", norm=True)
    images = problem.validation[torch.arange(64)].images
    before, after = problem.net(images), unlearnt(cfk(k=1, tuning=GENTLE), problem)(images)
    assert torch.equal(after[:, 0], before[:, 0])
    assert (after[:, 1:] != before[:, 1:]).all()


@by_task
def test_euk_forgets_and_learns_the_rest_anew(task):
    """The negative controls.

    The original has not forgotten, and before fine-tuning less is known.
    """
    problem = learnt_problem(task, norm=True)
    method = cfk(reinit=True, tuning=replace(GENTLE, epochs=20))
    new, trained = edited(problem.net, method.edit(problem)), unlearnt(method, problem)
    assert auroc(trained, problem) == 0.5 != auroc(problem.net, problem)
    assert accuracy(trained, problem)[0] > accuracy(new, problem)[1]


@by_task
def test_only_the_retained_targets_are_trained_on(task):
    problem = deep_problem(task)
    (one, *_) = cfk().passes(problem)
    assert one.loss.func is loss_of_retained
    assert not one.images.targets[:, 0].any()
    before = copy.deepcopy(problem.net.state_dict())
    unlearnt(cfk(), problem)
    torch.testing.assert_close(problem.net.state_dict(), before, rtol=0, atol=0)
