"""The seeds of a run: what each decides, what a figure depends on, where a spread comes from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KEYS = {"split_seed": "split", "train_seed": "train", "method_seed": "method"}
"""Key of a configuration -> the seed that it sets apart from `seed`."""

_UNTOUCHED = ("original", "retrain", "random", "start", "proxy")
"""First parts of the paths of figures that no method has a hand in."""

_SAME = {
    ("split", "train"): "same people, same original",
    ("split", "method"): "same people, same draws of the method",
    ("train", "method"): "same start and order of training, same draws of the method",
    ("split",): "same people",
    ("train",): "same start and order of training",
    ("method",): "same draws of the method",
}
"""Seeds that all runs share -> what else they have in common, in words."""


Draw = tuple[int, ...]
"""The seeds that decide a number."""


@dataclass(frozen=True, order=True)
class Seeds:
    """The seeds of a run, each in [0, 2^32).

    Attributes:
        seed: Random choices of the attacks, their shadow models included.
        split: Who is in which split; where images are too many, which of them attackers see.
        train: Start, order of images, augmentation and dropout of the original and of Retrain.
        method: Random choices of the method.
    """

    seed: int
    split: int
    train: int
    method: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Seeds":
        """The seeds of a configuration or of a run's facts: what is not set follows `seed`."""
        seed, own = values["seed"], {}
        for key, name in KEYS.items():
            value = values.get(key)
            own[name] = seed if value is None else value
        return cls(seed, **own)

    @classmethod
    def of_any(cls, values: Mapping[str, Any]) -> "Seeds | None":
        """The seeds of a configuration that anybody may have written; None where it has none."""
        own = [value for key in KEYS if (value := values.get(key)) is not None]
        known = all(type(value) is int for value in (values.get("seed"), *own))
        return cls.of(values) if known else None

    @property
    def apart(self) -> dict[str, int]:
        """The keys of those that do not follow `seed`, with their values."""
        values = {key: getattr(self, name) for key, name in KEYS.items()}
        return {key: value for key, value in values.items() if value != self.seed}

    def __str__(self) -> str:
        """`42`, or `42 method_seed=1` where one does not follow."""
        return " ".join([str(self.seed), *(f"{key}={value}" for key, value in self.apart.items())])

    def deciding(self, path: str) -> tuple[int, ...]:
        """The seeds that a figure depends on: runs that share them have measured it once.

        Args:
            path: Of the figure, as in `results.json`.

        Returns:
            The split's, and as far as they count those of training, of the method and of attacks.
        """
        words = path.split("/")
        of = words[1] if words[0] in ("seconds", "work") else words[0]

        found = [self.split]
        if of != "proxy":
            found.append(self.train)
        if of not in _UNTOUCHED:
            found.append(self.method)
        if "attack" in words:
            found.append(self.seed)

        return tuple(found)


def spread_of(runs: Iterable[Seeds]) -> str:
    """Where the spread between runs comes from, in words.

    Returns:
        Empty for one run, and where every run draws its split, its training and the choices of its
        method anew.

    >>> spread_of([Seeds(4, 4, 4, 1), Seeds(4, 4, 4, 2)])
    'spread over method_seed alone: same people, same original'
    """
    found = set(runs)
    values = {key: len({getattr(one, name) for one in found}) for key, name in KEYS.items()}
    differing = [key for key, count in values.items() if count > 1]
    if len(found) < 2 or min(values.values()) == len(found):
        return ""
    if not differing:
        return "spread over seed alone: same models, other draws of the attacks"

    alone = " alone" if len(differing) == 1 else ""
    facts = [f"spread over {' and '.join(differing)}{alone}"]
    if shared := tuple(name for key, name in KEYS.items() if key not in differing):
        facts.append(_SAME[shared])

    text = ": ".join(facts)
    few = [f"{values[key]} values of {key}" for key in differing if values[key] < len(found)]
    if few:
        text += f"; {len(found)} runs share {' and '.join(few)}, so they are not independent"

    return text
