"""The home folder in commands and configurations: `~` means it in whatever is a path."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from mlu.launch.check import value_at
from mlu.launch.keys import Described
from mlu.system.errors import UserError, stop
from mlu.system.home import HOME, at_home

FLAGS = ("--config-dir", "-cd", "--config-path", "-cp")
"""Flags that are followed by a folder."""

OUTPUTS, SWEEP = "outputs", "hydra.sweep.dir"
FOLDERS = (
    "hydra.run.dir",
    SWEEP,
    "hydra.sweep.subdir",
    "hydra.output_subdir",
    "hydra.launcher.submitit_folder",
)
"""Keys of Hydra that are folders where a job writes."""

FILE = "file://"
"""Beginning of a folder in Hydra's search path."""

_BEFORE, _AFTER = r"(?<![^=,\[(:\s])", r"(?![^,\])}\s])"
PARTS = re.compile(
    # What stands in quotes, first, so that nothing in it is taken for one of the others.
    r"""(?P<quoted>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")"""
    rf"""|{_BEFORE}(?P<home>~[\w.-]*/(?:\$\{{[^}}]*\}}|[^,\])}}'"])*)"""
    r"|(?<=file://)(?P<source>~[\w.-]*)(?=/)"
    rf"|{_BEFORE}(?P<none>None){_AFTER}"
)
"""Parts of the value of an override that may mean something else than Hydra takes them for."""


def words_at_home(words: Iterable[str]) -> list[str]:
    """The words of a command as they are meant, where Hydra would not take them so.

    `~/` in a value without quotes, which Hydra cannot read, is the home folder; so it is in the
    folder of a flag and, also in quotes, in what is Hydra's own. Python's None, as an agent of W&B
    writes it, is null; in quotes it is a word.
    """
    found: list[str] = []
    for word in words:
        flag, equals, folder = word.partition("=")
        if found and found[-1] in FLAGS:
            found.append(at_home(word, f"{found[-1]} "))
        elif not equals:
            found.append(word)
        elif word.startswith("-"):
            found.append(f"{flag}={at_home(folder, f'{flag}=')}")
        else:
            found.append(f"{flag}={value_as_meant(flag, folder)}")

    return found


def value_as_meant(key: str, value: str) -> str:
    """The value of an override, such as `~/forgetting` or `None`.

    >>> value_as_meant("phi", "None,'None',0.1")
    "null,'None',0.1"
    """
    what, hydras = f"{key}=", key.lstrip("+").startswith("hydra.")

    def meant(found: re.Match[str]) -> str:
        if found["none"]:
            return "null"
        if found["home"]:
            return quoted_path(at_home(found["home"].rstrip(), what))
        if found["source"]:
            return at_home(found["source"], what)

        text = found["quoted"][1:-1]
        scheme = FILE if text.startswith(FILE) else ""
        path = text.removeprefix(FILE)
        if hydras and path.startswith(HOME):
            return quoted_path(scheme + at_home(path, what))
        return found["quoted"]

    return PARTS.sub(meant, value)


def quoted_path(path: str) -> str:
    """A path as it can stand in an override."""
    escaped = path.replace("'", "\\'")
    return f"'{escaped}'"


def paths_from_home(values: Mapping[str, Any], said: Described) -> dict[str, Any]:
    """The values that are paths and begin with `~`, by their keys, with the home folder."""
    found: dict[str, Any] = {}
    for key, about in said.keys.items():
        if about.phrase is None or not about.phrase.is_path:
            continue
        value = value_at(values, key)
        meant = value_at_home(value, key)
        if meant != value:
            found[key] = meant

    return found


def value_at_home(value: Any, key: str) -> Any:
    """A path, or a list of them; anything else as it is."""
    if isinstance(value, str):
        return at_home(value, f"{key}=")
    if isinstance(value, list):
        return [value_at_home(one, key) for one in value]
    return value


class HydraAtHome(Callback):
    """Puts the home folder into the folders that Hydra makes, before it makes them."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        settle_folders(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """So for a sweep, and by overrides for its jobs, whose configurations are made anew."""
        overrides = [f"{key}={quoted_path(path)}" for key, path in settle_folders(config).items()]
        config.hydra.overrides.hydra.extend(overrides)


def settle_folders(config: DictConfig) -> dict[str, str]:
    """Put the home folder into `outputs` and into Hydra's folders; those that changed, by key."""
    try:
        return settled_folders(config)
    except UserError as fault:
        # Of a callback's fault Hydra would make a mere warning.
        stop(str(fault))


def settled_folders(config: DictConfig) -> dict[str, str]:
    outputs, written = config.get(OUTPUTS), OmegaConf.to_container(config)
    moved = isinstance(outputs, str) and outputs.startswith(HOME)
    if moved:
        OmegaConf.update(config, OUTPUTS, at_home(outputs, f"{OUTPUTS}="))

    found = {}
    for key in FOLDERS:
        folder = value_at(written, key)
        if isinstance(folder, str) and folder.startswith(HOME):
            found[key] = at_home(folder, f"{key}=")
            OmegaConf.update(config, key, found[key])

    if moved:
        # Its jobs would have it from their own `outputs`. It may refer to what Hydra knows, which
        # is then closed, and Hydra leaves it open here.
        HydraConfig.instance().set_config(config)
        OmegaConf.set_readonly(config.hydra, False)
        found[SWEEP] = str(config.hydra.sweep.dir)

    return found
