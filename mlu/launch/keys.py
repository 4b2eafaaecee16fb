"""The keys of a configuration, and what the comments behind them say that they may be."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mlu.launch.options import CONF, files_of, groups_in, is_file
from mlu.launch.phrases import GROUP, KEYS, TARGET, Phrase, phrase_of

SHARED = "shared.yaml"
"""Keys that several files have, each said once: those of a group's files, and those of a class."""
RUN = "config"
"""File with the keys of a run that stand in no group."""
NEEDED = "???"
"""In SHARED, the value of a key that each file of the group must have."""
NAME = "name"
"""Key of a group's file that has the name of the file, in those groups that know one."""
DEFAULT = "default"
"""Of a group of mere settings, the file whose keys every configuration must have."""
GLOBAL = "_global_"
"""Package of a file whose keys stand at the top of a configuration."""
PACKAGE = re.compile(r"# @package (\S+)")
UNREAD = ("defaults", "hydra")
"""Keys of a file that are Hydra's."""

_COLUMN = 30
"""Where comments stand at least, in what `--help` shows."""

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Key:
    """One key of a file.

    Attributes:
        value: What the file gives it; a mapping where it has keys of its own.
        comment: What stands behind it.
        phrase: What it must be, with which the comment begins; None where nothing is said of it.
    """

    value: Any
    comment: str = ""
    phrase: Phrase | None = None


@dataclass(frozen=True)
class Located:
    """Where a key stands in a text.

    Attributes:
        parts: The keys around it, and its own.
        node: Its value.
        line: The line behind which its comment stands, from 0.
        column: Where in that line its value, or the name of a group, ends.
    """

    parts: tuple[str, ...]
    node: yaml.Node
    line: int
    column: int

    @property
    def path(self) -> str:
        return ".".join(self.parts)


Keys = Mapping[str, Key]
"""Keys by their paths, such as `tuning.lr`, in the order of a file."""
GROUP_KEY = Key({}, phrase=GROUP)


def located(text: str) -> Iterator[Located]:
    """The keys of a yaml, those inside others included."""
    node = yaml.compose(text, Loader=Loader)
    if isinstance(node, yaml.MappingNode):
        yield from located_below(node, ())


def located_below(node: yaml.MappingNode, above: tuple[str, ...]) -> Iterator[Located]:
    """The keys of a mapping; what it takes from another one (`<<`) comes first."""
    for key, value in node.value:
        if key.value == "<<":
            yield from located_below(value, above)
            continue
        if not above and key.value in UNREAD:
            continue

        parts = (*above, str(key.value))
        # A group's comment stands behind its name, before the keys.
        end = (key if is_block(value) else value).end_mark
        yield Located(parts, value, end.line, end.column)

        if isinstance(value, yaml.MappingNode):
            yield from located_below(value, parts)


def is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


@cache
def said_in(file: Path) -> Keys:
    """The keys of a file, and what it says itself of each."""
    text = file.read_text(encoding="utf-8")
    values, lines = yaml.load(text, Loader=Loader), text.splitlines()
    found: dict[str, Key] = {}
    unread: tuple[str, ...] = ()

    for place in located(text):
        if place.path.startswith(unread):
            continue
        behind = re.match(r"\s*:?\s+#\s*(.*)", lines[place.line][place.column :])
        key = key_of(place, values, behind.group(1).strip() if behind else "")
        if key.phrase is KEYS:
            unread = (*unread, f"{place.path}.")
        found[place.path] = key

    return found


def key_of(place: Located, values: Any, comment: str) -> Key:
    """A key with what the comment behind it says."""
    for part in place.parts:
        values = values.get(part)

    phrase = phrase_of(comment.partition(": ")[0])
    if place.parts[-1] == "_target_":
        phrase = TARGET
    elif phrase is None and isinstance(place.node, yaml.MappingNode):
        phrase = GROUP

    return Key(values, comment, phrase)


@cache
def shared_keys() -> tuple[Mapping[str, Keys], Mapping[str, Keys]]:
    """The keys of SHARED: those of each group, and those of each class by its `_target_`."""
    groups: dict[str, Keys] = {}
    classes: dict[str, Keys] = {}
    said = said_in(CONF / SHARED)

    for name in [path for path in said if "." not in path]:
        own = keys_below(said, name)
        if "_target_" in own:
            classes[str(own["_target_"].value)] = own
        else:
            groups[name] = own

    return groups, classes


def keys_below(keys: Keys, path: str) -> dict[str, Key]:
    """The keys of a group by their paths inside it."""
    inside = f"{path}."
    return {name.removeprefix(inside): key for name, key in keys.items() if name.startswith(inside)}


@dataclass(frozen=True)
class File:
    """A file of a group.

    Attributes:
        path: Where it is.
        own: Its keys, as it and SHARED say what they are.
        more: Keys that its classes have besides, and those of files that it builds on.
        is_described: Whether it says itself what any of its keys is. If not, its keys are free.
    """

    path: Path
    own: Keys
    more: Keys
    is_described: bool

    @property
    def keys(self) -> dict[str, Key]:
        return {**self.more, **self.own}


@cache
def read_file(path: Path, group: str = "") -> File:
    """A file with its keys; what it does not say of one, its class or its group does."""
    said = said_in(path)
    groups, _ = shared_keys()
    of_classes = keys_of_classes(said)
    common = {**groups.get(group, {}), **of_classes}

    own = {name: filled(key, common.get(name)) for name, key in said.items()}
    unread = tuple(f"{name}." for name, key in own.items() if key.phrase is KEYS)
    own = {name: key for name, key in own.items() if not name.startswith(unread)}

    bases = [read_file(base, group) for base in bases_of(path)]
    more = dict(of_classes)
    for base in bases:
        more |= base.keys

    # What SHARED says of ours counts as said.
    says_something = path.is_relative_to(CONF)
    says_something |= any(key.phrase not in (None, GROUP, TARGET) for key in said.values())

    return File(
        path,
        own,
        {name: key for name, key in more.items() if name not in own},
        says_something or any(base.is_described for base in bases),
    )


def keys_of_classes(said: Keys) -> dict[str, Key]:
    """The keys that SHARED gives the classes of a file, by their paths in the file."""
    _, classes = shared_keys()
    found: dict[str, Key] = {}

    for name, key in said.items():
        if name.rpartition(".")[2] == "_target_":
            above = name.removesuffix("_target_")
            inner = classes.get(str(key.value), {})
            found |= {f"{above}{part}": one for part, one in inner.items()}

    return found


def filled(key: Key, common: Key | None) -> Key:
    """A key with the phrase that is said for several files, where its own comment has none."""
    if common is None or key.phrase not in (None, GROUP):
        return key
    said, _, explanation = common.comment.partition(": ")
    return replace(key, comment=f"{said}: {key.comment or explanation}", phrase=common.phrase)


def bases_of(path: Path) -> Iterator[Path]:
    """Files of the same group that a file builds on, as in `defaults: [head]`."""
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    defaults = content.get("defaults") if isinstance(content, dict) else None
    for name in defaults if isinstance(defaults, list) else []:
        if not isinstance(name, str):
            continue
        places = [home / f"{name}.yaml" for home in (path.parent, CONF / path.parent.name)]
        yield from [place for place in places if is_file(place) and place != path][:1]


def package_of(path: Path) -> str:
    """Where a file's keys stand in a configuration: below its group, unless it says otherwise."""
    head = path.read_text(encoding="utf-8").splitlines()[:1]
    said = PACKAGE.match(head[0]) if head else None
    return said.group(1) if said else path.parent.name


@dataclass
class Described:
    """The keys of one configuration, with what the files of some folders say of them.

    Attributes:
        keys: All keys that there may be, by their paths: groups, then what stands outside them,
            then what stands in them.
        files: File of the chosen option, of each group whose files have a name.
        free: Groups whose chosen file says nothing of its keys, so that there may be any.
        needed: Keys without which a configuration cannot be read.
    """

    keys: dict[str, Key]
    files: dict[str, File]
    free: set[str]
    needed: list[str]


def describe_keys(
    values: Mapping[str, Any], folders: Sequence[Path] = (CONF,), base: str = RUN
) -> Described:
    """The keys that a configuration may have, and what is said of them.

    Args:
        values: The configuration, as plain values.
        folders: Where its groups' files are, in the order in which they are looked for.
        base: The file in CONF, without its ending, whose keys stand outside all groups.
    """
    top = dict(read_file(CONF / f"{base}.yaml").keys)
    found = Described({}, {}, set(), list(top))

    for group in groups_in(folders):
        files = files_of(group, folders)
        if package_of(files[0]) == GLOBAL:
            for file in files:
                top = {**described_keys(file), **top}
        else:
            top[group] = GROUP_KEY
            describe_group(found, group, values.get(group), files)

    outermost = {name: key for name, key in top.items() if "." not in name}
    grouped = {name: key for name, key in outermost.items() if key.phrase is GROUP}
    found.keys = {**grouped, **top, **found.keys}
    found.needed = [*outermost, *found.needed]

    return found


def described_keys(file: Path) -> dict[str, Key]:
    """The keys of a file of which something is said."""
    return {name: key for name, key in read_file(file).keys.items() if key.phrase is not None}


def describe_group(found: Described, group: str, chosen: Any, files: Sequence[Path]) -> None:
    """Add what is said of the keys of one group.

    Args:
        found: What it is added to.
        group: Its name.
        chosen: Its values in the configuration.
        files: All of its files.
    """
    common = shared_keys()[0].get(group, {})
    needed = {name: key for name, key in common.items() if key.value == NEEDED}

    if NAME in common:
        file = chosen_file(chosen, files, group)
        keys = {**needed, **(file.keys if file else {})}
        if file is not None:
            found.files[group] = file
        if file is None or not file.is_described:
            found.free.add(group)
    else:
        keys, needed = keys_of_settings(group, files)

    found.keys |= {f"{group}.{name}": key for name, key in keys.items()}
    found.needed += [f"{group}.{name}" for name in needed]


def keys_of_settings(group: str, files: Sequence[Path]) -> tuple[dict[str, Key], dict[str, Key]]:
    """The keys of all files of a group, and those that each configuration must have."""
    first = sorted(files, key=lambda file: file.stem != DEFAULT)
    keys: dict[str, Key] = {}
    for file in first:
        for name, key in read_file(file, group).keys.items():
            if name not in keys or keys[name].phrase is None:
                keys[name] = key

    needed = read_file(first[0], group).own if first[0].stem == DEFAULT else {}

    return keys, dict(needed)


def chosen_file(chosen: Any, files: Sequence[Path], group: str) -> File | None:
    """The file of a group by the name that it gives, else by its class; None without one."""
    if not isinstance(chosen, Mapping):
        return None

    for file in files:
        if file.stem == chosen.get(NAME):
            return read_file(file, group)

    for file in files:
        target = read_file(file, group).own.get("_target_")
        if target is not None and target.value == chosen.get("_target_"):
            return read_file(file, group)

    return None


def all_keys(folders: Sequence[Path] = (CONF,), base: str = RUN) -> list[str]:
    """Keys at the top level, groups, and keys of all their files; arguments as `describe_keys`."""
    found = [*read_file(CONF / f"{base}.yaml").keys]
    for group in groups_in(folders):
        found.append(group)
        for file in files_of(group, folders):
            names = read_file(file, group).own
            found += names if package_of(file) == GLOBAL else [f"{group}.{name}" for name in names]

    return list(dict.fromkeys(name for name in found if not name.endswith("_target_")))


def with_comments(text: str, keys: Keys) -> str:
    """A configuration as yaml, with what is said of each key behind it.

    Args:
        text: The yaml.
        keys: What is said.
    """
    lines = text.splitlines()
    for place in located(text):
        said = keys.get(place.path)
        if said is not None and said.comment:
            lines[place.line] = f"{lines[place.line]:<{_COLUMN}}  # {said.comment}"

    return "\n".join(lines)
