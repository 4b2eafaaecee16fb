"""The words of an audit of submissions to a challenge, which says all else itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlu.launch.options import options_of
from mlu.runs.challenge import Challenge, Replicate, Setting, read_challenge
from mlu.system.commands import in_quotes, override
from mlu.system.errors import UserError, did_you_mean
from mlu.system.home import at_home

KEY = "challenge"
SUBMISSION, PEOPLE = "submission", "people"

_FREE = (KEY, SUBMISSION, PEOPLE, "out", "outputs", "dataset.root", "dataset.keep_draws")
"""Keys that the user may set beside a challenge, and those of `trainer`."""


def challenge_named(words: Sequence[str]) -> Path | None:
    """The folder of the challenge that some words name; None where they name none."""
    found = None
    for word in words:
        key, equals, value = word.partition("=")
        if key == KEY and equals and value not in ("null", ""):
            found = Path(at_home(value.strip("'\""), f"{KEY}="))
    return found


def challenge_overrides(words: Sequence[str], folder: Path) -> list[str]:
    """The words as overrides, behind those that the challenge in the folder sets.

    Raises:
        UserError: For a word that the challenge decides, or a folder that holds none.
    """
    for word in words:
        key = word.partition("=")[0].lstrip("+~")
        if key not in _FREE and key.partition(".")[0] != "trainer":
            hint = did_you_mean(key, _FREE) or ":"
            raise UserError(
                f"{word}: the challenge itself says what is judged and how{hint} leave it out"
            )

    challenge = read_challenge(folder)
    backbone = challenge.facts.settings["backbone"]
    if backbone not in options_of("backbone"):
        raise UserError(f"challenge={folder} is of backbone={backbone!r:.40}, which there is not")

    found = ["dataset=faces", "attack=aia"]
    for key, value in challenge.facts.settings.items():
        found.append(setting_word(key, value))

    return [*found, *words]


def setting_word(key: str, value: Setting) -> str:
    """A setting as Hydra reads it.

    >>> setting_word("dataset.labels", ("Male", "Bald")), setting_word("dataset.noise", 0.05)
    ("dataset.labels=['Male','Bald']", 'dataset.noise=0.05')
    """
    if isinstance(value, tuple):
        return key + "=[" + ",".join(map(in_quotes, value)) + "]"
    if isinstance(value, str):
        return override(key, value)
    return f"{key}={str(value).lower()}"


def check_submission(values: Mapping[str, Any]) -> None:
    """Refuse a submission to nothing, and other people whose ratings would lie with the first."""
    for key in (SUBMISSION, PEOPLE):
        if values[KEY] is None and values[key] is not None:
            raise UserError(f"{key}={values[key]}: name the challenge that it is about, {KEY}=DIR")

    if values[PEOPLE] is not None and values["out"] is None:
        raise UserError(
            f"{PEOPLE}={values[PEOPLE]}: name a folder for what they show, out=FOLDER: "
            "ratings by the challenge's own people lie with it"
        )


def replicate_values(
    values: Mapping[str, Any], replicate: Replicate, models: Mapping[str, Any]
) -> dict[str, Any]:
    """The configuration of the audit of one replicate.

    Args:
        values: The checked configuration of all.
        replicate: Which one.
        models: Files by key of an audit's models.
    """
    people, unseen = replicate.images, values["unseen"]
    if values[PEOPLE] is not None:
        people, unseen = values[PEOPLE] + replicate.number - 1, "all"

    own = {"dataset": {**values["dataset"], "seed": people}, "unseen": unseen}

    return {**values, **models, **own, "seed": replicate.seed}


def refuse_known_people(values: Mapping[str, Any], challenge: Challenge) -> None:
    """Raises UserError where other people to judge by are those that everybody has."""
    if values[PEOPLE] is None:
        return

    replicates = challenge.facts.replicates
    drawn = {values[PEOPLE] + one.number - 1 for one in replicates}
    known = sorted(drawn & {one.images for one in replicates})
    if known:
        raise UserError(
            f"{PEOPLE}={values[PEOPLE]} draws those of the challenge (dataset.seed={known[0]}), "
            "who everybody has: name a seed that nobody knows"
        )
