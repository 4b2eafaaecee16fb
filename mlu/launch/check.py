"""Checks of a configuration as plain values: what it alone shows to be wrong stops here.

Nothing heavy is imported.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mlu.data.labels import chosen_labels, forgotten_labels, plain_cell
from mlu.data.spelling import plain_text
from mlu.launch.keys import RUN, Described, Key, all_keys, describe_keys
from mlu.launch.options import CONF, is_file
from mlu.launch.phrases import GROUP, Phrase
from mlu.runs.moved import present_path
from mlu.runs.rows import declaration_of
from mlu.system.commands import help_line
from mlu.system.errors import UserError, did_you_mean

Values = Mapping[str, Any]
"""A configuration, or a part of one: values by key, with mappings for groups."""

MISSING = object()
SEARCH = "search"
"""Of a method: what a search for its settings tries. It decides nothing of a run."""

NO_CONCEPTS = {
    "head": "it makes an output constant, and there is none",
    "retrain": "the original has never learnt it",
    "boundary": "it serves classes alone",
}
"""Methods that cannot forget what a model does not output, and why."""

_READS = "aia"
"""The attack that reads an attribute from what is no output of it."""

UNASKED = (SEARCH, "default_forget", "task")
"""Keys without which a file is whole: `default_forget` decides nothing where a label is named."""

FIGURES = (
    "original",
    "retrain",
    "unlearned",
    "random",
    "proxy",
    "seconds",
    "work",
    "speedup",
    "work_ratio",
)
"""What the path of a figure begins with."""

_PRESETS = "preset/methods"
"""Folder, in one of configurations, of a folder for each preset, with a file for each method."""

_QUOTED = 100
"""Characters of a value that are quoted at most."""


def check_config(values: Values, folders: Sequence[Path] = (CONF,)) -> None:
    """Refuse what the configuration alone shows to be wrong.

    Args:
        values: The whole configuration.
        folders: Where the files of its groups are.

    Raises:
        UserError: With key, value and remedy.
    """
    said = check_values(values, folders)
    check_dataset(values, said)
    check_method(values)
    check_labels(values)
    check_concept(values)
    check_reference(values)
    check_canaries(values["canaries"])
    check_kept(values)

    check_weights("original.weights", values["original"]["weights"])
    check_start(values, said)
    check_image_size(values)


def check_values(values: Values, folders: Sequence[Path] = (CONF,), base: str = RUN) -> Described:
    """Refuse values that their keys cannot have, and keys that are missing or unknown.

    Args:
        values: The whole configuration.
        folders: Where the files of its groups are.
        base: The file whose keys stand in no group.

    Returns:
        What is said of the keys.
    """
    said = describe_keys(values, folders, base)
    check_needed(values, said)
    for key, about in said.keys.items():
        value = value_at(values, key)
        if value is not MISSING and about.phrase is not None:
            check_value(key, value, about.phrase)

    check_known(values, said, folders)
    check_complete(values, said)
    for name, settings in values["attack"].items():
        declaration_of(name, settings)

    return said


def check_needed(values: Values, said: Described) -> None:
    """Refuse a configuration that lacks a key without which it cannot be read."""
    for key in said.needed:
        above = value_at(values, key.rpartition(".")[0])
        if isinstance(above, dict) and value_at(values, key) is MISSING:
            raise UserError(
                f"{key} is missing: do not remove it, it must be {words_for(said, key)}"
            )


def words_for(said: Described, key: str) -> str:
    """The words that say what a key must be."""
    phrase = said.keys[key].phrase
    return "what it was" if phrase is None else phrase.words


def check_value(key: str, value: Any, phrase: Phrase) -> None:
    if not phrase.holds(value):
        remedy = f"{key}.KEY=..." if phrase is GROUP else f"{key}=..."
        raise UserError(f"{key} must be {phrase.words}, got {quoted(value)}: set {remedy}")

    if key.rpartition(".")[2] == "_target_" and (moved := present_path(value)) != value:
        raise UserError(f"{key}={value} has moved: set {key}={moved}")


def check_known(values: Values, said: Described, folders: Sequence[Path]) -> None:
    """Refuse a key that no file has, or not that of the chosen data set, backbone or method.

    A file that says nothing of its keys (one of a user's own folder) may have any.
    """
    for key in sorted(paths(values, said)):
        group = key.partition(".")[0]
        if key in said.keys or (group in said.free and key != group):
            continue

        where, known = "", [*said.keys, *all_keys(folders)]
        if group in said.files and key != group:
            where = f" of {group}={said.files[group].path.stem}"
            known = [name for name in said.keys if name.startswith(f"{group}.")]

        hint = did_you_mean(key, known) or "."
        raise UserError(f"there is no key {key!r}{where}{hint} {help_line()}")


def check_complete(values: Values, said: Described) -> None:
    """Refuse a configuration that lacks a key of the file by whose name a group goes.

    What only a search asks for may be missing: found settings do without it.
    """
    for group, file in said.files.items():
        if file.path.stem != values[group]["name"]:
            continue
        for name in sorted(file.own):
            key, said_of_it = f"{group}.{name}", file.own[name].phrase is not None
            if said_of_it and name not in UNASKED and value_at(values, key) is MISSING:
                must = words_for(said, key)
                raise UserError(f"{key} is missing: it must be {must}, as in {place_of(file.path)}")


def place_of(file: Path) -> str:
    """A file as messages name it: below conf, where it is one of ours."""
    return f"conf/{file.relative_to(CONF)}" if file.is_relative_to(CONF) else str(file)


def value_at(values: Any, key: str) -> Any:
    """The value of a path such as `method.tuning.lr`, or MISSING; all of them for an empty path."""
    for part in filter(None, key.split(".")):
        if not isinstance(values, dict) or part not in values:
            return MISSING
        values = values[part]
    return values


def paths(values: Values, said: Described, above: str = "") -> Iterator[str]:
    """Paths of all keys, also of those in groups."""
    for key, value in values.items():
        path = f"{above}{key}"
        yield path
        about = said.keys.get(path)
        if about is not None and about.phrase is GROUP:
            yield from paths(value, said, f"{path}.")


def quoted(value: Any) -> str:
    """A value as it is quoted: its beginning, where it is long."""
    text = repr(value)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."


def check_dataset(values: Values, said: Described) -> None:
    """Refuse labels that there are not, files that are not there, and columns that clash."""
    dataset = values["dataset"]
    if dataset["labels"] is not None:
        labels = as_names(dataset["labels"])
        chosen_labels(dataset["name"], labels, known_labels(said) or list(dict.fromkeys(labels)))

    phrases = phrases_of(said, "dataset")
    for name, phrase in phrases.items():
        if dataset.get(name) is not None:
            check_file(f"dataset.{name}", dataset[name], phrase.kind)

    check_columns(dataset, phrases)


def phrases_of(said: Described, group: str) -> dict[str, Phrase]:
    """The phrases of the keys of a group, by their names in it."""
    inside = f"{group}."
    return {
        key.removeprefix(inside): about.phrase
        for key, about in said.keys.items()
        if key.startswith(inside) and about.phrase is not None
    }


def known_labels(said: Described) -> list[str]:
    """All labels of the chosen data set, where it always has the same; else none."""
    about: Key = said.keys["dataset.labels"]
    if about.phrase is None or about.phrase.kind != "labels" or not about.phrase.names:
        return []

    (home,) = about.phrase.names
    if home == "these":
        return as_names(about.value)

    module, _, name = home.rpartition(".")

    return as_names(getattr(import_module(module), name))


def check_file(key: str, value: Any, kind: str) -> None:
    """Refuse a file that is not there, or stands where there must be a folder."""
    if kind == "folder" and is_file(value):
        raise UserError(f"{key}={value} is a file: give the path of a folder")

    if kind != "a text file" and "." not in kind:
        return

    for file in as_list(value):
        if not is_file(file):
            raise UserError(f"{key}={file} is no file: give the path of {kind}, or null")


def check_columns(dataset: Values, phrases: Mapping[str, Phrase]) -> None:
    """Refuse a column of a user's table that would mean two things, and a cell that would."""
    kinds = {name: phrases[name].kind for name in phrases if dataset.get(name) is not None}
    of_labels = [name for name, kind in kinds.items() if kind == "column of labels"]
    if len(of_labels) > 1:
        both = " and ".join(f"dataset.{name}={dataset[name]}" for name in of_labels)
        raise UserError(f"{both} are two ways of giving labels: set one")

    columns = [name for name, kind in kinds.items() if kind.startswith("column")]

    for one, other in itertools.combinations(columns, 2):
        if plain_text(dataset[one]) == plain_text(dataset[other]):
            raise UserError(
                f"dataset.{one} and dataset.{other} are both {dataset[one]!r}: "
                "set one of them to another"
            )

    cells = [name for name, kind in kinds.items() if kind == "cell"]

    for one, other in itertools.combinations(cells, 2):
        if plain_cell(dataset[one]) == plain_cell(dataset[other]):
            raise UserError(
                f"dataset.{one} and dataset.{other} are both {dataset[one]!r}: "
                "a cell can say only one"
            )


def check_method(values: Values) -> None:
    """Refuse a preset that the method does not have, and fine-tuning without an end."""
    method = values["method"]
    if values["preset"] == "source":
        check_preset("source", method["name"])

    tuning = method.get("tuning")
    if isinstance(tuning, dict) and tuning.get("epochs") is None and tuning.get("steps") is None:
        raise UserError(
            "method.tuning.epochs and method.tuning.steps are both null: set one of them, or both"
        )


def check_preset(preset: str, method: str, folders: Sequence[Path] = (CONF,)) -> None:
    """Refuse a preset that has no file for a method, for which it would change nothing.

    Args:
        preset: Its name.
        method: Of the method, or of its file.
        folders: Where the files of groups are.
    """
    files = [file for folder in folders for file in (folder / _PRESETS / preset).glob("*.yaml")]
    named = sorted({file.stem for file in files})
    if method not in named:
        raise UserError(
            f"preset={preset}: there is none for method={method}, only for {', '.join(named)}"
        )


def check_labels(values: Values) -> None:
    """Refuse labels to forget that there are not, or that contradict each other."""
    forgotten_names(values)
    names = values["forget_label"]["names"]
    default = values["dataset"].get("default_forget")
    if values["concept"] is not None and not (
        values["requests"] is None and names in (None, default)
    ):
        raise UserError(
            f"concept={quoted(values['concept'])} is forgotten in place of labels: set neither "
            "requests nor forget_label"
        )

    if values["requests"] is None or names in (None, default):
        return

    named = own_names(values, as_list(names))
    together = {name for request in requested(values) for name in request}

    if set(named) != together:
        raise UserError(
            f"forget_label.names={quoted(list(named))} and requests={quoted(sorted(together))} "
            "name different labels: set one of them"
        )


def check_concept(values: Values) -> None:
    """Refuse what has no meaning where the model does not output what it is to forget."""
    if values["concept"] is None:
        return

    name, where = values["method"]["name"], f"concept={quoted(values['concept'])}"
    if name in NO_CONCEPTS:
        raise UserError(f"{where}: method={name} is no way to forget it: {NO_CONCEPTS[name]}")

    others = [attack for attack in values["attack"] if attack != _READS]
    if others:
        raise UserError(
            f"{where}: attack={others[0]} asks about an output and Retrain, of which there is "
            f"none: set attack={_READS}"
        )

    if values["canaries"]["withheld"]:
        raise UserError(
            f"{where}: canaries are targets of an output, and it is none: set canaries.withheld=0"
        )


def has_reference(values: Values) -> bool:
    """Whether Retrain is trained: a model that does not output a concept never learnt it."""
    return values["reference"] == "retrain" and values["concept"] is None


def check_reference(values: Values) -> None:
    """Refuse to optimise what no run has, or this one will not have."""
    without = not has_reference(values)
    if without and values["method"]["name"] == "retrain":
        raise UserError(
            "reference=none: method=retrain is the reference, "
            "set reference=retrain or another method"
        )

    objective = values["objective"]

    for path in [] if objective is None else as_list(objective):
        first, _, rest = path.partition("/")
        if first not in FIGURES:
            raise UserError(
                f"objective={path} is no figure of a run{did_you_mean(first, FIGURES) or ':'} "
                f"the paths of figures begin with {', '.join(FIGURES)}"
            )
        if without and (first == "retrain" or path in ("seconds/retrain", "speedup", "work_ratio")):
            remedy = "set reference=retrain, not none"
            if values["concept"] is not None:
                remedy = "there is none where a concept is forgotten, choose another figure"
            raise UserError(f"objective={path} needs the reference: {remedy}")
        if rest.startswith("attack/") and not values["attack"]:
            raise UserError(f"objective={path} needs an attack: set attack=aia or another one")


def check_canaries(canaries: Values) -> None:
    if canaries["flipped"] and not canaries["withheld"]:
        raise UserError(
            f"canaries.flipped={canaries['flipped']:g} is of no use without canaries: "
            "set canaries.withheld above 0"
        )


def check_kept(values: Values) -> None:
    """Refuse to choose among steps that nobody looks at."""
    if values["keep"] == "best" and values["trace"] is None:
        raise UserError(
            "keep=best chooses among the steps that are traced: set trace=10, or keep=last"
        )


def check_start(values: Values, said: Described) -> None:
    """Refuse weights that are neither a file nor a name that the backbone's makers may know."""
    weights, phrase = values["backbone"]["weights"], said.keys["backbone.weights"].phrase
    if weights is None or phrase is None or phrase.kind != "weights" or is_file(weights):
        return

    names = phrase.names

    if not names or looks_like_path(weights):
        check_weights("backbone.weights", weights)
    elif not re.fullmatch("|".join(names).replace("*", r"\w+"), weights):
        hint = did_you_mean(weights, [name.replace("*", "V1") for name in names])
        raise UserError(
            f"backbone.weights={weights} is neither a file nor "
            f"{' or '.join(map(repr, names))}{hint}"
        )


def looks_like_path(weights: str) -> bool:
    return Path(weights).suffix != "" or "/" in weights


def check_weights(key: str, path: Any) -> None:
    if path is not None and not is_file(str(path)):
        raise UserError(f"{key}={path} does not exist: give the path of a .safetensors or .pt file")


def check_image_size(values: Values) -> None:
    size = values["backbone"].get("image_size", values["dataset"]["image_size"])
    if size != values["dataset"]["image_size"]:
        raise UserError(
            f"backbone.image_size={size}: images have the size of dataset.image_size, set that"
        )


def as_list(value: Any) -> list[Any]:
    """One value or several, as a list."""
    return [value] if isinstance(value, str | int | float) else list(value)


def as_names(labels: Iterable[Any]) -> list[str]:
    """Labels as text, also those that are numbers."""
    return [str(label) for label in labels]


def forgotten_names(values: Values) -> tuple[str, ...]:
    """The labels to forget; refuses the impossible.

    They go by the data set's own names, where the configuration has them.
    """
    if values["concept"] is not None:
        concepts = as_list(values["concept"])
        if not concepts:
            raise UserError("concept is empty: name at least one attribute, or set concept=null")
        return own_names(values, concepts)

    if values["requests"] is not None:
        return tuple(name for request in requested(values) for name in request)

    names = values["forget_label"]["names"]

    if names is None:
        raise UserError(
            f"{values['dataset']['name']} has no default label to forget: "
            "set 'forget_label.names=[...]'"
        )

    names = as_list(names)
    if not names:
        raise UserError("forget_label.names is empty: name at least one label to forget")

    return own_names(values, names)


def own_names(values: Values, names: Iterable[Any]) -> tuple[str, ...]:
    """Labels to forget by the data set's own names, where the configuration has them."""
    wanted, dataset = tuple(as_names(names)), values["dataset"]
    if dataset["labels"] is None:
        return wanted
    return forgotten_labels(wanted, as_names(dataset["labels"]), dataset["name"])


def requested(values: Values) -> tuple[tuple[str, ...], ...]:
    """The labels of each request to forget, in the order in which they come."""
    requests = values["requests"]
    if requests is None or values["concept"] is not None:
        return (forgotten_names(values),)

    found = tuple(own_names(values, request) for request in requests)
    together = own_names(values, [name for request in found for name in request])
    if len(together) < sum(map(len, found)) or not all(found):
        raise UserError(f"requests must be lists of labels, each label once, got {requests}")

    return found
