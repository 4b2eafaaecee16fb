"""Configuration files against the classes that they fill."""

import dataclasses
from pathlib import Path

import pytest
from hydra.utils import get_class
from omegaconf import ListConfig, OmegaConf

from mlu.data.labels import resolve_label
from mlu.launch.check import SEARCH, check_config
from mlu.launch.compose import composed, explain, values_of
from mlu.launch.keys import all_keys
from mlu.launch.options import CONF
from mlu.runs.rows import DECLARED
from mlu.system.errors import UserError

ATTACKS = ("aia", "lira", "mia", "relearn")


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
        *((name, (name,)) for name in ATTACKS),
    ],
)
def test_attacks_are_named_one_by_one_together_or_not_at_all(attack, names, experiment):
    assert {found.name for found in experiment(f"attack={attack}").attacks} == set(names)


@pytest.mark.parametrize(
    "override",
    [
        "attack.aia.images=19",
        "attack.aia.strength=0",
        "attack.aia.hidden=0",
        "attack.lira.shadows=7",
        "attack.lira.shadows=4",
        "attack.lira.a=1.5",
        "attack.lira.gamma=0",
        "attack.lira.jobs=0",
        "attack.relearn.samples=8",
        "attack.relearn.samples=[]",
        "attack.relearn.samples=[8,3]",
        "attack.relearn.recovered=0",
        "attack.relearn.cap=0",
        "attack.relearn.lr=-1",
        "canaries.withheld=1",
        "canaries.flipped=2",
    ],
)
def test_an_impossible_attack_is_refused_before_anything_is_trained(override, experiment):
    key = override.split("=")[0].replace(".", r"\.")
    with pytest.raises(UserError, match=rf"^{key} must be"):
        experiment("attack=all", override)


def test_keys_inside_keys_can_be_guessed_as_well():
    assert {"attack.aia.strength", "method.tuning.lr", "canaries.withheld"} <= set(all_keys())


def test_fine_tuning_without_an_end_is_refused(experiment):
    with pytest.raises(UserError, match="both null"):
        experiment("method=finetune", "method.tuning.epochs=null")
    with pytest.raises(UserError, match=r"method\.tuning\.epochs must be a whole number"):
        experiment("method=scrub", "method.tuning.epochs=null", "method.tuning.steps=3")


@pytest.mark.parametrize(
    ("method", "alpha"), [("wp", "cv"), ("neggrad", 1), ("ssd", 10), ("scrub", 2)]
)  # fmt: skip
def test_alpha_means_something_else_in_every_method(method, alpha, experiment):
    assert experiment(f"method={method}", f"method.alpha={alpha}").method.alpha == alpha
    wrong = {"wp": -1, "neggrad": 2, "ssd": 0, "scrub": "cv"}[method]
    with pytest.raises(UserError, match=r"method\.alpha must be"):
        experiment(f"method={method}", f"method.alpha={wrong}")


@pytest.mark.parametrize(
    ("name", "labels", "found"),
    [
        ("Gender", ["Male"], "Male"),
        ("Male", ["Gender"], "Gender"),
        ("Young_Old", ["Young"], "Young"),
        ("3", ["3"], "3"),
    ],
)
def test_either_spelling_is_accepted(name, labels, found):
    assert resolve_label(name, labels, "toy") == found


def test_a_near_miss_of_the_papers_name_is_suggested():
    with pytest.raises(UserError, match="did you mean 'Gender'"):
        resolve_label("Gendr", ["Male", "Young"], "toy")


def test_what_hydra_says_becomes_one_line():
    assert "\n" not in explain(ValueError("first\nsecond"))
    assert explain(ValueError("")) == "ValueError"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["backbone=timm", "backbone.name=test_vt"],
            "is no model of timm, did you mean 'test_vit'?",
        ),
        (
            ["backbone=vit_b_16", "dataset.image_size=40"],
            "dataset.image_size=40 is no multiple of that: use 32 or 48",
        ),
        (
            ["backbone=resnet18", "backbone.name=resnet19"],
            "backbone.name=resnet19 is no residual network",
        ),
    ],
)
def test_what_an_object_refuses_about_its_settings_is_told_in_its_own_words(
    overrides, says, experiment
):
    with pytest.raises(UserError) as caught:
        experiment(*overrides)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_named_by_a_number_is_the_same_with_and_without_quotes(experiment):
    numbers, words = (
        experiment(f"dataset.labels={labels}", dataset="digits")
        for labels in ("[1,3]", "['1','3']")
    )
    assert numbers.dataset == words.dataset
    assert numbers.config["dataset"] == words.config["dataset"]


def test_a_method_of_a_user_s_own_may_have_keys_of_its_own(tmp_path):
    """Any, where its yaml says nothing of them."""
    (tmp_path / "method").mkdir()
    own = "name: mine\n_target_: mine.Mine\nown: 1\n"
    (tmp_path / "method" / "mine.yaml").write_text(own)
    check_config(
        values_of(composed(["method=mine", "+method.more=x"], [tmp_path])), (tmp_path, CONF)
    )
    with pytest.raises(UserError, match=r"there is no key 'method\.own' of method=wp"):
        check_config(values_of(composed(["+method.own=1"])))
