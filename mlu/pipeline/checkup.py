"""The examination of a data set: is it fit to train on and to measure with?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlu.data.base import LabelledImages
from mlu.data.examination import Diagnosis, examine, images_by_side, look_at
from mlu.data.folder import all_images
from mlu.data.label_picture import draw_label_picture, shares
from mlu.data.prepared import PreparedImages, leave_list, refused
from mlu.data.split import Split, partition
from mlu.data.treatment import TREATMENTS, treated_rows
from mlu.metrics.power import CORRELATION, effective_people, people_needed, showable_excess
from mlu.models.tasks import ForgetRequest, task_of
from mlu.pipeline.floor import floor_lines, floors
from mlu.system.commands import shell_word
from mlu.system.errors import printable
from mlu.system.owned import Owned
from mlu.system.progress import progress_bar

NOTHING = "–"
PLAN = (
    "A plan, for one model that shows as much as Retrain: half of the 95 % interval of the "
    "difference of two balanced accuracies of the same people. It takes both readings to be right "
    f"as often as wrong, which is the widest, and to correlate by {CORRELATION:g} over people "
    "(by 0 it takes twice as many), and each person to count once on a side; the other side is to "
    "grow alike. Other seeds add a spread of their own."
)
"""What the plan figures assume."""


def check_up(data: LabelledImages, seed: int, folder: Path, bound: float) -> int:
    """Examine a data set, show what was found and leave it in a folder.

    Args:
        data: The whole of it.
        seed: Of its division.
        folder: For lists of images and a picture of the labels.
        bound: Largest excess over Retrain allowed, by which people are counted.

    Returns:
        1 if there are faults, else 0: the exit code.
    """
    splits = partition(data, seed)
    with progress_bar("looking", len(data.images), "images") as bar:
        scan = look_at(data, bar.advance)

    found = examine(data, splits, scan)
    found.faults.extend(damaged_arrays(data))
    found.warnings.extend(told_by_the_others(data, splits, seed))

    place = Owned(folder)
    picture = place.free_name("labels.png")
    draw_label_picture(data, splits, place.fresh_drafts() / picture)
    place.settle(picture)
    place.drop_drafts()

    show_examination(data, splits, found, bound)
    if data.paths is not None:
        refused(scan.unreadable, data.paths, folder)
        leave_lists(found, data.paths, folder)
        leave_treated(data, folder)

    print(f"lists and a picture of the labels are in {folder}")

    return 1 if found.faults else 0


def told_by_the_others(data: LabelledImages, splits: Mapping[str, Split], seed: int) -> list[str]:
    """A line for each label that all others tell nearly completely, were it to be forgotten."""
    task, columns = task_of(data.task), range(len(data.labels))
    found: dict[int, float] = {}
    for column in columns:
        others = tuple(one for one in columns if one != column)
        found |= floors(task, ForgetRequest((column,), others), splits, seed)

    return floor_lines(data.labels, found)


def damaged_arrays(data: LabelledImages) -> list[str]:
    """A line for each array of prepared images whose bytes have changed."""
    images = all_images(data.images)
    damaged = images.damaged() if isinstance(images, PreparedImages) else []
    return [f"{file} is damaged: delete it and prepare the images again" for file in damaged]


def show_examination(
    data: LabelledImages, splits: Mapping[str, Split], found: Diagnosis, bound: float
) -> None:
    """The tables, every fault and warning, and what follows; `bound` is the excess allowed."""
    console = Console()
    console.print(size_table(data, splits))
    console.print(label_table(data, splits))
    console.print(power_table(data, splits["test"], bound))
    console.print(PLAN, soft_wrap=True)
    for line in found.faults:
        console.print(f"[red]fault[/]: {escape(line)}", soft_wrap=True)

    for line in found.warnings:
        console.print(f"[yellow]warning[/]: {escape(line)}", soft_wrap=True)

    fit = "[red]is not fit[/]" if found.faults else "[green]is fit[/]"
    counts = f"{len(found.faults)} faults, {len(found.warnings)} warnings"
    console.print(f"{escape(data.name)} {fit} for training and measuring: {counts}", soft_wrap=True)


def size_table(data: LabelledImages, splits: Mapping[str, Split]) -> Table:
    """Images and people of each split."""
    table = Table(title=f"{escape(data.name)}: {len(data.images):,} images", title_justify="left")
    table.add_column("")
    table.add_column("images", justify="right")
    table.add_column("people", justify="right")

    for name, split in splits.items():
        people = "" if data.identities is None else f"{len(np.unique(split.identities)):,}"
        table.add_row(name, f"{len(split):,}", people)

    return table


def label_table(data: LabelledImages, splits: Mapping[str, Split]) -> Table:
    """Share of images with each label where it is known, and how often that is."""
    table = Table(title="images with the label, where it is known", title_justify="left")
    table.add_column("label")
    for name in (*splits, "known"):
        table.add_column(name, justify="right")

    rates, known = shares(splits)
    for label, row, share in zip(data.labels, rates, known, strict=True):
        table.add_row(escape(label), *(f"{rate:.1%}" for rate in row), f"{share:.1%}")

    return table


def power_table(data: LabelledImages, test: Split, bound: float) -> Table:
    """Which excess over Retrain the test people can show for each label, and how many it takes.

    Args:
        data: Whose labels they are.
        test: The split that attackers are judged on.
        bound: Largest excess allowed, `policy.max_excess`.
    """
    table = Table(title="what the test people can show of forgetting", title_justify="left")
    table.add_column("label")
    rarer = f"rarer side, for {100 * bound:g} points"
    for name in ("people with", "without", "excess that can be shown", rarer):
        table.add_column(name, justify="right")

    for column, label in enumerate(data.labels):
        images = images_by_side(test, column)
        people = [len(counts) for counts in images]
        having, lacking = (effective_people(counts) for counts in images)
        excess = f"{100 * showable_excess(having, lacking):.1f} points" if min(people) else NOTHING
        needed = people_needed(bound, having, lacking, min(people))
        counts = (*(f"{count:,}" for count in people), excess)
        table.add_row(escape(label), *counts, NOTHING if needed is None else f"{needed:,} people")

    return table


def leave_lists(found: Diagnosis, paths: Sequence[str], folder: Path) -> None:
    """A file of paths for each kind of trouble, fit for `dataset.exclude`."""
    for kind, rows in found.leave_out.items():
        file = leave_list(folder, f"{kind}.txt", [paths[row] for row in rows])
        setting = shell_word("dataset.exclude", file)
        print(f"{kind.replace('_', ' ')}: {setting} leaves {len(rows):,} images out")


def leave_treated(data: LabelledImages, folder: Path) -> None:
    """Say which pictures are learnt otherwise than their bytes have them, and list them."""
    paths = data.paths or ()
    with progress_bar("looking into files", len(paths), "images") as bar:
        treated = treated_rows(data, bar.advance)

    for name, rows in treated.items():
        file = leave_list(folder, f"{name}.txt", [paths[row] for row in rows])
        such = printable(paths[rows[0]])
        print(f"{len(rows):,} images are {TREATMENTS[name]}, such as {such}: all are in {file}")
