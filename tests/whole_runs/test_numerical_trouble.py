"""Numbers that go wrong end with one line or with a null and its reason, never with a NaN in a
table."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mlu.launch.build import made
from mlu.launch.compose import composed, values_of
from mlu.methods.weight_pruning import by_percentiles, treated
from mlu.metrics.findings import Trial
from mlu.metrics.labels import label_figures
from mlu.metrics.trials import trial_findings
from mlu.models.tasks import MultiLabel
from mlu.pipeline import run as pipeline
from mlu.pipeline.context import context_of
from mlu.pipeline.models import treated_model
from mlu.pipeline.trained import original_model
from mlu.report.groups import settings_in
from mlu.report.paper import tables_of
from mlu.report.tables import general
from mlu.report.writers import markdown
from mlu.runs.read import collect
from mlu.system.errors import UserError
from mlu.unlearning.edits import top_fraction
from tests.conftest import METHODS
from tests.support.made_outputs import outputs_of
from tests.support.photo_folder import write_lines, write_photos

NO_NUMBER = re.compile(r"\b(nan|inf|infinity)\b", re.IGNORECASE)
SMALL = ("training.epochs=1", "attack=none")
ATTACKED = (
    "training.epochs=1",
    "attack=[aia,mia,relearn]",
    "attack.aia.hidden=1",
    "attack.relearn.samples=[8]",
    "attack.relearn.cap=2",
    "attack.relearn.draws=1",
)


@pytest.fixture
def run(experiment, tmp_path, capsys):
    """Runs the pipeline and holds what it leaves against the law of this file.

    Returns the results.
    """

    def from_overrides(*overrides, dataset="faces"):
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        folder.mkdir()
        results = pipeline.run(experiment(*overrides, dataset=dataset, folder=folder))
        written = json.loads((folder / "results.json").read_text(), parse_constant=pytest.fail)
        for path, value in results.figures().items():
            assert (value is None) == (path in written["missing"]), path
        (setting,) = settings_in(collect([folder]))
        report = markdown([general(setting), *tables_of([setting])], (), "report", folder)
        for shown in (capsys.readouterr().out, report):
            assert not NO_NUMBER.search(shown)
        return results.to_json()

    return from_overrides


@pytest.fixture
def stopped(experiment):
    """The line with which a run stops."""

    def from_overrides(*overrides, **options):
        with pytest.raises(UserError) as error:
            pipeline.run(experiment(*overrides, **options))
        assert "\n" not in str(error.value)
        return str(error.value)

    return from_overrides


@pytest.fixture
def photos(tmp_path):
    """Writes pictures of noise and a table of labels; returns the overrides that read it."""

    def from_columns(**columns):
        images = len(next(iter(columns.values())))
        names = [f"{number}.png" for number in range(images)]
        write_photos(tmp_path / "photos", names)
        rows = zip(names, *columns.values(), strict=True)
        write_lines(tmp_path / "photos" / "labels.csv", f"image,{','.join(columns)}", *(
            ",".join(map(str, row)) for row in rows
        ))  # fmt: skip
        split = ("dataset.split=official", "dataset.split_column=part") if "part" in columns else ()
        return (
            f"dataset.root={tmp_path / 'photos'}",
            f"dataset.prepared={tmp_path / 'prepared'}",
            *split,
        )

    return from_columns


def noise(images, seed):
    return np.random.default_rng(seed).integers(0, 2, images).tolist()


def test_training_that_diverges_says_so_and_what_to_lower(stopped):
    line = stopped("training.lr=1e30", "training.epochs=1")
    assert "training.lr" in line
    assert "1e+30" in line


TUNED = sorted(set(METHODS) - {"original", "retrain", "head", "leace", "splince", "ssd", "lfssd"})
WILD = ("method.tuning.lr=1e30", "method.tuning.steps=4", *SMALL, "reference=none")


@pytest.mark.parametrize("method", TUNED)
def test_fine_tuning_that_diverges_says_so_and_what_to_lower(method, stopped):
    brief = {
        "unsir": ["method.noise_steps=2"],
        "wf": ["method.images=32"],
        "wp": ["method.images=32"],
    }.get(method, ())
    line = stopped(
        f"method={method}", *WILD, *brief, dataset="digits" if method == "boundary" else "faces"
    )
    assert method in line
    assert "method.tuning.lr" in line


PARTS = ["train"] * 40 + ["validation"] * 24 + ["test"] * 20
EVERY = ("original", "retrain", "unlearned")


@pytest.mark.parametrize(("part", "value"), [("train", 0), ("validation", 1), ("test", 0)])
def test_a_label_that_does_not_vary_in_a_split_has_reasons_there_and_figures_elsewhere(
    part, value, run, photos
):
    beard = [
        value if here == part else flip for here, flip in zip(PARTS, noise(84, 1), strict=True)
    ]
    source = photos(part=PARTS, Beard=beard, Hat=noise(84, 2))
    how = ("forget_label.names=[Beard]", "method=wf", "method.tuning.steps=2")
    results = run(*source, *(ATTACKED if part != "train" else SMALL), *how, dataset="csv")
    metrics, missing = results["metrics"], results["missing"]
    for split in ("train", "validation", "test"):
        for model in EVERY:
            path = f"{model}/{split}/forgotten/balanced_accuracy"
            assert (metrics[path] is None) == (split == part)
            assert metrics[f"{model}/{split}/retained/auroc"] is not None
            assert metrics[f"{model}/{split}/forgotten/accuracy"] is not None
            if split == part:
                assert "Beard does not occur both ways" in missing[path]
    if part != "train":
        assert {metrics[f"{model}/attack/aia/features/balanced_accuracy"] for model in EVERY} == {
            None
        }


def test_a_label_that_everybody_has_is_forgotten_without_figures_of_it(run, photos):
    source = (*photos(Beard=noise(40, 1), Hat=[1] * 40, Cap=noise(40, 3)), *SMALL)
    steps = ("method=wf", "method.tuning.steps=2", "forget_label.names=[Hat]")
    metrics = run(*source, *steps, dataset="csv")["metrics"]
    assert metrics["unlearned/test/forgotten/auroc"] is None
    assert metrics["unlearned/test/forgotten/accuracy"] == 1
    assert metrics["unlearned/test/retained/auroc"] is not None


@pytest.mark.parametrize("cell", [0, ""], ids=["nobody has", "nobody knows"])
def test_a_label_that_nobody_is_known_to_have_is_refused(cell, stopped, photos):
    source = (*photos(Beard=[cell] * 40, Hat=noise(40, 3)), *SMALL, "forget_label.names=[Beard]")
    assert (
        stopped(*source, dataset="csv")
        == "no image of csv has 'Beard': choose another forget_label"
    )


def test_a_label_that_no_training_image_knows_can_be_silenced_and_nothing_else(
    run, stopped, photos
):
    beard = [
        "" if here == "train" else flip for here, flip in zip(PARTS, noise(84, 1), strict=True)
    ]
    source = (
        *photos(part=PARTS, Beard=beard, Hat=noise(84, 2)),
        *SMALL,
        "forget_label.names=[Beard]",
    )
    metrics = run(*source, "method=head", dataset="csv")["metrics"]
    assert metrics["unlearned/train/forgotten/accuracy"] is None
    for method in ("wf", "wp"):
        line = stopped(*source, f"method={method}", dataset="csv")
        assert "no training image is known to have what is to be forgotten" in line


def test_a_network_whose_features_are_all_zero_is_measured_as_one_that_knows_nothing(
    run, experiment, tmp_path
):
    state = original_model(context_of(experiment(*SMALL))).net.state_dict()
    for name in ("weight", "bias"):
        state[f"body.block5.bn.{name}"] = torch.zeros_like(state[f"body.block5.bn.{name}"])
    save_file(
        {name: value.contiguous() for name, value in state.items()}, tmp_path / "dead.safetensors"
    )
    dead = (
        f"original.weights={tmp_path / 'dead.safetensors'}",
        "dataset.images=160",
        "reference=none",
    )
    metrics = run(
        *dead,
        "attack=aia",
        "attack.aia.hidden=1",
        "attack.aia.images=40",
        "method=finetune",
        "method.tuning.steps=0",
    )["metrics"]
    for path in (
        "test/forgotten/auroc",
        "attack/aia/features/balanced_accuracy",
        "attack/aia/features/auroc",
    ):
        assert metrics[f"unlearned/{path}"] == 0.5


@pytest.fixture
def forgotten(experiment):
    """Weights of the convolutions of the original and of what a method leaves, which are finite."""

    def from_overrides(*overrides):
        context = context_of(
            experiment(
                *SMALL,
                *overrides,
                "method.soft=0",
                "method.decorrelation.linear=0",
                "method.decorrelation.gaussian=0",
            )
        )
        original = original_model(context)
        found = [
            model.net.state_dict() for model in (original, treated_model(context, original, None))
        ]
        assert all(value.isfinite().all() for state in found for value in state.values())
        names = [name for name in found[0] if name.endswith("conv.weight")]
        return [torch.cat([state[name].flatten() for name in names]) for state in found]

    return from_overrides


READINGS = [
    (method, reading) for method in ("wf", "wp") for reading in ("selective", "above", "printed")
]


@pytest.mark.parametrize("phi", [0, 1])
@pytest.mark.parametrize(("method", "reading"), READINGS)
def test_none_or_all_of_the_weights(method, reading, phi, forgotten):
    """With epsilon = 0 what was edited stays as the edit left it; inf is free."""
    how = (f"method={method}", f"method.reading={reading}", f"phi={phi}", "method.images=32")
    # Else fewer images might be scored where steps are made.
    how = (*how, "method.share=null")
    before, edited = forgotten(*how, "method.tuning.steps=0", "epsilon=0")
    changed = edited != before
    # Weight Pruning as printed has no use for phi.
    assert (method, reading) == ("wp", "printed") or changed.any() == bool(phi)
    if phi and reading == "selective":
        _, bound = forgotten(*how, "method.tuning.steps=2", "epsilon=0")
        _, free = forgotten(*how, "method.tuning.steps=2", "epsilon=inf")
        assert torch.equal(bound[changed], edited[changed])
        assert not torch.equal(free[changed], edited[changed])


def test_the_printed_rule_does_nothing_where_three_quarters_of_the_weights_have_no_importance():
    """Its upper percentile is then 0, and what is not below that is kept."""
    layer = torch.ones(8)
    method = made(values_of(composed(["method=wp", "method.reading=printed"])), "method")

    def pruned(*scores):
        importance = torch.tensor(scores)
        part = by_percentiles(method, None, {"a": importance}, {})["a"]
        return treated(layer, importance, part.zeroed, part.kept)

    assert torch.equal(pruned(0.0, 0, 0, 0, 0, 0, 0, 1), layer)
    assert not torch.equal(pruned(0.0, 0, 1, 2, 3, 4, 5, 6), layer)


def test_a_batch_may_be_larger_than_the_data_and_a_rest_of_one_image_is_left_out(run, photos):
    """Of 84 images 54 are trained on: in batches of 53, and then in one."""
    source = photos(
        part=["train"] * 54 + ["validation"] * 15 + ["test"] * 15,
        Beard=noise(84, 1),
        Hat=noise(84, 2),
    )
    sizes = (
        "training.batch_size=53",
        "method.tuning.batch_size=4096",
        "forget_label.names=[Beard]",
    )
    steps = (
        "method=finetune",
        "method.tuning.epochs=2",
        "method.tuning.steps=null",
        "method.tuning.recalibrate=0",
    )
    work = run(*source, *SMALL, *sizes, *steps, dataset="csv")["work"]
    assert (work["retrain"]["backward"], work["unlearn"]["backward"]) == (53, 2 * 54)


def test_splits_of_two_images_have_figures_or_reasons(run, photos):
    parts = ["train"] * 20 + ["validation"] * 2 + ["test"] * 2
    source = photos(part=parts, Beard=[*noise(20, 1), 0, 1, 0, 1], Hat=[*noise(20, 2), 1, 1, 1, 1])
    results = run(*source, *ATTACKED, "forget_label.names=[Beard]", "method=head", dataset="csv")
    metrics, missing = results["metrics"], results["missing"]
    assert metrics["unlearned/test/forgotten/auroc"] == 0.5
    assert metrics["unlearned/test/retained/auroc"] is None
    assert (
        "fewer than 10 validation images"
        in missing["unlearned/attack/aia/features/balanced_accuracy"]
    )


def test_hardly_any_canaries_are_too_few_to_ask_about(run):
    few = (
        "canaries.withheld=0.001",
        "attack=mia",
        "training.epochs=1",
        "reference=none",
        "method=head",
    )
    few += ("dataset.images=100",)
    missing = run(*few)["missing"]
    assert "fewer than" in missing["original/attack/mia/loss_forgotten/auroc"]


CONSTANT = {
    "balanced_accuracy": (0.5, 0.5),
    "auroc": (0.5, 0.5),
    "average_precision": (0.25, 0.25),
    "f1": (0.0, 0.4),
    "mutual_information": (0.0, 0.0),
    "accuracy": (0.75, 0.25),
    "recall": (0.0, 1.0),
    "positive_rate": (0.0, 1.0),
}


@pytest.mark.parametrize("says", [0, 1])
def test_an_output_that_is_always_the_same_has_the_figures_that_the_docstring_says(says):
    found = label_figures(MultiLabel(), outputs_of([1.0, 0, 0, 0] * 5, [4.0 * says - 2] * 20))
    for metric, expected in CONSTANT.items():
        assert found[metric].value[0] == pytest.approx(expected[says], abs=1e-12), metric


@pytest.mark.parametrize("said", [-1.0, 0.0, 1.0])
def test_an_attacker_who_always_says_the_same_knows_nothing(said):
    trial = Trial(np.full(40, said), np.arange(40) < 10, np.arange(40))
    found = {finding.path.split("/")[1]: finding for finding in trial_findings("x", trial)}
    for metric in ("balanced_accuracy", "auroc", "folded_balanced_accuracy", "folded_auroc"):
        assert found[metric].value == 0.5
    for metric in ("mutual_information", "information_bound", "mutual_information_corrected"):
        assert found[metric].value == pytest.approx(0, abs=1e-12)
    assert all(
        np.isfinite([one.value, one.low or 0, one.high or 0]).all() for one in found.values()
    )


@pytest.mark.parametrize("score", [0.0, 1.0, 1e30])
@pytest.mark.parametrize("phi", [0, 0.3, 0.5, 1])
def test_of_equal_scores_exactly_the_fraction_is_taken(score, phi):
    assert top_fraction(torch.full((3, 5), score), phi).sum() == round(15 * phi)
