"""Checks of a composed configuration: what it alone shows to be wrong stops here. Nothing heavy is
imported."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlu.data.labels import CELEBA, MAAD, chosen_labels, forgotten_labels, plain_cell
from mlu.launch.compose import HELP
from mlu.launch.options import CONF, config_keys, nested
from mlu.launch.rules import ESSENTIAL, KEYS, OWN_RULES, RULES, Rule
from mlu.system.errors import UserError, did_you_mean, first_line


def check_config(config: DictConfig) -> None:
    """Refuse what the configuration alone shows to be wrong; raises UserError with key, value and
    remedy."""
    check_values(config)
    check_dataset(config)
    check_method(config)
    check_labels(config)
    check_reference(config)
    if config.canaries.flipped and not config.canaries.withheld:
        raise UserError(
            f"canaries.flipped={config.canaries.flipped:g} is of no use without canaries: set canaries.withheld above 0"
        )

    check_weights("original.weights", config.original.weights)
    check_start(config.backbone)
    size = OmegaConf.select(config, "backbone.image_size", default=config.dataset.image_size)
    if size != config.dataset.image_size:
        raise UserError(
            f"backbone.image_size={size}: images have the size of dataset.image_size, set that"
        )


def check_values(config: DictConfig) -> None:
    """Refuse a value that its key cannot have, a key that there is not, and one that must be there."""
    written = OmegaConf.to_container(config)
    for key in ESSENTIAL:
        if value_at(written, key) is MISSING and isinstance(
            value_at(written, key.rpartition(".")[0]), dict
        ):
            raise UserError(f"{key} is missing: do not remove it, it must be {RULES[key][1]}")

    values = values_of(config)
    for key, (holds, text) in {**RULES, **own_rules(values)}.items():
        value = value_at(values, key)
        if value is not MISSING and not holds(value):
            remedy = f"{key}.KEY=..." if RULES[key] is KEYS else f"{key}=..."
            raise UserError(f"{key} must be {text}, got {quoted(value)}: set {remedy}")

    check_keys(values)


def own_rules(values: Mapping[str, Any]) -> dict[str, Rule]:
    """The rules of the chosen data set and method that differ from those of others."""
    chosen = [f"{group}={value_at(values, f'{group}.name')}" for group in NAMED]
    return {key: rule for choice in chosen for key, rule in OWN_RULES.get(choice, {}).items()}


NAMED = ("dataset", "backbone", "method")
"""Groups each of whose files has the name of what it makes."""


def check_keys(values: Mapping[str, Any]) -> None:
    """Refuse a key that no file has, or not that of the chosen data set, backbone or method; and
    one that is gone.

    What is none of ours (a file of a user's own folder, by --config-dir) has keys of its own.
    """
    found = set(paths(values))
    files = {group: CONF / group / f"{values[group]['name']}.yaml" for group in NAMED}
    own = {group: file_keys(file, group) for group, file in files.items() if is_file(file)}
    unfiled = set(RULES) - set(config_keys())
    for key in sorted(found):
        group = key.partition(".")[0]
        known, where = set(RULES) | set(config_keys()), ""
        if group in NAMED and group not in own:
            continue
        if group in own and key != group:
            known, where = own[group] | unfiled, f" of {group}={files[group].stem}"
        if key not in known:
            raise UserError(
                f"there is no key {key!r}{where}{did_you_mean(key, known) or '.'} {HELP}"
            )

    for group, keys in own.items():
        for key in sorted(keys & set(RULES) - found):
            raise UserError(
                f"{key} is missing: it must be {RULES[key][1]}, as in conf/{group}/{files[group].name}"
            )


def file_keys(file: Path, group: str) -> set[str]:
    """Paths of the keys of a group's file in a configuration."""
    return {f"{group}.{key}" for key in ("_target_", *nested(file))}


def values_of(config: DictConfig) -> dict[str, Any]:
    """All values, resolved; without Hydra's own. Raises UserError with one that cannot be resolved."""
    ours = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        values = OmegaConf.to_container(ours, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as fault:
        key = fault.full_key or "a key"
        written = quoted(value_at(OmegaConf.to_container(ours), key))
        raise UserError(f"{key}={written}: {first_line(fault)}: set {key}=...") from fault
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def value_at(values: Any, key: str) -> Any:
    """The value of a path such as `method.tuning.lr`, or MISSING; all of them for an empty path."""
    for part in filter(None, key.split(".")):
        if not isinstance(values, dict) or part not in values:
            return MISSING
        values = values[part]
    return values


def paths(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Paths of all keys, also of those in groups."""
    for key, value in values.items():
        path = f"{above}{key}"
        yield path
        if RULES.get(path) is KEYS and path != f"method.{SEARCH}":
            yield from paths(value, f"{path}.")


def quoted(value: Any) -> str:
    """A value as it is quoted: its beginning, where it is long."""
    text = repr(value)
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."


QUOTED = 100
MISSING = object()
SEARCH = "search"
"""Of a method: what a search for its settings tries. It decides nothing of a run."""


def check_dataset(config: DictConfig) -> None:
    """Refuse labels that a data set does not have, files that are not there, and columns that
    exclude each other."""
    dataset = config.dataset
    known = known_labels(dataset)
    if dataset.labels is not None:
        labels = [str(label) for label in dataset.labels]
        chosen_labels(dataset.name, labels, known or list(dict.fromkeys(labels)))

    for key in ("root", "prepared"):
        if (folder := OmegaConf.select(dataset, key)) is not None and is_file(folder):
            raise UserError(f"dataset.{key}={folder} is a file: give the path of a folder")

    exclude = OmegaConf.select(dataset, "exclude")
    for file in () if exclude is None else as_list(exclude):
        if not is_file(file):
            raise UserError(
                f"dataset.exclude={file} is no file: give the path of a text file, or null"
            )

    attributes = OmegaConf.select(dataset, "attributes")
    if attributes is not None and not is_file(attributes):
        raise UserError(
            f"dataset.attributes={attributes} is no file: give the path of MAAD_Face.csv, or null"
        )

    check_columns(dataset)


def known_labels(dataset: DictConfig) -> Sequence[str]:
    """All labels of a data set of ours that always has the same; empty for others."""
    many = {"celeba": CELEBA, "celeba_hq": CELEBA, "vggface2": MAAD}
    if dataset.name in many:
        return many[dataset.name]
    if dataset.name not in COMPLETE:
        return ()

    return [
        str(label)
        for label in yaml.safe_load((CONF / "dataset" / f"{dataset.name}.yaml").read_text())[
            "labels"
        ]
    ]


COMPLETE = ("cifar10", "digits", "faces", "mnist", "mufac", "multidigits", "svhn")
"""Data sets of which conf/dataset names every label."""


def check_columns(dataset: DictConfig) -> None:
    """Refuse a column of a user's table that would mean two things, and a cell that would."""
    columns = [
        str(key) for key in dataset if str(key).endswith("_column") and dataset[key] is not None
    ]
    if {"list_column", "class_column"} <= set(columns):
        raise UserError(
            f"dataset.list_column={dataset.list_column} and dataset.class_column={dataset.class_column} are two ways "
            "of giving labels: set one"
        )

    for one, other in itertools.combinations(columns, 2):
        if dataset[one] == dataset[other]:
            raise UserError(
                f"dataset.{one} and dataset.{other} are both {dataset[one]!r}: set one of them to another"
            )

    cells = [
        key
        for key in ("positive", "negative", "unknown")
        if OmegaConf.select(dataset, key) is not None
    ]
    for one, other in itertools.combinations(cells, 2):
        if plain_cell(dataset[one]) == plain_cell(dataset[other]):
            raise UserError(
                f"dataset.{one} and dataset.{other} are both {dataset[one]!r}: a cell can say only one"
            )


def check_method(config: DictConfig) -> None:
    """Refuse a preset that the method does not have, and fine-tuning without an end."""
    presets = sorted(file.stem for file in (CONF / "preset" / "methods" / "source").glob("*.yaml"))
    if config.preset == "source" and config.method.name not in presets:
        raise UserError(
            f"preset=source: there is none for method={config.method.name}, only for {', '.join(presets)}"
        )
    tuning = OmegaConf.select(config, "method.tuning")
    if tuning is not None and tuning.epochs is None and tuning.steps is None:
        raise UserError(
            "method.tuning.epochs and method.tuning.steps are both null: set one of them, or both"
        )


def check_labels(config: DictConfig) -> None:
    """Refuse labels to forget that there are not, or that contradict each other."""
    forgotten_names(config)
    names = config.forget_label.names
    if config.requests is None or names in (None, config.dataset.default_forget):
        return

    named = own_names(config, as_list(names))
    together = {name for request in requested(config) for name in request}
    if set(named) != together:
        raise UserError(
            f"forget_label.names={quoted(list(named))} and requests={quoted(sorted(together))} name different labels: "
            "set one of them"
        )


def check_reference(config: DictConfig) -> None:
    """Refuse to optimise what no run has, or this one will not have."""
    without = config.reference == "none"
    if without and config.method.name == "retrain":
        raise UserError(
            "reference=none: method=retrain is the reference, set reference=retrain or another method"
        )

    for path in [] if config.objective is None else as_list(config.objective):
        first, _, rest = path.partition("/")
        if first not in FIGURES:
            raise UserError(
                f"objective={path} is no figure of a run{did_you_mean(first, FIGURES) or ':'} the paths of figures "
                f"begin with {', '.join(FIGURES)}"
            )
        if without and (first == "retrain" or path in ("seconds/retrain", "speedup", "work_ratio")):
            raise UserError(
                f"objective={path} needs the reference: set reference=retrain, not none"
            )
        if rest.startswith("attack/") and not config.attack:
            raise UserError(f"objective={path} needs an attack: set attack=aia or another one")


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


def as_list(value: Any) -> list[Any]:
    """One value or several, as a list."""
    return [value] if isinstance(value, str | int | float) else list(value)


def is_file(path: Path | str) -> bool:
    """Whether there is such a file; also of a path that no file can have, or that may not be looked
    at."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def check_start(backbone: DictConfig) -> None:
    """Refuse weights to start from that are neither a file nor a name that the backbone's makers
    may know."""
    weights, maker = backbone.weights, backbone.get("_target_", "").rpartition(".")[2]
    if weights is None or is_file(weights):
        return

    names = NAMES_OF_WEIGHTS.get(maker)
    if names is None or looks_like_path(weights):
        check_weights("backbone.weights", weights)
    elif not re.fullmatch("|".join(names).replace("*", r"\w+"), weights):
        hint = did_you_mean(weights, [name.replace("*", "V1") for name in names])
        raise UserError(
            f"backbone.weights={weights} is neither a file nor {' or '.join(map(repr, names))}{hint}"
        )


NAMES_OF_WEIGHTS = {
    "ResNet": ("DEFAULT", "IMAGENET1K_*"),
    "VisionTransformer": ("DEFAULT", "IMAGENET1K_*"),
    "Timm": ("pretrained",),
}
"""How weights that can be downloaded are called, by the class of the backbone."""


def looks_like_path(weights: str) -> bool:
    return Path(weights).suffix != "" or "/" in weights


def check_weights(key: str, path: Any) -> None:
    if path is not None and not is_file(str(path)):
        raise UserError(f"{key}={path} does not exist: give the path of a .safetensors or .pt file")


def forgotten_names(config: DictConfig) -> tuple[str, ...]:
    """The labels to forget, by the data set's own names where the configuration has them; refuses
    the impossible."""
    if config.requests is not None:
        return tuple(name for request in requested(config) for name in request)

    names = config.forget_label.names
    if names is None:
        raise UserError(
            f"{config.dataset.name} has no default label to forget: set forget_label.names=[...]"
        )

    names = as_list(names)
    if not names:
        raise UserError("forget_label.names is empty: name at least one label to forget")

    return own_names(config, names)


def own_names(config: DictConfig, names: Iterable[Any]) -> tuple[str, ...]:
    """Labels to forget by the data set's own names, where the configuration has them."""
    wanted = tuple(str(name) for name in names)
    if config.dataset.labels is None:
        return wanted
    return forgotten_labels(
        wanted, [str(label) for label in config.dataset.labels], config.dataset.name
    )


def requested(config: DictConfig) -> tuple[tuple[str, ...], ...]:
    """The labels of each request to forget, in the order in which they come."""
    if config.requests is None:
        return (forgotten_names(config),)
    found = tuple(own_names(config, request) for request in config.requests)
    together = own_names(config, [name for request in found for name in request])
    if len(together) < sum(map(len, found)) or not all(found):
        raise UserError(f"requests must be lists of labels, each label once, got {config.requests}")
    return found
