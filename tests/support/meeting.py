"""A callback of Hydra's by which two jobs of a sweep begin at the same moment."""

import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mlu.system.process import tune_process

PATIENCE = 300
"""Seconds after which the other one counts as lost."""


class Meeting(Callback):
    """Each of two jobs waits until the other is there as well, with all that it imports.

    Args:
        folder: Where each of them leaves a sign.
        jobs: Their numbers; others do not wait.
    """

    def __init__(self, folder: str, jobs: list[int]) -> None:
        self.folder, self.jobs = Path(folder), list(jobs)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        hydra_config = HydraConfig.get()
        number = hydra_config.job.num
        if number not in self.jobs:
            return

        # As the job itself does before it imports anything.
        tune_process(threads=hydra_config.launcher.get("cpus_per_task"))
        import mlu.attacks.shadow
        import mlu.pipeline.run  # noqa: F401

        (self.folder / f"here{number}").touch()
        end = time.monotonic() + PATIENCE
        while not all((self.folder / f"here{job}").exists() for job in self.jobs):
            assert time.monotonic() < end, "the other job did not come"
            time.sleep(0.01)
