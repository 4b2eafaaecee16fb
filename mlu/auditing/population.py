"""Who and what is asked: images with their labels and people, and what is audited of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mlu.auditing.inquiry import Inquiry
from mlu.data.base import Dataset, LabelledImages
from mlu.data.divided import FEWEST_IMAGES, refuse_unfit
from mlu.data.folder import ImageFolder
from mlu.data.labels import chosen_labels, forgotten_labels
from mlu.data.sets.csv import Csv
from mlu.data.split import Split, partition, people_drawn, stratified_parts
from mlu.models.tasks import ForgetRequest, MultiLabel, Task, task_of
from mlu.system.errors import UserError

MOST_ASKED = 20_000
"""Images of validation and of test that models are asked about at most, as in a run."""

LEARNT, JUDGED = "validation", "test"
"""Splits that attackers learn from, and are judged on."""


@dataclass(frozen=True, eq=False)
class NoImages:
    """Images that nobody looks at, since their features are at hand (satisfies `Images`)."""

    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        raise UserError(
            "features=... stand for the images: an attack that looks at them needs weights"
        )


@dataclass(frozen=True, kw_only=True)
class Population:
    """Images, divided; the columns of all targets are the outputs and then the concepts.

    Attributes:
        source: The whole data set, with the labels of the outputs.
        outputs: Task of the models' outputs.
        task: Task of all columns: with concepts each is told by itself.
        columns: Names of all columns.
        asked: The forgotten ones are what is audited.
        own: Those of the outputs: without a forgotten one where concepts are audited.
        splits: `train`, `validation` and `test`, with the targets of all columns.
        amounts: Numbers of each image of the data set by column, shape (images,); NaN if unknown.
        medians: Numbers above which a column of them counts as true.
    """

    source: LabelledImages
    outputs: Task
    task: Task
    columns: tuple[str, ...]
    asked: ForgetRequest
    own: ForgetRequest
    splits: Mapping[str, Split]
    amounts: Mapping[str, np.ndarray]
    medians: Mapping[str, float]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.source.labels

    @property
    def audited(self) -> tuple[str, ...]:
        """Names of what is audited."""
        return tuple(self.columns[column] for column in self.asked.forgotten)

    def own_split(self, name: str) -> Split:
        """A split with the targets of the outputs alone."""
        split, labels = self.splits[name], len(self.labels)
        return replace(split, targets=split.targets[:, :labels], known=split.known[:, :labels])


def population_of(inquiry: Inquiry) -> Population:
    """The images of an audit, with all that is asked about them.

    Raises:
        UserError: Where the table does not have it, or there is too little of it.
    """
    refuse_no_table(inquiry)
    dataset = with_labels(inquiry)
    source = images_of(dataset, inquiry)
    splits = divided(source, inquiry)

    known, numbers = concepts_in(dataset, source, inquiry), amounts_in(dataset, source, inquiry)
    medians = {name: median_of(name, values, splits) for name, values in numbers.items()}
    columns: dict[str, tuple[np.ndarray, np.ndarray]] = dict(known)
    for name, values in numbers.items():
        columns[name] = values > medians[name], np.isfinite(values)

    labels, task = source.labels, task_of(source.task)
    if columns:
        forgotten: tuple[int, ...] = ()
        asked = tuple(range(len(labels), len(labels) + len(columns)))
    else:
        names = forgotten_labels(inquiry.forget, labels, source.name)
        forgotten = asked = tuple(sorted(labels.index(name) for name in names))

    retained = tuple(column for column in range(len(labels)) if column not in forgotten)
    for name, split in splits.items():
        splits[name] = with_columns(split, list(columns.values()))
        if name != "train":
            splits[name] = refuse_too_few(name, splits[name], source.name)

    return Population(
        source=source,
        outputs=task,
        task=MultiLabel() if columns else task,
        columns=(*labels, *columns),
        asked=ForgetRequest(asked, retained),
        own=ForgetRequest(forgotten, retained),
        splits=splits,
        amounts=numbers,
        medians=medians,
    )


def refuse_no_table(inquiry: Inquiry) -> None:
    """Raises UserError where a data set has no names of images, or no further columns."""
    dataset = inquiry.dataset
    if not isinstance(dataset, ImageFolder):
        if inquiry.features is not None:
            raise UserError(
                f"features={inquiry.features} go by the names of images, and {dataset.name} has "
                "none: use dataset=csv, or give weights"
            )
        if inquiry.concepts:
            raise UserError(
                f"concept={list(inquiry.concepts)}: {dataset.name} comes in arrays and has no "
                "table with further columns: use dataset=csv"
            )

    if inquiry.numbers and not isinstance(dataset, Csv):
        raise UserError(
            f"numbers={list(inquiry.numbers)}: only dataset=csv reads columns of numbers"
        )


def with_labels(inquiry: Inquiry) -> Dataset:
    """The data set with its outputs named, where these are all columns that are nothing else."""
    dataset, others = inquiry.dataset, (*inquiry.concepts, *inquiry.numbers)
    if not isinstance(dataset, Csv) or dataset.labels is not None:
        return dataset
    if dataset.class_column or dataset.list_column:
        return dataset

    return replace(dataset, labels=dataset.label_columns(others))


def images_of(dataset: Dataset, inquiry: Inquiry) -> LabelledImages:
    """The labelled images; without the images where features stand for them."""
    if inquiry.features is None:
        data = dataset.load()
        refuse_unfit(data)
        return data

    assert isinstance(dataset, ImageFolder)
    table = dataset.label_table()
    if len(table.paths) < FEWEST_IMAGES:
        raise UserError(
            f"{dataset.name} has {len(table.paths)} images: at least {FEWEST_IMAGES} are needed"
        )

    return LabelledImages(
        name=dataset.name,
        task=table.task,
        images=NoImages(len(table.paths)),
        targets=table.targets,
        labels=table.labels,
        fingerprint="of features",
        known=table.known,
        identities=table.identities,
        split=table.split,
        paths=table.paths,
    )


def divided(source: LabelledImages, inquiry: Inquiry) -> dict[str, Split]:
    """The three splits, as a run of the same seed has them; at most MOST_ASKED images are asked.

    Where the models have learnt from no image of the table, all are drawn for validation and test.
    """
    if inquiry.unseen == "all":
        people = source.identities
        people = np.arange(len(source.images)) if people is None else people
        parts = stratified_parts(source.targets, people, inquiry.seeds.split, parts=2)
        source = replace(source, split=(parts + 1).astype(np.int8))

    splits = partition(source, inquiry.seeds.split)
    for name in (LEARNT, JUDGED):
        (rows,) = people_drawn(splits[name].identities, [MOST_ASKED], inquiry.seeds.split)
        splits[name] = splits[name].subset(rows)

    return splits


def concepts_in(
    dataset: Dataset, source: LabelledImages, inquiry: Inquiry
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Whether each image has a concept, and whether that is known, by its name."""
    if not inquiry.concepts:
        return {}
    assert isinstance(dataset, ImageFolder)
    changes: dict[str, Any] = {"labels": list(inquiry.concepts)}
    if isinstance(dataset, Csv):
        header = dataset.label_columns(())
        chosen = chosen_labels(dataset.name, inquiry.concepts, header)
        changes |= {"labels": list(chosen), "class_column": None, "list_column": None}
    table = replace(dataset, **changes).label_table()

    rows = rows_of(source, table.paths)
    known = np.ones(table.targets.shape, bool) if table.known is None else table.known
    found = {}
    for column, name in enumerate(table.labels):
        if name in source.labels:
            raise UserError(
                f"concept={name} is an output of the model as well: leave it out of "
                f"dataset.labels, or name it with 'forget_label.names=[{name}]'"
            )
        found[name] = table.targets[rows, column] > 0, known[rows, column]

    return found


def amounts_in(dataset: Dataset, source: LabelledImages, inquiry: Inquiry) -> dict[str, np.ndarray]:
    """The numbers of each image by column."""
    if not inquiry.numbers:
        return {}
    assert isinstance(dataset, Csv)
    paths, found = dataset.numbers(inquiry.numbers)
    rows = rows_of(source, paths)

    return {name: values[rows] for name, values in found.items()}


def rows_of(source: LabelledImages, paths: Sequence[str]) -> np.ndarray:
    """Where each image of a data set stands among the paths of a table, shape (images,)."""
    place = {path: row for row, path in enumerate(paths)}
    assert source.paths is not None
    return np.array([place[path] for path in source.paths])


def median_of(name: str, values: np.ndarray, splits: Mapping[str, Split]) -> float:
    """The median of a column's numbers over the images that attackers learn from.

    Raises:
        UserError: If none is known, or none is above it.
    """
    learnt = values[splits[LEARNT].rows]
    learnt = learnt[np.isfinite(learnt)]
    if not len(learnt):
        raise UserError(f"numbers={name}: no validation image has a number there")

    median = float(np.median(learnt))
    if not (learnt > median).any():
        raise UserError(
            f"numbers={name}: no number of the validation images is above their median {median:g}, "
            "so they have no two sides"
        )

    return median


def with_columns(split: Split, columns: Sequence[tuple[np.ndarray, np.ndarray]]) -> Split:
    """A split with further targets: of all images of the data set, and whether they are known."""
    if not columns:
        return split

    truth = np.stack([found[split.rows] for found, _ in columns], 1)
    known = np.stack([sure[split.rows] for _, sure in columns], 1)

    return replace(
        split,
        targets=torch.cat([split.targets, torch.from_numpy(truth & known).float()], 1),
        known=torch.cat([split.known, torch.from_numpy(known)], 1),
    )


def refuse_too_few(name: str, split: Split, dataset: str) -> Split:
    """The split itself; raises UserError where it cannot be attacked."""
    if len(split) < 2:
        raise UserError(
            f"the {name} split of {dataset} has {len(split)} images: attackers learn from "
            f"validation images and are judged on test images; set unseen=all where the models "
            "have learnt from no image of the table"
        )
    return split
