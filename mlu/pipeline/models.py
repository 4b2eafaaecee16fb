"""The models of a run."""

import logging
from dataclasses import dataclass

from mlu.methods.retrain import Retrain
from mlu.pipeline.context import Context
from mlu.pipeline.entries import Model
from mlu.pipeline.trained import original_model, random_model, retrained_model, start_model
from mlu.pipeline.unlearned import unlearned_model
from mlu.training.meter import Cost

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """All that a run compares.

    Attributes:
        original: Knows all labels.
        retrain: Never knew the forgotten ones; None where the configuration asks for none.
        unlearned: The original after the method.
        random: Knows nothing: the backbone with random weights.
        start: Knows what others learnt: the network that training started from, before it saw this
            data. None where training starts at random weights, or nothing is trained.
    """

    original: Model
    retrain: Model | None
    unlearned: Model
    random: Model
    start: Model | None = None

    def by_name(self) -> dict[str, Model]:
        """All models that there are."""
        start = {} if self.start is None else {"start": self.start}
        return {**self.judged(), "random": self.random, **start}

    def judged(self) -> dict[str, Model]:
        """All models that there are, but for those that have not seen the data."""
        found = {"original": self.original, "retrain": self.retrain, "unlearned": self.unlearned}
        return {name: model for name, model in found.items() if model is not None}

    def costs(self) -> dict[str, Cost | None]:
        """Costs of `original`, `retrain` and `unlearned`; None for what this run did not make."""
        return {
            "original": self.original.cost,
            "retrain": None if self.retrain is None else self.retrain.cost,
            "unlearned": self.unlearned.cost,
        }


def models_of(context: Context) -> Models:
    """All models of a run: those that are trained are found in the cache, or made."""
    experiment = context.experiment
    original = original_model(context)

    retrain = None
    if experiment.with_reference or isinstance(experiment.method, Retrain):
        retrain = retrained_model(context)

    trains = experiment.original_weights is None or retrain is not None
    from_weights = trains and experiment.backbone.weights is not None

    return Models(
        original=original,
        retrain=retrain if experiment.with_reference else None,
        unlearned=treated_model(context, original, retrain),
        random=random_model(context),
        start=start_model(context) if from_weights else None,
    )


def treated_model(context: Context, original: Model, retrain: Model | None) -> Model:
    """The original after the configured method; Retrain itself where that is the method."""
    method = context.experiment.method
    if isinstance(method, Retrain):
        assert retrain is not None
        return retrain

    log.info("unlearning %s by %s", ", ".join(context.experiment.forget), method.name)
    return unlearned_model(context, method, original)
