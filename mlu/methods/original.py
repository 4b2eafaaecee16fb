from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mlu.unlearning.contract import Edit, Method, Pass, Problem


@dataclass(frozen=True, kw_only=True)
class Original(Method):
    """Forgets nothing: the original as it is, the row that every other one is read against."""

    reads_forgotten: ClassVar[bool] = False
    name: str

    def edit(self, problem: Problem) -> Edit:
        return Edit()

    def passes(self, problem: Problem) -> Sequence[Pass]:
        return ()
