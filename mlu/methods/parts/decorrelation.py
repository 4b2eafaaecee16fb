"""A penalty in fine-tuning on what features tell of the forgotten labels: ours, not the paper's."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mlu.data.split import Batch, Split
from mlu.models.network import Network, watched
from mlu.unlearning.contract import Problem

FLAT = 1e-8
"""Variance below which a number counts as if it did not vary."""

NEAREST = 1e-6
"""Least width of the Gaussian kernel, as a share of the number of features."""


@dataclass(frozen=True, kw_only=True)
class Decorrelation:
    """Settings of a penalty on what features tell of the forgotten labels.

    Attributes:
        linear: Weight of the share that a linear map of the features explains, >= 0.
        gaussian: Weight of the share that a regression in a Gaussian kernel of them explains, >= 0.
        linear_ridge: Penalty of the linear regression, for each unit of feature variance, > 0.
        gaussian_ridge: Of the regression in the kernel, whose diagonal is 1, > 0.
        conditional: Whether only that counts which the retained labels leave open (`Residual`);
            of a single-label task, where they leave nothing open, all counts either way.
        corrected: Whether the share that pure noise would have is taken off (`beyond_noise`).
        stages: How many of the network's last stages are penalised: 1 for the features that the
            head reads, 2 for the stage before as well, ...; their penalties are summed.
        outputs: Whether the retained outputs are penalised as well, like one stage more.
    """

    linear: float
    gaussian: float
    linear_ridge: float
    gaussian_ridge: float
    conditional: bool
    corrected: bool
    stages: int
    outputs: bool

    @property
    def is_on(self) -> bool:
        """Whether there is a penalty at all; only then forgotten targets are read."""
        return self.linear > 0 or self.gaussian > 0

    def penalty(self, seen: list[Tensor], batch: Batch, residual: "Residual") -> Tensor:
        """The penalty of a batch: a scalar >= 0, the mean over the forgotten labels.

        Args:
            seen: Of each stage that is penalised the channels' means, shape (images, channels).
            batch: Where they come from.
            residual: What is to stay unknown.
        """
        found = seen[-1].sum() * 0

        # A system of equations wants more digits than mixed precision leaves.
        with torch.autocast(found.device.type, enabled=False):
            targets = residual(batch)
            for number, column in enumerate(residual.forgotten):
                known = batch.known[:, column]
                # Of a label that shows one way only, the rest is what the retained labels say.
                if len(batch.targets[known, column].unique()) < 2:
                    continue
                for features in seen:
                    rows = standardised(features[known].to(targets.dtype))
                    found = found + self.explained(rows, targets[known, number])

        return found / len(residual.forgotten)

    def explained(self, features: Tensor, target: Tensor) -> Tensor:
        """The weighted shares of a target that features explain, by each kernel: a scalar >= 0."""
        target, found = target - target.mean(), features.sum() * 0

        for weight, kernel, ridge in (
            (self.linear, linear_kernel, self.linear_ridge),
            (self.gaussian, gaussian_kernel, self.gaussian_ridge),
        ):
            if weight:
                products = kernel(features)
                share = explained_share(products, target, ridge)
                if self.corrected:
                    share = beyond_noise(share, products, ridge)
                found = found + weight * share

        return found


OFF = Decorrelation(
    linear=0,
    gaussian=0,
    linear_ridge=1,
    gaussian_ridge=0.01,
    conditional=True,
    corrected=False,
    stages=1,
    outputs=False,
)


@dataclass(frozen=True)
class Residual:
    """Forgotten targets less what the retained ones tell of them, by least squares.

    t - E[t | r], with E linear in the retained targets r and fitted once, on the training targets.
    A retained target that is unknown enters as its base rate. Where nothing is to be taken off, the
    maps are zero and the residual is the target less a constant.

    Attributes:
        forgotten: Columns to forget.
        retained: Columns that are taken off.
        base_rates: Of the retained columns in training, shape (retained,).
        maps: Least-squares coefficients, shape (retained, forgotten).
    """

    forgotten: tuple[int, ...]
    retained: tuple[int, ...]
    base_rates: Tensor
    maps: Tensor

    def __call__(self, batch: Batch) -> Tensor:
        """Residuals up to a constant for each label, shape (images, forgotten).

        They mean something where the label is known.
        """
        targets = batch.targets[:, list(self.forgotten)]
        told = retained_targets(batch, self.retained, self.base_rates.to(targets))
        return targets - told @ self.maps.to(targets)


def residual_of(problem: Problem, conditional: bool) -> Residual:
    """A problem's forgotten targets less what the retained ones tell of them.

    Args:
        problem: Its training targets are read.
        conditional: Whether what the retained labels tell is taken off.
    """
    forgotten, retained = problem.request.forgotten, problem.request.retained
    base_rates = problem.train.base_rates()[list(retained)].double()

    maps = torch.zeros(len(retained), len(forgotten), dtype=torch.float64)
    # A class is known from what it is not: of it, nothing is left open.
    if conditional and problem.task.withholds_labels:
        told = retained_targets(problem.train, retained, base_rates)
        for number, column in enumerate(forgotten):
            known = problem.train.known[:, column]
            maps[:, number] = coefficients(
                told[known], problem.train.targets[known, column].double()
            )

    return Residual(forgotten, retained, base_rates, maps)


def retained_targets(
    images: Batch | Split, retained: tuple[int, ...], base_rates: Tensor
) -> Tensor:
    """Retained targets, shape (images, retained); base rates where they are unknown."""
    columns = list(retained)
    return torch.where(
        images.known[:, columns], images.targets[:, columns].to(base_rates), base_rates
    )


def coefficients(inputs: Tensor, target: Tensor) -> Tensor:
    """Least-squares coefficients of the inputs, beside a constant, shape (inputs,).

    Of several equally good ones the shortest: inputs which say the same share a coefficient.
    """
    if not len(inputs):
        return inputs.new_zeros(inputs.shape[1])
    centred, rest = inputs - inputs.mean(0), target - target.mean()
    maps: Tensor = torch.linalg.pinv(centred) @ rest
    return maps


def stage_means(net: Network, images: Tensor, stages: int) -> tuple[list[Tensor], Tensor]:
    """The channels' means at the last stages, with a gradient, and the features.

    Args:
        net: The network, in any mode.
        images: One pass is made of them.
        stages: How many of the last; at most all are taken.

    Returns:
        Of each stage in order the means, shape (images, channels), the last the features; and the
        features once more.
    """
    earlier = list(net.stages)[-stages:-1]
    with watched(net, earlier) as means:
        features = net.features(images)
    return [*(means[name] for name in earlier), features], features


def linear_kernel(features: Tensor) -> Tensor:
    """Scalar products of images' features, shape (images, images)."""
    return features @ features.T


def gaussian_kernel(features: Tensor) -> Tensor:
    """exp(-d² / m) of the distances d between images, centred; m is the median of d².

    The median carries no gradient, so that the scale of the features does not matter, and has a
    floor, so that images which look alike are not driven apart.

    Args:
        features: Of mean 0, shape (images, features).
    """
    squares = features.square().sum(1)
    distances = (squares[:, None] + squares - 2 * features @ features.T).clamp(min=0)

    count = len(features)
    others = ~torch.eye(count, dtype=torch.bool, device=features.device)
    floor = NEAREST * features.shape[1]
    width = distances.detach()[others].median().clamp(min=floor)
    products = torch.exp(-distances / width)

    return products - products.mean(0) - products.mean(1, keepdim=True) + products.mean()


def explained_share(products: Tensor, target: Tensor, ridge: float) -> Tensor:
    """Share of a target's variance that ridge regression explains, in [0, 1): a scalar.

    t' K (K + n ridge I)^-1 t / t' t over a batch of n images. Of a target that does not vary: 0.

    Args:
        products: K, the kernel of the images' features, centred, shape (n, n).
        target: t, of mean 0, shape (n,).
        ridge: > 0.
    """
    weights = torch.linalg.solve(regularised(products, ridge), target)
    explained: Tensor = target @ (products @ weights)
    return explained / (target @ target).clamp(min=FLAT)


def beyond_noise(share: Tensor, products: Tensor, ridge: float) -> Tensor:
    """An explained share less what it is of pure noise, in [0, 1), 0 where it is no larger.

    Noise is explained to tr K (K + n ridge I)^-1 / (n - 1) on average, by its own images. That
    carries no gradient here, else features would be pressed together.
    """
    count = len(products)
    fitted = torch.linalg.solve(regularised(products, ridge), products).trace()
    noise = (fitted / (count - 1)).detach()
    corrected: Tensor = (share - noise) / (1 - noise)
    return corrected.clamp(min=0)


def regularised(products: Tensor, ridge: float) -> Tensor:
    """A kernel with the penalty of ridge regression on its diagonal."""
    count = len(products)
    return products + count * ridge * torch.eye(count).to(products)


def standardised(columns: Tensor) -> Tensor:
    """Columns with mean 0 and variance 1; zeros where one does not vary.

    Less than 1 where the variance is below FLAT.

    >>> standardised(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    tensor([[-1.,  0.],
            [ 1.,  0.]])
    """
    centred = columns - columns.mean(0)
    return centred / centred.square().mean(0).clamp(min=FLAT).sqrt()
