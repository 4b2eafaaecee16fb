"""Readings of the paper's rule, as far as Weight Filtering and Weight Pruning share them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from mlu.methods.parts.decorrelation import OFF, Decorrelation
from mlu.methods.parts.passes import tune_passes
from mlu.methods.parts.silence import frozen_rows, silent_head
from mlu.models.network import Network, Weights
from mlu.scores.gradients import all_weights, body_weights
from mlu.scores.relative import ratio
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Pass, Problem

ReadingName = Literal["selective", "above", "printed"]
Scope = Literal["layer", "global"]


@dataclass(frozen=True)
class Reading:
    """One way to understand the rule: the weights that compete, and what is done besides.

    Attributes:
        weights: Gives the weights of a network that are scored and may be edited.
        scope: Where weights compete unless a setting says otherwise: in each `layer`, or in the
            whole network (`global`).
        silences: Whether the forgotten output is set to its base rate and held there. Only then
            fine-tuning may mix the original's outputs into targets, or decorrelate.
    """

    weights: Callable[[Network], Weights]
    scope: Scope
    silences: bool

    def silenced(self, problem: Problem, edit: Edit) -> Edit:
        """The edit, with the forgotten output silent where the reading wants that."""
        if not self.silences:
            return edit
        weights = {**edit.weights, **silent_head(problem)}
        return replace(edit, weights=weights, radius={**edit.radius, **frozen_rows(problem)})

    def passes(
        self, problem: Problem, tuning: Tuning, soft: float, decorrelation: Decorrelation
    ) -> list[Pass]:
        """Fine-tuning after the edit, plain where the reading adds nothing to the paper's."""
        if not self.silences:
            soft, decorrelation = 0, OFF
        return tune_passes(problem, tuning, soft, decorrelation)


SELECTIVE = Reading(body_weights, scope="layer", silences=True)
"""Edits in the body what the forgotten labels need more than the retained ones do."""

ABOVE = Reading(all_weights, scope="layer", silences=False)
"""Edits what the forgotten labels need most (Section 6)."""

PRINTED = Reading(all_weights, scope="global", silences=False)
"""Edits what the forgotten labels do not need, as Section 4 prints it."""


def contrast(forgotten: Weights, retained: Weights, delta: float) -> Weights:
    """Ratio of what weights matter to the forgotten and to the retained labels, by layer."""
    return {name: ratio(forgotten[name], retained[name], delta) for name in forgotten}
