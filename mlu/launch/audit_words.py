"""The words of `python -m mlu.audit`: policies from files, and what contradicts each other."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mlu.launch.challenge_words import challenge_named, challenge_overrides, check_submission
from mlu.launch.check import as_list, as_names, check_weights
from mlu.launch.dataset_command import Words
from mlu.launch.keys import read_file
from mlu.launch.options import CONF, is_file
from mlu.system.commands import override
from mlu.system.errors import UserError, did_you_mean, first_line
from mlu.system.home import at_home

AUDIT = "audit"
"""File of conf with the keys of an audit."""

MODELS = ("after", "before", "retrain")
"""Keys of the models of an audit."""

_POLICY = "policy"
_TRAINING = (
    *("method", "preset", "ablation", "experiment", "budget", "training", "logger"),
    *("requests", "trace", "keep", "canaries", "epsilon", "phi", "strength", "reference"),
    *("original", "objective"),
)
"""Groups and keys of a run that decide nothing of an audit."""

_TRAINED = {"lira": "trains shadow models"}
"""Attacks that need the training of the model, and what for."""
_TUNING = ("relearn", "durability")
"""Attacks that fine-tune the model."""
_NEED_BEFORE = ("relearn",)
"""Attacks that hold the model against the one before."""
_OF_TRAINING_IMAGES = ("mia", "durability")
"""Attacks that need images that the model has learnt from."""


def audit_overrides(words: Sequence[str]) -> list[str]:
    """The words as overrides: a policy file's keys first, so that those of the command count.

    Where a challenge is named, what it sets comes first.

    Raises:
        UserError: For a word that decides nothing of an audit, or a policy file that is none.
    """
    if (challenge := challenge_named(words)) is not None:
        return challenge_overrides(words, challenge)

    found: list[str] = []
    policies = []
    for word in words:
        key, equals, value = word.partition("=")
        group = key.lstrip("+~").partition(".")[0]
        if group in _TRAINING:
            hint = ": before=... is the model before" if group == "original" else ""
            raise UserError(f"{word}: an audit trains nothing and has no {group}{hint}")
        if key == _POLICY and equals:
            policies.append(value.strip("'\""))
        else:
            found.append(word)

    if len(policies) > 1:
        raise UserError(f"policy={policies[0]} and policy={policies[1]}: name one file")

    return [*(policy_overrides(policies[0]) if policies else ()), *found]


def policy_overrides(path: str) -> list[str]:
    """The keys of a policy file as overrides."""
    file = Path(at_home(path, "policy="))
    if not is_file(file):
        raise UserError(f"policy={path} is no file: give the path of a .yaml, or policy.KEY=VALUE")

    try:
        content = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as fault:
        raise UserError(f"policy={path} cannot be read as YAML: {first_line(fault)}") from fault

    if not isinstance(content, Mapping) or not content:
        raise UserError(f"policy={path} must have a line for each key, such as max_excess: 0.02")

    inside = f"{_POLICY}."
    keys = read_file(CONF / f"{AUDIT}.yaml").keys
    known = [key.removeprefix(inside) for key in keys if key.startswith(inside)]
    found = []
    for key, value in content.items():
        if key not in known:
            hint = did_you_mean(str(key), known) or "."
            raise UserError(f"policy={path}: there is no key {key!r}{hint} It has {known}")
        if isinstance(value, Mapping | list):
            raise UserError(f"policy={path}: {key} must be a number, got {value!r:.80}")
        found.append(override(f"{inside}{key}", value) if isinstance(value, str) else
                     f"{inside}{key}={'null' if value is None else value}")  # fmt: skip

    return found


def check_audit(values: Mapping[str, Any]) -> None:
    """Refuse what no audit can work with, before anything is read.

    Args:
        values: The whole configuration, whose values are what their keys may be.
    """
    check_submission(values)
    if values["challenge"] is not None:
        return

    check_files(values)
    check_subject(values)
    check_attacks(values)
    mean, std = values["mean"], values["std"]
    if (mean is None) != (std is None):
        raise UserError("mean and std go together: set both, or none")
    for key in ("mean", "std"):
        if values[key] is not None and len(values[key]) != 3:
            raise UserError(
                f"{key}={values[key]}: there are three colour channels, give a number each"
            )

    if values["unseen"] == "all" and values["dataset"].get("split_column"):
        raise UserError(
            "unseen=all and dataset.split_column contradict each other: leave one of them out"
        )


def check_files(values: Mapping[str, Any]) -> None:
    """Refuse files that are not there, and models that are given twice."""
    for key in MODELS:
        check_weights(key, values[key])

    features = values["features"]
    if features is None:
        return

    if not is_file(features):
        raise UserError(f"features={features} does not exist: give the path of a .npz or .parquet")

    given = [key for key in MODELS if values[key] is not None]
    if given:
        raise UserError(
            f"features and {given[0]} are two ways of giving the models: leave {given[0]}=... out, "
            f"or features=..."
        )
    if values["dataset"].get("exclude"):
        raise UserError("features and dataset.exclude: leave the rows out of the table instead")


def check_subject(values: Mapping[str, Any]) -> None:
    """Refuse an audit of nothing, and of labels and concepts at once."""
    concepts = concepts_asked(values)
    default = values["dataset"].get("default_forget")
    names = values["forget_label"]["names"]
    named = names is not None and as_list(names) and names != default
    if concepts and named:
        raise UserError(
            f"forget_label.names={as_names(as_list(names))} are outputs and concept or numbers "
            f"({concepts}) are none: audit them one after the other"
        )
    if concepts and values["retrain"] is not None:
        raise UserError(
            f"retrain={values['retrain']}: of {', '.join(concepts)}, which is no output, there is "
            "no Retrain: leave it out"
        )
    if len(set(concepts)) < len(concepts):
        raise UserError(f"concept and numbers name one column twice: {concepts}")

    outputs = as_names(values["dataset"]["labels"] or ())
    for name in concepts:
        if name in outputs:
            raise UserError(
                f"{name} is among dataset.labels, so it is an output: "
                f"name it with 'forget_label.names=[{name}]', or leave it out of dataset.labels"
            )

    if not concepts and names is None:
        raise UserError(
            "name what was to be forgotten: 'forget_label.names=[...]' for an output, "
            "'concept=[...]' or 'numbers=[...]' for another column of the table"
        )


def check_attacks(values: Mapping[str, Any]) -> None:
    """Refuse attacks that cannot be made on what is given."""
    attacks = values["attack"]
    if not attacks:
        raise UserError("attack=none: an audit attacks; leave it out, or choose attack=aia")
    if "aia" not in attacks:
        raise UserError(f"attack={'+'.join(attacks)}: the verdict is that of aia, name it as well")

    concepts = concepts_asked(values)
    for name, settings in attacks.items():
        if name in _TRAINED:
            raise UserError(
                f"attack={name} {_TRAINED[name]}, which needs the training: leave it out"
            )

        full = name == "aia" and settings.get("panel") == "full"
        shown = f"attack={name}" + (" with panel=full" if full else "")
        if (name in _TUNING or full) and values["features"] is not None:
            raise UserError(f"{shown} tunes the model, and features={values['features']} is none")
        if concepts and (name != "aia" or settings.get("insider")):
            how = " with insider=true" if name == "aia" else ""
            raise UserError(
                f"attack={name}{how} asks about an output, and {concepts[0]} has none: leave it out"
            )
        learnt = name in _OF_TRAINING_IMAGES or (name == "aia" and settings.get("insider"))
        if learnt and (values["features"] is not None or values["unseen"] == "all"):
            raise UserError(
                f"{shown} needs images that the model has learnt from: set unseen=split, "
                "and give weights"
            )


def check_models(values: Mapping[str, Any], given: Collection[str] = ()) -> None:
    """Refuse an audit that lacks a model, or has one twice.

    Args:
        values: The whole configuration.
        given: Keys of models that are no files: Python has them.
    """
    twice = [key for key in MODELS if key in given and values[key] is not None]
    if twice or (given and values["features"] is not None):
        other = f"{twice[0]}={values[twice[0]]}" if twice else f"features={values['features']}"
        raise UserError(f"{other}: the model is given twice, as a file and in Python")

    there = {key for key in MODELS if key in given or values[key] is not None}
    if "after" not in there and values["features"] is None:
        raise UserError("name the model to audit: after=FILE, or features=FILE")
    if "before" in there:
        return

    for name in values["attack"]:
        if name in _NEED_BEFORE:
            raise UserError(f"attack={name} needs the model before: give before=...")


def concepts_asked(values: Mapping[str, Any]) -> list[str]:
    """The columns to audit that no output stands for, those of numbers last."""
    found: list[str] = []
    for key in ("concept", "numbers"):
        if values[key] is not None:
            found += as_names(as_list(values[key]))
    return found


AUDIT_WORDS = Words(
    usage="after=FILE dataset=NAME 'forget_label.names=[LABEL]' [before=FILE] [retrain=FILE] [...]",
    base=AUDIT,
    shown=("after", "before", "retrain", "features", "concept", "numbers", "unseen", "mean", "std",
           "out", "policy", "challenge", "submission", "people", "dataset"),
    meant=audit_overrides,
    check=check_audit,
)  # fmt: skip
