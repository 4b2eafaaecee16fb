"""Small data, and how each test builds an experiment on it."""

import os
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mlu.launch.build import build
from mlu.launch.check import check_config
from mlu.launch.compose import register_resolvers
from mlu.launch.options import CONF
from mlu.system.process import tune_process

# Before torch is imported anywhere: nothing above does.
tune_process()
os.environ["WANDB_MODE"] = "offline"

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


@pytest.fixture(scope="session")
def outputs(tmp_path_factory):
    """Shared by the tests of a session, so that each small model is trained once."""
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture
def experiment(outputs, tmp_path):
    """Builds an experiment on small data from overrides, as the command line does."""

    def from_overrides(
        *overrides: str,
        dataset: str = "faces",
        folder: Path | None = None,
        group: str | None = None,
    ):
        register_resolvers()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", [*TINY[dataset], *BRIEF, f"outputs={outputs}", *overrides])
        OmegaConf.resolve(config)
        check_config(config)
        return build(config, folder or tmp_path, group)

    return from_overrides
