"""What each key of a configuration must be: every key of every file, against values that it cannot
have."""

import copy
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hydra.errors import HydraException
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlu.launch.check import check_config, check_values
from mlu.launch.compose import composed, explain
from mlu.launch.options import CONF, config_keys
from mlu.launch.rules import OWN_RULES, RULES
from mlu.system.errors import UserError

GLOBAL = ("budget", "preset")
"""Groups whose files set keys at the top level."""
FILES = [
    CONF / "config.yaml",
    *sorted(file for file in CONF.glob("*/*.yaml") if file.parent.name != "experiment"),
]
UNREAD = "method.search"
"""What a search for settings tries; read by it alone."""


def leaves(values: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Paths of all keys, and what they hold."""
    for key, value in values.items():
        if key not in ("defaults", "hydra"):
            yield f"{above}{key}", value
            if isinstance(value, dict) and f"{above}{key}" != UNREAD:
                yield from leaves(value, f"{above}{key}.")


def keys_of(file):
    above = "" if file.parent == CONF or file.parent.name in GLOBAL else f"{file.parent.name}."
    return dict(leaves(OmegaConf.to_container(OmegaConf.load(file)), above))


def first_keys():
    """The keys of each file that none before it has, or for which it has a rule of its own."""
    seen = set()
    for file in FILES:
        own = OWN_RULES.get(f"{file.parent.name}={file.stem}", {})
        keys = {key: value for key, value in keys_of(file).items() if key not in seen or key in own}
        seen |= set(keys)
        if keys:
            yield file, keys


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
def test_every_key_of_every_file_has_a_rule(file):
    assert set(keys_of(file)) <= set(RULES)


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
    # A number may be the name of a class, and nothing at all is told by another check.
    **{
        key: [*FOR_ALL, True, "", [None]]
        for key in ("dataset.default_forget", "forget_label.names")
    },
    "dataset.images": [*FOR_ALL, "many", True, 19, 20.5],
    "phi": [*FOR_ALL, "much", True, -0.1, 1.1],
    "method.search": [5, "text", [], NAN],
    "method.clip": [*FOR_ALL, True, 0, -1],
}
INTERVAL = re.compile(
    r"^\s*(?P<key>\w+):.*(?<!pixels )in [\[(](?P<low>-?[\d.]+), (?P<high>[\d.,]+)[\])]",
    re.MULTILINE,
)


def too_high(file):
    """A number above what the file's own comment allows, by the last part of the key."""
    return {
        found["key"]: float(found["high"].replace(",", "")) + 0.5
        for found in INTERVAL.finditer(file.read_text())
    }


def wrong_values(key, value, file):
    known = EXCEPTIONS.get(key, WRONG[type(value)])
    part = key.rpartition(".")[2]
    return [*known, *([too_high(file)[part]] if part in too_high(file) else [])]


def with_value(config, key, value):
    changed = copy.deepcopy(config)
    OmegaConf.set_struct(changed, False)
    OmegaConf.update(changed, key, value, merge=False)
    return changed


@pytest.mark.parametrize(
    ("file", "keys"), [*first_keys()], ids=lambda part: getattr(part, "stem", "")
)
def test_every_key_takes_what_its_file_says_and_refuses_what_it_cannot_be(file, keys):
    """Text that stands for another value in a file (`${...}`) is of that value's type."""
    config = composed(chosen(file))
    check_config(config)
    for key, written in keys.items():
        value = (
            OmegaConf.select(config, key)
            if isinstance(written, str) and "${" in written
            else written
        )
        value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        for wrong in wrong_values(key, value, file):
            with pytest.raises(UserError) as fault:
                check_values(with_value(config, key, wrong))
            line = str(fault.value)
            assert line.startswith(f"{key} must be "), (key, wrong, line)
            assert repr(wrong) in line
            assert f"set {key}" in line
            assert "\n" not in line


def test_a_rule_of_its_own_is_stricter_only_where_it_says_so():
    for choice, rules in OWN_RULES.items():
        more = ["forget_label.names=[Bald]"] if choice == "dataset=csv" else []
        config = composed([choice, *more])
        for key, (_, text) in rules.items():
            with pytest.raises(UserError, match=re.escape(f"{key} must be {text}, got 'nonsense'")):
                check_values(with_value(config, key, "nonsense"))


def test_a_long_value_is_cut():
    with pytest.raises(
        UserError, match=r"^seed must be a whole .*, got 'x{99}\.\.\.: set seed=\.\.\.$"
    ):
        check_values(with_value(composed([]), "seed", "x" * 5000))


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
SETTABLE = sorted({key for key in config_keys() if not key.startswith(("hydra", UNREAD))})


def refusal(judge, *given):
    """What ends the check of a configuration, or its composition; None where it is accepted."""
    try:
        judge(*given)
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
    assert is_one_line(refusal(check_config, config))


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
    assert is_one_line(refusal(lambda: check_config(composed(words))))
