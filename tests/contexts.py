"""Where stages run, as the pipeline makes it, without running it."""

import torch

from mlu import pipeline
from mlu.canaries import canaries_of, planted
from mlu.data.module import ImageData
from mlu.stages import Context
from mlu.tasks import task_of


def context_of(experiment) -> Context:
    data = ImageData(experiment.dataset.load(), experiment.seed, experiment.training.batch_size)
    request = pipeline.request_of(experiment, data)
    canaries = canaries_of(data.splits["train"], **experiment.canaries)
    train = planted(data.splits["train"], request, canaries)
    return Context(experiment, data, task_of(data.task), request, train, canaries, None, torch.device("cpu"))
