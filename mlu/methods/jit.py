from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from mlu.data.split import Batch
from mlu.methods.parts.passes import repeated
from mlu.models.network import Network
from mlu.system.collectives import all_gather_batch
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem


@dataclass(frozen=True, kw_only=True)
class JustInTime(Method):
    """JiT: draws what is said of forgotten images to what is said of them in noise, by these alone.

    Foster et al. (2024, An Information Theoretic Approach to Machine Unlearning, arXiv 2402.01401,
    Algorithm 1; first named Zero-Shot Machine Unlearning at Scale via Lipschitz Regularization);
    code of the authors: `src/lipschitz.py` of jwf40/Information-Theoretic-Unlearning at f207655.
    The loss of an image x is the mean over noise n of ||f(x) - f(x + n)|| / ||n||, a local
    Lipschitz constant, without a gradient through f(x + n); a batch's is the sum over its images,
    as in that code, so that steps grow with a batch: each draws what is said of an image to what is
    said of it in noise. No image is retained, and no target is read.

    Where we leave the source: of a multi-label task, where every image is one to forget, f is the
    forgotten outputs alone; noisy pixels are cut to what pixels can be instead of to the least and
    most of their batch.

    Attributes:
        sigma: Standard deviation of the noise, on the scale of normalised images, > 0.
        samples: Draws of noise for each image, >= 1: the source's N.
        tuning: Fine-tuning on what is forgotten.
    """

    reads_forgotten: ClassVar[bool] = False
    name: str
    sigma: float
    samples: int
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        return Edit()

    def passes(self, problem: Problem) -> Sequence[Pass]:
        loss = partial(self.loss, problem, problem.generator())
        return repeated(self.tuning, Pass(images=problem.forget, loss=loss))

    def loss(
        self, problem: Problem, generator: torch.Generator, net: Network, batch: Batch
    ) -> Tensor:
        """Sum over images of their mean local Lipschitz constant.

        Args:
            problem: Task and columns.
            generator: Draws the noise; on the CPU.
            net: The network that is tuned.
            batch: Images to forget.
        """
        labels = problem.train.targets.shape[1]
        columns = problem.task.competing(problem.request.forgotten, labels)
        said = net(batch.images)[:, columns]

        constants = []
        for _ in range(self.samples):
            shape = (len(batch), *batch.images.shape[1:])
            # Of all images of a batch, whichever of them are here.
            noise = self.sigma * torch.randn(shape, generator=generator)[batch.part]
            with torch.no_grad():
                noisy, moved = perturbed(net, batch.images, noise.to(batch.images.device))
                answers = net(noisy)[:, columns]
                way = all_gather_batch(moved.flatten(1).norm(dim=1))

            constants.append((said - answers).norm(dim=1) / way)

        return torch.stack(constants).mean(0).sum()


def perturbed(net: Network, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Images with noise, as a network takes them, and how far that has moved them.

    Args:
        net: Pixels are normalised by its constants, and stay what they can be; images of a network
            that takes others are moved as they are.
        images: Shape (batch, channels, height, width).
        noise: On the scale of normalised images, same shape.

    Returns:
        Images, and their distance from those without noise on the normalised scale, same shapes.
    """
    if images.dtype == torch.uint8:
        images = images.to(net.mean.dtype) / 255

    noise = noise.to(images.dtype)
    if not net.pixels:
        return images + noise, noise

    moved = (images + noise * net.std).clamp(0, 1)

    return moved, (moved - images) / net.std
