"""Looks at a network while a method forgets.

No look changes what the next step does, and nothing of what is seen reaches the method.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lightning.pytorch.utilities.seed import isolate_rng

from mlu.metrics.trace import TracePoint, best_step, still_possible
from mlu.models.network import Network
from mlu.training.meter import apart

WATCHING = "watch"
"""The phase that looks are counted under, apart from all that forgetting costs."""


@dataclass
class Watch:
    """Looks at what one request to forget makes of a network, and keeps its last or best step.

    A look is at a copy, as it would be handed over if fine-tuning ended there: with batch-norm
    statistics of its own, in evaluation mode. Each round is seen before its first step, after every
    `every` of its steps, and at its end, after all that the method does then.

    Attributes:
        every: Steps between two looks, >= 1.
        chooses: Whether the best of all steps that were seen is kept (`best_step`), or the last.
        show: Asks validation people about a network.
        told: Hears of each look at once.
        points: All looks so far.
        steps: Steps of all rounds that have ended, of earlier requests too.
    """

    every: int
    chooses: bool
    show: Callable[[Network], TracePoint]
    told: Callable[[TracePoint], None]
    points: list[TracePoint] = field(default_factory=list)
    steps: int = 0
    _rounds: int = 0
    _held: dict[int, Network] = field(default_factory=dict)

    def is_due(self, step: int) -> bool:
        """Whether to look before the next step, after so many in this round."""
        return step % self.every == 0

    def look(self, made: Callable[[], Network], step: int) -> None:
        """Look at a network after so many steps of this round.

        Args:
            made: Gives a network that nothing else uses.
            step: Of this round.
        """
        with apart(WATCHING), isolate_rng():
            net = made().eval().requires_grad_(False)
            seen = self.show(net)
            point = replace(seen, round=self._rounds + 1, step=self.steps + step)
            self.points.append(point)
            if self.chooses:
                self._hold(net)
            self.told(point)

    def end_round(self, made: Callable[[], Network], steps: int) -> None:
        """Look at what a round has left after so many steps; another may follow."""
        self.look(made, steps)
        self._rounds += 1
        self.steps += steps

    def result(self, last: Network) -> Network:
        """The network to keep, when all rounds have ended; it is marked among the points."""
        number = best_step(self.points) if self.chooses else len(self.points) - 1
        self.points[number] = replace(self.points[number], kept=True)
        if number == len(self.points) - 1:
            return last
        return self._held[number].to(next(last.parameters()).device)

    def _hold(self, net: Network) -> None:
        """Hold the newest network, and no more of the others than may be kept yet."""
        self._held[len(self.points) - 1] = net.cpu()
        possible = still_possible(self.points)
        self._held = {number: one for number, one in self._held.items() if number in possible}
