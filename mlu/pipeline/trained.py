"""Models that are trained, the original and Retrain, and those that have not been: two starts."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L

from mlu.data.split import Split
from mlu.models.network import Network
from mlu.pipeline.context import Context
from mlu.pipeline.entries import Model, cached_model, empty_network, given_network
from mlu.pipeline.keys import model_key
from mlu.pipeline.outputs import outputs_by_split
from mlu.training.classifier import Classifier
from mlu.training.devices import device_name
from mlu.training.meter import Meter, measure
from mlu.training.resumption import Resumption, Sealed

log = logging.getLogger(__name__)


def try_weights(context: Context) -> None:
    """Read the weights that the user has given, before anything is done with them."""
    experiment = context.experiment
    if experiment.original_weights is not None:
        given_network(context, experiment.original_weights)
    elif experiment.backbone.weights is not None:
        experiment.backbone.build(len(context.data.labels))


def original_model(context: Context) -> Model:
    """The model that knows all labels: trained, found in the cache, or the user's own.

    Of concepts it knows as much as Retrain does of labels: they are no outputs of it.
    """
    if context.experiment.original_weights is not None:
        return given_model(context, context.experiment.original_weights)

    if context.experiment.concept:
        return model_without(context, "original")

    make = partial(context.team.run, from_scratch, context, "original", context.train)
    return announced("original", cached_model(context, "original", model_key(context), make))


def given_model(context: Context, path: Path) -> Model:
    """The user's own original, from a file of weights."""
    net = given_network(context, path)

    remedy = f"is original.weights={path} another model?"
    outputs = context.team.run(outputs_by_split, context, net.eval(), remedy)

    return Model(net, outputs, cost=None)


def retrained_model(context: Context) -> Model:
    """The reference: the same training without the forgotten targets (paper, Section 3).

    It starts from the original's initial weights and sees the same images in the same order. Of a
    multi-label task the forgotten column is withheld from every image, of a single-label task the
    images of the forgotten classes are left out. Its forgotten outputs are then made constant: they
    were never trained, so what they say is chance.
    """
    return model_without(context, "retrain")


def model_without(context: Context, title: str) -> Model:
    """A model trained without the forgotten targets; `title` is what it is in this run."""
    key = model_key(context) | {"forgotten": list(context.request.forgotten)}
    make = partial(context.team.run, from_scratch_without, context, title)
    return announced(title, cached_model(context, "retrain", key, make))


def random_model(context: Context) -> Model:
    """The backbone with random weights: what features are worth before any training."""

    def build(_: Path) -> tuple[Network, Meter]:
        L.seed_everything(context.experiment.seeds.train, verbose=False)
        with measure(context.device) as meter:
            return empty_network(context), meter

    return cached_model(context, "random", model_key(context), build)


def start_model(context: Context) -> Model:
    """The network that training starts from: what features are worth before they saw this data.

    Its body has the weights that the backbone names; its head has theirs where they fit the labels,
    else random ones.
    """

    def build(_: Path) -> tuple[Network, Meter]:
        with measure(context.device) as meter:
            return first_network(context), meter

    return cached_model(context, "start", model_key(context), build)


def first_network(context: Context) -> Network:
    """The network before the first step of training, the same for the original and Retrain."""
    L.seed_everything(context.experiment.seeds.train, verbose=False)
    return context.experiment.backbone.build(len(context.data.labels))


def from_scratch(
    context: Context, title: str, train: Split, progress: Path | None = None
) -> tuple[Network, Meter]:
    """A network trained on `train`.

    Args:
        context: Of the run, or of a shadow model.
        title: What is trained, for the progress bar.
        train: What to learn from.
        progress: Where each epoch is kept, and where a training that was ended goes on from; None
            for nowhere.
    """
    experiment, epochs = context.experiment, context.experiment.training.epochs
    seed, net = experiment.seeds.train, first_network(context)
    module = Classifier(net, context.task, experiment.training, seed, title)
    log.info("%s: training for %d epochs", title, epochs)

    with measure(context.device) as meter:
        done, keeping = 0, dict[str, Any]()
        if progress is not None:
            resumption = Resumption(progress, meter, device_name(context.team))
            done = resumption.epochs_done(title, epochs)
            keeping = {"callbacks": [resumption], "plugins": [Sealed()]}

        batches = context.data.train_batches(train, seed=seed, epoch=done)
        trainer = context.trainer(title, epochs, experiment.training, **keeping)
        trainer.fit(module, batches, ckpt_path=progress if done else None)

    return net, meter


def from_scratch_without(
    context: Context, title: str, progress: Path | None = None
) -> tuple[Network, Meter]:
    """A network trained on all that may be learnt of the training images, else as `from_scratch`.

    Its forgotten outputs say nothing.
    """
    forgotten = context.request.forgotten
    train = context.task.without(context.train, forgotten)
    net, meter = from_scratch(context, title, train, progress)
    context.task.silence(net.head, forgotten, context.train.base_rates())
    return net, meter


def announced(name: str, model: Model) -> Model:
    """The model; says so where it was found in the cache."""
    cost = model.cost
    if cost is not None and cost.cached:
        log.info(
            "%s found in the cache: trained in %.0f s on %s, %s",
            name,
            cost.seconds["total"],
            cost.device,
            cost.date,
        )

    return model
