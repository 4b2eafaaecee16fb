"""Hydra's composition: overrides in, a configuration or one line out."""

import re
from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlu.launch.options import CONF, config_keys, options_of
from mlu.system.errors import UserError, did_you_mean, first_line


def register_resolvers() -> None:
    """`${either:a,b}` is a, or b where a is null; `${by_budget:a,b}` is a, or b under budget=paper."""

    def by_budget(small: Any, paper: Any, *, _root_: Any) -> Any:
        return paper if _root_.budget == "paper" else small

    OmegaConf.register_new_resolver(
        "either", lambda first, second: second if first is None else first, replace=True
    )
    OmegaConf.register_new_resolver("by_budget", by_budget, replace=True)


HELP = "See python launch.py --help"


def composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration of a command line such as `dataset=celeba dataset.root=photos`, without
    running Hydra."""
    register_resolvers()
    check_overrides(overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


REFUSED = {
    (
        "trainer",
        "fsdp",
    ): "it cuts weights up, and scores, edits and their bounds want each one whole on every device; "
    "use trainer=ddp, for which the network and its gradients must fit on one device"
}
"""What one might look for in a group, and why it is not there."""


def explain(fault: Exception) -> str:
    """One line for what Hydra could not compose, with the nearest valid name."""
    text = str(fault)
    if missing := re.search(r"Could not (?:find|load) '([\w/]+)/([^/']+)'", text):
        group, name = missing.groups()
        if reason := REFUSED.get((group, name)):
            return f"{group}={name} is refused: {reason}"
        options = re.findall(r"^\t([\w-]+)$", text, re.MULTILINE) or options_of(group)
        return f"{group}={name} does not exist{did_you_mean(name, options) or '.'} There are {', '.join(options)}"

    first = first_line(fault)
    if unknown := re.search(r"Could not override '([\w.@/]+)'", text):
        key = unknown.group(1)
        return f"there is no key {key!r}{did_you_mean(key, config_keys()) or '.'} {HELP}"
    if first.startswith("Ambiguous value"):
        return f"{first}: add -m for a job with each of them, or write [...] for a list"
    if isinstance(fault.__cause__, OmegaConfBaseException):
        return f"{first}: {first_line(fault.__cause__)}"

    return first


def check_overrides(words: Sequence[str]) -> None:
    """Refuse what Hydra cannot read as `key=value`, and what is no choice of a group; raises
    UserError."""
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
            raise UserError(f"{word}: {group} must be one of {', '.join(options_of(group))}")


def unreadable(word: str, fault: Exception) -> UserError:
    """The error for an override that cannot be read."""
    lines = [
        line
        for line in str(fault).splitlines()
        if not line.startswith(("Error parsing", "See http"))
    ]
    reason = re.sub(r" expecting \{.*", "", " ".join(lines)) or type(fault).__name__
    return UserError(
        f"cannot read {word!r} ({reason}): write key=value, and in quotes what has other signs than letters, digits "
        "and -_./"
    )
