"""The cards of a challenge: what the hub reads, the seeds, the rule, and our ratings."""

import re
from dataclasses import replace

import pytest
import yaml

from mlu.runs.challenge_cards import challenge_card, models_card
from tests.support.challenged import METHODS, write_small_challenge


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    return write_small_challenge(tmp_path_factory.mktemp("carded")).facts


def parts_of(card):
    _, front, body = card.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_card_has_the_seeds_the_limits_and_every_method(facts):
    front, body = parts_of(challenge_card(facts))
    assert "machine-unlearning" in front["tags"]
    assert "license" not in front
    assert "| 1 | 1 | 2001 |" in body
    assert "at most 2 points below Retrain's" in body
    rows = re.findall(r"^\| (\w+) \| (\S+) \| us \| (\w+)", body, re.MULTILINE)
    assert [name for name, *_ in rows] == ["wf", "original", "retrain"]
    assert {name for name, *_ in rows} == set(METHODS)
    assert {name: place for name, place, _ in rows}["retrain"] == "–"


def test_the_code_that_it_shows_can_be_read(facts):
    (code,) = re.findall(r"```python\n(.*?)```", challenge_card(facts), re.DOTALL)
    compile(code, "card", "exec")


def test_a_card_of_models_names_each_file_and_what_they_know(facts):
    sums = {"replicate-1.safetensors": "a" * 64}
    original, retrain = (parts_of(models_card(facts, kind, sums))[1] for kind in
                         ("original", "retrain"))  # fmt: skip
    assert f"`replicate-1.safetensors`, SHA-256 `{'a' * 64}`" in original
    assert "They know all labels" in original
    assert "They never saw the label" in retrain


def test_names_from_a_file_are_shown_as_they_are(facts):
    hostile = {**facts.settings, "forget_label.names": ("<b>|x|",)}
    body = parts_of(challenge_card(replace(facts, settings=hostile)))[1]
    assert "<b>" not in body.replace("\\<b\\>", "")
