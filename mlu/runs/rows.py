"""The rows and columns by which each attack is shown: its yaml declares them, beside its keys.

Paths of figures begin after `attack/`. A run's configuration carries those of its attacks; the
files that ship with the package stand in for runs of before.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from mlu.metrics.findings import is_one_part
from mlu.runs.typed import can_be, field_types
from mlu.system.conf import CONF
from mlu.system.errors import UserError, did_you_mean

DECLARED = ("about", "rows", "columns", "dashboard")
"""Keys of an attack that say how it is shown: they decide nothing of a run."""

STEPS = "/steps"
"""End of the path of a number of steps, which may be cut off at a cap."""

_MODEL = "unlearned/attack/"
_UNITS = ("share", "points", "number")


@dataclass(frozen=True)
class AttackRow:
    """One row of the table of attacks and of a certificate.

    A `*` in a figure stands for one part of its path, such as a number of images, and in the other
    texts for what that is.

    Attributes:
        title: What is asked.
        figure: Path of the answer.
        chance: The figure of who knows nothing.
        excess: Path of what is found beyond Retrain.
        floor: Path of what is found beyond the true retained labels, where there is no Retrain.
        ratio: Path of how many times less that is, of what has no difference.
        proxy: Path, after `proxy/attack/`, of what the retained labels tell by themselves.
        headline: Whether it also stands in the tables of a run and of a sweep.
        question: What a certificate calls it, where that is not the title.
        place: Where it stands among the rows of all attacks: those with a higher one stand below.
    """

    title: str
    figure: str
    chance: float | None = None
    excess: str | None = None
    floor: str | None = None
    ratio: str | None = None
    proxy: str | None = None
    headline: bool | None = None
    question: str | None = None
    place: int | None = None

    def among(self, figures: Iterable[str]) -> "Iterator[AttackRow]":
        """The row itself where a run has its figure; each that it stands for, in their order."""
        start, star, end = self.figure.partition("*")
        if not star:
            yield from [self] if f"{_MODEL}{self.figure}" in figures else []
            return

        for path in figures:
            if path.startswith(f"{_MODEL}{start}") and path.endswith(end):
                part = path[len(_MODEL) + len(start) : len(path) - len(end)]
                if is_one_part(part):
                    yield self.of(part)

    def of(self, part: str) -> "AttackRow":
        """The row with a part of a path in place of each `*`."""
        named: dict[str, Any] = {}
        for name in field_types(AttackRow):
            if isinstance(text := getattr(self, name), str):
                named[name] = text.replace("*", part)
        return replace(self, **named)


@dataclass(frozen=True)
class AttackColumn:
    """One column of a report.

    Attributes:
        title: What the header says.
        figure: Path of its numbers.
        about: What they are, in a line.
        unit: `share` in [0, 1], `points` between two shares, or `number`; None goes by the path.
    """

    title: str
    figure: str
    about: str | None = None
    unit: str | None = None


@dataclass(frozen=True)
class Declaration:
    """The rows and columns of one attack.

    Attributes:
        name: Of the attack.
        about: What it is, to name it where it was not run.
        rows: Of the table of attacks and of a certificate.
        columns: Of a report.
        dashboard: Paths of the figures in a dashboard's table of models.
    """

    name: str
    about: str
    rows: tuple[AttackRow, ...]
    columns: tuple[AttackColumn, ...]
    dashboard: tuple[str, ...]

    @property
    def families(self) -> set[str]:
        """First parts of the paths of its figures."""
        return {self.name, *(row.figure.split("/")[0] for row in self.rows)}


def declaration_of(name: str, settings: Mapping[str, Any]) -> Declaration:
    """The rows that an attack's configuration declares.

    Args:
        name: Of the attack.
        settings: All its keys.

    Raises:
        UserError: For one of another shape, with what it must be.
    """
    where, about = f"attack.{name}", settings.get("about") or name
    if not isinstance(about, str):
        raise UserError(f"{where}.about must be text, got {about!r:.80}: say what the attack is")

    rows = tuple(read_parts(AttackRow, f"{where}.rows", settings.get("rows")))
    for row in rows:
        if row.chance is not None and not math.isfinite(row.chance):
            raise UserError(f"{where}.rows.{row.title}.chance must be a finite number")

    if settings.get("columns") is None:
        columns = tuple(own_columns(rows))
    else:
        columns = tuple(read_parts(AttackColumn, f"{where}.columns", settings["columns"]))

    for column in columns:
        if column.unit not in (None, *_UNITS):
            key = f"{where}.columns.{column.title}.unit"
            raise UserError(f"{key} must be one of {', '.join(_UNITS)}, got {column.unit!r:.80}")

    dashboard = settings.get("dashboard")
    if dashboard is None:
        dashboard = [
            path for row in rows if row.headline for path in (row.figure, row.excess) if path
        ]

    if not can_be(dashboard, tuple[str, ...]):
        raise UserError(f"{where}.dashboard must be a list of paths, got {dashboard!r:.80}")

    return Declaration(name, about, rows, columns, tuple(dashboard))


def read_parts(kind: Any, where: str, found: Any) -> Iterator[Any]:
    """The rows or columns below a key, by their titles."""
    if not isinstance(found or {}, Mapping):
        raise UserError(
            f"{where} must have a title for each, such as 'member: ...', got {found!r:.80}"
        )

    types = {name: one for name, one in field_types(kind).items() if name != "title"}
    for title, given in (found or {}).items():
        settings = {"figure": given} if isinstance(given, str) else given
        if not isinstance(settings, Mapping) or not settings.get("figure"):
            raise UserError(
                f"{where}.{title} has no figure: name its path, such as {{figure: lira/auroc}}"
            )

        for key, value in settings.items():
            if key not in types:
                hint = did_you_mean(str(key), types) or "."
                raise UserError(
                    f"{where}.{title} has no key {key!r}{hint} It has {', '.join(types)}"
                )
            if not can_be(value, types[key]):
                raise UserError(f"{where}.{title}.{key} cannot be {value!r:.80}: see conf/attack")

        yield kind(title=str(title), **settings)


def own_columns(rows: Iterable[AttackRow]) -> Iterator[AttackColumn]:
    """The columns of an attack that declares none: its rows, and headlines above Retrain."""
    for row in rows:
        if "*" in row.figure:
            continue
        yield AttackColumn(row.title, row.figure)
        if row.headline and row.excess:
            yield AttackColumn(f"{row.title}, above Retrain", row.excess, unit="points")


@functools.cache
def shipped() -> Mapping[str, Declaration]:
    """The declarations of the attacks in conf/attack, by name: in the order of `attack=all`."""
    files = {
        file.stem: yaml.safe_load(file.read_bytes())
        for file in sorted((CONF / "attack").glob("*.yaml"))
    }
    order = dict.fromkeys([*files["all"]["defaults"], *files])

    found = {}
    for file in order:
        for name, settings in files[file].items():
            if isinstance(settings, Mapping):
                found[name] = declaration_of(name, settings)

    return found


def declared(config: Mapping[str, Any]) -> Mapping[str, Declaration]:
    """The declarations of a configuration's attacks and of those that ship, by name.

    One that cannot be read, in a file that somebody else wrote, is as if it were not there.
    """
    own = {}
    for name, settings in (config.get("attack") or {}).items():
        try:
            if isinstance(settings, Mapping) and "rows" in settings:
                own[str(name)] = declaration_of(str(name), settings)
        except UserError:
            continue

    return {**shipped(), **own}


def declared_by_any(runs: Iterable[Mapping[str, Declaration]]) -> dict[str, Declaration]:
    """The declarations of several runs together; of one name the first."""
    found: dict[str, Declaration] = {}
    for declarations in runs:
        found = {**found, **{name: one for name, one in declarations.items() if name not in found}}
    return found


def rows_among(declarations: Mapping[str, Declaration], figures: Iterable[str]) -> list[AttackRow]:
    """All rows of which a run has a figure, in the order in which they are shown."""
    paths = dict.fromkeys(figures)
    found = [
        shown
        for declaration in declarations.values()
        for row in declaration.rows
        for shown in row.among(paths)
    ]
    return sorted(found, key=lambda row: row.place or 0)


def attack_of(family: str) -> str:
    """The attack whose figures have a path that begins so."""
    owners = (name for name, found in shipped().items() if family in found.families)
    return next(owners, family)


def without_declarations(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what only says how its attacks are shown."""
    attacks = {}
    for name, settings in config["attack"].items():
        kept = {key: value for key, value in settings.items() if key not in DECLARED}
        attacks[name] = kept
    return {**config, "attack": attacks}
