"""Configuration files against the classes that they fill."""

import dataclasses
from pathlib import Path

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from mlu.config import CONF, RULES, config_keys, explain
from mlu.data.attributes import resolve_label
from mlu.errors import UserError

FILES = [file for file in sorted(CONF.glob("*/*.yaml")) if "_target_" in OmegaConf.load(file)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_yaml_mirrors_its_class(file: Path):
    config = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    fields = {field.name: field for field in dataclasses.fields(get_class(config.pop("_target_")))}
    assert set(config) <= set(fields)
    needed = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    assert needed <= set(config)
    if "name" in config:
        assert config["name"] == file.stem


def test_every_rule_is_of_a_key_that_exists():
    nested = {
        f"method.tuning.{key}"
        for key in ("steps", "batch_size", "lr", "momentum", "weight_decay", "schedule", "recalibrate")
    }
    nested |= {f"training.{key}" for key in ("epochs", "batch_size", "lr", "momentum", "weight_decay", "schedule")}
    assert set(RULES) - nested <= set(config_keys())


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
