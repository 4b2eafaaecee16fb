"""What a run is called on a dashboard."""

from pathlib import Path

import pytest
from wandb import Settings

from mlu.pipeline.subject import Subject, at_most, called, named_tags, tags_within

FOLDER = Path("/outputs/sweeps/monday/0")
PLAIN = Subject("wf phi=0.1: Male, faces", None, "wf", ("faces", "seed 1"))
IN_SWEEP = Subject("wf phi=0.1: Male, faces", "monday", "wf", ("faces",), in_sweep=True)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {"name": PLAIN.title, "group": None, "job_type": "wf", "dir": FOLDER}),
        ({"WANDB_NAME": "mine"}, {"name": "mine"}),
        ({"WANDB_RUN_NAME": "mine"}, {"name": "mine"}),
        ({"WANDB_NAME": ""}, {"name": PLAIN.title}),
        ({"WANDB_TAGS": "a, b ,,faces"}, {"tags": ["faces", "seed 1", "a", "b"]}),
        ({"WANDB_RUN_GROUP": "ours"}, {"group": "ours"}),
        ({"WANDB_JOB_TYPE": "baseline"}, {"job_type": "baseline"}),
        ({"WANDB_DIR": "/scratch"}, {"dir": Path("/scratch")}),
        # W&B reads these itself, of a run of its own.
        ({"WANDB_RUN_ID": "abc", "WANDB_RESUME": "must"}, {"name": PLAIN.title}),
    ],
)
def test_the_environment_comes_before_what_a_run_is_called_by_itself(environ, expected):
    found = called(PLAIN, FOLDER, environ)
    assert {key: found[key] for key in expected} == expected
    assert not {"id", "resume"} & set(found)


def test_jobs_of_a_sweep_share_an_environment_and_stay_apart():
    environ = {"WANDB_NAME": "mine", "WANDB_RUN_ID": "abc", "WANDB_RESUME": "must"}
    one, other = (called(IN_SWEEP, FOLDER.with_name(job), environ) for job in "01")
    assert one["name"] == f"mine: {IN_SWEEP.title}"
    assert one["group"] == "monday"
    assert one["id"] != other["id"]
    assert one["id"].startswith("abc-")
    assert one["id"] == called(IN_SWEEP, FOLDER, environ)["id"]
    assert one["resume"] == "allow"


LONG = "+".join(f"label_{number}" for number in range(40))


@pytest.mark.parametrize(
    ("text", "most"), [(LONG, 128), (LONG, 64), ("ä" * 200, 128), ("x" * 129, 128)]
)
def test_what_is_too_long_is_shortened_and_stays_its_own(text, most):
    found = {at_most(f"{text[:90]}{middle}{text[90:]}, seed 42", most) for middle in "abc"}
    assert len(found) == 3
    assert all(len(one) <= most and one.endswith(", seed 42") for one in found)
    assert all(one[:10] == text[:10] and "…" in one for one in found)


@pytest.mark.parametrize("text", ["", "a", "x" * 128, "wf: Male, faces"])
def test_what_is_short_enough_is_as_it_is(text):
    assert at_most(text, 128) == text


def test_half_a_letter_of_a_file_name_can_be_sent():
    at_most("a\udcff", 128).encode()


@pytest.mark.parametrize("words", [("a", "", "a"), (LONG, f"{LONG}+more")])
def test_tags_are_such_as_wandb_takes(words):
    tags = tags_within(words)
    assert len(tags) == len({*words} - {""})
    assert Settings(run_tags=tags).run_tags == tuple(tags)
    assert tuple(named_tags({"WANDB_TAGS": ",".join(words)})) == tuple(tags)
