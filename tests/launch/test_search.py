"""A search: begun, gone on with, and refused, with jobs that only say what they were asked."""

import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import optuna
import pytest
import yaml
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf
from optuna.trial import TrialState

from hydra_plugins.mlu_optuna import OursAlone
from mlu.launch.compose import register_resolvers
from mlu.launch.database import opened
from mlu.launch.options import CONF
from mlu.launch.search import trials_before
from mlu.system.errors import UserError
from tests.support.command_line import ROOT

ONE = ("objective=speedup", "phi=interval(0.01, 0.3)", "hydra.sweeper.sampler.seed=1")


class Jobs:
    """A launcher that runs nothing: a job gives phi, or what a test says."""

    def __init__(self, folder):
        self.folder, self.batches, self.config = folder, [], None
        self.give = lambda values: values["phi"]

    def launch(self, job_overrides, initial_job_idx):
        self.batches.append((initial_job_idx, [list(words) for words in job_overrides]))
        return [self.job(words, initial_job_idx + n) for n, words in enumerate(job_overrides)]

    def job(self, words, number):
        parsed = OverridesParser.create().parse_overrides(list(words))
        given = self.give({one.key_or_group: one.value() for one in parsed})
        folder = {"hydra": {"runtime": {"output_dir": str(self.folder / str(number))}}}
        return JobReturn(
            hydra_cfg=OmegaConf.create(folder), status=JobStatus.COMPLETED, _return_value=given
        )

    def drawn(self, key="phi"):
        jobs = [words for _, batch in self.batches for words in batch]
        found = [dict(word.split("=", 1) for word in words).get(key) for words in jobs]
        return [float(one) for one in found]


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    found = Jobs(tmp_path / "jobs")

    def instantiate_launcher(self, hydra_context, task_function, config):
        found.config = config
        return found

    monkeypatch.setattr(Plugins, "instantiate_launcher", instantiate_launcher)
    monkeypatch.chdir(tmp_path)
    return found


def search(jobs, *words):
    """`python launch.py -m hydra/sweeper=optuna ...` up to the launcher; its batches."""
    register_resolvers()
    before = len(jobs.batches)
    given = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", *words, f"outputs={jobs.folder}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        config = hydra.compose_config(
            "config", given, run_mode=RunMode.MULTIRUN, with_log_configuration=False
        )
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
        sweeper = Plugins.instance().instantiate_sweeper(
            hydra_context=context, task_function=lambda config: None, config=config
        )
        sweeper.sweep(list(config.hydra.overrides.task))
    return jobs.batches[before:]


def studies(storage):
    database = opened(storage)
    return {
        name: optuna.load_study(study_name=name, storage=database)
        for name in optuna.get_all_study_names(database)
    }


def refused(jobs, capsys, *words):
    """The line with which a search is refused: nothing is launched, exit code 2."""
    with pytest.raises(SystemExit) as end:
        search(jobs, *words)
    assert end.value.code == 2
    assert jobs.batches == []
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("storage", ["sqlite:///new/o.db", "o.log"])
def test_the_same_command_goes_on_with_a_search(storage, jobs, caplog):
    caplog.set_level("INFO")
    command = (*ONE, f"hydra.sweeper.storage={storage}", "hydra.sweeper.direction=maximize")
    search(jobs, *command)
    assert "going on with" not in caplog.text
    search(jobs, *command)
    ((name, study),) = studies(storage).items()
    assert f"going on with study {name}: 2 trials are there" in caplog.text
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 4
    assert len(set(jobs.drawn())) == 4
    # Jobs of both could lie in one folder.
    assert [number for number, _ in jobs.batches] == [0, 1, 2, 3]
    assert [folder for folder, _ in trials_before()] == [jobs.folder / "0", jobs.folder / "1"]
    assert [trial.params["phi"] for trial in study.trials] == jobs.drawn()
    assert study.best_value == max(jobs.drawn())
    (_, other) = sorted(jobs.folder.glob("sweeps/*/optimization_results.yaml"))
    assert yaml.safe_load(other.read_text())["best_value"] == max(jobs.drawn())


def test_a_seed_draws_the_same_trials_and_memory_keeps_none(jobs):
    search(jobs, *ONE)
    search(jobs, *ONE)
    first, second = jobs.drawn()[:2], jobs.drawn()[2:]
    assert first == second
    assert len(set(first)) == 2
    assert trials_before() == []


@pytest.mark.parametrize(
    "change",
    [
        "phi=interval(0.01, 0.4)",
        "hydra.sweeper.direction=maximize",
        "method=wf",
        "+hydra.sweeper.params.epsilon=0.3",
        "hydra.sweeper.custom_search_space=mlu.launch.tune.suggest",
    ],
)
def test_another_search_is_another_study_and_never_joins_one_of_its_name(change, jobs, capsys):
    base = (*ONE, "hydra.sweeper.storage=o.log")
    search(jobs, *base, "hydra.sweeper.study_name=s", "hydra.sweeper.n_trials=1")
    jobs.batches.clear()
    line = refused(jobs, capsys, *base, change, "hydra.sweeper.study_name=s")
    assert line.startswith("hydra.sweeper.study_name=s is there and is another search (")
    assert len(studies("o.log")["s"].trials) == 1


@pytest.mark.parametrize(
    "change",
    [
        "logger=none",
        "hydra/sweeper/sampler=random",
        "phi=interval(0.010, 0.30)",
    ],
)
def test_what_decides_no_figure_does_not_part_a_search(change, jobs):
    base = (*ONE, "hydra.sweeper.storage=o.log")
    search(jobs, *base)
    search(jobs, *base, change)
    assert [len(study.trials) for study in studies("o.log").values()] == [4]


def test_trials_of_a_search_that_was_killed_count_as_failed(jobs, caplog):
    caplog.set_level("INFO")
    base = (*ONE, "hydra.sweeper.storage=o.log")
    search(jobs, *base)
    ((_, study),) = studies("o.log").items()
    ended = subprocess.Popen(["true"])
    ended.wait()
    for process in (ended.pid, os.getpid()):
        trial = study.ask()
        trial.set_user_attr("host", socket.gethostname())
        trial.set_user_attr("process", process)
    search(jobs, *base)
    states = [trial.state for trial in study.trials]
    assert states[2:4] == [TrialState.FAIL, TrialState.RUNNING]
    assert states[4:] == [TrialState.COMPLETE] * 2
    assert "which count as failed: 1" in caplog.text


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, UserError("the launcher fell")])
def test_a_search_that_ends_leaves_no_trial_running(end, jobs):
    def give(values):
        raise end

    jobs.give = give
    with pytest.raises(end if isinstance(end, type) else UserError):
        search(jobs, *ONE, "hydra.sweeper.storage=o.log")
    (study,) = studies("o.log").values()
    assert [trial.state for trial in study.trials] == [TrialState.FAIL]


@pytest.mark.parametrize(
    ("rate", "n_jobs", "launched"),
    [(1.0, 2, 6), (0.5, 2, 6), (0.4, 2, 2), (0.0, 1, 2), (0.4, 3, 4)],
)
def test_failed_trials_end_a_search_only_where_that_is_asked_for(rate, n_jobs, launched, jobs):
    jobs.give = lambda values: None if len(jobs.batches) % 2 == 0 else values["phi"]
    settings = (f"hydra.sweeper.max_failure_rate={rate}", f"hydra.sweeper.n_jobs={n_jobs}")
    found = search(jobs, *ONE, *settings, "hydra.sweeper.n_trials=6", "hydra.sweeper.storage=o.log")
    assert len(found) == launched
    (study,) = studies("o.log").values()
    told = [trial.values is not None for trial in study.trials]
    assert told == [number % 2 == 0 for number in range(launched)]


@pytest.mark.filterwarnings("ignore:(?s).*is validated against ConfigStore schema")
def test_jobs_at_the_same_time_are_drawn_together(jobs):
    found = search(
        jobs,
        *ONE,
        "hydra/launcher=joblib",
        "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.n_trials=5",
    )
    assert [(number, len(batch)) for number, batch in found] == [(0, 2), (2, 2), (4, 1)]
    assert len(set(jobs.drawn())) == 5


def test_a_file_of_somebody_else_is_left_as_it_is(jobs):
    folder = jobs.folder / "mine"
    folder.mkdir(parents=True)
    (folder / "optimization_results.yaml").write_text("my own\n")
    search(jobs, *ONE, f"hydra.sweep.dir={folder}")
    assert (folder / "optimization_results.yaml").read_text() == "my own\n"
    search(jobs, *ONE, f"hydra.sweep.dir={folder}/other")
    search(jobs, *ONE, f"hydra.sweep.dir={folder}/other", "hydra.sweeper.sampler.seed=2")
    best = yaml.safe_load((folder / "other" / "optimization_results.yaml").read_text())
    assert best["best_value"] == min(jobs.drawn()[4:])


def test_several_figures_have_their_own_directions(jobs):
    jobs.give = lambda values: (values["phi"], 1 - values["phi"])
    search(
        jobs,
        *ONE[1:],
        "objective=[speedup,work_ratio]",
        "hydra.sweeper.direction=[maximize,minimize]",
    )
    (file,) = jobs.folder.glob("sweeps/*/optimization_results.yaml")
    (best,) = yaml.safe_load(file.read_text())["solutions"]
    assert best["values"] == [max(jobs.drawn()), 1 - max(jobs.drawn())]


def test_a_grid_is_tried_once_over_two_commands(jobs):
    base = ("objective=speedup", "phi=0.1,0.2,0.3", "hydra/sweeper/sampler=grid")
    for _ in range(3):
        search(jobs, *base, "hydra.sweeper.storage=o.log")
    assert sorted(jobs.drawn()) == [0.1, 0.2, 0.3]


def test_params_are_said_before_the_command_line(jobs):
    params = '+hydra.sweeper.params={phi: "interval(0,1)", epsilon: 0.3, seed: "range(0,9)"}'
    (first, _) = search(jobs, "objective=speedup", "seed=7", params)
    (words,) = first[1]
    assert [word for word in words if not word.startswith("phi=")] == [
        "epsilon=0.3",
        "objective=speedup",
        "seed=7",
        f"outputs={jobs.folder}",
    ]


def test_a_function_may_draw_more(jobs, capsys):
    tune = ("experiment=tune", "method=wf", "hydra.sweeper.n_trials=1")
    jobs.give = lambda values: (0.5, 0.1)
    (batch,) = search(jobs, *tune, "method.phi=0.2")
    keys = [word.split("=")[0] for word in batch[1][0]]
    assert "method.tuning.lr" in keys
    assert keys.count("method.phi") == 1
    jobs.batches.clear()
    assert "method=head has nothing to tune" in refused(
        jobs, capsys, "experiment=tune", "method=head"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["phi=interval(0, 1)"], "nothing to look at: set objective="),
        (["objective=speedup", "phi=0.1"], "nothing to draw: write a key with its values"),
        ([*ONE, "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials must be a whole number >= 1"),
        ([*ONE, "hydra.sweeper.n_jobs=two"], "hydra.sweeper.n_jobs must be a whole number >= 1"),
        ([*ONE, "hydra.sweeper.max_failure_rate=2"], "max_failure_rate must be a number in [0, 1]"),
        ([*ONE, "hydra.sweeper.direction=up"], "direction must be minimize or maximize"),
        ([*ONE, "hydra.sweeper.direction=[maximize,maximize]"], "is for 2 figures"),
        ([*ONE, "hydra.sweeper.sampler.seed=x"], "hydra.sweeper.sampler.seed must be"),
        ([*ONE, "hydra/sweeper/sampler=grid"], "phi has too many values to try all"),
        ([*ONE, "hydra.sweeper.storage=o.db"], "write hydra.sweeper.storage=sqlite:///o.db"),
        ([*ONE, "hydra.sweeper.storage=mysql://me:pw1@h/o"], "install the driver"),
        ([*ONE, "phi=interval(1, 0)"], "phi=interval(1, 0): there is nothing to draw"),
        ([*ONE, "hydra.sweeper.custom_search_space=a.b"], "hydra.sweeper.custom_search_space=a.b"),
        (
            [
                *ONE[1:],
                "objective=[speedup,work_ratio]",
                "hydra.sweeper.direction=[maximize,minimize]",
                "hydra/sweeper/sampler=cmaes",
            ],
            "hydra.sweeper.sampler: ",
        ),
    ],
)
def test_a_search_that_cannot_begin_is_one_line(words, line, jobs, capsys):
    said = refused(jobs, capsys, *words)
    assert line in said
    assert "pw1" not in said
    assert not jobs.folder.exists()


@pytest.mark.parametrize("given", ["word", "environment"])
def test_a_password_is_in_no_configuration_of_a_job(given, jobs, monkeypatch):
    """The first database that is asked for is a stand-in: there is no server here."""
    url = "mysql+pymysql://me:pw1@host/o"
    monkeypatch.setenv("SEARCHES", url)
    monkeypatch.setattr("mlu.launch.search.opened", lambda storage: opened("o.log"))
    word = url if given == "word" else "${oc.env:SEARCHES}"
    search(jobs, *ONE, f"hydra.sweeper.storage='{word}'")
    assert "pw1" not in OmegaConf.to_yaml(jobs.config)
    assert jobs.config.hydra.sweeper.storage is None
    assert "hydra.sweeper.storage=null" in jobs.config.hydra.overrides.hydra
    assert "pw1" not in (jobs.folder.parent / "o.log").read_text()


def test_ours_is_meant_where_the_plugin_of_the_same_name_is_installed():
    """Its configurations would be merged with ours, or end the command."""
    store = ConfigStore.instance()
    store.store(
        group="hydra/sweeper",
        name="optuna",
        node={"_target_": "hydra_plugins.other.Sweeper", "defaults": [{"sampler": "tpe"}]},
        provider="optuna_sweeper",
    )
    store.store(
        group="hydra/sweeper/sampler",
        name="tpe",
        node={"_target_": "optuna.samplers.TPESampler", "consider_prior": True},
        provider="optuna_sweeper",
    )
    OursAlone().manipulate_search_path(SimpleNamespace())
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        config = hydra.compose_config(
            "config",
            ["hydra/sweeper=optuna"],
            run_mode=RunMode.MULTIRUN,
            with_log_configuration=False,
        )
    assert config.hydra.sweeper._target_ == "hydra_plugins.mlu_optuna.OptunaSweeper"
    assert "consider_prior" not in config.hydra.sweeper.sampler


def test_hydra_finds_the_search_without_importing_it():
    code = (
        "import sys; from hydra.core.plugins import Plugins; "
        "names = {found.__name__ for found in Plugins.instance().discover()}; "
        "print('OptunaSweeper' in names, {'optuna', 'torch', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "True set()\n", done.stderr
