"""Where the stages of a run work: the experiment, its data, and what they share."""

from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger

from mlu.attacks.contract import Canaries
from mlu.data.divided import ImageData
from mlu.data.split import Split
from mlu.models.network import Network
from mlu.models.outputs import Outputs
from mlu.models.tasks import ForgetRequest, Task
from mlu.pipeline.experiment import Experiment
from mlu.system.store import Store, code_digest, content_of
from mlu.training.meter import Cost
from mlu.training.optimise import Optimisation
from mlu.training.team import Team
from mlu.training.trainer import trainer_of

CODE = (
    "mlu.pipeline.canaries",
    "mlu.training.meter",
    "mlu.system.seeding",
    "mlu.system.collectives",
    "mlu.pipeline.context",
    "mlu.pipeline.stages",
    "mlu.training.classifier",
    "mlu.training.devices",
    "mlu.models.tasks",
    "mlu.training.team",
    "mlu.data.augment",
    "mlu.data.divided",
    "mlu.data.split",
    "mlu.models",
    "mlu.training.optimise",
    "mlu.training.trainer",
    "mlu.training.resumption",
)
"""What a trained model depends on besides its settings."""


@dataclass(frozen=True)
class Model:
    """A network, what it says about images, and what it cost.

    Attributes:
        net: In evaluation mode.
        outputs: What it says of every image and the images' true targets, by split; with stages of
            those that it was not trained on (EXPOSED).
        cost: None for a model that the user brought.
    """

    net: Network
    outputs: dict[str, Outputs]
    cost: Cost | None


@dataclass(frozen=True)
class Context:
    """Where stages run: the experiment, its data, and what they share.

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
        """What networks run on in this process."""
        return self.team.device

    @property
    def store(self) -> Store:
        return Store(self.experiment.cache)

    def key(self) -> dict[str, Any]:
        """What every trained model depends on."""
        experiment = self.experiment
        return {
            "data": self.data.source.fingerprint,
            "backbone": experiment.config["backbone"]
            | {"weights": content_of(experiment.backbone.weights)},
            "training": experiment.config["training"],
            "precision": experiment.trainer["precision"],
            "compile": experiment.trainer["compile"],
            "seed": experiment.seed,
            "canaries": experiment.config["canaries"]
            | {"of": list(self.request.forgotten) if self.canaries else []},
            "code": code_digest(*CODE),
            "torch": torch.__version__,
        }

    def trainer(
        self,
        stage: str,
        epochs: int,
        settings: Optimisation,
        steps: int | None = None,
        **options: Any,
    ) -> L.Trainer:
        """Trains for some epochs, or for some steps where these are fewer."""
        ours = self.experiment.trainer | self.team.trainer_options()
        plugins = [*ours.pop("plugins", ()), *options.pop("plugins", ())]
        return trainer_of(
            stage,
            epochs,
            settings,
            steps,
            logger=self.logger or False,
            plugins=plugins,
            **ours,
            **options,
        )
