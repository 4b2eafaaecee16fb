"""Samplers: the same trials for the same seed, and no two trials with the same random numbers."""

import optuna
import pytest
from omegaconf import OmegaConf

from mlu.launch.options import CONF
from mlu.launch.sampling import Sampling
from mlu.launch.space import space_of
from mlu.system.errors import UserError

SAMPLERS = sorted(file.stem for file in (CONF / "hydra/sweeper/sampler").glob("*.yaml"))
NUMBERS = space_of(["x=interval(0, 1)", "y=interval(-1, 1)"])
GRID = space_of(["x=range(0, 3)", "y=a,b"])


def sampling(name, space=NUMBERS, **changes):
    config = OmegaConf.load(CONF / "hydra/sweeper/sampler" / f"{name}.yaml")
    return Sampling(OmegaConf.merge(config, changes), space)


def search(found, study, trials):
    """Params of so many more trials."""
    drawn = []
    for _ in range(trials):
        study.sampler = found.of(len(study.trials))
        trial = study.ask()
        study.sampler = found.of(trial.number)
        found.space.draw(trial)
        drawn.append(tuple(trial.params.values()))
        study.sampler = optuna.samplers.RandomSampler()
        study.tell(trial, float(trial.params["x"]))
    return drawn


def space_for(name):
    return GRID if name == "grid" else NUMBERS


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_the_same_for_a_seed_and_nothing_twice_when_it_goes_on(name):
    space = space_for(name)
    study = optuna.create_study()
    first = search(sampling(name, space, seed=1), study, 3)
    # As a second command does: a sampler of its own, on the study that is there.
    second = search(sampling(name, space, seed=1), study, 3)
    assert len(set(first + second)) == 6
    assert search(sampling(name, space, seed=1), optuna.create_study(), 3) == first
    if name != "qmc":
        assert search(sampling(name, space, seed=2), optuna.create_study(), 3) != first


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "grid"])
def test_trials_drawn_at_the_same_time_differ(name):
    found, study = sampling(name, seed=1), optuna.create_study()
    drawn = set()
    for _ in range(4):
        study.sampler = found.of(0)
        trial = study.ask()
        study.sampler = found.of(trial.number)
        found.space.draw(trial)
        drawn.add(tuple(trial.params.values()))
    assert len(drawn) == 4


def test_without_a_seed_every_search_is_another():
    drawn = [search(sampling("tpe"), optuna.create_study(), 1) for _ in range(2)]
    assert drawn[0] != drawn[1]


def test_a_grid_ends():
    found, study = sampling("grid", GRID), optuna.create_study()
    assert not found.is_exhausted(study)
    drawn = search(found, study, 6)
    assert set(drawn) == {(x, y) for x in range(3) for y in "ab"}
    assert found.is_exhausted(study)
    assert not sampling("tpe").is_exhausted(study)


@pytest.mark.parametrize(
    ("name", "changes", "line"),
    [
        ("tpe", {"seed": -1}, "hydra.sweeper.sampler.seed must be a whole number in"),
        ("tpe", {"seed": "one"}, "hydra.sweeper.sampler.seed must be a whole number in"),
        ("tpe", {"seed": 2**32}, "hydra.sweeper.sampler.seed must be a whole number in"),
        ("tpe", {"unknown": 1}, "hydra.sweeper.sampler: .*unknown"),
        ("tpe", {"_target_": "optuna.samplers.Nothing"}, "hydra.sweeper.sampler: .*Nothing"),
        ("nsgaii", {"population_size": 1}, "hydra.sweeper.sampler: .*population_size"),
        ("grid", {}, "sampler=grid: x has too many values to try all"),
    ],
)
def test_a_sampler_that_cannot_be_made_is_one_line(name, changes, line):
    with pytest.raises(UserError, match=line):
        sampling(name, **changes)
