from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mlu.methods.parts.silence import silent_head
from mlu.unlearning.contract import Edit, Method, Pass, Problem


@dataclass(frozen=True, kw_only=True)
class Head(Method):
    """Makes the forgotten output constant, and nothing else.

    To whoever reads that output alone, it is perfect forgetting. The features keep all they knew.
    It costs nothing, so it is the baseline that every method must beat elsewhere.
    """

    reads_forgotten: ClassVar[bool] = False
    name: str

    def edit(self, problem: Problem) -> Edit:
        return Edit(weights=silent_head(problem))

    def passes(self, problem: Problem) -> Sequence[Pass]:
        return ()
