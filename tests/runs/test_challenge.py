"""A challenge is read as it was given, or refused in one line."""

import json
import shutil

import pytest
import torch

from mlu.runs.challenge import CHALLENGE, SETTINGS, read_challenge
from mlu.runs.ratings import Limits
from mlu.system.errors import UserError
from mlu.system.store import checksum
from tests.support.challenged import LABELS, METHODS, weights_of, write_small_challenge


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return write_small_challenge(tmp_path_factory.mktemp("given"))


@pytest.fixture
def folder(given, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(given.folder, tmp_path / "copy")


def test_what_was_written_is_read(given):
    facts = given.facts
    assert set(facts.settings) == set(SETTINGS)
    assert facts.settings["dataset.labels"] == LABELS
    assert facts.settings["forget_label.names"] == ("Male",)
    assert [(one.number, one.seed, one.images) for one in facts.replicates] == [
        (1, 1, 2001),
        (2, 2, 2002),
    ]
    assert facts.limits == Limits()
    assert {rating.name for rating in facts.ours} == set(METHODS)
    for replicate in facts.replicates:
        assert facts.files[f"original/{replicate.file}"] == checksum(given.original(replicate))


def test_a_copy_is_the_same_challenge_without_where_it_was(given, folder):
    assert read_challenge(folder).sha256 == given.sha256
    text = "".join(file.read_text() for file in folder.glob("*.*") if file.is_file())
    assert str(given.folder.parent) not in text


def change(folder, **changes):
    content = json.loads((folder / CHALLENGE).read_text())
    (folder / CHALLENGE).write_text(json.dumps({**content, **changes}))


def changed_settings(folder, **changes):
    settings = json.loads((folder / CHALLENGE).read_text())["settings"]
    change(folder, settings={**settings, **changes})


WRONG = {
    "another schema": (lambda f: change(f, schema=2), "its schema is 2"),
    "no replicates": (lambda f: change(f, replicates=[]), "its replicates have the numbers []"),
    "a seed beyond": (
        lambda f: change(f, replicates=[{"number": 1, "seed": -1, "images": 0}]),
        "a seed of replicate 1",
    ),
    "replicates of text": (lambda f: change(f, replicates="many"), "of another kind"),
    "code": (
        lambda f: changed_settings(f, **{"dataset._target_": "os.system"}),
        "it sets 'dataset._target_'",
    ),
    "not all settings": (lambda f: change(f, settings={}), "it does not set dataset.labels"),
    "no limits": (
        lambda f: change(f, limits={"max_loss": float("nan"), "max_label_loss": 0.1}),
        "its limits are (nan, 0.1), not in [0, 1]",
    ),
    "no JSON": (lambda f: (f / CHALLENGE).write_text("{"), "cannot be read"),
    "a list": (lambda f: (f / CHALLENGE).write_text("[]"), "its schema is None"),
    "no file": (lambda f: (f / CHALLENGE).unlink(), "give the folder that experiment=challenge"),
    "no model": (
        lambda f: (f / "retrain" / "replicate-2.safetensors").unlink(),
        "lacks retrain/replicate-2.safetensors",
    ),
    "another model": (
        lambda f: torch.save(weights_of(5), f / "original" / "replicate-1.safetensors"),
        "is not the model that the challenge was made with",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_whole_is_one_line(case, folder):
    damage, says = WRONG[case]
    damage(folder)
    with pytest.raises(UserError) as refusal:
        read_challenge(folder)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_models_that_are_pickled_are_not_read_though_their_checksum_fits(folder):
    file = folder / "original" / "replicate-1.safetensors"
    torch.save(weights_of(5), file)
    files = json.loads((folder / CHALLENGE).read_text())["files"]
    change(folder, files={**files, "original/replicate-1.safetensors": checksum(file)})
    with pytest.raises(UserError, match="is no safetensors file"):
        read_challenge(folder)
