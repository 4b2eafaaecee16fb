from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from mlu.methods.parts.decorrelation import Decorrelation
from mlu.methods.parts.passes import tune_passes
from mlu.methods.parts.refit import refit_head
from mlu.methods.parts.silence import frozen_rows, silent_head
from mlu.methods.parts.thrift import Work, within_share
from mlu.models.network import Network
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem


@dataclass(frozen=True, kw_only=True)
class Decorrelate(Method):
    """Silences the forgotten output, and fine-tunes so that features tell no more of the label.

    Ours, not the paper's: what `wf` and `wp` do besides choosing weights. Nothing is scored and no
    weight but the forgotten output's is edited, so it costs the fine-tuning alone.

    Attributes:
        soft: Share of the original's outputs in the retained targets, in [0, 1].
        decorrelation: Penalty on what the features tell of the forgotten target.
        refit: Most training images, >= 0, that the retained outputs are fitted to anew after
            fine-tuning.
        share: Most image passes as a share of what Retrain takes, > 0; None for any.
            Where that is known, steps and statistics are scaled down alike to keep to it.
        tuning: Fine-tuning.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    soft: float
    decorrelation: Decorrelation
    refit: int
    share: float | None
    tuning: Tuning

    def within(self, problem: Problem) -> Method:
        work = within_share(Work(self.tuning, refit=self.refit), problem, self.share, self.soft)
        return replace(self, tuning=work.tuning, refit=work.refit)

    def edit(self, problem: Problem) -> Edit:
        return Edit(weights=silent_head(problem), radius=frozen_rows(problem))

    def passes(self, problem: Problem) -> Sequence[Pass]:
        return tune_passes(problem, self.tuning, self.soft, self.decorrelation)

    def finish(self, problem: Problem, net: Network) -> Network:
        return refit_head(problem, net, self.refit if self.tuning.makes_steps else 0)
