"""The door through which Hydra finds mlu's search: it takes plugins from this package alone.

Hydra imports it at every start, so it imports nothing heavy. The search is `mlu.launch.search`.
"""

from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

OTHER = "optuna_sweeper"
"""Provider of the configurations that hydra-optuna-sweeper stores, by the same names as ours."""


class OptunaSweeper(Sweeper):
    """hydra/sweeper=optuna: a search for what is best, one trial after the other.

    Its settings are the keys of conf/hydra/sweeper/optuna.yaml.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.asked = config, hydra_context, task_function

    def sweep(self, arguments: list[str]) -> None:
        from mlu.launch.search import Command, search

        search(self.settings, Command(arguments, *self.asked))


class OursAlone(SearchPathPlugin):
    """Makes hydra/sweeper=optuna mean ours where hydra-optuna-sweeper is installed as well.

    Hydra calls it when all plugins are imported and before it composes anything.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        forget(ConfigStore.instance().repo)


def forget(stored: dict[str, Any]) -> None:
    """Take what hydra-optuna-sweeper has stored out of Hydra's store."""
    for name, node in list(stored.items()):
        if isinstance(node, dict):
            forget(node)
        elif node.provider == OTHER:
            del stored[name]
