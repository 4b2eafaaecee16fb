"""Room: how much of a label there is to forget, so that a good method can be told from none."""

from collections.abc import Callable, Iterable, Iterator

from mlu.metrics.findings import part_of_path

READ_PLACES = {"outputs": "outputs", "features": "features", "stages": "all stages"}
"""Part of the path of each place where models are read -> what it is called."""

Lower = Callable[[str], float | None]
"""The lower end of the interval of the figure at a path; None where there is none."""


def room_path(label: str, place: str) -> str:
    """The path of what the strongest reader finds in the original beyond Retrain, in one place."""
    return f"original/attack/aia/label/{part_of_path(label)}/strongest/{place}/excess"


def without_room(labels: Iterable[str], measured: Lower) -> Iterator[str]:
    """A sentence for each label of which some places show no more than Retrain, even unforgotten.

    Args:
        labels: To be forgotten.
        measured: What is known of the original.
    """
    for label in labels:
        lows = {called: measured(room_path(label, place)) for place, called in READ_PLACES.items()}
        shut = [called for called, low in lows.items() if low is not None and low <= 0]
        if shut:
            yield (
                f"{label}: at {' and '.join(shut)} the original is not read beyond doubt better "
                "than Retrain, so this label and data cannot tell a good method from none there."
            )
