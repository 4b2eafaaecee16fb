"""Measurements of a user's own model: retained accuracy and the strongest reader."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from mlu.attacks.attribute import NO_OTHERS, AttributeInference
from mlu.attacks.contract import PROXY, Victim
from mlu.attacks.parts.panel import label_path
from mlu.data.split import Split
from mlu.evaluate.utility import retained_accuracy_finding
from mlu.launch.build import made
from mlu.launch.compose import composed, values_of
from mlu.metrics.findings import Finding
from mlu.metrics.verification import verification_finding
from mlu.models.network import Network
from mlu.models.outputs import Outputs, outputs_of, respond_by_stage
from mlu.models.tasks import ForgetRequest, Task
from mlu.runs.results import Figure
from mlu.system.progress import progress_bar

_LOOKS = 5
"""Steps of the progress bar: what two models say, what is read of them, and the floor."""


@dataclass(frozen=True)
class Change:
    """One figure before and after forgetting, with 95 % intervals over validation people.

    Attributes:
        before: Of the model that was given.
        after: Of the one that has forgotten.
        floor: What the true retained labels alone tell, without any model: nothing below it can be
            had while these are kept. None where that means nothing.
    """

    before: Figure
    after: Figure
    floor: Figure | None = None


@dataclass(frozen=True)
class Measurement:
    """Figures of a model before and after forgetting, of images that it was not trained on.

    Attributes:
        retained: Accuracy of the retained outputs, over all validation images; of an embedding the
            AUROC of telling whether two images show the same person.
        strongest: By the name of each forgotten label or concept, the balanced accuracy of its
            strongest reader, from outputs or features; 0.5 is knowing nothing. Readers learn from
            one half of the validation people and are judged on the other.
    """

    retained: Change
    strongest: Mapping[str, Change]

    def __str__(self) -> str:
        """A table in plain text."""
        rows = [("", "before", "after", "floor"), row_of("retained", self.retained)]
        rows += [row_of(f"{name}, strongest reader", one) for name, one in self.strongest.items()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

        lines = []
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append("  ".join(cells).rstrip())

        return "\n".join(lines)


def row_of(title: str, change: Change) -> tuple[str, str, str, str]:
    """A line of the table."""
    floor = "" if change.floor is None else with_interval(change.floor)
    return title, with_interval(change.before), with_interval(change.after), floor


def with_interval(figure: Figure) -> str:
    """A figure with its interval, or why there is none.

    >>> with_interval(Figure(0.5, 0.4, 0.6)), with_interval(Figure(None, reason="too few images"))
    ('0.500 [0.400, 0.600]', 'none: too few images')
    """
    if figure.value is None:
        return f"none: {figure.reason}"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def measurement_of(
    nets: tuple[Network, Network],
    task: Task,
    labels: Sequence[str],
    request: ForgetRequest,
    held: Split,
    seed: int,
    retained: Callable[[Outputs], Finding] | None = None,
) -> Measurement:
    """The measurement of two networks that are alike but for what was forgotten.

    Args:
        nets: Before and after; each has an output for every column, of a concept a silent one.
        task: What the outputs mean.
        labels: Name of each column.
        request: The columns that were forgotten, and retained.
        held: Images that the networks were not trained on, of whom readers learn and are judged.
        seed: Of the division and of the readers.
        retained: What is retained, of what a network says; None for the accuracy of the retained
            outputs.
    """
    kept = partial(retained_accuracy_of, task, request) if retained is None else retained
    attack = validation_attack()
    with progress_bar("measuring", _LOOKS) as bar:
        said: list[Outputs] = []
        for net in nets:
            said.append(outputs_of(held, respond_by_stage(net, held)))
            bar.advance(1)

        victims = [
            Victim(
                net=net,
                task=task,
                labels=labels,
                request=request,
                splits={"validation": held},
                outputs={"validation": outputs},
                canaries=None,
                original={"validation": said[0]},
                retrain=None,
                seed=seed,
            )
            for net, outputs in zip(nets, said, strict=True)
        ]

        exposure: dict[str, Any] = {}
        for name, victim in zip(("original", "unlearned"), victims, strict=True):
            exposure[name] = attack.observe(victim)
            bar.advance(1)

        exposure[PROXY] = attack.without_model(victims[0])
        found = attack.findings(exposure)
        bar.advance(1)

    return Measurement(
        Change(*(figure_of(kept(outputs)) for outputs in said)),
        {labels[column]: change_of(found, labels[column]) for column in request.forgotten},
    )


@cache
def validation_attack() -> AttributeInference:
    """The attack `aia` that learns from half of the validation people and is judged on others."""
    values = values_of(composed(["attack=aia", "attack.aia.judged=validation"]))
    attack: AttributeInference = made(values, "attack")["aia"]
    return attack


def retained_verification(size: int, outputs: Outputs) -> Finding:
    """Verification by an embedding, whose numbers are the first `size` outputs."""
    embeddings = outputs.logits[:, :size].double().numpy()
    return verification_finding("retained/verification", embeddings, outputs.identities)


def retained_accuracy_of(task: Task, request: ForgetRequest, outputs: Outputs) -> Finding:
    """Accuracy of the retained outputs."""
    columns = list(request.retained)
    asked = task.images_of(outputs.targets, outputs.known, columns)
    rows = asked.nonzero().squeeze(1)
    return retained_accuracy_finding(task, outputs.subset(rows), columns)


def change_of(found: Mapping[str, Sequence[Finding]], label: str) -> Change:
    """Findings of the strongest reader of one label, and the floor."""
    start = label_path(AttributeInference.name, label)
    path, told = f"{start}/strongest/balanced_accuracy", f"{start}/folded_balanced_accuracy"
    before, after = (finding_at(found[name], path) for name in ("original", "unlearned"))
    floor = finding_at(found[PROXY], told)
    return Change(before, after, None if floor.reason == NO_OTHERS else floor)


def finding_at(findings: Sequence[Finding], path: str) -> Figure:
    return figure_of(next(one for one in findings if one.path == path))


def figure_of(finding: Finding) -> Figure:
    """A finding as a figure."""
    return Figure(finding.value, finding.low, finding.high, finding.missing)
