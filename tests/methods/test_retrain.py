"""That it never sees the forgotten label: tests/pipeline/test_trained.py."""

import dataclasses

import pytest

from mlu.methods.retrain import Retrain
from mlu.pipeline.context import context_of
from mlu.pipeline.models import models_of
from mlu.system.errors import UserError
from mlu.unlearning.contract import Method


@pytest.mark.parametrize("dataset", ["faces", "digits"])
def test_the_model_that_is_left_is_the_reference_itself(dataset, experiment):
    context = context_of(experiment("method=retrain", "training.epochs=1", dataset=dataset))
    assert isinstance(context.experiment.method, Retrain)
    models = models_of(context)
    assert models.unlearned is models.retrain


def test_it_is_refused_where_no_reference_is_wanted(experiment):
    with pytest.raises(UserError, match="method=retrain is the reference, set reference=retrain"):
        experiment("method=retrain", "reference=none")


def test_it_is_no_method_that_edits_and_serves_both_kinds_of_data():
    assert not issubclass(Retrain, Method)
    assert set(Retrain.tasks) == {"multilabel", "singlelabel"}
    assert [field.name for field in dataclasses.fields(Retrain)] == ["name"]
