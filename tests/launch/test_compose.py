"""Configuration files against the classes that they fill."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import ListConfig, OmegaConf, open_dict

from mlu.launch.check import SEARCH, check_config
from mlu.launch.compose import composed, explain, register_resolvers, values_of
from mlu.launch.keys import all_keys
from mlu.launch.options import CONF
from mlu.runs.rows import DECLARED
from mlu.system.errors import UserError
from tests.conftest import BRIEF, TINY
from tests.support.composing import composed_in_parts

ATTACKS = ("aia", "lira", "mia", "relearn")
"""Those of `attack=all`."""


def own(file: Path):
    """What a file says of its object; an attack's stands under the attack's name, so that there may
    be several."""
    config = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return config.get(file.stem, config)


FILES = [file for file in sorted(CONF.glob("*/*.yaml")) if "_target_" in own(file)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_yaml_mirrors_its_class(file: Path):
    config = own(file)
    fields = {field.name: field for field in dataclasses.fields(get_class(config.pop("_target_")))}
    config.pop(SEARCH, None)
    config = {key: value for key, value in config.items() if key not in DECLARED}
    assert set(config) <= set(fields)
    needed = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    assert needed <= set(config)
    if config.get("name") is not None:
        assert config["name"] == file.stem


PRESETS = sorted((CONF / "preset" / "methods" / "source").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda file: file.stem)
def test_a_preset_names_only_keys_of_its_method_and_composes(preset: Path, experiment):
    own, changed = OmegaConf.load(CONF / "method" / preset.name), OmegaConf.load(preset)
    assert set(changed) <= set(own)
    register_resolvers()
    changed = OmegaConf.create({"strength": 1.0, "method": own, "changed": changed}).changed
    method = experiment(f"method={preset.stem}", "preset=source", dataset="digits").method
    for key, value in changed.items():
        if key != "tuning":
            assert getattr(method, key) == (
                value if not isinstance(value, ListConfig) else list(value)
            )
    for key, value in changed.get("tuning", {}).items():
        assert getattr(method.tuning, key) == value
    # What is said on the command line stands above the preset.
    if "tuning" in changed:
        assert (
            experiment(
                f"method={preset.stem}", "preset=source", "method.tuning.epochs=1"
            ).method.tuning.epochs
            == 1
        )


def test_a_method_without_a_preset_says_who_has_one(experiment):
    with pytest.raises(
        UserError, match=r"preset=source: there is none for method=wp, only for .*salun"
    ):
        experiment("method=wp", "preset=source")


@pytest.mark.parametrize(
    ("attack", "names"),
    [
        ("none", ()),
        ("all", ATTACKS),
        ("[mia,aia]", ("aia", "mia")),
        ("durability", ("durability",)),
        ("importance", ("importance",)),
        *((name, (name,)) for name in ATTACKS),
    ],
)
def test_attacks_are_named_one_by_one_together_or_not_at_all(attack, names, experiment):
    assert {found.name for found in experiment(f"attack={attack}").attacks} == set(names)


def test_keys_inside_keys_can_be_guessed_as_well():
    assert {"attack.aia.strength", "method.tuning.lr", "canaries.withheld"} <= set(all_keys())


def test_what_hydra_says_becomes_one_line():
    assert "\n" not in explain(ValueError("first\nsecond"))
    assert explain(ValueError("")) == "ValueError"


PRESETS = {
    "of a file without one": ["method=mine", "preset=source"],
    "of a method without one": ["method=wf", "preset=source"],
    "of nothing": ["method=original", "preset=source"],
}


@pytest.mark.parametrize("case", PRESETS)
def test_a_preset_that_would_change_nothing_is_refused(case, tmp_path):
    """Found settings go by a file's name, and presets do too: of both only one can count."""
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text((CONF / "method" / "scrub.yaml").read_text())
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        searched = f"hydra.searchpath=['file://{tmp_path}']"
        config = compose("config", [searched, *PRESETS[case]], return_hydra_config=True)
    name = PRESETS[case][0].removeprefix("method=")
    with pytest.raises(UserError, match=f"preset=source: there is none for method={name}, only"):
        values_of(config, (tmp_path, CONF))


@pytest.mark.parametrize(
    "more",
    [
        ["method=wf", "method.tuning.steps=3", "epsilon=inf"],
        ["training.epochs=2", "budget=paper", "dataset=digits", "dataset.images=3"],
        ["attack=[mia,relearn]", "attack.relearn.cap=2", "+training.clip=1", "forget_label=bald"],
        ["experiment=tune", "method=scrub", "requests=[[Male],[Young]]"],
    ],
)
def test_what_tests_compose_in_parts_is_what_hydra_composes(more):
    for _ in range(2):  # the second takes the files from the first
        found = composed_in_parts([*TINY["faces"], *BRIEF, *more])
        assert found == composed([*TINY["faces"], *BRIEF, *more])
        found.seed = 1


STRENGTHS = {
    "boundary": {"tuning.epochs": (0, 1, 4, 12, 40)},
    "cfk": {"tuning.epochs": (0, 1, 2, 6, 20)},
    "finetune": {"tuning.epochs": (0, 1, 2, 6, 20)},
    "jit": {"tuning.epochs": (0, 0, 1, 3, 10)},
    "lfssd": {"alpha": (1e10, 10 / 0.3, 10.0, 10 / 3, 1.0)},
    "neggrad": {"alpha": (1.0, 0.4 / 0.58, 0.4, 0.4 / 2.2, 0.0625)},
    "orthograd": {"alpha": (1.0, 0.5 / 0.65, 0.5, 0.25, 0.5 / 5.5)},
    "salun": {"tuning.epochs": (0, 1, 2, 6, 20)},
    "scrub": {"tuning.epochs": (0, 1, 2, 6, 20), "max_passes": (0, 1, 2, 6, 20)},
    "ssd": {"alpha": (1e10, 10 / 0.3, 10.0, 10 / 3, 1.0)},
    "unsir": {"tuning.epochs": (0, 0, 1, 3, 10)},
    **{
        method: {"decorrelation.gaussian": (0.0, 0.06, 0.2, 0.6, 2.0)}
        for method in ("decorrelate", "wf", "wp")
    },
}
"""What a strength of 0, 0.3, 1, 3 and 10 makes of the keys that follow it."""


def method_of(*overrides):
    """The keys of a method as a run has them; what a search tries is no part of it."""
    found = values_of(composed_in_parts(overrides))["method"]
    return {key: value for key, value in flat(found).items() if not key.startswith(SEARCH)}


def flat(values, above=""):
    found = {}
    for key, value in values.items():
        inner = value if isinstance(value, dict) and key != SEARCH else None
        found |= {f"{above}{key}": value} if inner is None else flat(inner, f"{above}{key}.")
    return found


@pytest.mark.parametrize("method", sorted(file.stem for file in (CONF / "method").glob("*.yaml")))
def test_a_strength_changes_what_follows_it_and_nothing_else(method):
    default, following = method_of(f"method={method}"), STRENGTHS.get(method, {})
    for place, strength in enumerate((0, 0.3, 1, 3, 10)):
        if not following and strength != 1:
            with pytest.raises(UserError, match=f"strength={strength:g} changes nothing of method"):
                method_of(f"method={method}", f"strength={strength}")
            continue
        found = method_of(f"method={method}", f"strength={strength}")
        assert found == default | {
            key: pytest.approx(values[place]) for key, values in following.items()
        }
        assert {key: type(value) for key, value in found.items()} == {
            key: type(value) for key, value in default.items()
        }


@pytest.mark.parametrize(
    ("words", "task"),
    [
        (["dataset=faces"], "multilabel"),
        (["dataset=multidigits"], "multilabel"),
        (["dataset=mufac"], "singlelabel"),
        (["dataset=csv"], "multilabel"),
        (["dataset=csv", "dataset.list_column=tags"], "multilabel"),
        (["dataset=csv", "dataset.class_column=kind"], "singlelabel"),
        (["dataset=csv", "dataset.class_column=''"], "multilabel"),
        (["dataset=cifar10", "dataset.task=multilabel"], "multilabel"),
    ],
    ids=" ".join,
)
def test_a_default_by_task_follows_what_the_data_set_says(words, task):
    config = composed_in_parts(words)
    with open_dict(config):
        config.method.lr = "${by_task:0.5,[7]}"
    values = values_of(config)
    assert values["dataset"]["task"] == task
    assert values["method"]["lr"] == {"multilabel": 0.5, "singlelabel": [7]}[task]


@pytest.mark.parametrize("task", ["multilabel", "singlelabel"])
def test_a_data_set_that_does_not_say_its_task_has_the_defaults_of_several_labels(task):
    config = composed_in_parts([f"dataset.task={task}"])
    with open_dict(config):
        del config.dataset.task
        config.method.lr = "${by_task:0.5,[7]}"
    assert values_of(config)["method"]["lr"] == 0.5


WRITTEN = re.compile(r"\$\{(?:times|over|outweighed):(.+),\$\{strength\}\}")


@pytest.mark.parametrize("words", [[], ["preset=source"], ["budget=paper"]], ids=" ".join)
@pytest.mark.parametrize("method", STRENGTHS)
def test_at_strength_1_each_key_is_to_the_bit_what_stands_before_the_comma(method, words):
    """With the same type: else each model that was made before would be made anew."""
    if words == ["preset=source"] and method in ("wf", "wp"):
        return  # they have none
    config = composed_in_parts([f"method={method}", *words])
    plain = OmegaConf.to_container(config, resolve=False)
    stood = {
        key: WRITTEN.fullmatch(value).group(1)
        for key, value in flat(plain["method"]).items()
        if isinstance(value, str) and "${strength}" in value
    }
    assert set(stood) == set(STRENGTHS[method])
    for key, text in stood.items():
        with open_dict(config):
            config.was = yaml.safe_load(text)
        for strength in ("1", "1.0"):
            found = method_of(f"method={method}", *words, f"strength={strength}")[key]
            assert (found, type(found)) == (config.was, type(config.was)), key


@pytest.mark.parametrize("value", ["abc", "-1", ".inf", ".nan", "[1]", "null", "true", "1e400"])
def test_a_strength_that_none_can_be_is_told_by_its_own_key(value):
    config = composed_in_parts(["method=scrub", f"strength={value}"])
    with pytest.raises(UserError, match=r"^strength must be a number >= 0"):
        check_config(values_of(config))


def test_a_strength_of_what_was_set_by_hand_is_refused():
    own = ["method=ssd", "method.alpha=3.0"]
    assert method_of(*own)["alpha"] == 3.0
    with pytest.raises(UserError, match="strength=2 changes nothing of method=ssd as it is set"):
        method_of(*own, "strength=2")
