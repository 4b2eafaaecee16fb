"""The groups of configuration folders, and the files of each."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mlu.system.conf import CONF as CONF


def config_folders(sources: Iterable[Any]) -> tuple[Path, ...]:
    """Folders of a configuration in the order in which Hydra looks into them, CONF among them.

    Args:
        sources: Hydra's, `hydra.runtime.config_sources`.
    """
    found = [Path(source.path) for source in sources if source.schema == "file"]
    return tuple(dict.fromkeys([*found, CONF]))


def groups_in(folders: Sequence[Path]) -> list[str]:
    """Names of the groups of ours, and of those that only a user's folder has."""
    found = [part.name for folder in (CONF, *folders) for part in sorted(folder.iterdir())
             if part.name != "hydra" and any(part.glob("*.yaml"))]  # fmt: skip
    return list(dict.fromkeys(found))


def files_of(group: str, folders: Sequence[Path] = (CONF,)) -> list[Path]:
    """The files of a group, each name once: that of the first folder which has it."""
    found: dict[str, Path] = {}
    for folder in folders:
        for file in sorted((folder / group).glob("*.yaml")):
            found.setdefault(file.stem, file)
    return list(found.values())


def options_of(group: str, folders: Sequence[Path] = (CONF,)) -> list[str]:
    return sorted(file.stem for file in files_of(group, folders))


def is_file(path: Path | str) -> bool:
    """Whether there is such a file; also of a path that no file can have, or may not be seen."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False
