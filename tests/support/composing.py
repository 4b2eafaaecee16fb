"""Configurations composed as Hydra does, and what many share once."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

from mlu.launch.compose import register_resolvers
from mlu.launch.options import CONF


def composed_in_parts(overrides: Sequence[str], base: str = "config") -> DictConfig:
    """The configuration of these overrides on a file of conf, without Hydra's own part.

    Hydra reads the files that the groups name, and puts the other values into what they say: the
    first takes it long, and is done once for the same choice of files.
    """
    register_resolvers()
    choices, values = [], []
    for one in OverridesParser.create().parse_overrides(list(overrides)):
        (choices if (CONF / one.key_or_group).is_dir() else values).append(one)

    config = copy.deepcopy(of_files(base, *(str(one.input_line) for one in choices)))
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    return config


@cache
def of_files(base: str, *choices: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(base, list(choices))


def read_once() -> None:
    """Have Hydra read each file of ours once in this process and those that are forked from it.

    It reads all of them for every composition, of which that is a quarter.
    """
    read = FileConfigSource.load_config
    known: dict[tuple[Path, int], ConfigResult] = {}

    def load_config(source: FileConfigSource, config_path: str) -> ConfigResult:
        file = Path(source.path, source._normalize_file_name(config_path))
        if not file.is_relative_to(CONF) or not file.is_file():
            return read(source, config_path)

        key = (file, file.stat().st_mtime_ns)
        if key not in known:
            known[key] = read(source, config_path)
        return replace(copy.deepcopy(known[key]), provider=source.provider)

    FileConfigSource.load_config = load_config
