"""The door of hydra/sweeper=distinct: a sweep in which no two jobs are equal.

Hydra imports it at every start, so it imports nothing heavy. What is equal says `mlu.launch.plan`.
"""

# Not the class itself: Hydra would take it for another plugin of this module.
from hydra._internal.core_plugins import basic_sweeper
from hydra.core.override_parser.types import Override


class DistinctSweeper(basic_sweeper.BasicSweeper):
    """All combinations of what is swept; of those that ask for one job, the first alone."""

    def split_arguments(  # type: ignore[override]  # Hydra calls it on the object
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        from mlu.launch.options import config_folders
        from mlu.launch.plan import all_jobs, distinct_jobs

        assert self.config is not None
        folders = config_folders(self.config.hydra.runtime.config_sources)
        jobs = distinct_jobs(all_jobs(overrides), folders)

        return [list(part) for part in self.split_overrides_to_chunks(jobs, max_batch_size)]
