"""The paper's numbers as printed, and what of them cannot be so."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("published.yaml")
_STANDS_IN = {"table3": "mufac", "appendix_single_label": "mnist"}
"""Table -> the paper's data set beside which ours stands where it is none of the paper's; else
CelebA."""


@functools.cache
def published() -> dict[str, Any]:
    """The content of `published.yaml`."""
    content: dict[str, Any] = yaml.safe_load(_FILE.read_bytes())
    return content


def printed(table: str) -> dict[str, Any]:
    """One table of the paper."""
    content: dict[str, Any] = published()["tables"][table]
    return content


def beside(table: str, dataset: str, backbone: str) -> tuple[str, str]:
    """The paper's data set and backbone beside ours: the same ones where it has them."""
    values = printed(table)["values"]
    chosen = dataset if dataset in values else _STANDS_IN.get(table, "celeba")
    backbones = values[chosen]
    return chosen, backbone if backbone in backbones else next(iter(backbones))


def published_values(
    table: str, dataset: str, backbone: str
) -> Mapping[str, Sequence[float | None]]:
    """Method -> numbers, in the order of the table's columns."""
    numbers: Mapping[str, Sequence[float | None]] = printed(table)["values"][dataset][backbone]
    return numbers


def describe(table: str, dataset: str, backbone: str, forget: str | None = None) -> str:
    """One line that says what the paper's numbers are."""
    names = published()["names"]
    where = f"{names['datasets'][dataset]}, {names['backbones'][backbone]}"
    lost = forget or printed(table).get("forget")
    what = f"{where}, forget {lost}" if lost else where
    return f"{what}; {published()['training']}: {printed(table)['about']}"


def errata(table: str) -> tuple[str, ...]:
    """Faults in print of what a table shows, one line each."""
    found = (erratum for erratum in published()["errata"] if table in erratum["tables"])
    return tuple(f"Printed: {erratum['printed']}. {erratum['holds'].strip()}" for erratum in found)


def same_label(name: str) -> str:
    """CelebA's name of a label that the paper calls otherwise."""
    return str(published()["names"]["labels"].get(name, name))
