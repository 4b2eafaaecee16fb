"""From a configuration to the objects of a run."""

import pytest

from mlu.launch.build import made, settled
from mlu.launch.compose import composed, values_of
from mlu.system.errors import UserError


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["backbone=timm", "backbone.name=test_vt"],
            "is no model of timm, did you mean 'test_vit'?",
        ),
        (
            ["backbone=vit_b_16", "dataset.image_size=40"],
            "dataset.image_size=40 is no multiple of that: use 32 or 48",
        ),
        (
            ["backbone=resnet18", "backbone.name=resnet19"],
            "backbone.name=resnet19 is no residual network",
        ),
    ],
)
def test_what_an_object_refuses_about_its_settings_is_told_in_its_own_words(
    overrides, says, experiment
):
    with pytest.raises(UserError) as caught:
        experiment(*overrides)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_named_by_a_number_is_the_same_with_and_without_quotes(experiment):
    numbers, words = (
        experiment(f"dataset.labels={labels}", dataset="digits")
        for labels in ("[1,3]", "['1','3']")
    )
    assert numbers.dataset == words.dataset
    assert numbers.config["dataset"] == words.config["dataset"]


@pytest.mark.parametrize("key", ["training", "method", "dataset", "backbone", "logger"])
def test_an_object_that_is_none_of_its_group_is_refused(key, experiment):
    with pytest.raises(UserError) as caught:
        experiment(f"{key}._target_=types.SimpleNamespace")
    assert f"{key}._target_=types.SimpleNamespace is no {key}" in str(caught.value)


def test_a_class_that_is_not_there_is_named_with_where_to_look(experiment):
    with pytest.raises(UserError, match=r"mlu\.methods\.head\.Haed.*see conf/method"):
        experiment("method=head", "method._target_=mlu.methods.head.Haed")


def test_a_value_of_the_configuration_reaches_its_object(experiment):
    run = experiment("method=wf", "phi=0.3", "seed=7", "canaries.withheld=0.2", group="monday")
    assert (run.method.phi, run.seeds.seed, run.canaries.withheld) == (0.3, 7, 0.2)
    assert (run.group, run.with_reference) == ("monday", True)
    assert not experiment("reference=none").with_reference


@pytest.fixture
def values():
    return values_of(composed(["method=wf", "dataset=digits", "logger=none"]))


def test_labels_are_text_and_a_search_decides_nothing(values):
    values["dataset"]["labels"] = [0, 1]
    found = settled(values)
    assert found["dataset"]["labels"] == ["0", "1"]
    assert "search" in values["method"]
    assert "search" not in found["method"]
    assert list(found) == list(values)


def test_an_object_is_built_from_a_part_of_the_values(values):
    values["method"]["phi"] = 0.25
    assert made(values, "method").phi == 0.25
