"""The LightningModule that wraps any method: its edit, then its losses, within its bounds."""

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor

from mlu.data.augment import augmented
from mlu.data.split import Batch, Split
from mlu.models.batch_norm import batch_norms, recalibrate, unsync_norms
from mlu.models.network import Network
from mlu.system.collectives import data_parallel
from mlu.system.errors import UserError
from mlu.system.progress import long_work
from mlu.system.seeding import generator, mixed
from mlu.training.classifier import log_loss
from mlu.training.meter import phase
from mlu.training.optimise import Tuning, optimiser_of
from mlu.unlearning.contract import Edit, Method, Pass, Problem
from mlu.unlearning.edits import constrain
from mlu.unlearning.watch import Watch

RECALIBRATION_BATCH = 256
"""Most images per pass of batch-norm recalibration."""

MOMENTA = ("momentum_buffer", "exp_avg")
"""Where torch's optimisers keep the running mean of gradients."""

Loader = Callable[[Split, int, int], Any]
"""Shuffled batches of a split, by their size and a seed."""

Trainers = Callable[[str, int, Tuning, int | None], L.Trainer]
"""A trainer by the name of what it trains, its epochs, its optimisation and its most steps."""


def carry_out(
    method: Method,
    problem: Problem,
    trainers: Trainers,
    loader: Loader,
    watch: Watch | None = None,
    verified: Callable[[Network], bool] | None = None,
) -> Network:
    """The network after all rounds of a method, or after the first one that is verified.

    Each round edits and fine-tunes what the one before it left.

    Args:
        method: How to forget.
        problem: With the network to start from, which is not changed.
        trainers: Makes what fits an Unlearner.
        loader: Gives it its batches.
        watch: Looks at the network meanwhile, and may choose which step is kept; None for nobody.
        verified: Says of what a round has left whether it is enough; None where all are made.

    Returns:
        A network of its own, in evaluation mode and without gradients, on the problem's device.
    """
    L.seed_everything(problem.seed, verbose=False)
    net, method = problem.net, method.within(problem)
    for number in range(method.rounds):
        # A user's seed is below 2^32, so no round shares its random choices with another seed.
        current = replace(problem, net=net, seed=problem.seed + (number << 32))
        net = one_round(method, current, trainers, loader, watch)
        if verified is not None and verified(net):
            break

    return net if watch is None else watch.result(net)


def one_round(
    method: Method,
    problem: Problem,
    trainers: Trainers,
    loader: Loader,
    watch: Watch | None = None,
) -> Network:
    """The network as the method edits it, fine-tuned within its bounds."""
    with long_work(f"{method.name}: scoring"):
        edit, passes, tuning = method.edit(problem), method.passes(problem), method.tuning

    module = Unlearner(method, problem, edit, passes, loader, watch)
    with phase("finetune"):
        if passes and any(parameter.requires_grad for parameter in module.parameters()):
            trainers(method.name, len(passes), tuning, tuning.steps).fit(module)
            module.to(problem.device)
        module.renew_statistics()

        net = method.finish(problem, module.net.eval().requires_grad_(False))

    if watch is not None:
        watch.end_round(partial(copy.deepcopy, net), module.global_step)

    return net


class Unlearner(L.LightningModule):
    """Fine-tunes an edited copy of a network; `net` is the result."""

    def __init__(
        self,
        method: Method,
        problem: Problem,
        edit: Edit,
        passes: Sequence[Pass],
        loader: Loader,
        watch: Watch | None = None,
    ) -> None:
        """Edit a copy of the network, and set its bounds.

        Args:
            method: Its name and its tuning.
            problem: With the network to start from: the original, or what an earlier round left.
            edit: Applied to a copy of it.
            passes: The epochs of fine-tuning, in order.
            loader: Gives shuffled batches of a split, by their size and a seed.
            watch: Looks at the network between two steps; None for nobody.
        """
        super().__init__()
        self.method, self.problem, self.edit = method, problem, edit
        self.passes, self.loader, self.watch = passes, loader, watch

        # Lightning keeps the mode it finds; with the stored statistics of other weights,
        # fine-tuning would diverge.
        self.net = edited(problem.net, edit).train()
        statistics = method.tuning.statistics
        self.frozen_norms = [
            name
            for name in batch_norms(self.net)
            if statistics == "kept" or (statistics == "free" and is_frozen(name, edit))
        ]
        for name in self.frozen_norms:
            self.net.get_submodule(name).eval()

        self.parameters_by_name = dict(self.net.named_parameters())
        frozen = {name for name, radius in edit.radius.items() if not radius.any()}
        for name, parameter in self.parameters_by_name.items():
            parameter.requires_grad_(name not in frozen)

        bounded = {name: radius for name, radius in edit.radius.items() if name not in frozen}
        start = {name: self.parameters_by_name[name].detach() for name in bounded}
        self.low = {name: start[name] - radius for name, radius in bounded.items()}
        self.high = {name: start[name] + radius for name, radius in bounded.items()}
        self.beside: Iterator[Batch] = iter(())
        self.judged: list[tuple[float, float]] = []
        self.candidates: list[dict[str, Tensor]] = []

    def renew_statistics(self) -> None:
        """Batch-norm statistics of the edited weights, from plain training images.

        Those of frozen layers stay.
        """
        self.renew_statistics_of(self.net)

    def renew_statistics_of(self, net: Network) -> None:
        """The same of a network like the one that is tuned."""
        images = calibration_images(self.problem, self.method.tuning.recalibrate)
        recalibrate(net, images, kept=self.frozen_norms)

    def as_left(self) -> Network:
        """A copy of the network as it would be left if fine-tuning ended here."""
        net = copy.deepcopy(self.net)
        unsync_norms(net)
        self.renew_statistics_of(net)
        return self.method.finish(self.problem, net.eval().requires_grad_(False))

    def train_dataloader(self) -> Any:
        """The current pass's batches: Lightning asks again at every epoch."""
        return self.batches_of(self.passes[self.current_epoch])

    def batches_of(self, one: Pass) -> Any:
        """Shuffled batches of the images of a pass."""
        size = one.batch_size or self.method.tuning.batch_size
        return self.loader(one.images, size, self.problem.seed)

    def companions(self, one: Pass) -> Iterator[Batch]:
        """Shuffled batches of what stands beside the images of a pass, as many as it takes."""
        assert one.beside is not None
        size = one.beside_size or one.batch_size or self.method.tuning.batch_size
        batches = self.loader(one.beside, size, mixed(self.problem.seed, self.current_epoch))

        for number in itertools.count():
            batches.sampler.set_epoch(number)
            yield from batches

    def one_beside(self) -> list[Batch]:
        """The batch that accompanies the one at hand, or nothing."""
        if self.passes[self.current_epoch].beside is None:
            return []
        return [next(self.beside).to(self.device)]

    def on_train_epoch_start(self) -> None:
        one = self.passes[self.current_epoch]
        self.beside = iter(()) if one.beside is None else self.companions(one)
        if one.fresh:
            optimiser = self.optimizers(use_pl_optimizer=False)
            assert isinstance(optimiser, torch.optim.Optimizer)
            optimiser.state.clear()

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        return batch.to(device, non_blocking=True)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self.watch is not None and self.watch.is_due(self.global_step):
            self.watch.look(self.as_left, self.global_step)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        batches = [batch, *self.one_beside()]
        if self.net.pixels:
            # One after the other from the same draw, so that a batch by itself is as ever.
            draws, kind = generator(self.problem.seed, self.global_step), self.method.tuning.augment
            batches = [augmented(each, draws, kind) for each in batches]
        with data_parallel():
            loss = self.passes[self.current_epoch].loss(self.net, *batches)
        log_loss(self, "unlearned", loss, len(batch), self.method.tuning.remedy(self.method.name))
        return loss

    def on_train_epoch_end(self) -> None:
        judge = self.passes[self.current_epoch].judge
        if judge is not None:
            modes = {module: module.training for module in self.net.modules()}
            with torch.no_grad():
                self.judged.append(judge(self.net.eval()))

            for module, mode in modes.items():
                module.training = mode

            self.candidates.append(
                {name: value.detach().clone() for name, value in self.net.state_dict().items()}
            )

    def on_train_end(self) -> None:
        if self.judged:
            wanted = self.judged[-1][1]
            nearest = min(
                range(len(self.judged)), key=lambda number: abs(self.judged[number][0] - wanted)
            )
            self.net.load_state_dict(self.candidates[nearest])

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        before = {name: self.parameters_by_name[name].detach().clone() for name in self.edit.rate}
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        stopped = constrain(self.parameters_by_name, before, self.low, self.high, self.edit.rate)
        for name, where in stopped.items():
            state = optimizer.state[self.parameters_by_name[name]]
            for momentum in MOMENTA:
                if state.get(momentum) is not None:
                    state[momentum].masked_fill_(where, 0)

    def configure_optimizers(self) -> Any:
        tuning = self.method.tuning
        lrs = [one.lr or tuning.lr for one in self.passes]
        if tuning.schedule != "constant" and set(lrs) != {tuning.lr}:
            raise UserError(
                f"method.tuning.schedule={tuning.schedule}: {self.method.name} sets the learning "
                "rate of each pass itself, use constant"
            )

        steps = sum(len(self.batches_of(one)) for one in self.passes)

        return optimiser_of(
            self.net, tuning, steps if tuning.steps is None else min(steps, tuning.steps), lrs
        )


def edited(net: Network, edit: Edit) -> Network:
    """A copy of a network with an edit's weights, and its eraser where it has one."""
    net = copy.deepcopy(net)
    if edit.eraser is not None:
        net.erase(*edit.eraser)

    parameters = dict(net.named_parameters())
    with torch.no_grad():
        for name, value in edit.weights.items():
            parameters[name].copy_(value)

    return net


def is_frozen(norm: str, edit: Edit) -> bool:
    """Whether a batch norm's own weights may not move at all: its statistics then stay as well."""
    radii = [edit.radius.get(f"{norm}.{name}") for name in ("weight", "bias")]
    return all(radius is not None and not radius.any() for radius in radii)


def calibration_images(problem: Problem, images: int) -> Iterator[Tensor]:
    """At most `images` plain training images, seeded, on the problem's device.

    They come in batches of one size, to within one. Of a single-label task none is of a forgotten
    class. Nothing comes where there is but one: it has no variance.
    """
    rows = torch.randperm(len(problem.retain), generator=problem.generator())[:images]
    if len(rows) > 1:
        for chosen in rows.tensor_split(math.ceil(len(rows) / RECALIBRATION_BATCH)):
            yield problem.retain[chosen].images.to(problem.device)
