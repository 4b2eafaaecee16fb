"""Configurations composed as Hydra does, and what many share once."""

import copy
from collections.abc import Sequence
from functools import cache

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from mlu.launch.compose import register_resolvers
from mlu.launch.options import CONF


def composed_in_parts(overrides: Sequence[str]) -> DictConfig:
    """The configuration of these overrides, without Hydra's own part.

    Hydra reads the files that the groups name, and puts the other values into what they say: the
    first takes it long, and is done once for the same choice of files.
    """
    register_resolvers()
    choices, values = [], []
    for one in OverridesParser.create().parse_overrides(list(overrides)):
        (choices if (CONF / one.key_or_group).is_dir() else values).append(one)

    config = copy.deepcopy(of_files(*(str(one.input_line) for one in choices)))
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    return config


@cache
def of_files(*choices: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(choices))
