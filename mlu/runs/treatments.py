"""The treatments after release of which a run has figures, as pictures show them."""

from collections.abc import Iterable
from dataclasses import dataclass

_START, _END = "unlearned/attack/durability/", "/excess"
_UNTREATED, _FINE_TUNED = "untreated", "finetune_"


@dataclass(frozen=True)
class Treatments:
    """Paths of what is read of the treated model beyond the equally treated Retrain.

    Attributes:
        tuned: By steps of fine-tuning, ascending; 0 is the model as it was released.
        others: By the names of all other treatments.
    """

    tuned: dict[int, str]
    others: dict[str, str]


def treatments_in(figures: Iterable[str]) -> Treatments:
    """The treatments of which there are figures, by their paths in a run.

    >>> treatments_in(["unlearned/attack/durability/finetune_50/excess"]).tuned
    {50: 'unlearned/attack/durability/finetune_50/excess'}
    """
    tuned, others = {}, {}
    for path in figures:
        name = path.removeprefix(_START).removesuffix(_END)
        # With a slash it is of one place or label, or no such figure at all.
        if "/" in name or path != f"{_START}{name}{_END}":
            continue

        if name == _UNTREATED:
            tuned[0] = path
        elif name.removeprefix(_FINE_TUNED).isdecimal():
            tuned[int(name.removeprefix(_FINE_TUNED))] = path
        else:
            others[name] = path

    return Treatments(dict(sorted(tuned.items())), others)
