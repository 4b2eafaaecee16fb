"""How a run is shown where many runs are."""

from dataclasses import replace

import pytest

from mlu.pipeline.subject import tags_within


@pytest.mark.parametrize(
    ("overrides", "title"),
    [
        (["method=wf"], "wf phi=0.02 epsilon=0.1: Male, faces, tiny, seed 42"),
        (
            ["method=wf", "strength=3"],
            "wf phi=0.02 epsilon=0.1 strength=3: Male, faces, tiny, seed 42",
        ),
        (["method=wp", "phi=0.3", "seed=7"], "wp phi=0.3 epsilon=0.1: Male, faces, tiny, seed 7"),
        (["method=head"], "head: Male, faces, tiny, seed 42"),
        (
            ["method=head", "method_seed=7", "split_seed=42"],
            "head: Male, faces, tiny, seed 42 method_seed=7",
        ),
        (
            ["method=head", "requests=[[Male,Bald],[Young]]"],
            "head: Male+Bald, then Young, faces, tiny, seed 42",
        ),
    ],
)
def test_a_title_says_what_tells_a_run_from_others(overrides, title, experiment):
    assert experiment(*overrides).subject.title == title


def test_a_tag_is_no_longer_than_wandb_takes(experiment):
    many = "[Male,Young,Bald,Smiling,Eyeglasses,Blond_Hair,Brown_Hair,Beard]"
    run = experiment("method=head")
    names = tuple(many.strip("[]").split(","))
    tags = tags_within(replace(run, requests=(names,)).subject.tags)
    assert max(map(len, tags)) == 64
    assert "faces" in tags
    assert "seed 42" in tags


def test_a_seed_that_stands_apart_has_a_tag_of_its_own(experiment):
    tags = experiment("method=head", "train_seed=7").subject.tags
    assert {"seed 42", "train_seed 7"} <= {*tags}
    assert not [tag for tag in experiment("method=head").subject.tags if "_seed" in tag]


@pytest.mark.parametrize(
    ("name", "sweep", "group"),
    [
        (None, None, None),
        (None, "monday", "monday"),
        ("table1", None, "table1"),
        ("table1", "monday", "table1 monday"),
    ],
)
def test_runs_of_an_experiment_and_of_a_sweep_stand_together(name, sweep, group, experiment):
    subject = replace(experiment("method=head", group=sweep), name=name).subject
    assert subject.group == group
    assert (name in subject.tags) == (name is not None)
