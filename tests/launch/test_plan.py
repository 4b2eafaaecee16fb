"""The jobs that a sweep is to have: no two may write into one folder."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from hydra.utils import instantiate

from mlu.launch.compose import register_resolvers
from mlu.launch.options import CONF
from mlu.launch.plan import check_folders, check_search, distinct_jobs, given_to, planned
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


def test_a_method_without_a_strength_is_planned_once(swept):
    words = ["method=wf,head,leace", "strength=0.3,3", "seed=1,2"]
    found = planned(swept("hydra/sweeper=distinct", *words))
    assert found == [
        ["method=wf", "strength=0.3", "seed=1"],
        ["method=wf", "strength=0.3", "seed=2"],
        ["method=wf", "strength=3", "seed=1"],
        ["method=wf", "strength=3", "seed=2"],
        ["method=head", "strength=1", "seed=1"],
        ["method=head", "strength=1", "seed=2"],
        ["method=leace", "strength=1", "seed=1"],
        ["method=leace", "strength=1", "seed=2"],
    ]
    assert len(planned(swept(*words))) == 12


def test_only_equal_jobs_are_left_out():
    jobs = [["method=head", "phi=2"], ["method=head", "phi=3"], ["method=head", "phi=2"]]
    assert distinct_jobs(jobs) == jobs[:2]
    assert distinct_jobs([["ablation=head", "strength=3"]]) == [["ablation=head", "strength=3"]]


def test_a_method_of_ones_own_has_a_strength_where_its_file_refers_to_it(tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("sigma: ${times:0.1,${strength}}\n")
    (tmp_path / "method" / "other.yaml").write_text("sigma: 0.1\n")
    jobs = [[f"method={name}", f"strength={at}"] for name in ("mine", "other") for at in (0, 1, 3)]
    assert len(distinct_jobs(jobs, (tmp_path, CONF))) == 4


def test_the_sweeper_runs_what_was_planned(swept):
    words = ["method=wf,head", "strength=0,1", "seed=1"]
    config = swept("hydra/sweeper=distinct", *words)
    sweeper = instantiate(config.hydra.sweeper)
    assert type(sweeper).__name__ == "DistinctSweeper"
    sweeper.config = config
    assert sweeper.split_arguments(given_to(config), None) == [planned(config)]
    assert sweeper.split_arguments(given_to(config), 2) == [
        planned(config)[:2],
        planned(config)[2:],
    ]
