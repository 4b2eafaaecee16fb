from dataclasses import dataclass

from mlu.contracts import Edit, Method, Problem
from mlu.methods.parts import silent_head


@dataclass(frozen=True, kw_only=True)
class Head(Method):
    """Only the forgotten output is made constant: perfect forgetting to whoever reads that output alone.

    The features keep all they knew. It costs nothing, so it is the baseline that every method must beat elsewhere.
    """

    name: str

    def edit(self, problem: Problem) -> Edit:
        return Edit(weights=silent_head(problem))
