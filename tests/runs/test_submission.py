"""Submissions: whatever does not fit is told in one line that names the file and the way out."""

import os
import pickle

import pytest
import torch

from mlu.models.network import ERASER
from mlu.runs.submission import (
    ERASER_NAMES,
    About,
    read_about,
    read_submission,
    submission_folders,
)
from mlu.system.disk import write_tensors
from mlu.system.errors import UserError
from mlu.system.store import checksum
from tests.support.challenged import LABELS, hand_in, weights_of, write_small_challenge

HEAD = "head.weight"


@pytest.fixture(scope="module")
def challenge(tmp_path_factory):
    return write_small_challenge(tmp_path_factory.mktemp("submitted"))


def test_weights_that_fit_are_taken_with_what_their_authors_say(challenge):
    folder = hand_in(challenge, "good")
    (folder / "about.yaml").write_text("method: mine\nseconds: 3\n")
    found = read_submission(folder, challenge)
    assert (found.name, found.about) == ("good", About("mine", 3.0))
    assert found.files == {
        f"replicate-{number}.safetensors": checksum(folder / f"replicate-{number}.safetensors")
        for number in (1, 2)
    }
    assert folder in submission_folders(challenge)


def test_an_eraser_may_come_to_them(challenge):
    assert (f"body.{ERASER}.weight", f"body.{ERASER}.bias") == ERASER_NAMES
    width = weights_of(0)[HEAD].shape[1]
    eraser = dict(zip(ERASER_NAMES, (torch.eye(width), torch.zeros(width)), strict=True))
    read_submission(hand_in(challenge, "erased", **eraser), challenge)


WRONG = {
    "another shape": ({HEAD: torch.ones(len(LABELS), 3)}, "keep the shapes of the original"),
    "another kind": ({HEAD: weights_of(0)[HEAD].half()}, "in F16 where F32 is needed"),
    "not a number": ({HEAD: torch.full_like(weights_of(0)[HEAD], torch.nan)}, "not finite"),
    "infinite": ({HEAD: torch.full_like(weights_of(0)[HEAD], torch.inf)}, "not finite"),
    "one more": ({"head.wieght": torch.ones(1)}, "did you mean 'head.weight'?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_tensors_that_do_not_fit_are_one_line(case, challenge):
    changes, says = WRONG[case]
    folder = hand_in(challenge, case, **changes)
    with pytest.raises(UserError, match=r"replicate-1\.safetensors") as refusal:
        read_submission(folder, challenge)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_tensor_file_or_folder_is_named(challenge, tmp_path):
    lacking = {name: one for name, one in weights_of(91).items() if name != HEAD}
    folder = hand_in(challenge, "lacking")
    write_tensors(folder / "replicate-2.safetensors", lacking)
    with pytest.raises(UserError, match=r"replicate-2\.safetensors lacks 'head\.weight'"):
        read_submission(folder, challenge)

    with pytest.raises(UserError, match=r"lacks replicate-2\.safetensors: unlearn each"):
        read_submission(hand_in(challenge, "half", seeds=(91,)), challenge)
    with pytest.raises(UserError, match="is no folder"):
        read_submission(tmp_path / "gone", challenge)
    with pytest.raises(UserError, match="rename the folder"):
        read_submission(hand_in(challenge, "red\x1b[31m"), challenge)


def test_a_pickle_or_a_pipe_in_the_place_of_weights_is_not_opened(challenge):
    folder = hand_in(challenge, "pickled")
    file = folder / "replicate-1.safetensors"
    file.write_bytes(pickle.dumps(weights_of(91)))
    with pytest.raises(UserError, match="is no safetensors file"):
        read_submission(folder, challenge)

    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UserError, match="lacks"):
        read_submission(folder, challenge)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sekonds: 3", "did you mean 'seconds'?"),
        ("seconds: -1", "seconds must be a number >= 0, got -1"),
        ("seconds: .nan", "seconds must be a number"),
        ("seconds: true", "seconds must be a number"),
        ("image_passes: many", "image_passes must be a number"),
        ("method: [a]", "method must be text"),
        (f"method: {'a' * 101}", "at most 100 characters"),
        ("- method", "a line for each key"),
        ("method: [", "cannot be read as YAML"),
        ("!!python/object/apply:os.system [ls]", "cannot be read as YAML"),
        ("#" * 20_000, "a few lines are enough"),
    ],
)
def test_what_authors_may_not_say_is_one_line(text, says, tmp_path):
    file = tmp_path / "about.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as refusal:
        read_about(file)
    assert says in str(refusal.value)


def test_authors_need_not_say_anything(tmp_path):
    file = tmp_path / "about.yaml"
    assert read_about(file) == About()
    file.write_text("")
    assert read_about(file) == About()
