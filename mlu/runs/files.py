"""The files of one run, needed and read; without torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mlu.runs.layout import CONFIG, LABELS, is_configuration
from mlu.system.errors import UserError, first_line


def forgotten_in(config: Mapping[str, Any]) -> list[str]:
    """The outputs that a configuration asks to forget, one request after the other.

    A concept is none.
    """
    if config.get("concept") is not None:
        return []

    names, requests = config["forget_label"]["names"], config.get("requests")
    alone = [names] if isinstance(names, str | int) else names
    return [str(name) for request in requests or [alone] for name in request]


def need(folder: Path, name: str) -> Path:
    """A file of a run; UserError where it is not there."""
    if not folder.is_dir():
        raise UserError(
            f"there is no run in {folder}: give the folder of a run, such as outputs/runs/<time>"
        )
    if not (folder / name).is_file():
        raise UserError(
            f"{folder} has no {name}: "
            "give the folder of a run that has ended, such as outputs/runs/<time>"
        )

    return folder / name


def config_of(folder: Path) -> dict[str, Any]:
    file = need(folder, CONFIG)
    try:
        config = yaml.safe_load(file.read_bytes())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as fault:
        raise UserError(f"{file} cannot be read: {first_line(fault)}") from fault

    if not is_configuration(config):
        raise UserError(f"{file} is no configuration of a run")

    return config


def label_facts_of(folder: Path) -> dict[str, Any]:
    """The meaning of each output: `labels` and `task`."""
    file = need(folder, LABELS)
    try:
        facts: dict[str, Any] = json.loads(file.read_text())
        names, task = facts["labels"], facts["task"]
        fits = isinstance(names, list) and all(isinstance(name, str) for name in names)
        fits = fits and task in ("multilabel", "singlelabel")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise UserError(
            f"{file} cannot be read: {type(fault).__name__} {first_line(fault)}"
        ) from fault

    if not fits:
        raise UserError(f"{file} must hold labels and a task, multilabel or singlelabel")

    return facts
