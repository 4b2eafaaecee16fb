"""The part of a configuration by which two runs are told apart."""

from collections.abc import Mapping
from typing import Any

from mlu.runs.layout import PLACES, UNDECISIVE, WATCHING, choice_of_step, concept_asked
from mlu.runs.rows import without_declarations
from mlu.runs.seeds import KEYS, Seeds
from mlu.system.store import content_of


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that decides the figures.

    Not where files lie, who is told, how an attack is shown, or how many processes load.
    """
    others = (*UNDECISIVE, *WATCHING, *KEYS, "concept")
    kept = {key: value for key, value in config.items() if key not in others}
    kept |= choice_of_step(config) | concept_asked(config)
    kept |= Seeds.of(config).apart
    kept["dataset"] = {key: value for key, value in config["dataset"].items() if key not in PLACES}
    kept["trainer"] = {key: value for key, value in config["trainer"].items() if key != "workers"}
    for group in ("backbone", "original"):
        kept[group] = {**config[group], "weights": content_of(config[group]["weights"])}
    return without_declarations(kept)
