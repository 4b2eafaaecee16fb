"""Small data, and how each test builds an experiment on it."""

import copy
import gc
import os
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from mlu.launch.build import build
from mlu.launch.check import check_config
from mlu.launch.compose import values_of
from mlu.launch.options import CONF
from mlu.system.process import Unheard, tune_process
from tests.support.composing import composed_in_parts, read_once
from tests.support.killing import server

# Before torch is imported anywhere: nothing above does.
tune_process()
os.environ["WANDB_MODE"] = "offline"
read_once()

# The same examples every time, however busy the machine is; else as whoever started us has said.
hypothesis.settings.register_profile(
    "same",
    hypothesis.settings(),
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("same")

ROOT = Path(__file__).parent
LONG = (
    "whole_runs/test_killed.py",
    "whole_runs/test_documented_commands.py",
    "methods/test_contract.py",
    "whole_runs/test_launchers.py",
    "attacks/test_attribute.py",
    "whole_runs/test_storage_faults.py",
    "training/test_team.py",
    "pipeline/test_run.py",
    "whole_runs/test_bad_input.py",
    "whole_runs/test_interrupted.py",
    "test_library.py",
    "launch/test_keys.py",
    "whole_runs/test_experiments.py",
    "attacks/test_durability.py",
    "pipeline/test_evidence.py",
    "launch/test_cli.py",
    "pipeline/test_shadows.py",
)
"""Files that take longest, which come first: else one core waits at the end for another. Those that
start several processes are not side by side."""

METHODS = sorted(file.stem for file in (CONF / "method").glob("*.yaml"))

TINY = {
    "faces": ["dataset=faces", "dataset.images=400", "dataset.image_size=32"],
    "digits": ["dataset=digits", "dataset.images=400", "dataset.image_size=16"],
    **{
        name: [f"dataset={name}", "dataset.image_size=32"]
        for name in ("celeba", "celeba_hq", "vggface2", "mufac", "cifar10", "mnist", "svhn", "csv")
    },
}
"""Small data by the name of its data set; the files of those that have files are the test's to
write."""
BRIEF = ["training.epochs=6", "training.batch_size=32", "logger=none", "trainer.accelerator=cpu"]


def pytest_collection_modifyitems(items):
    ranks = {ROOT / name: rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path, len(LONG)))


def pytest_collection_finish():
    # What all tests import stays: else it is searched for garbage again and again.
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """What is drawn without a seed of its own is the same, whichever tests came before."""
    for name, seeded in (("random", "seed"), ("numpy.random", "seed"), ("torch", "manual_seed")):
        if name in sys.modules:
            getattr(sys.modules[name], seeded)(0)


@pytest.fixture(scope="session")
def outputs(tmp_path_factory):
    """Shared by all tests of a session, in whatever process: each small model is trained once."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "outputs"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def quick_processes():
    """Processes that the code spawns are forked from one that has imported everything.

    They get what a spawned one does, and start seconds sooner; what they print is not seen.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Unheard, "Process", server.Process)
        yield


@cache
def checked(*overrides: str) -> dict[str, Any]:
    """The values of a configuration: many tests want the same."""
    values = values_of(composed_in_parts(overrides))
    check_config(values)
    return values


@pytest.fixture
def pictures_drawn():
    """Asked for by tests that look at the pictures of a run: those of others have one pixel."""


@pytest.fixture
def experiment(outputs, tmp_path, monkeypatch, request):
    """Builds an experiment on small data from overrides, as the command line does."""
    # Not above: `tune_process` comes before matplotlib.
    from matplotlib.figure import Figure

    from mlu.pipeline import leave
    from tests.support.blank import blank_distributions, saved_blank

    if pictures_drawn.__name__ not in request.fixturenames:
        monkeypatch.setattr(Figure, "savefig", saved_blank)
        monkeypatch.setattr(leave, "distribution_picture", blank_distributions)

    def from_overrides(
        *overrides: str,
        dataset: str = "faces",
        folder: Path | None = None,
        group: str | None = None,
    ):
        values = checked(*TINY[dataset], *BRIEF, f"outputs={outputs}", *overrides)
        return build(copy.deepcopy(values), folder or tmp_path, group)

    return from_overrides


@pytest.fixture(scope="session")
def _finished_runs(tmp_path_factory):
    return {}, tmp_path_factory.mktemp("finished")


@pytest.fixture
def finished(_finished_runs, experiment, tmp_path, request):
    """The folder of a run of these overrides, the test's own: such a run is carried out once."""

    def from_overrides(*overrides: str, dataset: str = "faces") -> Path:
        # Not above: `tune_process` comes before torch.
        from mlu.pipeline.run import run

        known, root = _finished_runs
        key = (dataset, overrides, pictures_drawn.__name__ in request.fixturenames)
        if key not in known:
            folder = root / str(len(known))
            folder.mkdir()
            run(experiment(*overrides, dataset=dataset, folder=folder))
            known[key] = folder

        copies = len(list(tmp_path.glob("run *")))
        return shutil.copytree(known[key], tmp_path / f"run {copies}")

    return from_overrides
