from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mlu.methods.parts.passes import retain_passes
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem


@dataclass(frozen=True, kw_only=True)
class FineTuning(Method):
    """Goes on training on the retained labels alone, and hopes that the others fade.

    Catastrophic forgetting, put to use.
    The forgotten output gets no gradient, so in a multi-label task nothing pushes it.
    """

    reads_forgotten: ClassVar[bool] = False
    name: str
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        return Edit()

    def passes(self, problem: Problem) -> Sequence[Pass]:
        return retain_passes(problem, self.tuning)
