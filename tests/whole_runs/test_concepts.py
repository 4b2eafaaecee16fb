"""Runs that forget what the model does not output."""

import json
from io import StringIO

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import mlu
from mlu.report.groups import settings_in
from mlu.report.tables import general
from mlu.runs.certificate import certificate_of, certificate_page
from mlu.runs.read import collect
from mlu.runs.tables import attack_table, run_table, verdict_line
from mlu.system.errors import UserError

CONCEPT = ("concept=Male", "method.tuning.steps=20")
READ = "attack/aia/strongest/balanced_accuracy"


@pytest.fixture
def forgotten(finished):
    """The folder of a run that forgets a concept."""
    return finished(*CONCEPT, "method=decorrelate", "method.decorrelation.linear=3")


def run_in(folder):
    (run,) = collect([folder]).runs
    return run


def text_of(table):
    text = StringIO()
    Console(file=text, width=300).print(table)
    return text.getvalue()


def test_what_is_released_has_no_output_for_it_and_is_used_as_any_other(forgotten):
    labels = json.loads((forgotten / "labels.json").read_text())
    weights = load_file(forgotten / "unlearned.safetensors")
    assert "Male" not in labels["labels"]
    assert len(labels["labels"]) == len(labels["correlation"]) == 9
    assert weights["head.weight"].shape[0] == weights["head.bias"].shape[0] == 9

    model = mlu.load(forgotten)
    assert (len(model.labels), model.forgotten) == (9, ())
    said = model(torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert said.shape == (8, 9)
    assert said.std(0).min() > 0  # none of them is silent


def test_figures_stand_beside_the_original_and_above_the_floor(forgotten):
    run = run_in(forgotten)
    assert run.of_concept
    assert run.results.run.forget_label == ("Male",)
    assert run.figures[f"original/{READ}"] > 0.7
    above = run.figure("unlearned/attack/aia/strongest/above_floor")
    assert above.low <= above.value <= above.high
    before = run.figure("original/attack/aia/strongest/above_floor")
    assert before.value > above.value
    # The second derivation: the difference of both figures, where the floor is the better reader's.
    floors = [
        run.figures.get(f"proxy/attack/aia/label/Male/{path}folded_balanced_accuracy")
        for path in ("", "trees/")
    ]
    read = run.figures[f"unlearned/{READ}"]
    assert any(above.value == pytest.approx(read - floor, abs=1e-9) for floor in floors if floor)
    for path in ("retrain/test/retained/accuracy", "unlearned/attack/aia/strongest/excess"):
        found = run.figure(path)
        assert found.value is None
        assert "the original does not output it" in found.reason


def test_nothing_that_is_shown_speaks_of_a_retrained_model(forgotten):
    run = run_in(forgotten)
    for table in (run_table(run), attack_table(run)):
        assert "retrain" not in text_of(table).lower()
    assert "above the floor" in text_of(attack_table(run))
    assert "no output" in text_of(run_table(run))
    said = verdict_line(run)
    assert "points above the floor of the true retained labels" in said
    assert "There is no Retrain" in said

    certificate = certificate_of(forgotten)
    assert certificate["concept"] is True
    assert certificate["verdict"]["word"] is None
    assert {one["verdict"] for one in certificate["figures"]} == {None}
    strongest = next(one for one in certificate["figures"] if one["path"] == READ)
    assert strongest["excess"]["value"] == run.figures["unlearned/attack/aia/strongest/above_floor"]
    page = certificate_page(certificate)
    assert "above the floor" in page
    assert "after − Retrain" not in page

    (setting,) = settings_in(collect([forgotten]))
    table = general(setting)
    titles = [column.title for column in table.columns]
    assert "strongest above the floor" in titles
    assert not [title for title in titles if "Retrain" in title]
    assert "which is no output" in table.ours
    assert "retrain" not in [row.title for row in table.rows]


def test_where_nothing_is_forgotten_it_is_read_as_before(finished):
    """The negative control: the original, and a method that takes no step."""
    for words in (("method=original",), ("method=decorrelate", "method.tuning.steps=0")):
        run = run_in(finished("concept=Male", *words))
        assert run.figures[f"unlearned/{READ}"] == pytest.approx(
            run.figures[f"original/{READ}"], abs=0.03
        )


def test_the_original_of_a_concept_is_the_retrain_of_the_label(experiment):
    from mlu.pipeline.context import context_of
    from mlu.pipeline.trained import original_model, retrained_model

    concept = original_model(context_of(experiment("concept=Male")))
    label = retrained_model(context_of(experiment()))
    for name, value in concept.net.state_dict().items():
        assert torch.equal(value, label.net.state_dict()[name])


def test_a_model_of_the_users_has_no_output_for_it(experiment, forgotten, tmp_path):
    from mlu.pipeline.context import context_of
    from mlu.pipeline.trained import original_model, try_weights

    weights = forgotten / "unlearned.safetensors"
    context = context_of(experiment("concept=Male", f"original.weights={weights}"))
    try_weights(context)
    net = original_model(context).net
    released, column = load_file(weights), context.request.forgotten[0]
    kept = [number for number in range(10) if number != column]
    assert torch.equal(net.head.weight[kept], released["head.weight"])
    assert not net.head.weight[column].any()

    with pytest.raises(UserError, match="were other labels learnt"):
        try_weights(context_of(experiment(f"original.weights={weights}")))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("concept=Mal",), "faces has no label 'Mal', did you mean 'Male'"),
        (("concept=[]",), "concept is empty"),
        (("concept=Male", "method=head"), "method=head is no way to forget it"),
        (("concept=Male", "method=retrain"), "the original has never learnt it"),
        (("concept=Male", "method=boundary"), "it serves classes alone"),
        (("concept=Male", "attack=all"), "asks about an output and Retrain, .* set attack=aia"),
        (("concept=Male", "canaries.withheld=0.2"), "set canaries.withheld=0"),
        (("concept=Male", "forget_label.names=Bald"), "set neither requests nor forget_label"),
        (("concept=Male", "requests=[[Bald],[Young]]"), "set neither requests nor forget_label"),
        (("concept=Male", "objective=speedup"), "there is none where a concept is forgotten"),
    ],
)
def test_what_has_no_meaning_for_a_concept_ends_in_one_line(words, says, experiment):
    with pytest.raises(UserError, match=says) as caught:
        experiment(*words)
    assert "\n" not in str(caught.value)


def test_data_of_classes_are_refused_in_one_line(experiment):
    from mlu.pipeline.context import context_of

    with pytest.raises(UserError, match="must be a label among others, digits has classes"):
        context_of(experiment("concept='3'", dataset="digits"))
