"""What each key of a configuration must be: every key of every file, against values that it cannot
have."""

import copy
import dataclasses
import math
import re
from contextlib import contextmanager
from typing import Any

import pytest
from hydra.errors import HydraException
from hydra.utils import get_class
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlu.launch.check import check_config, check_values, value_at
from mlu.launch.compose import composed, explain, values_of
from mlu.launch.keys import (
    GLOBAL,
    all_keys,
    describe_keys,
    package_of,
    read_file,
    said_in,
    shared_keys,
)
from mlu.launch.options import CONF
from mlu.launch.phrases import GROUP, TARGET
from mlu.system.errors import UserError

FILES = [
    CONF / "config.yaml",
    *sorted(file for file in CONF.glob("*/*.yaml") if file.parent.name != "experiment"),
]
UNREAD = "method.search"
"""What a search for settings tries; read by it alone."""


def above_of(file):
    """What stands before a file's own keys in a configuration."""
    if file.parent == CONF or package_of(file) == GLOBAL:
        return ""
    return f"{file.parent.name}."


def keys_of(file):
    group = "" if file.parent == CONF else file.parent.name
    return {f"{above_of(file)}{name}": key for name, key in read_file(file, group).own.items()}


def first_keys():
    """The keys of each file that none before it has, or of which it says something else."""
    seen = {}
    for file in FILES:
        keys = keys_of(file)
        keys = {
            name: key
            for name, key in keys.items()
            if key.phrase is not None and seen.get(name) != words(key)
        }
        seen |= {name: words(key) for name, key in keys.items()}
        if keys:
            yield file, keys


def words(key):
    return key.phrase and key.phrase.words


def chosen(file):
    """Overrides by which a file's keys are in the configuration, with which all is as it should be
    otherwise."""
    group = file.parent.name
    words = [] if file.parent == CONF else [f"{group}={file.stem}"]
    more = {"csv": ["forget_label.names=[Bald]"], "timm": ["backbone.name=test_vit"]}
    if group == "forget_label" and file.stem != "default":
        words = [*words, "dataset=csv", "dataset.labels=null"]
    if group == "preset":
        words = [*words, "method=salun"]
    return [*words, *more.get(file.stem, [])]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_key_of_every_file_says_what_it_may_be(file):
    if file.parent.name == "forget_label" and file.stem != "default":
        return  # what their one key may be, default.yaml says
    silent = {name for name, key in keys_of(file).items() if key.phrase is None}
    if file.parent.name == "ablation":
        # A key of one method would be allowed for all of them: only that method's file may say it.
        keys = keys_of(file).items()
        assert silent == {name for name, key in keys if not isinstance(key.value, dict)}
        return
    # What these may be, the first file of the group says.
    assert silent <= ({file.parent.name} & {"budget", "preset"})


@pytest.mark.parametrize("file", [CONF / "shared.yaml", *FILES], ids=lambda file: file.stem)
def test_no_default_breaks_its_own_phrase(file):
    keys = said_in(file) if file.name == "shared.yaml" else keys_of(file)
    for name, key in keys.items():
        written = isinstance(key.value, str) and ("${" in key.value or key.value == "???")
        # Which model of timm, and whose table, only a user can say.
        if key.phrase is None or written or (file.stem, name) == ("timm", "backbone.name"):
            continue
        assert key.phrase.holds(key.value), (name, key)


def test_what_is_said_of_a_class_is_what_the_class_has():
    _, classes = shared_keys()
    for target, keys in classes.items():
        fields = {field.name for field in dataclasses.fields(get_class(target))}
        assert set(keys) - {"_target_"} == fields, target


def test_a_range_is_said_once():
    """A file says nothing of a key of which what it shares with others says the same."""
    groups, classes = shared_keys()
    for file in FILES:
        common = dict(groups.get(file.parent.name, {}))
        for name, key in said_in(file).items():
            if name.endswith("_target_"):
                above = name.removesuffix("_target_")
                more = classes.get(key.value, {})
                common |= {f"{above}{inner}": one for inner, one in more.items()}
        for name, key in said_in(file).items():
            if name in common and key.phrase not in (None, GROUP, TARGET):
                assert key.phrase != common[name].phrase, (file, name)


NAN = math.nan
NESTED = [[{"a": 1}]]
FOR_ALL = [{"a": 1}, NAN, NESTED]
"""What no key can be, but those of a group."""
WRONG: dict[type, list[Any]] = {
    bool: [*FOR_ALL, None, "perhaps", 2, []],
    int: [*FOR_ALL, None, "many", True, -7, [], [1]],
    float: [*FOR_ALL, "much", True, -7.5, [], [0.5]],
    str: [*FOR_ALL, "", 3.5, True],
    list: [*FOR_ALL, True, [None], [[]]],
    type(None): [*FOR_ALL, True, [], ""],
    dict: [None, 5, "text", [], ["a"], NAN],
}
"""By the type of what the file says. A key that may be more than that is among the exceptions."""

EXCEPTIONS = {
    # A cell may be any word, number or truth, below 0 too.
    **{f"dataset.{key}": FOR_ALL for key in ("positive", "negative", "unknown")},
    # Null says that there is no limit, or that something else decides.
    **{
        f"method.tuning.{key}": [*FOR_ALL, "many", True, -7, 2.5, []] for key in ("steps", "epochs")
    },
    # Numbers, in one file found by cross-validation.
    **{f"method.{key}": WRONG[float] for key in ("alpha", "beta")},
    # A number may be the name of a class, and nothing at all is told by another check.
    **{
        key: [*FOR_ALL, True, "", [None]]
        for key in ("dataset.default_forget", "forget_label.names", "concept")
    },
    "dataset.images": [*FOR_ALL, "many", True, 19, 20.5],
    "phi": [*FOR_ALL, "much", True, -0.1, 1.1],
    "method.search": [5, "text", [], NAN],
    "method.clip": [*FOR_ALL, True, 0, -1],
}
INTERVAL = re.compile(r"(?:whole )?number in [\[(](?P<low>-?[\d.]+), (?P<high>[\d.]+)[\])]")


def wrong_values(name, key, value):
    """What a key cannot be, among it a number above what its comment allows."""
    known = EXCEPTIONS.get(name, WRONG[type(value)])
    interval = INTERVAL.match(key.comment)
    return known if interval is None else [*known, float(interval["high"]) + 0.5]


@contextmanager
def with_value(config, key, value):
    """The configuration with another value of a key, until the block ends: a copy takes as long as
    all of its checks."""
    before = value_at(OmegaConf.to_container(config), key)
    OmegaConf.set_struct(config, False)
    OmegaConf.update(config, key, value, merge=False)
    yield config
    OmegaConf.update(config, key, before, merge=False)


@pytest.mark.parametrize(
    ("file", "keys"), [*first_keys()], ids=lambda part: getattr(part, "stem", "")
)
def test_every_key_takes_what_its_file_says_and_refuses_what_it_cannot_be(file, keys):
    """Text that stands for another value in a file (`${...}`) is of that value's type."""
    config = composed(chosen(file))
    values = values_of(config)
    check_config(values)
    for name, key in keys.items():
        value = key.value
        if isinstance(value, str) and "${" in value:
            value = value_at(values, name)
        for wrong in wrong_values(name, key, value):
            with with_value(config, name, wrong) as changed, pytest.raises(UserError) as fault:
                check_values(values_of(changed))
            line = str(fault.value)
            assert line.startswith(f"{name} must be {words(key)}"), (name, wrong, line)
            assert repr(wrong) in line
            assert f"set {name}" in line
            assert "\n" not in line
    assert values_of(config) == values


def test_a_file_says_what_a_key_is_in_it_alone():
    found = {
        choice: describe_keys(values_of(composed([choice]))).keys["method.alpha"].phrase.words
        for choice in ("method=wp", "method=neggrad", "method=ssd", "method=scrub")
    }
    assert list(found.values()) == [
        "a number >= 0, or 'cv'",
        "a number in [0, 1]",
        "a number > 0",
        "a number >= 0",
    ]


def test_a_long_value_is_cut():
    says = r"^seed must be a whole .*, got 'x{99}\.\.\.: set seed=\.\.\.$"
    with (
        with_value(composed([]), "seed", "x" * 5000) as changed,
        pytest.raises(UserError, match=says),
    ):
        check_values(values_of(changed))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        [
            "nan",
            "${epsilon}",
            "${nothing}",
            "${",
            "???",
            "cv",
            "retrain",
            "none",
            "wp",
            "a\nb",
            "\x00",
            "../x",
        ]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=5,
)
SETTABLE = sorted({key for key in all_keys() if not key.startswith(("hydra", UNREAD))})


def refusal(judge):
    """What ends the check of a configuration, or its composition; None where it is accepted."""
    try:
        judge()
    except UserError as fault:
        return str(fault)
    except (HydraException, OmegaConfBaseException) as fault:
        return explain(fault)
    return None


def is_one_line(text):
    return text is None or len(text.splitlines()) == 1


BASES = [
    ["method=scrub"],
    ["dataset=csv", "forget_label.names=[Bald]"],
    ["attack=all", "logger=none"],
    ["backbone=timm"],
]


@pytest.fixture(scope="module")
def bases():
    return [composed(words) for words in BASES]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    base=st.integers(0, len(BASES) - 1),
    changes=st.dictionaries(st.sampled_from(SETTABLE), VALUES, min_size=1, max_size=3),
)
def test_any_values_are_accepted_or_refused_in_one_line(bases, base, changes):
    config = copy.deepcopy(bases[base])
    OmegaConf.set_struct(config, False)
    for key, value in changes.items():
        try:
            OmegaConf.update(config, key, value, merge=False, force_add=True)
        except (OmegaConfBaseException, TypeError, ValueError):
            return  # OmegaConf has no such value: no command line can bring it
    assert is_one_line(refusal(lambda: check_config(values_of(config))))


SIGNS = "=+~@:,.[]{}()$'\"\\ \t\n-_/*abz019ÄéΩ"
WORDS = st.builds(
    "{}{}={}".format,
    st.sampled_from(["", "", "", "+", "++", "~"]),
    st.sampled_from([*SETTABLE, "foo", "method.foo", "dataset@x", "hydra.mode", "hydra/launcher"])
    | st.text(SIGNS, max_size=8),
    st.text(SIGNS, max_size=12)
    | SCALARS.map(str)
    | st.sampled_from(["[1,2]", "{a: 1}", "[[Male]]", "1,2", "null", "[wp,wf]"]),
) | st.text(SIGNS, max_size=12)


@settings(max_examples=120, deadline=None)
@example(words=["~attack=False"])
@example(words=["~attack=[1,2]"])
@example(words=["attack=[1,2]"])
@given(words=st.lists(WORDS, min_size=1, max_size=2))
def test_any_words_are_accepted_or_refused_in_one_line(words):
    assert is_one_line(refusal(lambda: check_config(values_of(composed(words)))))
