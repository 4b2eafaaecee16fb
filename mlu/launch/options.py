"""What the configuration folder offers: its groups, their files and keys."""

import functools
from pathlib import Path
from typing import Any

import yaml

CONF = next(
    folder
    for folder in (Path(__file__).parents[1] / "conf", Path(__file__).parents[2] / "conf")
    if (folder / "config.yaml").is_file()
)
"""In the wheel below the package, in a checkout beside it."""


def options_of(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


@functools.cache
def config_keys() -> tuple[str, ...]:
    """Keys at the top level, groups, and keys of the groups' files."""
    found = [*nested(CONF / "config.yaml")]
    for file in sorted(CONF.glob("*/*.yaml")):
        found += [file.parent.name, *(f"{file.parent.name}.{key}" for key in nested(file))]
    return tuple(dict.fromkeys(found))


@functools.cache
def nested(file: Path) -> tuple[str, ...]:
    """Paths of all keys of a file, those inside others included."""
    waiting: list[tuple[str, Any]] = [("", yaml.safe_load(file.read_text()))]
    found = []
    while waiting:
        path, value = waiting.pop(0)
        if path:
            found.append(path)
        if isinstance(value, dict):
            own = {
                key: part
                for key, part in value.items()
                if key not in ("defaults", "hydra", "_target_")
            }
            waiting += [(f"{path}.{key}".removeprefix("."), part) for key, part in own.items()]

    return tuple(found)
