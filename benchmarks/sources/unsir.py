"""UNSIR: impair with noise that the network gets wrong, repair with a sample of what is retained.

Paper: Tarun, Chundawat, Mandal and Kankanhalli, "Fast Yet Effective Machine Unlearning", IEEE
TNNLS 2023.

Repository: vikram2000b/Fast-Machine-Unlearning at 252bc9287a511774ab857d1f682845f28584eb25. Read
was all of its one notebook, Machine Unlearning.ipynb, its printed results included. `BY_SSD` holds
what the authors of SSD run under this name (if-loops/selective-synaptic-dampening at
cdfdc0e35c1908e032a6e150d882b0fa17833f85: src/forget_full_class_strategies.py, src/unlearn.py).

The rule. For each forgotten class a batch of images begins as standard normal noise, and Adam
moves it down -CE(noise, class) + penalty * mean squared length, through the frozen weights. One
epoch of Adam then trains on copies of noise shuffled among the first images of each retained
class, another, with a new Adam and a lower rate, on those images alone. Both in training mode,
with plain cross-entropy, no decay, no augmentation, last batches kept. The rest of the images,
retained and forgotten, is never used.

What one would not guess, and what is kept here:

- The loop that copies the noise counts the channels of an image instead of the images of the
  batch: of the 256 images of noise three are used, 20 times each, so that 60 (not 5,120) stand
  among the 8,000 that are retained. The printed accuracies agree: 5,624 right answers in the impair
  step are fewer than its retained images alone. `whole_noise` has what the text suggests.
- All noise is labelled with class 0, one of the two (0 and 2) that the notebook forgets: here with
  the first that is forgotten. `own_labels` gives each noise the label of its class.
- The network is in training mode while the noise is made: batch norms use the noise's own
  statistics and their running ones follow it. Impairing and repairing wash these out only where
  they take many batches. `noise_in_training` is the switch.

The paper's own text was not read, so that its agreement with the notebook is not judged.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.sources.batches import Examples, descend, seeded, shuffled, trainable


@dataclass(frozen=True)
class Settings:
    """Values of the notebook, for CIFAR-10."""

    noise_batch: int = 256
    """Images of noise for a class (cells 10 and 24)."""
    noise_rate: float = 0.1
    """Of Adam on the noise (cell 24)."""
    noise_steps: int = 40
    """5 epochs of 8 steps (cell 24), which differ in nothing."""
    penalty: float = 0.1
    """Weight of the mean squared length of the noise (cell 24)."""
    noise_in_training: bool = True
    """Whether the network is in training mode while noise is made (cells 23 and 24)."""
    copies: int = 20
    """How often each image of noise is repeated (cell 26)."""
    whole_noise: bool = False
    """Whether all images of noise are used, not as many as an image has channels (cell 26)."""
    own_labels: bool = False
    """Whether each noise has the label of its class, not that of the first (cell 26)."""
    images_per_class: int = 1000
    """The first ones of each retained class (cell 20)."""
    impair_batch: int = 256
    """Cell 26."""
    impair_rate: float = 0.02
    """Of Adam (cell 26)."""
    impair_epochs: int = 1
    """Cell 26."""
    repair_batch: int = 256
    """Cell 30."""
    repair_rate: float = 0.01
    """Of Adam (cell 30)."""
    repair_epochs: int = 1
    """Cell 30."""


BY_SSD = Settings(
    noise_batch=32,
    noise_steps=25,
    copies=80,
    images_per_class=500,
    impair_batch=32,
    impair_rate=1e-4,
    repair_batch=128,
    repair_rate=1e-4,
)
"""As the authors of SSD run it on CIFAR-20 and CIFAR-100; it has the same loop over channels."""


def unlearn(
    net: nn.Module, retain: Examples, forget: Examples, settings: Settings, seed: int
) -> nn.Module:
    """Copy of `net` after UNSIR, in evaluation mode. Of `forget` the classes alone are used."""
    student = trainable(net)
    forgotten = [int(label) for label in forget[1].unique()]
    kept = first_of_each_class(retain, forgotten, settings.images_per_class)

    with seeded(seed):
        noises = [make_noise(student, kept[0], label, settings) for label in forgotten]
        mixture = joined([*noisy_examples(noises, forgotten, settings), kept])

        fit(student, mixture, settings.impair_batch, settings.impair_rate, settings.impair_epochs)
        fit(student, kept, settings.repair_batch, settings.repair_rate, settings.repair_epochs)
    return student.eval()


def first_of_each_class(retain: Examples, forgotten: list[int], count: int) -> Examples:
    """The first `count` images of each class that is not forgotten, class by class."""
    images, targets = retain
    labels = [int(label) for label in targets.unique() if int(label) not in forgotten]
    chosen = torch.cat([(targets == label).nonzero()[:count, 0] for label in labels])
    return images[chosen], targets[chosen]


def make_noise(student: nn.Module, like: Tensor, label: int, settings: Settings) -> Tensor:
    """Images, shaped as `like`, that the network hardly takes for `label`."""
    size = (settings.noise_batch, *like.shape[1:])
    noise = torch.randn(size).to(like).requires_grad_(True)
    optimiser = torch.optim.Adam([noise], settings.noise_rate)
    student.train(settings.noise_in_training)

    for _ in range(settings.noise_steps):
        loss = noise_loss(student, noise, label, settings.penalty)
        (noise.grad,) = torch.autograd.grad(loss, [noise])
        optimiser.step()
    return noise.detach()


def noise_loss(student: nn.Module, noise: Tensor, label: int, penalty: float) -> Tensor:
    """-CE of `noise` as `label`, plus `penalty` times its mean squared length."""
    targets = torch.full((len(noise),), label, device=noise.device)
    length = noise.square().sum(dim=(1, 2, 3)).mean()
    return penalty * length - F.cross_entropy(student(noise), targets)


def noisy_examples(
    noises: list[Tensor], forgotten: list[int], settings: Settings
) -> list[Examples]:
    """Copies of each class's noise, with the label that the notebook gives them."""
    found = []
    for noise, label in zip(noises, forgotten, strict=True):
        used = noise if settings.whole_noise else noise[: noise.shape[1]]
        images = used.repeat(settings.copies, 1, 1, 1)
        name = label if settings.own_labels else forgotten[0]
        found.append((images, torch.full((len(images),), name, device=noise.device)))
    return found


def joined(parts: list[Examples]) -> Examples:
    """All `parts` one after another."""
    return torch.cat([images for images, _ in parts]), torch.cat([targets for _, targets in parts])


def fit(student: nn.Module, examples: Examples, batch: int, rate: float, epochs: int) -> None:
    """Cross-entropy in training mode, by an Adam of its own."""
    optimiser = torch.optim.Adam(student.parameters(), rate)
    student.train()
    for _ in range(epochs):
        for images, targets in shuffled(examples, batch):
            descend(optimiser, F.cross_entropy(student(images), targets))
