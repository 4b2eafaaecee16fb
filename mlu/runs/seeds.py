"""The seeds of a run: what each decides, what a figure depends on, where a spread comes from."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

KEYS = {"split_seed": "split", "train_seed": "train", "method_seed": "method"}
"""Key of a configuration -> the seed that it sets apart from `seed`."""

IMAGES = "dataset.seed"
"""Key of a configuration that draws images, where they are drawn."""

DRAWN = {IMAGES: "images", **KEYS}
"""Key of a configuration -> what it draws, attacks aside."""

_UNTOUCHED = ("original", "retrain", "random", "start", "proxy")
"""First parts of the paths of figures that no method has a hand in."""

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
        images: The images themselves, where they are drawn (`dataset.seed`); 0 where they are not.
    """

    seed: int
    split: int
    train: int
    method: int
    images: int = 0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Seeds":
        """The seeds of a configuration or of a run's facts: what is not set follows `seed`."""
        seed, own = values["seed"], {}
        for key, name in KEYS.items():
            value = values.get(key)
            own[name] = seed if value is None else value
        return cls(seed, **own, images=images_seed(values))

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
        """`42`, or `42 method_seed=1` where one does not follow; with `dataset.seed` if not 0."""
        apart = {**self.apart, **({IMAGES: self.images} if self.images else {})}
        return " ".join([str(self.seed), *(f"{key}={value}" for key, value in apart.items())])

    def deciding(self, path: str) -> tuple[int, ...]:
        """The seeds that a figure depends on: runs that share them have measured it once.

        Args:
            path: Of the figure, as in `results.json`.

        Returns:
            The images', the split's, and as far as they count those of training, of the method and
            of attacks.
        """
        words = path.split("/")
        of = words[1] if words[0] in ("seconds", "work") else words[0]

        found = [self.images, self.split]
        if of != "proxy":
            found.append(self.train)
        if of not in _UNTOUCHED:
            found.append(self.method)
        if "attack" in words:
            found.append(self.seed)

        return tuple(found)


def images_seed(values: Mapping[str, Any]) -> int:
    """The seed by which images were drawn, of a configuration; 0 where it knows of none."""
    dataset = values.get("dataset")
    seed = dataset.get("seed") if isinstance(dataset, Mapping) else None
    return seed if type(seed) is int else 0


def spread_of(runs: Iterable[Seeds]) -> str:
    """Where the spread between runs comes from, in words.

    Returns:
        Empty for one run, and where every run draws all anew: its images, its split, its training
        and the choices of its method.

    >>> spread_of([Seeds(4, 4, 4, 1), Seeds(4, 4, 4, 2)])
    'spread over method_seed alone: same people, same original'
    >>> spread_of([Seeds(1, 1, 1, 1), Seeds(2, 2, 2, 2)])
    'same images, divided anew'
    """
    found = set(runs)
    if len(found) < 2:
        return ""

    values = {key: len({getattr(one, name) for one in found}) for key, name in DRAWN.items()}
    differing = [key for key, count in values.items() if count > 1]
    if not differing:
        return "spread over seed alone: same models, other draws of the attacks"

    shared = common_words({name for key, name in DRAWN.items() if key not in differing})
    if set(differing) >= set(KEYS) and min(values[key] for key in differing) == len(found):
        return ", ".join(shared)

    alone = " alone" if len(differing) == 1 else ""
    text = f"spread over {' and '.join(differing)}{alone}"
    if shared:
        text = f"{text}: {', '.join(shared)}"
    few = [f"{values[key]} values of {key}" for key in differing if values[key] < len(found)]
    if few:
        text += f"; {len(found)} runs share {' and '.join(few)}, so they are not independent"

    return text


def common_words(shared: Set[str]) -> list[str]:
    """Words for what runs have in common that share some seeds (fields of Seeds)."""
    found = []
    if "images" in shared:
        found.append("same people" if "split" in shared else "same images, divided anew")
    if "train" in shared:
        original = {"images", "split", "train"} <= shared
        found.append("same original" if original else "same start and order of training")
    if "method" in shared:
        found.append("same draws of the method")

    return found


def are_replicates(runs: Iterable[Seeds]) -> bool:
    """Whether each run divides its images and trains its models anew.

    Else their spread knows nothing of other people, or of other originals.
    """
    found = set(runs)
    divisions = {(one.images, one.split) for one in found}
    return len(found) == len(divisions) == len({one.train for one in found})


def seeds_text(seeds: Iterable[Seeds]) -> str:
    """The seeds of some runs, in words.

    >>> seeds_text([Seeds(seed, seed, seed, seed) for seed in (1, 2, 3, 4, 9)])
    'seeds 1 to 4, 9'
    >>> seeds_text([Seeds(seed, seed, seed, seed, 1000 + seed) for seed in (1, 2, 3)])
    'seeds 1 to 3, dataset.seed 1001 to 1003'
    """
    found = sorted(set(seeds))
    word = "seeds" if len(found) > 1 else "seed"
    if any(one.apart for one in found):
        return f"{word} {', '.join(map(str, found))}"

    text = f"{word} {ranges(one.seed for one in found)}"
    images = {one.images for one in found}
    return text if images == {0} else f"{text}, {IMAGES} {ranges(images)}"


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers as one writes them: three and more in a row by their ends.

    >>> ranges([5, 1, 2, 3, 7, 8])
    '1 to 3, 5, 7, 8'
    """
    rows: list[list[int]] = []
    for number in sorted(set(numbers)):
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])

    parts: list[str] = []
    for row in rows:
        parts += [f"{row[0]} to {row[-1]}"] if len(row) > 2 else map(str, row)

    return ", ".join(parts)
