"""What every yaml of `conf/method` promises."""

import copy
import dataclasses

import pytest
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from mlu.launch.options import CONF
from mlu.models.batch_norm import batch_norms
from mlu.pipeline.context import context_of
from mlu.pipeline.judgement import judge_model
from mlu.pipeline.models import Models, treated_model
from mlu.pipeline.trained import original_model, random_model, retrained_model
from mlu.pipeline.unlearned import problem_of, unlearned_model
from mlu.system.errors import UserError
from mlu.unlearning.unlearner import Unlearner, carry_out
from tests.conftest import METHODS
from tests.support import plain_vit

YAMLS = {name: OmegaConf.load(CONF / "method" / f"{name}.yaml") for name in METHODS}
FINE_TUNED = [name for name in METHODS if "tuning" in YAMLS[name]]
OURS = ["wf", "wp"]
SILENT = ["head", "leace", "splince", "retrain", "decorrelate", *OURS]
"""Those that make the forgotten output constant; the others teach it."""
BLIND = ["original", "lfssd", "jit"]
"""Those that look at no target at all."""
HARSH = [
    "method.tuning.steps=5",
    "method.tuning.momentum=0.9",
    "method.tuning.weight_decay=0.5",
    "method.tuning.lr=0.5",
]
FEW = ["method.images=64"]
SMALLER = {
    "unsir": ["method.noise_images=8", "method.noise_steps=2"],
    "ssd": FEW,
    "lfssd": FEW,
    "jit": ["method.samples=2"],
    "orthograd": ["method.retain_batch_size=2"],
    "wf": FEW,
    "wp": FEW,
}


def walk(experiment):
    """Original, Retrain and unlearned model, as the pipeline makes them."""
    context = context_of(experiment)
    original, retrain = original_model(context), retrained_model(context)
    return context, original, retrain, treated_model(context, original, retrain)


def judged(context, original, model):
    """Every figure of one model."""
    random = random_model(context)
    return judge_model(context, Models(original, None, model, random), model)


def brief(method: str, steps: int = 3) -> list[str]:
    tuning = [f"method.tuning.steps={steps}"] if method in FINE_TUNED else []
    return [f"method={method}", *tuning, *SMALLER.get(method, [])]


def served(method: str, dataset: str) -> bool:
    """Whether the method serves the task of a data set."""
    task = "multilabel" if dataset == "faces" else "singlelabel"
    return task in get_class(YAMLS[method]._target_).tasks


def data_of(method: str) -> str:
    """A data set that the method serves."""
    return "faces" if served(method, "faces") else "digits"


@pytest.mark.parametrize("dataset", ["faces", "digits"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_leaves_the_original_alone_and_is_repeatable(
    method, dataset, experiment, tmp_path
):
    setup = experiment(*brief(method), dataset=dataset)
    if not served(method, dataset):
        with pytest.raises(UserError, match=f"method={method} serves"):
            context_of(setup)
        return
    context = context_of(setup)
    original, retrain = original_model(context), retrained_model(context)
    before = copy.deepcopy(original.net.state_dict())
    first = treated_model(context, original, retrain).net.state_dict()
    torch.testing.assert_close(dict(original.net.state_dict()), dict(before), rtol=0, atol=0)
    torch.rand(7)  # whatever was drawn before must not matter
    again = treated_model(context, original, retrain).net.state_dict()
    torch.testing.assert_close(dict(again), dict(first), rtol=0, atol=0)
    save_file(
        {name: value.contiguous() for name, value in first.items()},
        tmp_path / "weights.safetensors",
    )
    torch.testing.assert_close(
        load_file(tmp_path / "weights.safetensors"), dict(first), rtol=0, atol=0
    )
    assert all(value.isfinite().all() for value in first.values())


@pytest.mark.parametrize(
    "method", [name for name in METHODS if served(name, "faces") and name != "retrain"]
)
def test_what_is_not_known_is_not_looked_at(method, experiment):
    """Whatever the table holds there, the weights are the same, bit by bit; were it known, they
    would not be."""
    context = context_of(experiment(*brief(method)))
    net = original_model(context).net

    def forgotten(value: float, known: bool) -> dict[str, torch.Tensor]:
        parts = {}
        for name in ("train", "validation"):
            split = context.data.splits[name]
            hidden = (
                torch.rand(split.targets.shape, generator=torch.Generator().manual_seed(0)) < 0.2
            )
            parts[name] = dataclasses.replace(
                split,
                targets=split.targets.masked_fill(hidden, value),
                known=split.known & (~hidden | known),
            )
        problem = dataclasses.replace(problem_of(context, net), **parts)
        return carry_out(
            context.experiment.method, problem, context.trainer, context.data.train_batches
        ).state_dict()

    first, other = forgotten(0.0, known=False), forgotten(1.0, known=False)
    assert all(torch.equal(first[name], other[name]) for name in first)
    if method not in BLIND:
        seen = forgotten(1.0, known=True)
        assert not all(torch.equal(first[name], seen[name]) for name in first)


@pytest.mark.parametrize("dataset", ["faces", "digits"])
@pytest.mark.parametrize("method", SILENT)
def test_the_forgotten_output_says_nothing_and_a_method_that_does_nothing_is_caught(
    method, dataset, experiment
):
    """The negative control: the same figures of the original would fail."""
    context, original, _, unlearned = walk(experiment(*brief(method), dataset=dataset))
    figures = {
        name: {finding.path: finding.value for finding in judged(context, original, model)}
        for name, model in (("original", original), ("unlearned", unlearned))
    }
    assert figures["unlearned"]["train/forgotten/balanced_accuracy"] == 0.5
    assert figures["unlearned"]["train/forgotten/auroc"] == pytest.approx(0.5, abs=1e-6)
    assert figures["unlearned"]["train/forgotten/mutual_information"] == pytest.approx(0, abs=1e-9)
    assert figures["original"]["train/forgotten/auroc"] > 0.6


@pytest.mark.parametrize(
    "method",
    ["cfk", "cfk method.reinit=true", "salun", "boundary"]
    + [
        f"{name} method.reading={reading}"
        for name in OURS
        for reading in ("selective", "above", "printed")
    ],
)
def test_no_weight_leaves_its_ball(method, experiment):
    name, *choice = method.split()
    context, original, _, unlearned = walk(
        experiment(*brief(name), *HARSH, *choice, dataset=data_of(name))
    )
    edit = context.experiment.method.edit(problem_of(context, original.net))
    start, end = (
        dict(original.net.named_parameters()) | dict(edit.weights),
        dict(unlearned.net.named_parameters()),
    )
    finite = moved = 0
    for name, radius in edit.radius.items():
        distance = (end[name] - start[name]).abs()
        assert (distance <= radius + 1e-6).all(), name
        finite += radius.isfinite().sum().item()
    moved = sum((end[name] != start[name]).sum() for name in end)
    assert finite > 0
    assert moved > 0


@pytest.mark.parametrize("method", OURS)
def test_without_its_radius_a_weight_would_leave_the_ball(method, experiment):
    """The negative control of the test above."""
    context, original, _, unlearned = walk(experiment(*brief(method), "epsilon=inf", *HARSH))
    tight = experiment(*brief(method), "epsilon=0.1", *HARSH).method
    edit = tight.edit(problem_of(context, original.net))
    start, end = (
        dict(original.net.named_parameters()) | dict(edit.weights),
        dict(unlearned.net.named_parameters()),
    )
    # The edit is not the head's alone: a method that only silenced it would pass what reads
    # outputs.
    assert any(
        (start[name] != original.net.state_dict()[name]).any()
        for name in edit.weights
        if "body" in name
    )
    assert any(
        ((end[name] - start[name]).abs() > radius + 1e-6)[
            radius.isfinite().expand_as(start[name])
        ].any()
        for name, radius in edit.radius.items()
        if name.startswith("body.")
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_label_that_never_occurs_gives_finite_weights(method, experiment):
    context = context_of(experiment(*brief(method), dataset=data_of(method)))
    original, retrain = original_model(context), retrained_model(context)
    train, forgotten = context.train, list(context.request.forgotten)
    if context.task.name == "multilabel":
        train.targets[:, forgotten] = 0
    else:
        context = dataclasses.replace(context, train=context.task.without(train, forgotten))
    net = treated_model(context, original, retrain).net
    assert all(value.isfinite().all() for value in net.state_dict().values())


TOKENS = ["backbone=vit_b_16", f"backbone.name={plain_vit.vit_tiny_8.__name__}"]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_serves_a_network_of_tokens(method, experiment):
    """Whose attention keeps a matrix as a parameter of its own, and which has no batch norm."""
    setup = experiment(*brief(method), *TOKENS, dataset=data_of(method))
    context, original, _, unlearned = walk(setup)
    before, after = original.net.state_dict(), unlearned.net.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    if method in SILENT and context.task.name == "multilabel":
        said = unlearned.outputs["test"].logits[:, context.request.forgotten]
        assert (said == said[0]).all() or said.std() < 1e-5
    if method not in ("head", "leace", "splince", "original"):
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert any(name.startswith("body.") for name in moved)


@pytest.mark.parametrize("method", OURS)
def test_the_matrices_of_attention_are_edited_and_keep_to_their_balls(method, experiment):
    context, original, _, unlearned = walk(experiment(*brief(method), *HARSH, *TOKENS))
    edit = context.experiment.method.edit(problem_of(context, original.net))
    joint = [name for name in edit.weights if name.endswith("in_proj_weight")]
    assert len(joint) == plain_vit.BLOCKS
    for name in joint:
        assert (edit.weights[name] != original.net.get_parameter(name)).any()
        distance = (unlearned.net.get_parameter(name) - edit.weights[name]).abs()
        assert (distance <= edit.radius[name] + 1e-6).all()
        assert edit.radius[name].isfinite().any()


@pytest.mark.parametrize(
    "setting",
    [
        "trainer.precision=bf16-mixed",
        "method.influence=cg",
        "method.influence=head_exact",
        "method.adaptive=true",
    ],
)
def test_a_network_of_tokens_is_served_in_every_way(setting, experiment):
    few = ("method.images=4", "method.curvature_images=8", "method.damping=1")
    _, _, _, unlearned = walk(experiment(*brief("wf"), *TOKENS, *few, setting, "reference=none"))
    assert all(value.isfinite().all() for value in unlearned.net.state_dict().values())


@pytest.mark.parametrize("none", ["steps", "epochs"])
@pytest.mark.parametrize("method", FINE_TUNED)
def test_no_fine_tuning_is_the_edit_alone(method, none, experiment):
    overrides = [f"method.tuning.{none}=0", "method.tuning.recalibrate=0"]
    context, original, _, unlearned = walk(
        experiment(*brief(method), *overrides, dataset=data_of(method))
    )
    edit = context.experiment.method.edit(problem_of(context, original.net))
    expected = dict(original.net.state_dict()) | dict(edit.weights)
    torch.testing.assert_close(dict(unlearned.net.state_dict()), expected, rtol=0, atol=0)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"boundary", "retrain"}))
def test_several_labels_are_forgotten_at_once(method, experiment):
    context, original, _, unlearned = walk(
        experiment(*brief(method), "forget_label.names=[Bald,Young]")
    )
    known, figures = (
        {finding.path: finding.value for finding in judged(context, original, model)}
        for model in (original, unlearned)
    )
    for label in ("Bald", "Young"):
        assert known[f"train/label/{label}/auroc"] > 0.6
        assert figures[f"train/label/{label}/balanced_accuracy"] == 0.5 or method not in SILENT
    # A few steps from scratch teach nothing yet.
    assert figures["train/label/Male/auroc"] > 0.6 or method == "removal"


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"original"}))
def test_several_classes_are_forgotten_at_once(method, experiment):
    setup = experiment(*brief(method), "forget_label.names=['5','3']", dataset="digits")
    context, _, retrain, unlearned = walk(setup)
    assert context.request.forgotten == (3, 5)
    for model in (retrain, unlearned):
        for outputs in model.outputs.values():
            said = context.task.predictions(outputs.logits)[:, [3, 5]]
            assert not said.any() or (model is unlearned and method not in SILENT)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"boundary", "retrain"}))
def test_forgotten_targets_are_read_only_by_what_says_so(method, experiment):
    setup = experiment(*brief(method))
    context = context_of(setup)
    original = original_model(context)
    column = context.train.targets[:, context.request.forgotten]
    shuffled = column[torch.randperm(len(column), generator=torch.Generator().manual_seed(0))]
    one = unlearned_model(context, setup.method, original).net.state_dict()
    context.train.targets[:, context.request.forgotten] = shuffled
    other = unlearned_model(context, setup.method, original).net.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one) == (
        not setup.method.reads_forgotten
    )


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"retrain"}))
def test_whoever_watches_a_method_changes_nothing_of_what_it_leaves(method, experiment):
    """To the last bit, weights and statistics, and at the same cost in images."""
    setup, dataset = brief(method), data_of(method)
    made = []
    for trace in ("null", "1", "2"):
        context = context_of(experiment(*setup, f"trace={trace}", dataset=dataset))
        made.append(unlearned_model(context, context.experiment.method, original_model(context)))

    alone, *watched = made
    weights = alone.net.state_dict()
    for model in watched:
        other = model.net.state_dict()
        assert all(torch.equal(other[name], weights[name]) for name in weights)
        assert model.cost.forward == alone.cost.forward
        assert model.cost.backward == alone.cost.backward
        assert [one.kept for one in model.trace] == [False] * (len(model.trace) - 1) + [True]

    assert alone.trace == ()
    steps = [[one.step for one in model.trace] for model in watched]
    tuned = context.experiment.method.tuning.steps != 0
    assert steps == ([[0, 1, 2, 3], [0, 2, 3]] if tuned else [[0], [0]])


def test_a_look_that_leaves_the_network_in_another_mode_is_noticed(experiment, monkeypatch):
    """The negative control of the test above."""
    found = []
    for trace in ("null", "1"):
        context = context_of(experiment(*brief("wf"), f"trace={trace}"))
        model = unlearned_model(context, context.experiment.method, original_model(context))
        found.append(model.net.state_dict())
        monkeypatch.setattr(Unlearner, "as_left", lambda self: copy.deepcopy(self.net.eval()))
    assert not all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("method", OURS)
def test_without_decorrelation_fine_tuning_reads_no_forgotten_target(method, experiment):
    for weight, blind in ((0, True), (1, False)):
        setup = experiment(
            *brief(method),
            *(f"method.decorrelation.{kernel}={weight}" for kernel in ("linear", "gaussian")),
        )
        context = context_of(setup)
        problem = problem_of(context, original_model(context).net)
        (one,) = {id(one): one for one in setup.method.passes(problem)}.values()
        assert torch.equal(
            one.images.known[:, context.request.forgotten].any(), torch.tensor(not blind)
        )


@pytest.mark.parametrize(
    ("method", "overrides", "kept"),
    [
        ("head", [], "all"),
        ("ssd", [], "all"),
        ("lfssd", [], "all"),
        ("leace", [], "all"),
        ("splince", [], "all"),
        ("jit", [], "all"),
        ("orthograd", [], "all"),
        ("boundary", [], "all"),
        ("cfk", [], "frozen"),
        ("cfk", ["method.reinit=true"], "frozen"),
        ("finetune", [], "none"),
        ("scrub", [], "none"),
        ("unsir", [], "none"),
        ("salun", [], "none"),
        ("neggrad", [], "none"),
        ("wf", [], "none"),
        ("wp", [], "none"),
        ("decorrelate", [], "none"),
    ],
)
def test_batch_norm_statistics_change_where_weights_are_tuned(method, overrides, kept, experiment):
    context, original, _, unlearned = walk(
        experiment(*brief(method), *overrides, dataset=data_of(method))
    )
    before, after = (batch_norms(model.net) for model in (original, unlearned))
    same = [torch.equal(before[name].running_mean, after[name].running_mean) for name in before]
    assert (
        same == {"all": [True] * 5, "none": [False] * 5, "frozen": [True] * 3 + [False] * 2}[kept]
    )
    assert context.experiment.backbone.name == "tiny"


@pytest.mark.parametrize("reading", ["selective", "printed"])
def test_a_second_round_scores_what_the_first_one_silenced(reading, experiment):
    once, twice = (
        walk(
            experiment(
                *brief("wp"),
                f"method.reading={reading}",
                f"method.rounds={rounds}",
                "method.tuning.steps=0",
                "phi=0.1",
            )
        )
        for rounds in (1, 2)
    )
    context, original, _, unlearned = once
    first = problem_of(context, original.net)
    second = dataclasses.replace(first, net=unlearned.net)
    method = context.experiment.method
    assert not second.net.head.weight[list(context.request.forgotten)].any() or reading == "printed"
    assert any(
        (value != dict(second.net.named_parameters())[name]).any()
        for name, value in method.edit(second).weights.items()
    )
    edited = [
        sum(
            (net.get_parameter(name) != weight).sum()
            for name, weight in original.net.named_parameters()
        )
        for net in (unlearned.net, twice[3].net)
    ]
    assert edited[1] > edited[0] > 0


def test_outputs_that_are_silent_from_the_start_are_refused(experiment):
    context = context_of(experiment("method=wf"))
    original = original_model(context)
    context.task.silence(original.net.head, context.request.forgotten, torch.full((10,), 0.5))
    with pytest.raises(UserError, match="forgotten already"):
        unlearned_model(context, context.experiment.method, original)


def test_outputs_that_are_not_finite_are_refused(experiment):
    context = context_of(
        experiment("method=wf", "method.tuning.lr=1e30", "epsilon=inf", "method.tuning.steps=4")
    )
    with pytest.raises(
        UserError, match=r"outputs are not finite; wf: .* lower method.tuning.lr=1e\+30"
    ):
        unlearned_model(context, context.experiment.method, original_model(context))
