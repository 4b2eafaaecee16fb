from dataclasses import dataclass
from typing import ClassVar

from mlu.data.base import TaskName


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """The reference as a method: it never saw the forgotten label.

    It is trained from the original's initial weights. Nothing is edited, so this is no `Method`:
    the pipeline trains it as a stage of its own (paper, Section 3).
    """

    tasks: ClassVar[tuple[TaskName, ...]] = ("multilabel", "singlelabel")
    name: str
