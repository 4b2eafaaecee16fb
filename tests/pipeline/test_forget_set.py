import numpy as np
import pytest

from mlu.pipeline.context import context_of
from mlu.pipeline.forget_set import PATH, choices_of, forget_set_of
from mlu.pipeline.models import Models
from mlu.pipeline.run import run
from mlu.pipeline.trained import original_model
from mlu.pipeline.unlearned import problem_of

SMALL = ["method.images=32", "method.tuning.steps=1", "attack=none", "reference=none"]


@pytest.fixture
def made(experiment):
    """A context and its original, by the method."""

    def make(*overrides):
        context = context_of(experiment(*SMALL, "forget_set=true", *overrides))
        return context, original_model(context)

    return make


@pytest.mark.parametrize("method", ["wf", "wp"])
def test_the_forget_set_is_what_the_edit_treats(method, made):
    context, original = made(f"method={method}", "method.phi=0.1")
    choices = choices_of(context, context.experiment.method, original.net)
    problem = problem_of(context, original.net)
    settled = context.experiment.method.within(problem)
    edit, before = settled.edit(problem), dict(original.net.named_parameters())
    for layer, chosen in choices[""].items():
        name = f"body.{layer}.weight"
        held = edit.radius[name].isfinite().numpy()
        np.testing.assert_array_equal(chosen, held)
        # Nothing outside W_f is changed by the edit.
        changed = (edit.weights[name] != before[name]).numpy()
        assert not (changed & ~chosen).any()
        assert changed.any()


def test_what_other_labels_would_choose_is_asked_of_the_same_rule(made):
    context, original = made("method=wf", "method.phi=0.1")
    choices = choices_of(context, context.experiment.method, original.net)
    labels = [label for label in context.data.labels if label not in context.experiment.forget]
    assert list(choices) == ["", "retained", *(f"label/{label}" for label in labels)]
    sizes = {
        name: {layer: one.sum() for layer, one in found.items()} for name, found in choices.items()
    }
    assert all(found == sizes[""] for found in sizes.values())
    assert not np.array_equal(choices[""]["block3.conv"], choices["label/Bald"]["block3.conv"])


def test_random_choices_share_what_chance_gives(made):
    """The negative control: weights that were drawn for each label by itself."""
    context, original = made("method=wf", "method.phi=0.3", "method.select=random")
    models = Models(original, None, original, original)
    found = {finding.path: finding for finding in forget_set_of(context, models).findings}
    chance = found[f"{PATH}/retained/by_chance"]
    assert chance.value == pytest.approx(0.3, abs=1e-3)
    assert abs(found[f"{PATH}/retained/overlap"].value - chance.value) < 0.02
    assert found[f"{PATH}/chosen"].value == pytest.approx(0.3, abs=1e-3)


def test_a_run_keeps_its_forget_set_and_figures_of_it(experiment, tmp_path):
    asked = experiment(*SMALL, "forget_set=true", "method=wf", "method.phi=0.1")
    metrics = run(asked).metrics
    assert metrics[f"{PATH}/layer/block2.conv/chosen"] == pytest.approx(0.1, abs=1e-3)
    with np.load(asked.folder / "forget_set.npz") as arrays:
        chosen = {name: arrays[name] for name in arrays.files}
    shares = [one.mean() for one in chosen.values()]
    assert shares == pytest.approx([0.1] * len(shares), abs=0.01)


def test_nothing_is_kept_unless_asked_for_or_where_nothing_is_chosen(experiment):
    context = context_of(experiment("attack=none", "forget_set=true", "method=head"))
    original = original_model(context)
    models = Models(original, None, original, original)
    assert forget_set_of(context, models).weights == {}
    unasked = context_of(experiment(*SMALL, "method=wf"))
    assert forget_set_of(unasked, models).findings == ()


def test_the_threshold_of_section_3_takes_what_is_above_it(made):
    context, original = made("method=wf", "method.threshold=0.2")
    chosen = choices_of(context, context.experiment.method, original.net)[""]
    by_share = made("method=wf", "method.phi=0.2")[0].experiment.method
    ranked = choices_of(context, by_share, original.net)[""]
    for layer, hit in chosen.items():
        # One set holds the other: both take the highest scores.
        smaller, larger = sorted((hit, ranked[layer]), key=np.sum)
        assert not (smaller & ~larger).any()
        assert hit.sum() >= 1
