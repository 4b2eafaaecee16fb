"""Jobs at the same time, by every launcher: they share the cache, and find what they find one after
the other."""

import json
import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor

import joblib
import pytest

from mlu.runs.layout import CONFIG, FAILURE, RESULTS
from mlu.system.process import tune_process
from tests.support import killing
from tests.support.command_line import launch
from tests.support.killing import ended as ended_with
from tests.support.killing import started
from tests.support.made_slurm import write_slurm

TINY = [
    "dataset.images=300",
    "dataset.image_size=16",
    "training.epochs=1",
    "trainer.accelerator=cpu",
    "logger=none",
]
SHADOWS = 6
ATTACK = ["attack=lira", f"attack.lira.shadows={SHADOWS}", "attack.lira.jobs=1"]
SWEEP = [
    "-m",
    *TINY,
    *ATTACK,
    "method=finetune",
    "method.tuning.steps=2",
    "method.tuning.lr=0,0.01,0.02",
]
"""The first of its three jobs fails."""

# At least two jobs at the same time, each with one thread; Hydra's own files are here, there or
# nowhere.
LAUNCHERS = {
    "joblib": [f"hydra.launcher.n_jobs={max(2, joblib.cpu_count())}", "hydra.output_subdir=null"],
    "submitit_local": ["hydra.output_subdir=asked"],
    "submitit_slurm": ["hydra.launcher.cpus_per_task=1", "hydra.launcher.partition=fast"],
    "ray": ["hydra.launcher.ray.init.num_cpus=2", "hydra.output_subdir=null"],
}


def environment(**more):
    """Where nothing says how many threads to use, and tables are not cut."""
    return (
        {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        | {"COLUMNS": "200"}
        | more
    )


def decided(results):
    """All but dates and times; the device tells the threads as well."""
    facts = {
        key: results["run"][key] for key in ("method", "seed", "config_hash", "data", "device")
    }
    return facts | {key: results[key] for key in ("metrics", "missing", "work", "work_ratio")}


def ended(sweep):
    return [json.loads((sweep / job / RESULTS).read_text()) for job in ("1", "2")]


@pytest.fixture(scope="module")
def one_after_the_other(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    assert ended_with(started(killing.launch, folder, SWEEP)) == 1
    (sweep,) = folder.glob("sweeps/*")
    return [decided(results) for results in ended(sweep)]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_jobs_at_once_train_nothing_twice_and_find_the_same(
    launcher, one_after_the_other, tmp_path
):
    write_slurm(tmp_path / "bin")
    meeting = f"folder: '{tmp_path}', jobs: [1, 2]"
    done = launch(
        tmp_path,
        *SWEEP,
        f"hydra/launcher={launcher}",
        f"+hydra.callbacks.meeting={{_target_: tests.support.meeting.Meeting, {meeting}}}",
        *LAUNCHERS[launcher],
        env=environment(PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}"),
    )
    assert done.returncode == 1, done.stderr
    (sweep,) = tmp_path.glob("sweeps/*")
    found, folders = ended(sweep), [sweep / "1", sweep / "2"]
    assert max((job / CONFIG).stat().st_mtime for job in folders) < min(
        (job / RESULTS).stat().st_mtime for job in folders
    )
    assert [decided(results) for results in found] == one_after_the_other
    for stage in ("original", "retrain"):
        assert len(list(tmp_path.glob(f"cache/{stage}/*/manifest.json"))) == 1
        assert sorted(results["measured"][stage]["cached"] for results in found) == [False, True]
        assert len({results["measured"][stage]["date"] for results in found}) == 1
    # None of the shadow models that both need was made twice. By the second kind they have met, and
    # each makes some.
    logs = [(job / "cli.log").read_text() for job in folders]
    for kind in ("", ", retrained"):
        made = [re.findall(rf"shadow model (\d) of {SHADOWS}{kind}: training", log) for log in logs]
        assert sorted(made[0] + made[1]) == [str(number + 1) for number in range(SHADOWS)]
    assert all(made)
    # The one that failed is recorded, and the sweep's table stands at its end.
    assert not (sweep / "0" / RESULTS).exists()
    error = "UserError: method.tuning.lr must be a number > 0, got 0"
    failure = json.loads((sweep / "0" / FAILURE).read_text())
    assert failure["error"].startswith(error)
    assert f"job 0 failed: {failure['error']}\n  repeat it: {failure['command']}" in done.stdout
    for job in ("0.01", "0.02"):
        assert re.search(rf"│ [^│]*method.tuning.lr={job} ", done.stdout)
    assert "arn" not in done.stderr + done.stdout.replace("learn", "")
    if launcher == "submitit_slurm":
        batch = (tmp_path / "bin" / "batch").read_text()
        assert {
            "#SBATCH --partition=fast",
            "#SBATCH --cpus-per-task=1",
            "#SBATCH --array=0-2%3",
        } <= {*batch.split("\n")}


def two():
    tune_process()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        return processes.submit(abs, -2).result()


def test_a_job_of_joblib_may_start_processes_of_its_own():
    """For its shadow models, or for several devices."""
    assert joblib.Parallel(n_jobs=2)(joblib.delayed(two)() for _ in range(2)) == [2, 2]


def test_a_launcher_that_is_not_installed_says_what_to_install(tmp_path):
    # Hides the packages in which plugins are.
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "__init__.py").touch()
    done = launch(
        tmp_path, "-m", "seed=1,2", "hydra/launcher=ray", env=environment(PYTHONPATH=str(tmp_path))
    )
    assert done.returncode == 2
    assert done.stderr == "hydra/launcher=ray needs pip install 'mlu[cluster]'\n"
    assert done.stdout == ""


def test_a_sweep_that_breaks_off_says_what_is_left_to_do(tmp_path):
    # Ends the process that is to build it.
    done = launch(
        tmp_path, "-m", *TINY, "seed=1", "logger._target_=os.abort", "hydra/launcher=joblib"
    )
    assert done.returncode == 1
    assert (
        "job 0 has no results: it was ended, or still runs\n  repeat it: python launch.py dataset."
        in done.stdout
    )
    assert "hydra/launcher=joblib broke off: A worker process" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_launcher_that_finds_no_cluster_is_one_line(tmp_path):
    done = launch(
        tmp_path,
        "-m",
        "seed=1,2",
        "hydra/launcher=submitit_slurm",
        env=environment(PATH="/nowhere"),
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(
        'hydra/launcher=submitit_slurm broke off: Could not detect "srun"'
    )
