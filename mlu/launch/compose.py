"""Hydra's composition: overrides in, a configuration or one line out."""

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlu.launch.check import check_needed, check_preset, quoted, value_at
from mlu.launch.home import paths_from_home
from mlu.launch.keys import DEFAULT, RUN, all_keys, describe_keys, with_comments
from mlu.launch.options import CONF, config_folders, options_of
from mlu.launch.tune import set_nested
from mlu.runs.moved import HOMES, present_path
from mlu.runs.rows import without_declarations
from mlu.system.commands import help_line, run_command
from mlu.system.errors import UserError, did_you_mean, first_line

_NO_FSDP = (
    "it cuts weights up, and scores, edits and their bounds want each one whole on every device; "
    "use trainer=ddp, for which the network and its gradients must fit on one device"
)
WEAKEST = 1e-9
"""Least strength that something is divided by."""

REFUSED = {("trainer", "fsdp"): _NO_FSDP}
"""What one might look for in a group, and why it is not there."""


def register_resolvers() -> None:
    """Let configurations call `either`, `sum`, `by_budget`, `environ` and what else stands here.

    `${either:a,b}` is a, or b where a is null; `${where:a,b,c}` is b where a is true, else c;
    `${sum:a,b}` is both together; `${by_budget:a,b}` is a, or b under budget=paper;
    `${by_task:a,b}` is a, or b where a class is forgotten (dataset.task=singlelabel);
    `${times:a,b}`, `${over:a,b}` and `${outweighed:a,b}` are what a strength b makes of a (`times`,
    `over`, `outweighed`);
    `${environ:A,b}` is the variable A of the environment, or b where there is none or an empty one;
    `${described:}` is the configuration as text, with what each key may be; `${run:}` is the
    command that starts a run.
    """

    def by_budget(small: Any, paper: Any, *, _root_: Any) -> Any:
        return paper if _root_.budget == "paper" else small

    def by_task(several: Any, one: Any, *, _root_: Any) -> Any:
        # A concept is a label of its own, whatever the model outputs.
        labels = _root_.get("concept") is not None or _root_.dataset.get("task") != "singlelabel"
        return several if labels else one

    # Hydra reads both as a template, where a dollar sign is written twice.
    def described(*, _root_: Any) -> str:
        return described_config(_root_).replace("$", "$$")

    def begun() -> str:
        return run_command().replace("$", "$$")

    OmegaConf.register_new_resolver(
        "either", lambda first, second: second if first is None else first, replace=True
    )
    OmegaConf.register_new_resolver(
        "where", lambda true, one, other: one if true else other, replace=True
    )
    OmegaConf.register_new_resolver("sum", lambda first, second: first + second, replace=True)
    OmegaConf.register_new_resolver("by_budget", by_budget, replace=True)
    OmegaConf.register_new_resolver("by_task", by_task, replace=True)
    for scaled in (times, over, outweighed):
        OmegaConf.register_new_resolver(scaled.__name__, scaled, replace=True)
    OmegaConf.register_new_resolver(
        "environ", lambda name, default: os.environ.get(name) or default, replace=True
    )
    OmegaConf.register_new_resolver("described", described, replace=True)
    OmegaConf.register_new_resolver("run", begun, replace=True)


def times(default: Any, strength: Any) -> Any:
    """A default times a strength; a whole number stays one.

    >>> times(0.1, 3.0), times(2, 0.3), times(2, 0.0), times(2, "much")
    (0.30000000000000004, 1, 0, 2)
    """
    if not is_finite(strength) or strength < 0 or not is_finite(default * strength):
        # That is told of the strength's own key.
        return default
    return math.floor(default * strength + 0.5) if isinstance(default, int) else default * strength


def over(default: Any, strength: Any) -> Any:
    """A default over a strength: of what forgets the more, the less it is.

    A strength of WEAKEST or less counts as that, since there must be a number.

    >>> over(10.0, 2.0), over(10.0, 1.0)
    (5.0, 10.0)
    """
    return default / max(strength, WEAKEST) if is_finite(strength) else default


def outweighed(default: Any, strength: Any) -> Any:
    """A weight in [0, 1] when what it is held against, 1 - weight, counts so many times as much.

    >>> outweighed(0.4, 0.0), outweighed(0.4, 1.0), round(outweighed(0.4, 10.0), 4)
    (1.0, 0.4, 0.0625)
    """
    if not is_finite(strength) or strength == 1:
        return default
    return default / (default + max(strength, 0) * (1 - default))


def is_finite(number: Any) -> bool:
    return isinstance(number, int | float) and math.isfinite(number)


def described_config(config: DictConfig) -> str:
    """A configuration as yaml, with what its files say of each key."""
    ours = without_hydra(config)
    said = describe_keys(plain(ours), folders_of(config))
    # How figures are shown would fill a page.
    written: Any = OmegaConf.to_container(ours)
    return with_comments(OmegaConf.to_yaml(without_declarations(written)), said.keys)


def described_part(
    keys: Sequence[str], config: DictConfig, folders: Sequence[Path] = (), base: str = RUN
) -> str:
    """Some groups and keys of a configuration as yaml, with what its files say of each key.

    Args:
        keys: Their names.
        config: The whole.
        folders: Of a user's own files, before ours.
        base: The file whose keys stand in no group.
    """
    said = describe_keys(plain(without_hydra(config)), (*folders, CONF), base)
    return with_comments(OmegaConf.to_yaml(OmegaConf.masked_copy(config, [*keys])), said.keys)


def composed(overrides: Sequence[str], folders: Iterable[Path] = (), base: str = RUN) -> DictConfig:
    """The configuration of a command line, without running Hydra.

    Args:
        overrides: Such as `dataset=celeba` and `dataset.root=photos`.
        folders: Of a user's own files, before ours.
        base: The file of CONF, without its ending, that it begins with.
    """
    register_resolvers()
    found = [folder.absolute() for folder in folders]
    check_overrides(overrides, (*found, CONF))
    path = ",".join(f"'file://{folder}'" for folder in found)
    searched = [f"hydra.searchpath=[{path}]"] if found else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(base, overrides=[*searched, *overrides])


def folders_of(config: DictConfig) -> tuple[Path, ...]:
    """Folders that a configuration was composed from; ours, where Hydra's own part is not in it."""
    if "hydra" not in config:
        return (CONF,)
    return config_folders(config.hydra.runtime.config_sources)


def values_of(
    config: DictConfig, folders: Sequence[Path] = (CONF,), base: str = RUN
) -> dict[str, Any]:
    """All values, resolved; without Hydra's own.

    Args:
        config: With its references.
        folders: Where the files of its groups are.
        base: The file whose keys stand in no group.

    Raises:
        UserError: With a key that others need and that is not there, or a value that cannot be
            resolved.
    """
    ours = without_hydra(config)
    written = plain(ours)
    said = describe_keys(written, folders, base)
    check_needed(written, said)
    if "hydra" in config:
        choices = config.hydra.runtime.choices
        if choices.get("preset") not in (None, DEFAULT):
            check_preset(str(choices.preset), choices.get("method"), folders)
    # Before others refer to them.
    for key, path in paths_from_home(written, said).items():
        OmegaConf.update(ours, key, path)

    try:
        found = OmegaConf.to_container(ours, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as fault:
        key = fault.full_key or "a key"
        value = quoted(value_at(written, key))
        raise UserError(f"{key}={value}: {first_line(fault)}: set {key}=...") from fault

    assert isinstance(found, dict)
    values = {str(key): value for key, value in found.items()}
    # Those that came from a variable of the environment, or from a key of which nothing is said.
    for key, path in paths_from_home(values, said).items():
        set_nested(values, key, path)

    check_strength(ours, values)

    return values


def check_strength(config: DictConfig, values: Mapping[str, Any]) -> None:
    """Refuse a strength that changes nothing of the method.

    Args:
        config: With its references.
        values: The same, resolved.
    """
    strength = values["strength"]
    if strength == 1 or not is_finite(strength) or strength < 0:
        return

    plain_strength = config.copy()
    OmegaConf.update(plain_strength, "strength", 1.0)
    if OmegaConf.to_container(plain_strength.method, resolve=True) == values["method"]:
        raise UserError(
            f"strength={strength:g} changes nothing of method={values['method']['name']} as it is "
            "set here: leave strength=1, or choose a method that has one (docs/methods.md)"
        )


def without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def plain(config: DictConfig) -> dict[str, Any]:
    """The values as they are written."""
    written = OmegaConf.to_container(config)
    assert isinstance(written, dict)
    return {str(key): value for key, value in written.items()}


def explain(fault: Exception, folders: Sequence[Path] = (CONF,), base: str = RUN) -> str:
    """One line for what Hydra could not compose, with the nearest valid name."""
    if isinstance(fault, MissingConfigException) and fault.missing_cfg_file:
        return explain_missing(fault, folders)

    text, first = str(fault), first_line(fault)
    if moved := re.search(rf"'(({'|'.join(map(re.escape, HOMES))})\.\w+)'", text):
        return f"{moved.group(1)} has moved: write {present_path(moved.group(1))}"

    if unknown := re.search(r"Could not override '([\w.@/]+)'", text):
        key, known = unknown.group(1), all_keys(folders, base)
        if key in known:
            group = key.partition(".")[0]
            return f"there is no key {key!r} with this choice of {group}. {help_line()}"
        return f"there is no key {key!r}{did_you_mean(key, known) or '.'} {help_line()}"

    if first.startswith("Ambiguous value"):
        return f"{first}: add -m for a job with each of them, or write [...] for a list"

    if isinstance(fault.__cause__, OmegaConfBaseException):
        return f"{first}: {first_line(fault.__cause__)}"

    return first


def explain_missing(fault: MissingConfigException, folders: Sequence[Path]) -> str:
    """One line for a name that a group does not have."""
    group, _, name = str(fault.missing_cfg_file).rpartition("/")
    if reason := REFUSED.get((group, name)):
        return f"{group}={name} is refused: {reason}"

    if not group:
        return first_line(fault)

    options = list(fault.options or ()) or options_of(group, folders)
    hint = did_you_mean(name, options)

    return f"{group}={name} does not exist{hint or '.'} There are {', '.join(options)}"


def check_overrides(words: Sequence[str], folders: Sequence[Path] = (CONF,)) -> None:
    """Refuse what Hydra cannot read as `key=value`, and what is no choice of a group."""
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
        except (HydraException, OmegaConfBaseException) as fault:
            raise unreadable(word, fault) from fault

        group = override.key_or_group
        if not group:
            raise unreadable(word, ValueError("no key"))
        if override.is_sweep_override() or not (CONF / group).is_dir():
            continue

        value: Any = override.value()
        several = group == "attack" and isinstance(value, list) and not override.is_delete()
        named = all(isinstance(one, str) and one for one in (value if several else [value]))
        if not named and not (override.is_delete() and value is None):
            options = ", ".join(options_of(group, folders))
            raise UserError(f"{word}: {group} must be one of {options}")


def unreadable(word: str, fault: Exception) -> UserError:
    """The error for an override that cannot be read."""
    lines = [
        line
        for line in str(fault).splitlines()
        if not line.startswith(("Error parsing", "See http"))
    ]
    reason = re.sub(r" expecting \{.*", "", " ".join(lines)) or type(fault).__name__

    return UserError(
        f"cannot read {word!r} ({reason}): write key=value, "
        "and in quotes what has other signs than letters, digits and -_./"
    )
