"""Whole audits: of features, of concepts and numbers, of a module."""

import json

import pytest
import torch
from torch import nn

from mlu.auditing.population import population_of
from mlu.auditing.run import audited
from mlu.auditing.tables import audit_table, rows_of_audit
from mlu.runs.read import read_run
from mlu.runs.verdicts import NO_RETRAIN, verdict_of_runs
from tests.support.audited import (
    features_of,
    few_readers,
    inquiry_with,
    outputs_of_labels,
    write_archive,
    write_people,
)


@pytest.fixture(scope="module", autouse=True)
def _few_readers():
    with few_readers():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = write_people(tmp_path_factory.mktemp("people"))
    write_archive(
        folder / "retrained.npz", after=features_of(0.3, noise=4), before=None, before_outputs=None
    )
    write_archive(
        folder / "unmarked.npz", retrain=None, retrain_outputs=None, before=None,
        before_outputs=None, after_outputs=outputs_of_labels(4.0),
        baseline=features_of(0.0, noise=5), baseline_outputs=outputs_of_labels(0.0),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def of_a_concept(place, _few_readers):
    """The audit of Tall, which is Beard, and of ages, in features that tell both."""
    words = (f"features={place / 'unmarked.npz'}", "concept=Tall", "numbers=age", "policy.seeds=2")
    inquiry = inquiry_with(place, *words, f"out={place / 'concept'}")
    return inquiry, audited(inquiry)


def test_another_retrain_is_not_broken(place):
    words = (f"features={place / 'retrained.npz'}", "forget_label.names=[Male]")
    done = audited(inquiry_with(place, *words, f"out={place / 'retrained'}"))
    assert done.word in ("kept", "not shown")
    assert done.code in (0, 3)
    figure = done.run.figure("original/attack/aia/strongest/balanced_accuracy")
    assert figure.reason == "the model before was not given (before=...)"


def test_a_concept_is_judged_above_the_larger_mark_and_never_above_retrain(of_a_concept):
    _, done = of_a_concept
    (clause,) = done.clauses
    assert f"above {NO_RETRAIN}" in clause.said
    assert "Retrain" not in clause.said
    figures = done.run.figures
    start = "unlearned/attack/aia/label"
    for label in ("Tall", "age"):
        assert figures[f"{start}/{label}/baseline/strongest/excess"] is not None
        assert done.run.figure(f"{start}/{label}/strongest/excess").value is None
    # The outputs of Beard tell who is tall, and so do the retained labels: nothing is beyond these.
    assert figures["proxy/attack/aia/label/Tall/folded_balanced_accuracy"] == 1
    assert figures[f"{start}/Tall/baseline/strongest/excess"] <= 0
    assert done.run.is_silent(f"{start}/Tall/output/balanced_accuracy")
    # Years are in the features, and neither in the retained labels nor in the untrained ones.
    assert figures[f"{start}/age/baseline/strongest/features/excess"] is not None
    assert figures["unlearned/amount/age/features/r2"] > 0.3


def test_what_is_left_can_be_read_again_and_each_draw_has_a_folder(of_a_concept):
    inquiry, done = of_a_concept
    runs = [read_run(done.folder), read_run(done.folder / f"seed-{inquiry.seeds.seed + 1}")]
    assert [run.results.run.seed for run in runs] == [inquiry.seeds.seed, inquiry.seeds.seed + 1]
    judged = verdict_of_runs(runs)
    assert judged.over == NO_RETRAIN
    facts = json.loads((done.folder / "audit.json").read_text())
    assert facts["verdict"] == done.word
    assert facts["seeds"] == [run.results.run.seed for run in runs]
    assert facts["medians"]["age"] > 30
    assert runs[0].figures == done.run.figures
    assert any("There is no Retrain" in note for note in facts["notes"])
    labels = json.loads((done.folder / "labels.json").read_text())
    assert labels["labels"] == ["Male", "Beard", "Hat"]


def test_the_table_has_a_row_for_all_that_was_asked(of_a_concept):
    inquiry, done = of_a_concept
    people = population_of(inquiry)
    rows = [title for title, _ in rows_of_audit(people, retrain=False)]
    assert rows[:4] == [
        "Tall, outputs",
        "Tall, features",
        "Tall, all stages",
        "Tall, any one reader",
    ]
    assert "age, R² of features" in rows
    assert "age, rank correlation of outputs" in rows
    table = audit_table(done.run, people)
    titles = [column.header for column in table.columns]
    assert titles[1:] == ["after", "untrained", "retained labels", "after, above the mark"]
    assert table.row_count == len(rows)


class Small(nn.Module):
    """A classifier of its own."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.fc = nn.Linear(6, 3)

    def forward(self, images):
        return self.fc(self.body(images))


def test_a_module_is_audited_with_other_attacks(place):
    models = {}
    for seed, name in enumerate(("before", "after", "retrain")):
        torch.manual_seed(seed)
        models[name] = Small()
        # Its outputs are to know nothing: they might know each other's labels.
        nn.init.constant_(models[name].fc.weight, 0.1)
    words = ("forget_label.names=[Male]", "attack=[aia,mia]", f"out={place / 'module'}")
    done = audited(inquiry_with(place, *words, models=models))
    assert done.word in ("kept", "broken", "not shown")
    assert done.run.figures["unlearned/attack/mia/combined/auroc"] is not None
    assert done.run.figures["original/test/retained/accuracy"] is not None
    facts = json.loads((done.folder / "audit.json").read_text())
    assert facts["models"]["after"] == {"file": "given in Python", "sha256": None}
