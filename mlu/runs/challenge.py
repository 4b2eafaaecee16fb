"""The folder of a challenge: models that others may make forget, and how that is judged."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlu.runs.ratings import RANKED_WORDS, Limits, Rating
from mlu.runs.tensor_files import tensors_in
from mlu.runs.typed import can_be, typed
from mlu.system.errors import UserError, did_you_mean, first_line
from mlu.system.store import checksum

CHALLENGE = "challenge.json"
ORIGINALS, RETRAINS = "original", "retrain"
"""Folders of the models that are given."""
SUBMISSIONS, RATINGS, RATING = "submissions", "ratings", "rating.json"
"""Folders of what others made and of what was found of each, and the file of that."""

MOST_BYTES = 60_000_000
"""Size of the folder at most, as it is handed out."""

SETTINGS = (
    *("dataset.labels", "dataset.images", "dataset.image_size", "dataset.images_per_identity"),
    *("dataset.correlation", "dataset.noise", "backbone", "forget_label.names"),
    *("attack.aia.panel", "attack.aia.images", "attack.aia.strength", "attack.aia.weak"),
    *("attack.aia.hidden", "policy.max_excess", "policy.max_loss"),
)
"""Keys of an audit that a challenge sets, the same for all replicates."""

_SCHEMA = 1
_SEEDS = 2**32

Setting = bool | int | float | str | tuple[str, ...]
"""Value of a key of SETTINGS."""


@dataclass(frozen=True)
class Replicate:
    """One draw of people, with models of its own.

    Attributes:
        number: From 1.
        seed: Of the split, of the training and of attacks.
        images: `dataset.seed`, which draws the images.
    """

    number: int
    seed: int
    images: int

    @property
    def file(self) -> str:
        """Name of its weights, in every folder of such."""
        return f"replicate-{self.number}.safetensors"


@dataclass(frozen=True, kw_only=True)
class ChallengeFacts:
    """The content of `challenge.json`.

    Attributes:
        schema: Of this file.
        settings: Values of SETTINGS.
        replicates: The draws.
        limits: What may be lost.
        files: SHA-256 of each model that is given, by path in the folder.
        ours: Ratings of our methods.
    """

    schema: int = _SCHEMA
    settings: Mapping[str, bool | int | float | str | tuple[str, ...]]
    replicates: tuple[Replicate, ...]
    limits: Limits
    files: Mapping[str, str]
    ours: tuple[Rating, ...]


@dataclass(frozen=True)
class Challenge:
    """A challenge in its folder.

    Attributes:
        folder: Where it lies.
        facts: What it consists of.
        sha256: Of its file: by this a rating knows which challenge it is of.
    """

    folder: Path
    facts: ChallengeFacts
    sha256: str

    def original(self, replicate: Replicate) -> Path:
        """The weights of the model that knows all labels."""
        return self.folder / ORIGINALS / replicate.file

    def retrain(self, replicate: Replicate) -> Path:
        """The weights of the model that never saw the label."""
        return self.folder / RETRAINS / replicate.file


def title_of_challenge(facts: ChallengeFacts) -> str:
    """The title of a challenge."""
    names = facts.settings["forget_label.names"]
    said = ", ".join(names) if isinstance(names, tuple) else str(names)
    return f"Forget {said}: a challenge"


def read_challenge(folder: Path) -> Challenge:
    """The challenge in a folder, which anybody may have written; its models are as they were given.

    Raises:
        UserError: If it is none, or not whole.
    """
    file = folder / CHALLENGE
    if not file.is_file():
        raise UserError(
            f"challenge={folder} has no {CHALLENGE}: give the folder that experiment=challenge left"
        )

    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as fault:
        raise UserError(f"{file} cannot be read: {first_line(fault)}; get it again") from fault

    if fault_found := fault_in(content):
        raise UserError(f"{file} is no challenge: {fault_found}; get it again")

    found = Challenge(folder, typed(content, ChallengeFacts), checksum(file))
    refuse_changed(found)

    return found


def fault_in(content: Any) -> str:
    """The fault in the content of a file of a challenge, in words; empty for none."""
    if not isinstance(content, dict) or content.get("schema") != _SCHEMA:
        schema = content.get("schema") if isinstance(content, dict) else None
        return f"its schema is {schema!r:.40}, this version reads {_SCHEMA}"
    if not can_be(content, ChallengeFacts):
        return "it lacks a part, or has one of another kind"

    facts: ChallengeFacts = typed(content, ChallengeFacts)
    for key in facts.settings:
        if key not in SETTINGS:
            return f"it sets {key!r}{did_you_mean(key, SETTINGS) or ', which no challenge sets'}"
    lacking = [key for key in SETTINGS if key not in facts.settings]
    if lacking:
        return f"it does not set {lacking[0]}"

    numbers = [replicate.number for replicate in facts.replicates]
    if numbers != list(range(1, len(numbers) + 1)) or not numbers:
        return f"its replicates have the numbers {numbers!r:.60}, not 1, 2, ..."
    for replicate in facts.replicates:
        if not 0 <= replicate.seed < _SEEDS or not 0 <= replicate.images < _SEEDS:
            return f"a seed of replicate {replicate.number} is not in [0, {_SEEDS})"

    limits = (facts.limits.max_loss, facts.limits.max_label_loss)
    if not all(0 <= limit <= 1 for limit in limits):
        return f"its limits are {limits}, not in [0, 1]"

    wrong = [rating.word for rating in facts.ours if rating.word not in RANKED_WORDS]
    return f"a rating says {wrong[0]!r:.40}" if wrong else ""


def refuse_changed(challenge: Challenge) -> None:
    """Raises UserError where a model that is given is not there, another one, or no safetensors."""
    for replicate in challenge.facts.replicates:
        for file in (challenge.original(replicate), challenge.retrain(replicate)):
            name = file.relative_to(challenge.folder).as_posix()
            if not file.is_file():
                raise UserError(f"challenge={challenge.folder} lacks {name}: get it again")
            if checksum(file) != challenge.facts.files.get(name):
                raise UserError(
                    f"{file} is not the model that the challenge was made with: get it again"
                )
            tensors_in(file)
