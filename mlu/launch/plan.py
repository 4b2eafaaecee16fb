"""The jobs that a sweep is to have, as far as they are known before it begins."""

import re
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mlu.launch.options import CONF, config_folders, files_of
from mlu.system.errors import UserError

_BASIC = f"{BasicSweeper.__module__}.{BasicSweeper.__name__}"
DISTINCT = "hydra_plugins.mlu_distinct.DistinctSweeper"
"""The sweeper that leaves jobs out which equal another."""
UNPLANNED = (HydraException, OmegaConfBaseException)
"""Errors of what cannot be composed. Hydra tells them a moment later."""
STRENGTH = "strength"
"""Key of a configuration that a method's keys may follow."""

_OWN_NUMBER = re.compile(r"\$\{hydra[.:]job\.num\}")
"""What makes a folder a job's own, whatever else is in its name."""


def planned(config: DictConfig) -> list[list[str]] | None:
    """The overrides of all jobs of a sweep, in order.

    Returns:
        None where its sweeper thinks of them as it goes.
    """
    sweeper = config.hydra.sweeper._target_
    if sweeper not in (_BASIC, DISTINCT):
        return None

    jobs = all_jobs(given_to(config))
    if sweeper == _BASIC:
        return jobs
    return distinct_jobs(jobs, config_folders(config.hydra.runtime.config_sources))


def all_jobs(overrides: list[Override]) -> list[list[str]]:
    """The overrides of all combinations of what is swept."""
    return BasicSweeper.split_arguments(overrides, None)[0]


def distinct_jobs(
    jobs: Iterable[Sequence[str]], folders: Sequence[Path] = (CONF,)
) -> list[list[str]]:
    """Jobs of which no two are equal: a method without a strength has that of 1 alone.

    Args:
        jobs: The overrides of each.
        folders: Where the files of methods are.
    """
    files = {file.stem: file for file in files_of("method", folders)}
    found: dict[tuple[str, ...], None] = {}

    for words in jobs:
        values = dict(word.split("=", 1) for word in words)
        file = files.get(values.get("method", ""))
        if STRENGTH in values and file is not None and not has_strength(file):
            values[STRENGTH] = "1"
        found[tuple(f"{key}={value}" for key, value in values.items())] = None

    return [list(words) for words in found]


def has_strength(file: Path) -> bool:
    """Whether a key of a method's file follows `strength`, its presets aside."""
    return f"${{{STRENGTH}}}" in file.read_text(encoding="utf-8")


def given_to(config: DictConfig) -> list[Override]:
    """The overrides that a sweep was given, those of its sweeper before the command line's."""
    params = config.hydra.sweeper.get("params") or {}
    fixed = [f"{key}={value}" for key, value in params.items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())

    return parser.parse_overrides([*fixed, *as_written(config.hydra.overrides.task)])


def as_written(overrides: Iterable[str]) -> list[str]:
    """Overrides with their references as they are, such as `phi=${epsilon}`."""
    words: Any = OmegaConf.to_container(overrides) if OmegaConf.is_config(overrides) else overrides
    return [str(word) for word in words]


def check_search(config: DictConfig) -> None:
    """Refuse a search for the settings of several methods at once."""
    if config.experiment != "tune":
        return

    for override in given_to(config):
        if override.key_or_group == "method" and override.is_sweep_override():
            raise UserError(
                f"{override.input_line}: experiment=tune looks for the settings of one method, "
                "give one at a time"
            )


def check_folders(config: DictConfig) -> None:
    """Refuse a sweep of which two jobs would write into one folder."""
    jobs = planned(config)
    names = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    assert isinstance(names, dict)
    if not jobs or len(jobs) == 1 or _OWN_NUMBER.search(f"{names['dir']} {names['subdir']}"):
        return

    # Looked at once, its time of day is that of all jobs.
    _ = config.hydra.sweep.dir
    first: dict[Path, int] = {}
    for number, overrides in zip(count(), jobs):
        folder = folder_of(config, number, overrides)
        if folder in first:
            raise UserError(
                f"hydra.sweep.subdir={names['subdir']}: jobs {first[folder]} and {number} would "
                f"both write into {folder}: name each job's own, as does "
                "hydra.sweep.subdir='${hydra.job.num}'"
            )
        first[folder] = number


def folder_of(config: DictConfig, number: int, overrides: Sequence[str]) -> Path:
    """The folder that Hydra is to give a job of a sweep."""
    loader, before = GlobalHydra.instance().config_loader(), HydraConfig.instance().cfg
    job = loader.load_sweep_config(config, list(overrides))
    with open_dict(job):
        job.hydra.job.id = job.hydra.job.num = number

    HydraConfig.instance().set_config(job)
    try:
        return Path(job.hydra.sweep.dir, str(job.hydra.sweep.subdir)).resolve()
    finally:
        HydraConfig.instance().cfg = before


def folders_of_jobs(
    config: DictConfig, jobs: Sequence[Sequence[str]], first: int = 0
) -> list[Path]:
    """The folders of a sweep's jobs; none where no folder can be there yet.

    Args:
        config: Of the sweep.
        jobs: The overrides of each.
        first: The number of the first.
    """
    names = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    assert isinstance(names, dict)
    subdir, folder = str(names["subdir"]), Path(config.hydra.sweep.dir)
    inside = not Path(subdir).is_absolute() and ".." not in Path(subdir).parts
    if inside and not folder.exists():
        return []

    if "${" not in _OWN_NUMBER.sub("", subdir):
        numbers = range(first, first + len(jobs))
        return [folder / _OWN_NUMBER.sub(str(number), subdir) for number in numbers]

    return [folder_of(config, number, overrides) for number, overrides in enumerate(jobs, first)]
