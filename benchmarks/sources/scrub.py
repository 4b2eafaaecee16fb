"""SCRUB: away from the original on what is forgotten, close to it on what is retained.

Paper: Kurmanji, Triantafillou, Hayes and Triantafillou, "Towards Unbounded Machine Unlearning",
NeurIPS 2023.

Repository: meghdadk/SCRUB at 98ffb1196ffbec2665092598c13ad3b6ec3d095d. Read were
thirdparty/repdistiller/helper/loops.py (`train_distill`), helper/util.py
(`adjust_learning_rate`), distiller_zoo/KD.py, and the notebooks large_scale_unlearning (cells 28,
32 to 36), small_scale_unlearning (cells 26, 30 to 34) and MIA_experiments (cell 18).

The rule. The teacher is the original in evaluation mode; the student begins as its copy and is in
training mode in every pass, so that its batch norms see forgotten batches as well. An epoch whose
number, from 1, is at most the number of max-steps begins with a pass over what is forgotten, up
T^2 KL(teacher || student); then each epoch has a pass over what is retained, down
gamma * CE + alpha * T^2 KL. The divergence is a sum over classes and a mean over images. One
optimiser serves both passes: what momentum (or Adam) has gathered crosses from one to the other.
Shuffled batches, last ones kept, no augmentation, no clipping.

Not in the code, or set there without a use: the averaged student, `smoothing`, `clip`, `sstart`
and `beta` (0). A student without batch norm or dropout equals its teacher at first, where the
divergence has no slope: the first forgotten batch then moves it by weight decay alone; the authors
do not disturb the start. Rewinding (SCRUB+R) chooses among kept epochs by validation images of
the forgotten classes and is not written here. The paper's own text was not read.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from benchmarks.sources.batches import Examples, descend, seeded, shuffled, trainable


@dataclass(frozen=True)
class Settings:
    """Values of large_scale_unlearning.ipynb, for CIFAR-10."""

    optimiser: Literal["sgd", "adam"] = "sgd"
    """Cell 32."""
    gamma: float = 0.99
    """Weight of the cross-entropy of what is retained (cell 32)."""
    alpha: float = 0.001
    """Weight of the divergence on what is retained (cell 32)."""
    temperature: float = 4.0
    """Divides both logits of a divergence (cell 32)."""
    max_steps: int = 2
    """Epochs that begin with a pass over what is forgotten (cell 32)."""
    epochs: int = 3
    """Passes over what is retained (cell 32)."""
    rate: float = 5e-4
    """Cell 32."""
    milestones: tuple[int, ...] = (3, 5, 9)
    """Epochs, from 1, after which the rate falls (cell 32): never within 3 epochs."""
    fall: float = 0.1
    """Factor of the rate past each milestone (cell 32)."""
    momentum: float = 0.9
    """Of SGD alone (cell 34)."""
    decay: float = 5e-4
    """Weight decay of either optimiser, added to gradients (cells 32 and 34)."""
    retained_batch: int = 256
    """Cell 28; the 128 of cell 32 is used nowhere."""
    forgotten_batch: int = 512
    """Cell 28; the 32 of cell 32 is used nowhere."""


SMALL = Settings(
    optimiser="adam",
    gamma=1.0,
    alpha=0.5,
    temperature=2.0,
    max_steps=3,
    epochs=10,
    milestones=(5, 8, 9),
    decay=0.1,
    retained_batch=32,
    forgotten_batch=64,
)
"""small_scale_unlearning.ipynb, cells 26 and 30."""
MEMBERSHIP = Settings(
    gamma=1.0, alpha=0.5, max_steps=3, epochs=5, retained_batch=32, forgotten_batch=16
)
"""MIA_experiments.ipynb, cell 18, on CIFAR-10."""


def unlearn(
    net: nn.Module, retain: Examples, forget: Examples, settings: Settings, seed: int
) -> nn.Module:
    """Copy of `net` after SCRUB, in evaluation mode."""
    teacher, student = trainable(net).eval(), trainable(net)
    optimiser = optimiser_of(student, settings)

    with seeded(seed):
        for epoch in range(1, settings.epochs + 1):
            set_rate(optimiser, epoch, settings)
            student.train()
            if epoch <= settings.max_steps:
                maximise(teacher, student, optimiser, forget, settings)
            minimise(teacher, student, optimiser, retain, settings)
    return student.eval()


def optimiser_of(student: nn.Module, settings: Settings) -> Optimizer:
    """The one optimiser of both passes."""
    if settings.optimiser == "adam":
        return torch.optim.Adam(student.parameters(), settings.rate, weight_decay=settings.decay)
    return torch.optim.SGD(
        student.parameters(), settings.rate, settings.momentum, weight_decay=settings.decay
    )


def set_rate(optimiser: Optimizer, epoch: int, settings: Settings) -> None:
    """The rate falls once for each milestone that `epoch`, from 1, has passed."""
    passed = sum(epoch > milestone for milestone in settings.milestones)
    for group in optimiser.param_groups:
        group["lr"] = settings.rate * settings.fall**passed


def maximise(
    teacher: nn.Module,
    student: nn.Module,
    optimiser: Optimizer,
    forget: Examples,
    settings: Settings,
) -> None:
    """One pass over what is forgotten, away from the teacher."""
    for images, _ in shuffled(forget, settings.forgotten_batch):
        far = divergence(teacher, images, student(images), settings.temperature)
        descend(optimiser, -far)


def minimise(
    teacher: nn.Module,
    student: nn.Module,
    optimiser: Optimizer,
    retain: Examples,
    settings: Settings,
) -> None:
    """One pass over what is retained, to the targets and to the teacher."""
    for images, targets in shuffled(retain, settings.retained_batch):
        logits = student(images)
        far = divergence(teacher, images, logits, settings.temperature)
        wrong = F.cross_entropy(logits, targets)
        descend(optimiser, settings.gamma * wrong + settings.alpha * far)


def divergence(teacher: nn.Module, images: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) in nats, a mean over images."""
    with torch.no_grad():
        goal = (teacher(images) / temperature).softmax(1)
    log_probs = (logits / temperature).log_softmax(1)
    return F.kl_div(log_probs, goal, reduction="batchmean") * temperature**2
