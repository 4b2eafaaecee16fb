"""The words of a challenge: what it sets comes first, and what it decides cannot be set."""

import json

import pytest

from mlu.launch.audit_words import AUDIT, audit_overrides, check_audit
from mlu.launch.challenge_words import (
    challenge_named,
    challenge_overrides,
    check_submission,
    refuse_known_people,
    replicate_values,
    setting_word,
)
from mlu.launch.compose import values_of
from mlu.runs.challenge import CHALLENGE
from mlu.system.errors import UserError
from tests.support.challenged import LABELS, write_small_challenge
from tests.support.composing import composed_in_parts


@pytest.fixture(scope="module")
def challenge(tmp_path_factory):
    return write_small_challenge(tmp_path_factory.mktemp("worded"))


def values_with(challenge, *words):
    given = [f"challenge={challenge.folder}", *words]
    values = values_of(composed_in_parts(audit_overrides(given), AUDIT), base=AUDIT)
    check_audit(values)
    return values


def test_the_challenge_says_what_is_judged(challenge):
    values = values_with(challenge, "trainer.accelerator=cpu")
    assert values["dataset"]["labels"] == list(LABELS)
    assert (values["dataset"]["images"], values["dataset"]["image_size"]) == (200, 16)
    assert values["backbone"]["name"] == "tiny"
    assert values["forget_label"]["names"] == ["Male"]
    assert list(values["attack"]) == ["aia"]


def test_each_replicate_has_its_seeds_and_its_models(challenge):
    values = values_with(challenge)
    own = replicate_values(values, challenge.facts.replicates[1], {"after": "x"})
    assert (own["seed"], own["dataset"]["seed"], own["after"]) == (2, 2002, "x")
    assert own["unseen"] == "split"
    assert values["dataset"]["seed"] == 0


def test_other_people_are_drawn_for_each_replicate_and_are_new_to_the_models(challenge):
    values = values_with(challenge, "people=500", "out=there")
    refuse_known_people(values, challenge)
    for number, replicate in enumerate(challenge.facts.replicates):
        own = replicate_values(values, replicate, {})
        assert (own["dataset"]["seed"], own["unseen"]) == (500 + number, "all")
        assert own["seed"] == replicate.seed


def test_people_whom_everybody_has_are_no_others(challenge):
    for people in (2000, 2001, 2002):
        values = values_with(challenge, f"people={people}", "out=there")
        with pytest.raises(UserError, match="name a seed that nobody knows"):
            refuse_known_people(values, challenge)
    with pytest.raises(UserError, match="name a folder for what they show"):
        values_with(challenge, "people=500")


@pytest.mark.parametrize(
    "word", ["dataset.images=3", "attack=mia", "seed=1", "after=x.pt", "plicy=x"]
)
def test_what_the_challenge_decides_cannot_be_set(word, challenge):
    with pytest.raises(UserError, match="the challenge itself says what is judged"):
        challenge_overrides([word], challenge.folder)


def test_a_submission_needs_a_challenge(tmp_path):
    nothing = {"challenge": None, "submission": None, "people": None, "out": None}
    check_submission(nothing)
    for key in ("submission", "people"):
        with pytest.raises(UserError, match="challenge=DIR"):
            check_submission({**nothing, key: 5})
    assert challenge_named(["dataset=faces", "challenge=null"]) is None
    assert str(challenge_named(["challenge='a b'"])) == "a b"


def test_a_backbone_that_there_is_not_is_one_line(challenge, tmp_path):
    copy = write_small_challenge(tmp_path)
    content = json.loads((copy.folder / CHALLENGE).read_text())
    content["settings"]["backbone"] = "tniy"
    (copy.folder / CHALLENGE).write_text(json.dumps(content))
    with pytest.raises(UserError, match="backbone='tniy', which there is not"):
        challenge_overrides([], copy.folder)


def test_settings_are_read_as_they_were_written():
    words = [setting_word("dataset.labels", ("No_Beard", "it's")), setting_word("x", True),
             setting_word("dataset.root", "a b")]  # fmt: skip
    assert words == ["dataset.labels=['No_Beard','it\\'s']", "x=true", "dataset.root='a b'"]
