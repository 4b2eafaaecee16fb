"""Importance: weights taken out of the original, and whether scores told what that would cost."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mlu.attacks.contract import Attack, Victim
from mlu.data.split import Batch, Split, people_drawn
from mlu.metrics.correlation import correlation_findings
from mlu.metrics.findings import Evidence, Finding, Removals, part_of_path
from mlu.models.network import Network, Weights
from mlu.models.tasks import Task
from mlu.scores.gradients import body_weights, fisher, sensitivity
from mlu.scores.relative import ratio, relative_terms
from mlu.system.seeding import generator

SCORES = (
    "sensitivity",
    "fisher",
    "importance",
    "fisher_ratio",
    "importance_ratio",
    "magnitude",
    "random",
)
"""Scores that are held against costs: see `Importance`."""

BINNED = ("fisher", "fisher_ratio", "importance_ratio", "random")
"""Scores by which whole parts of layers are removed, and of which other labels have figures."""

FILTERS, SINGLES, BINS = "filters", "singles", "bins"
"""Kinds of groups: all weights of an output channel, single weights, and equal parts of a layer by
their importance."""

_SLOPES = 64
"""Images per pass where only their mean gradient counts."""

_AT_ONCE = 256
_HALVES = 2


@dataclass(frozen=True)
class WeightGroup:
    """A group of weights of one layer.

    Attributes:
        layer: Name of the weights among the network's parameters.
        places: Their numbers in it, flattened.
    """

    layer: str
    places: Tensor


@dataclass(frozen=True, kw_only=True)
class Importance(Attack[Removals]):
    """Correlation between the importance of weights for a label and what their removal costs it.

    Paper, Section 6: "the correlation between weight importance and attribute performance", of
    which it prints no figure. It is of the original alone: weights of its body are set to zero, a
    group at a time, nothing is tuned, and validation people show what each label loses. Scores are
    computed on training images, for each label by itself:

    - `sensitivity`: |mean gradient| (Eq. 1), by which `wf` ranks as printed.
    - `fisher`: mean squared gradient.
    - `importance`: Eq. 3 with `wp`'s defaults, both terms relative to their layer's mean.
    - `fisher_ratio`, `importance_ratio`: for the label relative to all others, by which `wf` and
      `wp` rank unless told otherwise.
    - `magnitude`: |w|, which knows no label, and `random`: numbers drawn, which know nothing.

    Groups are the `filters` (an output channel of a layer each), single weights drawn at random
    (`singles`) and, of the forgotten labels, equal parts of each layer by importance (`bins`). The
    importance of a group is the mean of its weights' scores, so that it does not tell how large the
    filters of a layer are; its cost is the rise of the mean loss.

    Attributes:
        scored: Most training images for the scores, >= 2.
        score_batch: Images per random-sign draw of the Fisher score.
        delta: Keeps the ratio of scores finite, in units of the layer's mean score.
        asked: Most validation images for the costs, >= 20.
        single: Weights of each layer that are removed by themselves, >= 0.
        parts: Equal parts of each layer by importance, >= 2.
    """

    name: ClassVar[str] = "importance"
    scored: int
    score_batch: int
    delta: float
    asked: int
    single: int
    parts: int

    def observe(self, victim: Victim) -> Evidence[Removals]:
        if victim.net is not victim.original_net:
            return {}

        people = victim.splits["validation"]
        (asked,) = people_drawn(people.identities, [self.asked], victim.seed)
        bench = Bench(victim.net, victim.task, people.subset(asked), victim.seed)
        layers = body_weights(victim.net)
        removed = {FILTERS: list(filters_of(layers)), SINGLES: self.singles(layers, victim.seed)}
        costs = {kind: [bench.cost(one) for one in groups] for kind, groups in removed.items()}

        found: dict[str, Removals | str] = {}
        for column, label in enumerate(victim.labels):
            start = f"{self.name}/label/{part_of_path(label)}"
            scores = self.scores(victim, layers, column)
            for name, score in scores.items():
                for kind, groups in removed.items():
                    if groups:
                        path = f"{start}/{kind}/{name}"
                        found[path] = removals_of(score, groups, costs[kind], column)

                if column in victim.request.forgotten and name in BINNED:
                    bins = list(bins_of(score, self.parts))
                    cost = [bench.cost(one) for one in bins]
                    found[f"{start}/{BINS}/{name}"] = removals_of(score, bins, cost, column)

        return found

    def conclude(self, evidence: Evidence[Removals]) -> Iterable[Finding]:
        forgotten = {path.rsplit("/", 2)[0] for path in evidence if f"/{BINS}/" in path}
        for path, removals in evidence.items():
            start, kind, score = path.rsplit("/", 2)
            if isinstance(removals, str) or (
                start not in forgotten and (kind != FILTERS or score not in BINNED)
            ):
                continue

            yield from correlations(path, removals)
            if kind == BINS:
                yield from costs_of_bins(path, removals, self.parts)
            elif kind == FILTERS and start in forgotten:
                yield from correlations_by_layer(path, removals)

    def compare(
        self, evidence: Evidence[Removals], reference: Evidence[Removals] | None
    ) -> Iterable[Finding]:
        return ()

    def singles(self, layers: Weights, seed: int) -> list[WeightGroup]:
        """Single weights of each layer, drawn at random."""
        draws, found = generator(seed), []
        for name, layer in layers.items():
            order = torch.randperm(layer.numel(), generator=draws)
            found += [WeightGroup(name, place.view(1)) for place in order[: self.single]]
        return found

    def scores(self, victim: Victim, layers: Weights, column: int) -> dict[str, dict[str, Tensor]]:
        """Scores of all weights for one label, by their names and layers, on the CPU."""
        net, task, device = victim.net, victim.task, victim.net.head.weight.device
        train = victim.splits["train"]
        (rows,) = people_drawn(train.identities, [self.scored], victim.seed)
        points = train.subset(rows)
        others = tuple(other for other in range(len(victim.labels)) if other != column)
        columns = {"own": (column,), "others": others}

        batches = moved(points, _SLOPES, device)
        slopes = sensitivity(net, task, batches, {"own": (column,)}, layers)["own"]
        batches, signs = moved(points, self.score_batch, device), generator(victim.seed)
        squares = fisher(net, task, batches, columns, layers, signs)
        draws = generator(victim.seed, 1)

        found: dict[str, dict[str, Tensor]] = {name: {} for name in SCORES}
        for name, layer in layers.items():
            own, theirs = squares["own"][name], squares["others"][name]
            ours = importance_of(layer, own)
            relative = ratio(ours, importance_of(layer, theirs), self.delta)
            values = (
                slopes[name],
                own,
                ours,
                ratio(own, theirs, self.delta),
                relative,
                layer.abs(),
                torch.rand(layer.shape, generator=draws),
            )
            for score, value in zip(SCORES, values, strict=True):
                found[score][name] = value.double().cpu()

        return found


class Bench:
    """Validation images, and what a network loses of each label's answers with some weights at 0.

    Whatever comes before the stage that holds the weights is computed once.
    """

    def __init__(self, net: Network, task: Task, asked: Split, seed: int) -> None:
        """Ask the whole network first.

        Args:
            net: Not changed.
            task: Of its outputs.
            asked: Images to ask about.
            seed: Divides their people in two halves.
        """
        self.net, self.task, self.asked = copy.deepcopy(net), task, asked
        self.parameters = dict(self.net.named_parameters())
        self.taken = stage_inputs(self.net, asked)
        self.halves = halves_of(asked, seed)

        logits = self.logits_from(next(iter(self.taken)))
        self.losses, self.balance = self.losses_of(logits), self.balance_of(logits)

    def cost(self, group: WeightGroup) -> tuple[Tensor, Tensor]:
        """Rise of each label's loss in either half, and fall of its balanced accuracy.

        Shapes (2, labels) and (labels,).
        """
        weight = self.parameters[group.layer].detach()
        before, flat = weight.clone(), weight.reshape(-1).clone()
        flat[group.places.to(flat.device)] = 0
        weight.copy_(flat.view(weight.shape))

        logits = self.logits_from(group.layer.split(".")[1])
        weight.copy_(before)

        return self.losses_of(logits) - self.losses, self.balance - self.balance_of(logits)

    @torch.no_grad()
    def logits_from(self, stage: str) -> Tensor:
        """Logits of all images, by the stages from one on, on the CPU."""
        names = [name for name, _ in self.net.body.named_children()]
        rest = list(self.net.body.children())[names.index(stage) :]

        found = []
        for taken in self.taken[stage].split(_AT_ONCE):
            # A stage may write to what it takes.
            seen = taken.clone()
            for module in rest:
                seen = module(seen)
            found.append(self.net.head(seen).double().cpu())

        return torch.cat(found)

    def losses_of(self, logits: Tensor) -> Tensor:
        """Mean loss of each label in either half, in nats, shape (2, labels)."""
        columns = range(logits.shape[1])
        losses = self.task.label_loss(logits, self.asked.targets.double(), columns)
        counted = self.asked.known.double()
        sums = [(losses * counted)[rows].sum(0) for rows in self.halves]
        counts = [counted[rows].sum(0).clamp(min=1) for rows in self.halves]
        return torch.stack(sums) / torch.stack(counts)

    def balance_of(self, logits: Tensor) -> Tensor:
        """Balanced accuracy of each label, shape (labels,)."""
        said, truth = self.task.predictions(logits), self.asked.targets > 0
        rates = []
        for side in (truth & self.asked.known, ~truth & self.asked.known):
            rates.append(((said == truth) & side).sum(0) / side.sum(0))
        return torch.stack(rates).mean(0).double()


def stage_inputs(net: Network, asked: Split) -> dict[str, Tensor]:
    """All that each stage of the body takes in one pass over some images."""
    taken: dict[str, list[Tensor]] = {}
    hooks = []

    def keep(name: str, module: nn.Module, inputs: Any) -> None:
        taken.setdefault(name, []).append(inputs[0].clone())

    try:
        for name, module in net.body.named_children():
            hooks.append(module.register_forward_pre_hook(partial(keep, name)))
        with torch.no_grad():
            for batch in moved(asked, _AT_ONCE, net.head.weight.device):
                net(batch.images)
    finally:
        for hook in hooks:
            hook.remove()

    return {name: torch.cat(parts) for name, parts in taken.items()}


def halves_of(asked: Split, seed: int) -> list[Tensor]:
    """Rows of two halves that share no person."""
    half = len(asked) // _HALVES
    return people_drawn(asked.identities, [half, len(asked) - half], seed)


def moved(points: Split, size: int, device: torch.device) -> Iterator[Batch]:
    """Plain batches of some points, in order, on a device."""
    return (batch.to(device) for batch in points.batches(size))


def importance_of(layer: Tensor, squares: Tensor) -> Tensor:
    """Eq. 3 as `wp` has it by default: the mean of both terms, with the Fisher score for H."""
    first, second = relative_terms(layer, squares.sqrt(), squares)
    return (first + second) / 2


def filters_of(layers: Weights) -> Iterator[WeightGroup]:
    """All weights of each output channel."""
    for name, layer in layers.items():
        for places in torch.arange(layer.numel()).view(len(layer), -1):
            yield WeightGroup(name, places)


def bins_of(score: Mapping[str, Tensor], parts: int) -> Iterator[WeightGroup]:
    """Equal parts of each layer, those of the highest scores first."""
    for name, layer in score.items():
        order = layer.reshape(-1).argsort(descending=True, stable=True)
        for places in order.tensor_split(parts):
            yield WeightGroup(name, places)


def removals_of(
    score: Mapping[str, Tensor],
    groups: Sequence[WeightGroup],
    costs: Sequence[tuple[Tensor, Tensor]],
    column: int,
) -> Removals:
    """The groups as one label sees them."""
    flat = {name: layer.reshape(-1) for name, layer in score.items()}
    means = [flat[group.layer][group.places].mean().item() for group in groups]
    losses = torch.stack([rise for rise, _ in costs], 1)
    rest = [other for other in range(losses.shape[2]) if other != column]

    return Removals(
        importance=np.array(means),
        layers=np.array([layer_name(group.layer) for group in groups]),
        own=losses[:, :, column].numpy(),
        others=losses[:, :, rest].mean(2).numpy(),
        answers=torch.stack([fall[column] for _, fall in costs]).numpy(),
    )


def layer_name(parameter: str) -> str:
    """A layer's name without what all have.

    >>> layer_name("body.block1.conv.weight"), layer_name("body.block1.attention.in_proj_weight")
    ('block1.conv', 'block1.attention.in_proj_weight')
    """
    return parameter.removeprefix("body.").removesuffix(".weight")


def correlations(path: str, removals: Removals) -> Iterator[Finding]:
    """Correlations of importance with costs, over the groups of all layers.

    `own`: with the rise of the label's loss. `others`: with that of the other labels'.
    `selective`: with the former less the latter. `answers`: with the fall of the label's balanced
    accuracy. And `halves/spearman`: of the costs by one half of the people with those by the other,
    which bounds what any score could reach.
    """
    own, others, seed = removals.own.mean(0), removals.others.mean(0), len(removals.layers)
    sides = {"own": own, "others": others, "selective": own - others, "answers": removals.answers}
    for name, cost in sides.items():
        yield from correlation_findings(f"{path}/{name}", removals.importance, cost, seed)

    one, other = removals.own
    yield from correlation_findings(f"{path}/halves", one, other, seed, ("spearman",))


def correlations_by_layer(path: str, removals: Removals) -> Iterator[Finding]:
    """Rank and linear correlation of importance with costs within each layer."""
    own, others = removals.own.mean(0), removals.others.mean(0)
    for layer in dict.fromkeys(removals.layers.tolist()):
        here = removals.layers == layer
        start, score = f"{path}/layer/{part_of_path(layer)}", removals.importance[here]
        seed = int(here.sum())
        yield from correlation_findings(f"{start}/own", score, own[here], seed)
        yield from correlation_findings(f"{start}/others", score, others[here], seed)


def costs_of_bins(path: str, removals: Removals, parts: int) -> Iterator[Finding]:
    """`path/bin_<number>/own` and `others`: mean rise of loss over layers; 1 is most important."""
    for side, cost in (("own", removals.own.mean(0)), ("others", removals.others.mean(0))):
        for number, rise in enumerate(cost.reshape(-1, parts).mean(0), 1):
            yield Finding(f"{path}/bin_{number}/{side}", float(rise))
