"""Durability: a model after release, treated as its holder might treat it, and read again."""

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from mlu.attacks.attribute import AttributeInference
from mlu.attacks.contract import Attack, Victim
from mlu.attacks.parts.cases import Side
from mlu.attacks.parts.panel import RELEASED, Look
from mlu.attacks.parts.readers import LINEAR
from mlu.data.augment import augmented
from mlu.data.divided import ShuffledBatches
from mlu.data.split import Batch, Split, people_drawn
from mlu.metrics.findings import NO_REFERENCE, Evidence, Finding, Trial, part_of_path
from mlu.metrics.strongest import strongest_reader
from mlu.metrics.trials import NO_SUCH, bootstrapped, excess_finding, observed, rate_finding
from mlu.models.network import ERASER, Network, matrices
from mlu.models.outputs import respond
from mlu.system.seeding import generator, seed_torch

UNTREATED = "untreated"
"""Name of the model as it was released, where fine-tuning starts."""

FINE_TUNED = "finetune_"
"""Beginning of the names of models after some steps of fine-tuning."""

MIXED = "interpolated_"
"""Beginning of the names of mixtures with the original; the share of this, in percent, follows."""

READ_BY = (LINEAR, "svm", "trees")
"""Readers of which the strongest counts at each place."""

NO_IMAGES = "fewer than 2 training images are left to fine-tune on without the forgotten labels"
NOT_FINITE = "what the treated model says is not finite"

_MOMENTUM = 0.9
_FEWEST_IMAGES = 2
"""Without which there is no batch that batch norm can learn from."""


@dataclass(frozen=True, kw_only=True)
class Durability(Attack[Trial]):
    """Reads the forgotten label again after treatments that know nothing of it.

    The model is fine-tuned on the retained labels of training images (`finetune_<steps>`; Siddiqui
    et al., 2025), has its weights rounded to few bits (`int<bits>`), or loses the smallest of them
    (`pruned`); `untreated` is as it was released. Every model of a run is treated alike: what is
    read beyond the equally treated Retrain, the `excess`, was hidden, not forgotten.

    One fine-tuning is read on its way. It minimises the task's loss over the retained labels (of a
    single-label task, on images of the retained classes), with all weights, augmentation and batch
    norm as in training, by SGD with a momentum of 0.9. The seed decides batches and augmentation,
    so each model gets the same. Rounded and pruned models keep their batch-norm statistics.

    A logistic regression, a support-vector machine and boosted trees read each model as `aia` does,
    learning from validation images and judged on test images, from all outputs and from the
    features that the head reads; at each place the one counts that is best at people held out from
    it. The figures of a treatment are those of the place with the larger excess; of several
    forgotten labels, those of the label and place with the largest. A maximum errs upwards, which
    its interval does not know. Mixtures with the original are read too, to be drawn: they have no
    figure.

    Attributes:
        steps: Of fine-tuning after which it is read, each >= 1.
        lr: Learning rate of fine-tuning, > 0.
        batch_size: Images per step, >= 2.
        images: Most training images to fine-tune on, >= 2; people are drawn where there are more.
        bits: Of the rounded weights, each in [2, 16].
        pruned: Share of the weights that is set to zero, in (0, 1).
        interpolated: Shares of the original in the mixtures, each in (0, 1).
        learnt: Most validation images for a reader to learn from, >= 20.
        strength: Inverse of the logistic regression's L2 penalty, > 0.
        judged: The split that it is judged on: `test`; or `validation`, as in `aia`.
    """

    name: ClassVar[str] = "durability"
    steps: Sequence[int]
    lr: float
    batch_size: int
    images: int
    bits: Sequence[int]
    pruned: float
    interpolated: Sequence[float]
    learnt: int
    strength: float
    judged: Literal["test", "validation"]

    def observe(self, victim: Victim) -> Evidence[Trial]:
        found: dict[str, Trial | str] = {}
        for treatment, net in self.treated(victim):
            found |= self.read(victim, f"{self.name}/{treatment}", net)
        return found

    def conclude(self, evidence: Evidence[Trial]) -> Iterable[Finding]:
        for path, trial in with_figures(evidence).items():
            yield balanced_finding(path, trial)

    def compare(
        self, evidence: Evidence[Trial], reference: Evidence[Trial] | None
    ) -> Iterable[Finding]:
        trials, found = with_figures(evidence), {}
        for path, trial in trials.items():
            theirs = NO_REFERENCE if reference is None else reference.get(path, NO_SUCH)
            found[path] = excess_finding(path, trial, theirs)

        yield from found.values()

        for start, paths in gathered(trials).items():
            best = max(paths, key=lambda path: (worth(found[path]), legibility(trials[path])))
            yield balanced_finding(start, trials[best])
            yield replace(found[best], path=f"{start}/excess")

    def treated(self, victim: Victim) -> Iterator[tuple[str, Network | str]]:
        """The model after each treatment, or why there is none, by the treatment's name.

        What is given of fine-tuning changes when the next one is asked for.
        """
        yield UNTREATED, victim.net

        for taken, tuned in self.fine_tuned(victim):
            yield f"{FINE_TUNED}{taken}", tuned

        for bits in self.bits:
            yield f"int{bits}", quantised(victim.net, bits)
        yield "pruned", without_smallest(victim.net, self.pruned)

        original = victim.original_net
        if original is not None and original is not victim.net:
            for share in self.interpolated:
                yield f"{MIXED}{100 * share:g}", mixture(victim.net, original, share)

    def fine_tuned(self, victim: Victim) -> Iterator[tuple[int, Network | str]]:
        """One copy of the model, tuned on from each number of steps to the next."""
        images, looks = self.retained_images(victim), sorted({*self.steps})
        if len(images) < _FEWEST_IMAGES:
            yield from ((steps, NO_IMAGES) for steps in looks)
            return

        net = copy.deepcopy(victim.net).requires_grad_(True)
        optimiser = torch.optim.SGD(net.parameters(), lr=self.lr, momentum=_MOMENTUM)
        batches = enumerate(endless_batches(images, self.batch_size, victim.seed))
        for taken, steps in itertools.pairwise([0, *looks]):
            net.train()
            for step, batch in itertools.islice(batches, steps - taken):
                loss = retained_loss_at(net, batch, victim, step)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

            yield steps, net.eval()

    def retained_images(self, victim: Victim) -> Split:
        """Training images as who holds the model has them: without the forgotten labels."""
        images = victim.task.without(victim.splits["train"], victim.request.forgotten)
        (drawn,) = people_drawn(images.identities, [self.images], victim.seed)
        return images.subset(drawn)

    def read(self, victim: Victim, start: str, net: Network | str) -> Evidence[Trial]:
        """Trials of each forgotten label at each place, by paths that begin with `start`."""
        paths = trial_paths(victim, start)
        if isinstance(net, str):
            return dict.fromkeys(paths, net)

        learnt, judged = (released_views(net, images) for images in self.sides(victim))
        seen = [*learnt.seen.values(), *judged.seen.values()]
        if not all(np.isfinite(numbers).all() for numbers in seen):
            return dict.fromkeys(paths, f"{NOT_FINITE}, lower attack.{self.name}.lr={self.lr:g}")

        attacker = self.attacker()
        found: dict[str, Trial | str] = {}
        for path, (column, place) in paths.items():
            looks = [Look(place, name) for name in READ_BY]
            trials = attacker.attack(victim, column, looks, learnt, judged)
            found[path] = trials[strongest_reader(trials)]

        return found

    def sides(self, victim: Victim) -> tuple[Split, Split]:
        """Images to learn from and to be judged on: those of which `aia` sees the features."""
        exposed = {}
        for name in ("validation", "test"):
            split, rows = victim.splits[name], victim.outputs[name].traced
            exposed[name] = split if rows is None else split.subset(rows)

        learnt, judged = self.attacker().sides(exposed, victim.seed)
        (drawn,) = people_drawn(learnt.identities, [self.learnt], victim.seed)

        return learnt.subset(drawn), judged

    def attacker(self) -> AttributeInference:
        """Attribute inference with this attack's settings; READ_BY alone are asked of it."""
        return AttributeInference(
            panel="standard",
            insider=False,
            images=self.learnt,
            strength=self.strength,
            weak=self.strength,
            hidden=1,
            judged=self.judged,
        )


def released_views(net: Network, images: Split) -> Side:
    """Images with the outputs and the features that a network gives of them."""
    views = zip(RELEASED, respond(net, images), strict=True)
    return Side(images, {place: numbers.double().numpy() for place, numbers in views})


def trial_paths(victim: Victim, start: str) -> dict[str, tuple[int, str]]:
    """Column and place of each trial, by its path below `start`.

    Of several forgotten labels each has a part of the path.
    """
    columns, paths = victim.request.forgotten, {}
    for column in columns:
        label = part_of_path(victim.labels[column])
        part = f"label/{label}/" if len(columns) > 1 else ""
        for place in RELEASED:
            paths[f"{start}/{part}{place}"] = column, place
    return paths


def endless_batches(images: Split, size: int, seed: int) -> Iterator[Batch]:
    """Shuffled batches as training has them, round after round."""
    for epoch in itertools.count():
        for rows in ShuffledBatches(len(images), size, seed, epoch):
            yield images[rows]


def retained_loss_at(net: Network, batch: Batch, victim: Victim, step: int) -> Tensor:
    """The task's mean loss over the retained labels of an augmented batch, in nats.

    Augmentation and dropout draw from the victim's seed and the step alone.
    """
    device = net.head.weight.device
    batch = batch.to(device)
    if net.pixels:
        batch = augmented(batch, generator(victim.seed, step))

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        seed_torch(victim.seed, step)
        logits = net(batch.images)

    scope = victim.task.scope(batch.targets, batch.known, victim.request.retained)

    return victim.task.loss(logits, batch.targets, scope)


def multiplied(net: Network) -> list[nn.Parameter]:
    """The weights by which convolutions, linear layers and attention multiply, the head's too."""
    return [getattr(module, name) for module in net.modules() for name in matrices(module)]


def quantised(net: Network, bits: int) -> Network:
    """A copy whose `multiplied` weights stand on a grid of `bits`; see `on_grid`.

    Biases, norms and all activations stay as they are.
    """
    net = copy.deepcopy(net)
    with torch.no_grad():
        for weight in multiplied(net):
            weight.copy_(on_grid(weight, bits))
    return net


def on_grid(weight: Tensor, bits: int) -> Tensor:
    """A layer's weights, each rounded to the nearest of 2^bits - 1 levels of its output channel.

    The levels are symmetric: multiples -m, ..., 0, ..., m of a step, with m = 2^(bits - 1) - 1, and
    m steps are the channel's largest magnitude.

    Args:
        weight: Shape (output channels, ...).
        bits: >= 2.

    >>> on_grid(torch.tensor([[-7.0, 3.4, 3.6], [0.0, 0.0, 0.0]]), bits=4)
    tensor([[-7.,  3.,  4.],
            [ 0.,  0.,  0.]])
    """
    most = 2 ** (bits - 1) - 1
    largest = weight.abs().flatten(1).amax(1).view(-1, *[1] * (weight.ndim - 1))
    step = torch.where(largest > 0, largest / most, 1)
    return (weight / step).round() * step


def without_smallest(net: Network, share: float) -> Network:
    """A copy in which the smallest `multiplied` weights, of all layers together, are zero.

    Args:
        net: Not changed.
        share: Of these weights, in [0, 1]; the number is rounded.
    """
    net = copy.deepcopy(net)
    weights = multiplied(net)
    sizes = torch.cat([weight.detach().abs().flatten() for weight in weights])
    gone = torch.zeros_like(sizes, dtype=torch.bool)
    gone[sizes.argsort(stable=True)[: round(share * len(sizes))]] = True

    with torch.no_grad():
        parts = gone.split([weight.numel() for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.masked_fill_(part.view(weight.shape), 0)

    return net


def mixture(net: Network, original: Network, share: float) -> Network:
    """A network whose weights and statistics lie between two networks' on a straight line.

    Args:
        net: The end at 0. An eraser that was added to it fades away towards the original.
        original: The end at 1.
        share: Of the original, in [0, 1].
    """
    mixed, other = copy.deepcopy(net), copy.deepcopy(original)
    features = other.head.in_features
    if hasattr(mixed.body, ERASER) and not hasattr(other.body, ERASER):
        like = other.head.weight.detach()
        other.erase(torch.eye(features).to(like), torch.zeros(features).to(like))

    ends = other.state_dict()
    for name, value in mixed.state_dict().items():
        if value.is_floating_point():
            value.lerp_(ends[name], share)

    return mixed


def with_figures(evidence: Evidence[Trial]) -> dict[str, Trial | str]:
    """The evidence that leads to figures: all but mixtures with the original."""
    found = {}
    for path, trial in evidence.items():
        if not path.split("/")[1].startswith(MIXED):
            found[path] = trial
    return found


def gathered(paths: Iterable[str]) -> dict[str, list[str]]:
    """Paths of trials below the shorter ones that stand for the strongest of them.

    >>> gathered(["durability/int8/outputs", "durability/int8/features"])
    {'durability/int8': ['durability/int8/outputs', 'durability/int8/features']}
    """
    found: dict[str, list[str]] = {}
    for path in paths:
        name, treatment, *label, place = path.split("/")
        start = f"{name}/{treatment}"
        found.setdefault(start, []).append(path)
        if label:
            found.setdefault(f"{start}/{place}", []).append(path)
    return found


def balanced_finding(path: str, trial: Trial | str) -> Finding:
    """`path/balanced_accuracy` of a trial, with its interval, or why there is none."""
    metric = "balanced_accuracy"
    if isinstance(trial, str):
        return Finding(f"{path}/{metric}", None, missing=trial)
    return rate_finding(metric, observed(trial), bootstrapped(trial)).under(path)


def worth(excess: Finding) -> float:
    """An excess, to be compared; less than any where there is none."""
    return -math.inf if excess.value is None else excess.value


def legibility(trial: Trial | str) -> float:
    """Folded balanced accuracy of a trial, to be compared; less than any where there is none."""
    if isinstance(trial, str):
        return -math.inf
    rate: float = observed(trial).folded("balanced_accuracy").item()
    return rate
