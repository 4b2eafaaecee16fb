"""The words of an audit: policies in files, and refusals that need no torch."""

import pytest

from mlu.launch.audit_words import (
    AUDIT,
    AUDIT_WORDS,
    MODELS,
    audit_overrides,
    check_models,
    concepts_asked,
    policy_overrides,
)
from mlu.launch.compose import values_of
from mlu.launch.keys import read_file
from mlu.launch.options import CONF
from mlu.launch.phrases import GROUP
from mlu.system.errors import UserError
from tests.support.composing import composed_in_parts
from tests.support.forked import Commands
from tests.support.photo_folder import write_lines


def values_with(*words):
    return values_of(composed_in_parts(audit_overrides(words), AUDIT), base=AUDIT)


def test_every_key_of_an_audit_says_what_it_may_be_and_keeps_to_it():
    file = read_file(CONF / f"{AUDIT}.yaml")
    for name, key in file.own.items():
        assert key.phrase is not None, name
        assert key.phrase is GROUP or key.phrase.holds(key.value), name
        assert key.phrase is GROUP or ": " in key.comment, name
    assert set(read_file(CONF / "config.yaml").own) <= set(file.keys)


def test_a_policy_file_stands_before_the_words_of_the_command(tmp_path):
    file = write_lines(tmp_path / "policy.yaml", "max_excess: 0.05", "max_reading: 0.8", "seeds: 2")
    words = ["policy.max_excess=0.03", f"policy={file}", "dataset=csv"]
    assert audit_overrides(words) == [
        "policy.max_excess=0.05",
        "policy.max_reading=0.8",
        "policy.seeds=2",
        "policy.max_excess=0.03",
        "dataset=csv",
    ]
    assert values_with(*words)["policy"] == {
        "max_excess": 0.03,
        "max_loss": 0.02,
        "max_reading": 0.8,
        "min_retained": None,
        "seeds": 2,
    }


def test_a_policy_may_say_null_and_a_word_is_refused_as_a_value(tmp_path):
    file = write_lines(tmp_path / "policy.yaml", "max_reading: null", "max_excess: some words")
    assert policy_overrides(str(file)) == [
        "policy.max_reading=null",
        "policy.max_excess='some words'",
    ]


@pytest.mark.parametrize("word", ["method=wf", "training.epochs=3", "+budget=paper", "keep=best"])
def test_what_decides_nothing_of_an_audit_is_refused(word):
    with pytest.raises(UserError, match="an audit trains nothing"):
        audit_overrides([word])


def test_concepts_come_before_numbers_and_one_is_a_list():
    assert concepts_asked({"concept": "Tall", "numbers": ["age"]}) == ["Tall", "age"]
    assert concepts_asked({"concept": None, "numbers": None}) == []


def test_a_model_is_given_once():
    values = {"attack": {"aia": {}}, "features": None, **dict.fromkeys(MODELS)}
    check_models(values, {"after"})
    check_models(values | {"after": "x.pt"})
    check_models(values | {"features": "x.npz"})
    for wrong, given in (
        (values, ()),
        (values, {"before"}),
        (values | {"after": "x.pt"}, {"after"}),
        (values | {"features": "x.npz"}, {"after"}),
        (values | {"attack": {"aia": {}, "relearn": {}}}, {"after"}),
    ):
        with pytest.raises(UserError):
            check_models(wrong, given)


def test_help_and_refusals_need_no_torch(tmp_path):
    process = Commands("mlu.launch.dataset_command")
    try:
        for words, code, says in (
            (["dataset=csv", "--help"], 0, "most balanced accuracy that any reader may have"),
            (["dataset=csv", "after=gone.pt"], 2, "after=gone.pt does not exist"),
            (["dataset=csv", "forget_label.names=[x]"], 2, "name the model to audit"),
            ([], 2, f"name a data set: python -m mlu.audit {AUDIT_WORDS.usage}"),
        ):
            done = process.run("mlu.audit", words, tmp_path)
            assert (done.code, done.heavy) == (code, []), done.stderr
            assert says in done.stdout + done.stderr
    finally:
        process.end()
