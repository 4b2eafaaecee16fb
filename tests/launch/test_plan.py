"""The jobs that a sweep is to have: no two may write into one folder."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from mlu.launch.compose import register_resolvers
from mlu.launch.options import CONF
from mlu.launch.plan import check_folders, check_search, planned
from mlu.system.errors import UserError

SHARED = {
    "one name": ["phi=2,3", "hydra.sweep.subdir=same"],
    "a name without what differs": ["phi=2,3", "hydra.sweep.subdir=${method.name}/${seed}"],
    "by detours": ["phi=2,3", "hydra.sweep.subdir=${phi}/../same"],
    "the sweep's own folder": ["phi=2,3", "hydra.sweep.subdir=."],
    "one job twice": ["phi=2,2", "hydra.sweep.subdir=${hydra.job.override_dirname}"],
    "what differs left out": [
        "phi=2,3",
        "hydra.sweep.subdir=${hydra.job.override_dirname}",
        "hydra.job.config.override_dirname.exclude_keys=[phi]",
    ],
    "some of many": ["phi=2,3,4", "seed=1,2", "hydra.sweep.subdir=${phi}"],
}


@pytest.fixture
def swept():
    """The configuration of a sweep, as Hydra has it when the sweep begins."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3", job_name="cli"):
        hydra = GlobalHydra.instance().hydra
        yield lambda *words: hydra.compose_config("config", list(words), RunMode.MULTIRUN)


@pytest.mark.parametrize("words", SHARED.values(), ids=SHARED)
def test_a_sweep_whose_jobs_share_a_folder_is_refused(words, swept):
    with pytest.raises(UserError) as refused:
        check_folders(swept("method=head", *words))
    line = str(refused.value)
    (name,) = (word for word in words if word.startswith("hydra.sweep.subdir"))
    assert line.startswith(f"{name}: jobs 0 and 1 would both write into /")
    assert line.endswith("name each job's own, as does hydra.sweep.subdir='${hydra.job.num}'")


APART = {
    "numbers": ["phi=2,2"],
    "numbers by Hydra's resolver": ["phi=2,2", "hydra.sweep.subdir=${hydra:job.num}"],
    "what differs": ["phi=2,3", "hydra.sweep.subdir=${hydra.job.override_dirname}"],
    "folders of each": ["phi=2,3", "hydra.sweep.dir=x/${phi}", "hydra.sweep.subdir=job"],
    "one job": ["phi=2", "hydra.sweep.subdir=same"],
    "trials, which nobody knows": ["hydra/sweeper=optuna", "phi=2,3", "hydra.sweep.subdir=same"],
}


@pytest.mark.parametrize("words", APART.values(), ids=APART)
def test_a_sweep_whose_jobs_have_their_own_folders_is_not(words, swept):
    check_folders(swept("method=head", *words))


def test_what_is_planned_is_what_the_sweeper_does(swept):
    config = swept("seed=5,6", "epsilon=inf")
    config.hydra.sweeper.params = {"phi": "2,3", "seed": "4"}
    assert planned(config) == [
        [f"phi={phi}", f"seed={seed}", "epsilon=inf"] for phi in (2, 3) for seed in (5, 6)
    ]
    assert planned(swept("hydra/sweeper=optuna", "phi=2,3")) is None


SEVERAL = {
    "choices": ["method=wf,neggrad"],
    "a choice by name": ["method=choice(wf,neggrad)"],
    "a pattern": ["method=glob(w*)"],
}


@pytest.mark.parametrize("words", SEVERAL.values(), ids=SEVERAL)
def test_a_search_is_for_the_settings_of_one_method(words, swept):
    with pytest.raises(UserError, match="looks for the settings of one method"):
        check_search(swept("experiment=tune", *words))
    check_search(swept("experiment=tune", "method=wf"))
    check_search(swept(*words))
