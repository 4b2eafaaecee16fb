"""A run at work: the experiment, its data, and what all that makes models shares."""

from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger

from mlu.attacks.contract import Canaries
from mlu.data.base import Dataset, LabelledImages
from mlu.data.divided import ImageData
from mlu.data.labels import forgotten_labels
from mlu.data.split import Split
from mlu.models.tasks import ForgetRequest, Task, task_of
from mlu.pipeline.canaries import canaries_of, planted
from mlu.pipeline.experiment import Experiment
from mlu.system.errors import UserError
from mlu.system.store import Store
from mlu.training.devices import device_of
from mlu.training.optimise import Optimisation
from mlu.training.team import Team, team_of_one
from mlu.training.trainer import trainer_of


@dataclass(frozen=True)
class Context:
    """Where models are made: the experiment, its data, and what they share.

    Attributes:
        experiment: As configured.
        data: Its data set, divided.
        task: What its outputs mean.
        request: The columns to forget and to retain.
        requests: The columns of each request to forget, in the order in which they come; together
            the forgotten ones.
        train: What is trained on: the training split, without what the canaries withhold.
        canaries: None where all targets are trained on.
        logger: Where Lightning logs training curves; None for nowhere.
        team: The processes that train, score and evaluate.
    """

    experiment: Experiment
    data: ImageData
    task: Task
    request: ForgetRequest
    requests: tuple[tuple[int, ...], ...]
    train: Split
    canaries: Canaries | None
    logger: Logger | None
    team: Team

    @property
    def device(self) -> torch.device:
        """The device that networks run on in this process."""
        return self.team.device

    @property
    def store(self) -> Store:
        """The cache of trained models and of evidence."""
        return Store(self.experiment.cache, user=self.experiment.folder)

    def trainer(
        self,
        title: str,
        epochs: int,
        settings: Optimisation,
        steps: int | None = None,
        **options: Any,
    ) -> L.Trainer:
        """Trains for some epochs, or for some steps where these are fewer; `title` is shown."""
        settings_of_run = self.experiment.trainer
        shared = self.team.trainer_options()
        plugins = [*shared.pop("plugins", ()), *options.pop("plugins", ())]

        return trainer_of(
            title,
            epochs,
            settings,
            steps,
            compile=settings_of_run.compile,
            accelerator=settings_of_run.accelerator,
            precision=settings_of_run.precision,
            logger=self.logger or False,
            plugins=plugins,
            **shared,
            **options,
        )


def context_of(experiment: Experiment, team: Team | None = None) -> Context:
    """The experiment with its data, divided; refuses what the data do not allow.

    Args:
        experiment: As configured.
        team: The processes that work on it; None for this one alone.
    """
    team = team or team_of_one(wanted_device(experiment))
    data = ImageData(
        loaded_as_said(experiment.dataset),
        experiment.seeds.split,
        experiment.training.batch_size,
        experiment.trainer.workers,
    )

    request = request_of(experiment, data)
    canaries = canaries_of(data.splits["train"], experiment.canaries)

    return Context(
        experiment=experiment,
        data=data,
        task=task_of(data.task),
        request=request,
        requests=tuple(tuple(sorted(data.columns(names))) for names in experiment.requests),
        train=planted(data.splits["train"], request, canaries),
        canaries=canaries,
        logger=None,
        team=team,
    )


def loaded_as_said(dataset: Dataset) -> LabelledImages:
    """A data set, whose targets are what its configuration says that they are.

    Raises:
        UserError: If they are not: defaults of methods follow what it says.
    """
    found = dataset.load()
    if dataset.task not in (None, found.task):
        raise UserError(
            f"dataset.task={dataset.task}, but {found.name} is {found.task}: "
            f"set dataset.task={found.task}, which methods' defaults follow"
        )

    return found


def wanted_device(experiment: Experiment) -> torch.device:
    """The device that the configuration asks for."""
    trainer = experiment.trainer
    return device_of(trainer.accelerator, trainer.precision, trainer.devices)


def request_of(experiment: Experiment, data: ImageData) -> ForgetRequest:
    """Columns of the labels to forget; refuses what the method or the data do not allow."""
    method, source = experiment.method, data.source
    if data.task not in method.tasks:
        raise UserError(
            f"method={method.name} serves {' and '.join(method.tasks)} data, "
            f"{source.name} is {data.task}: choose another method"
        )

    if experiment.concept and not task_of(data.task).withholds_labels:
        raise UserError(
            f"concept={list(experiment.forget)} must be a label among others, {source.name} has "
            "classes: use mlu.forget, or a data set of independent labels"
        )

    names = forgotten_labels(experiment.forget, data.labels, source.name)
    forgotten = tuple(sorted(data.columns(names)))
    for column in forgotten:
        if not source.targets[:, column].any():
            raise UserError(
                f"no image of {source.name} has {data.labels[column]!r}: "
                "choose another forget_label"
            )

    if experiment.canaries.withheld and not task_of(data.task).withholds_labels:
        raise UserError(
            f"canaries need labels that can be withheld, {source.name} has classes: "
            "set canaries.withheld=0"
        )

    retained = tuple(column for column in range(len(data.labels)) if column not in forgotten)

    return ForgetRequest(forgotten, retained)
