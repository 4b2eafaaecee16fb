"""What an attack gives where it says nothing of its own, and what every yaml of conf/attack is."""

import dataclasses

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from mlu.attacks.contract import Attack, ShadowsWanted, Victim
from mlu.launch.options import CONF
from mlu.metrics.findings import Finding

YAMLS = {
    file.stem: OmegaConf.load(file)[file.stem]
    for file in sorted((CONF / "attack").glob("*.yaml"))
    if file.stem in OmegaConf.load(file)
}


@dataclasses.dataclass(frozen=True)
class Least(Attack):
    """An attack with nothing but what it must have."""

    name = "least"

    def observe(self, victim):
        return {}

    def conclude(self, evidence):
        return ()

    def compare(self, evidence, reference):
        return ()


def test_an_attack_needs_no_shadow_models_and_knows_nothing_before_a_model():
    assert Least().needs() is None
    assert Least().without_model(victim=None) == {}


def test_a_victim_comes_without_shadow_models_unless_an_attack_needs_them():
    left = {field.name: field.default for field in dataclasses.fields(Victim)}
    assert left["shadows"] is None
    assert left["matched"] is None


@pytest.mark.parametrize("missing", ["observe", "conclude", "compare"])
def test_an_attack_without_one_of_its_three_parts_is_none(missing):
    parts = {name: getattr(Least, name) for name in ("observe", "conclude", "compare")}
    parts.pop(missing)
    with pytest.raises(TypeError, match=f"abstract method '?{missing}'?"):
        type("Lacking", (Attack,), parts)()


@pytest.mark.parametrize("name", YAMLS)
def test_every_attack_is_frozen_and_called_as_its_file(name, experiment):
    assert issubclass(get_class(YAMLS[name]._target_), Attack)
    (attack,) = experiment(f"attack={name}").attacks
    assert attack.name == name
    with pytest.raises(dataclasses.FrozenInstanceError):
        attack.name = "another"


@pytest.mark.parametrize("name", YAMLS)
def test_without_evidence_there_is_no_figure_that_has_a_value(name, experiment):
    (attack,) = experiment(f"attack={name}").attacks
    findings = [*attack.conclude({}), *attack.compare({}, None), *attack.compare({}, {})]
    assert all(isinstance(found, Finding) and found.value is None for found in findings)


def test_only_the_attack_by_shadow_models_asks_for_them(experiment):
    needs = {name: experiment(f"attack={name}").attacks[0].needs() for name in YAMLS}
    assert {name for name, wanted in needs.items() if wanted is not None} == {"lira"}
    assert isinstance(needs["lira"], ShadowsWanted)
    assert needs["lira"].count % 2 == 0
