"""Attribute inference: what an attacker reads of the forgotten label from outputs or features of unseen images."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mlu.contracts import Attack, Finding, Victim
from mlu.metrics.labels import finding, label_figures
from mlu.models.outputs import Outputs
from mlu.tasks import MultiLabel

METRICS = ("balanced_accuracy", "auroc", "accuracy")
NO_CLASSES = "the forgotten label does not occur both ways among the known targets of the validation or the test split"


@dataclass(frozen=True, kw_only=True)
class AttributeInference(Attack):
    """A logistic regression from what a model shows to the true forgotten label (paper, Section 7.2).

    It is fitted on the validation split, with classes weighted as if they were equally frequent, and judged on the test
    split; the model was trained on neither, and no person is in both. Views are what the attacker sees: `output` (the
    forgotten logits), `outputs` (all logits), `retained_outputs`, and `features` (pooled, before the head). It learns
    the sign, so an inverted output does not hide the label. Half is what knowing nothing gives; what Retrain gives is
    what the retained labels alone make of the features.

    Attributes:
        strength: Inverse of the L2 penalty on standardised inputs, > 0.
    """

    name: str
    strength: float

    def run(self, victim: Victim) -> Sequence[Finding]:
        return [found for view in views(victim, victim.test) for found in self.attack(victim, view)]

    def attack(self, victim: Victim, view: str) -> Iterator[Finding]:
        """Of several forgotten labels the one that is read best."""
        results = (self.attack_label(victim, view, column) for column in victim.request.forgotten)
        found = [figures for figures in results if figures is not None]
        best = max(found, key=lambda figures: figures["balanced_accuracy"].value or 0.0, default=None)
        for metric in METRICS:
            path = f"{self.name}/{view}/{metric}"
            yield Finding(path, None, missing=NO_CLASSES) if best is None else best[metric].under(f"{self.name}/{view}")

    def attack_label(self, victim: Victim, view: str, column: int) -> Mapping[str, Finding] | None:
        """Every metric; None where the attacker has nothing to learn or to be judged by."""
        known, seen, targets = {}, {}, {}
        for name, outputs in (("validation", victim.validation), ("test", victim.test)):
            known[name] = outputs.known[:, column]
            seen[name] = views(victim, outputs)[view][known[name]].double().numpy()
            targets[name] = outputs.targets[known[name], column].numpy() > 0
            if len(np.unique(targets[name])) < 2:
                return None
        attacker = make_pipeline(
            StandardScaler(), LogisticRegression(C=self.strength, class_weight="balanced", max_iter=1000)
        )
        with warnings.catch_warnings():
            # A separable view has no finite optimum; its direction is good long before the iterations end.
            warnings.simplefilter("ignore", ConvergenceWarning)
            attacker.fit(seen["validation"], targets["validation"])
        said = torch.from_numpy(attacker.decision_function(seen["test"])).unsqueeze(1)
        figures = label_figures(MultiLabel(), as_outputs(victim.test, known["test"], column, said))
        return {metric: finding(metric, figures[metric], 0, NO_CLASSES) for metric in METRICS}


def views(victim: Victim, outputs: Outputs) -> dict[str, Tensor]:
    """What the attacker sees of each image, by view, shape (images, numbers)."""
    assert outputs.features is not None
    return {
        "output": outputs.logits[:, list(victim.request.forgotten)],
        "outputs": outputs.logits,
        "retained_outputs": outputs.logits[:, list(victim.request.retained)],
        "features": outputs.features,
    }


def as_outputs(outputs: Outputs, known: Tensor, column: int, said: Tensor) -> Outputs:
    """The attacker's answers as those of a classifier of one label."""
    chosen = outputs.subset(known.nonzero().squeeze(1))
    targets = chosen.targets[:, [column]]
    return Outputs(said, targets, torch.ones_like(targets, dtype=torch.bool), chosen.identities)
