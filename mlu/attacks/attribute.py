"""Attribute inference: each forgotten label read from what a model shows of unseen images."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, TypeVar

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from mlu.attacks.contract import PROXY, Attack, Victim
from mlu.attacks.parts.cases import Cases, Side, held_out
from mlu.attacks.parts.conclusions import (
    above_floor,
    beyond_retained,
    released_findings,
    released_place,
    repeated_for_the_worst,
    strongest_findings,
)
from mlu.attacks.parts.networks import convolution, last_maps, plain_images, tuned
from mlu.attacks.parts.panel import (
    BEYOND,
    CONV,
    FEATURES,
    NETWORK,
    OF_OUTPUT,
    OUTPUTS,
    PANEL_PLACES,
    STAGES,
    TUNED,
    Look,
    label_path,
    of_labels,
    panel_looks,
    panel_place,
    stage_view,
)
from mlu.attacks.parts.readers import Making, learnt_scores, panel_of, side_by_side
from mlu.data.split import Split, people_drawn
from mlu.metrics.findings import NETWORK_READERS, Evidence, Finding, Trial
from mlu.metrics.trials import excesses, reading_findings, trial_findings
from mlu.models.outputs import Outputs, joined_outputs, outputs_of, respond_by_stage
from mlu.models.tasks import ForgetRequest, Task

MAPS = "maps"
"""What the convolutional reader looks at."""

FEWEST_TO_LEARN = 10
"""Validation images with the label, and without it, that the attacker needs to learn from."""

NO_CLASSES = (
    f"fewer than {FEWEST_TO_LEARN} validation images, or no test image, are known to have "
    "the forgotten label, or to lack it"
)
NO_OTHERS = (
    "in a single-label task the retained labels say nothing but whether the forgotten one is true"
)
NO_MAPS = "no stage of the network has maps"

Images = TypeVar("Images", Split, Outputs)


@dataclass(frozen=True, kw_only=True)
class AttributeInference(Attack[Trial]):
    """Readers from what a model shows to each true forgotten label (paper, Section 7.2).

    They learn from the validation split, with classes weighted as if they were equally frequent,
    and are judged on the test split; the model was trained on neither, and no person is in both.
    Each forgotten label is read for itself. What the attacker sees lies in three places:

    - outputs: `outputs` (all logits) and `retained_outputs`;
    - features: `features`, which the head reads, and the last maps before they are pooled
      (`features/conv`);
    - stages: `features/<stage>`, the means of each stage's channels, and `stages`, means,
      deviations and maxima of all stages joined; and `network/tuned`, the whole network tuned on
      the attacker's images.

    `output`, the forgotten logit alone, lies in none of them. The readers are those of `panel_of`,
    under `<view>/<reader>`; the logistic regression's figures stand under `<view>`. They learn the
    sign, so an inverted output does not hide the label.

    In each place the strongest reader of a model is chosen by its AUROC on a quarter of the
    attacker's own people, held out from it; then it learns from all of them and is judged once.
    Half is what knowing nothing gives. The true retained labels alone give more (`without_model`),
    and so do the features of random weights and of Retrain: what exceeds these was not forgotten.

    Attributes:
        panel: Which readers: `standard`, about 25 readings of a model; or `full`, every reader in
            every view, the convolutional and the tuned network included.
        insider: Whether the attacker also holds the training images and all their labels, as who
            runs the model does.
        images: Most images to learn from, >= 20; people are drawn where there are more.
        strength: Inverse of the logistic regression's L2 penalty on standardised inputs, > 0.
        weak: The same of the more strongly penalised one, > 0.
        hidden: Units of the perceptron's hidden layer, >= 1. A tenth of its images tells it when to
            stop.
        judged: The split that they are judged on: `test`; or `validation`, whose people are then
            divided between learning and judging, so that a search for settings does not see the
            test split.
    """

    name: ClassVar[str] = "aia"
    panel: Literal["standard", "full"]
    insider: bool
    images: int
    strength: float
    weak: float
    hidden: int
    judged: Literal["test", "validation"]

    def observe(self, victim: Victim) -> Evidence[Trial]:
        learnt, judged = self.shown(victim)
        stages = list(victim.outputs["validation"].stages)
        looks = panel_looks(self.panel, stages)

        found: dict[str, Trial | str] = {}
        for column in victim.request.forgotten:
            trials = dict(self.attack(victim, column, looks, learnt, judged))
            # What the last stage gives is what the head reads: it is attacked once.
            trials[stage_view(stages[-1])] = trials[FEATURES]
            start = label_path(self.name, victim.labels[column])
            found |= {f"{start}/{path}": trial for path, trial in trials.items()}

        return found

    def without_model(self, victim: Victim) -> Evidence[Trial]:
        learnt, judged = self.sides(victim.splits, victim.seed)
        (rows,) = people_drawn(learnt.identities, [self.images], victim.seed)
        readers = [one.reader for one in panel_looks(self.panel, []) if one.view == BEYOND]
        makers = self.makers(victim)

        told = told_by_retained(
            victim.task,
            victim.request,
            {reader: makers[reader] for reader in readers},
            (learnt.subset(rows), judged),
            victim.seed,
        )

        found: dict[str, Trial | str] = {}
        for column, trials in told.items():
            start = label_path(self.name, victim.labels[column])
            found |= {f"{start}{path}": trial for path, trial in trials.items()}

        return found

    def conclude(self, evidence: Evidence[Trial]) -> Iterable[Finding]:
        for label, trials in of_labels(self.name, evidence).items():
            start = label_path(self.name, label)
            for path, trial in trials.items():
                if panel_place(path) == BEYOND:
                    continue
                whole = Look.at(path).reader in OF_OUTPUT
                report = trial_findings if whole else reading_findings
                yield from report(f"{start}/{path}" if path else start, trial)

    def compare(
        self, evidence: Evidence[Trial], reference: Evidence[Trial] | None
    ) -> Iterable[Finding]:
        known = None if reference is None else of_labels(self.name, reference)
        for label, trials in of_labels(self.name, evidence).items():
            theirs = None if known is None else known[label]
            own = {path: one for path, one in trials.items() if panel_place(path) != BEYOND}
            found = [*excesses(own, theirs), *strongest_findings(trials, theirs)]
            yield from (one.under(label_path(self.name, label)) for one in found)

    def findings(self, exposure: Mapping[str, Evidence[Trial]]) -> dict[str, list[Finding]]:
        """Every figure, by the name of the model; and those of the worst label without a label.

        Without a label stands what is read of the one whose excess in the unlearned model is the
        largest, and without a place what is read at the one with the larger: for all models alike.
        Where there is no Retrain, the floor is what is read of the retained labels.
        """
        by_model = super().findings(exposure)
        trials = {name: of_labels(self.name, evidence) for name, evidence in exposure.items()}
        told = trials.pop(PROXY)
        judged = trials["unlearned"] if "unlearned" in trials else next(iter(trials.values()))
        theirs = trials.get("retrain", {})
        places = {label: released_place(judged[label], theirs.get(label)) for label in judged}

        for name, by_label in trials.items():
            for label, ours in by_label.items():
                found = [
                    *released_findings(ours, theirs.get(label), places[label]),
                    *beyond_retained(ours, told[label]),
                ]
                if not theirs:
                    found += above_floor(ours, told[label], places[label])
                by_model[name] += [one.under(label_path(self.name, label)) for one in found]

        return repeated_for_the_worst(self.name, by_model)

    def shown(self, victim: Victim) -> tuple[Side, Side]:
        """Views of the images to learn from, and of those to be judged on."""
        said, pictures = {}, {}
        for name in ("validation", "test"):
            if name in victim.outputs:
                whole = victim.outputs[name]
                said[name] = whole.with_stages()
                split = victim.splits[name]
                pictures[name] = split if whole.traced is None else split.subset(whole.traced)

        fitted, asked = self.sides(said, victim.seed)
        to_learn, to_judge = self.sides(pictures, victim.seed)
        parts = [to_learn]
        if self.insider:
            train = victim.splits["train"]
            answers = outputs_of(train, respond_by_stage(victim.net, train))
            fitted, parts = joined_outputs(fitted, answers), [to_learn, train]

        (rows,) = people_drawn(fitted.identities, [self.images], victim.seed)
        fitted = fitted.subset(rows)
        learnt, judged = views(victim, fitted), views(victim, asked)
        if self.panel == "full":
            seen = image_views(victim, parts)
            learnt |= {view: numbers[rows.numpy()] for view, numbers in seen.items()}
            judged |= image_views(victim, [to_judge])

        return Side(fitted, learnt), Side(asked, judged)

    def sides(self, by_split: Mapping[str, Images], seed: int) -> tuple[Images, Images]:
        """Images to learn from and to be judged on; no person is in both."""
        validation = by_split["validation"]
        if self.judged == "test":
            return validation, by_split["test"]
        images = len(validation)
        half, rest = people_drawn(validation.identities, [images // 2, images], seed)
        return validation.subset(half), validation.subset(rest)

    def attack(
        self,
        victim: Victim,
        column: int,
        looks: Sequence[Look],
        learnt: Side,
        judged: Side,
    ) -> Evidence[Trial]:
        """The trial of each reading of one label, by its path below the label.

        Args:
            victim: Whose label is to be told.
            column: The label.
            looks: Views and readers.
            learnt: Validation images.
            judged: Test images.
        """
        cases = learnt.cases(column), judged.cases(column)
        return trials_of(looks, self.makers(victim), cases, victim.seed)

    def makers(self, victim: Victim) -> Mapping[str, Making]:
        """All readers, by name."""
        return {
            **panel_of(self.strength, self.weak, self.hidden, victim.seed),
            CONV: convolution(victim.seed),
            TUNED: tuned(victim.net, victim.seed),
        }


def told_by_retained(
    task: Task,
    request: ForgetRequest,
    makers: Mapping[str, Making],
    sides: tuple[Split, Split],
    seed: int | None,
) -> dict[int, Evidence[Trial]]:
    """Evidence of the true retained labels alone on each forgotten one: no model is asked.

    Args:
        task: What targets mean.
        request: The columns to tell, and those that tell them.
        makers: The readers, by name.
        sides: Images to learn from, and to be judged on.
        seed: Of the people that are held out; None where no reader is to be chosen.

    Returns:
        By forgotten column, the trial of each reader: `/NAME`, or nothing for the one without name.
    """
    learnt, judged = (
        Side(split, {BEYOND: retained_truths(task, request, split)}) for split in sides
    )
    looks = [Look(BEYOND, reader) for reader in makers]

    found: dict[int, Evidence[Trial]] = {}
    for column in request.forgotten:
        trials = trials_of(looks, makers, (learnt.cases(column), judged.cases(column)), seed)
        found[column] = {path.removeprefix(BEYOND): trial for path, trial in trials.items()}

    return found


def trials_of(
    looks: Sequence[Look],
    makers: Mapping[str, Making],
    cases: tuple[Cases, Cases],
    seed: int | None,
) -> Evidence[Trial]:
    """The trial of each look, by its path; why there is none, where there are too few images.

    Args:
        looks: Views and readers.
        makers: The readers, by name.
        cases: To learn from, and to be judged by.
        seed: Of the people that are held out; None where no reader is to be chosen.
    """
    fit, asked = cases
    if fit.fewest < FEWEST_TO_LEARN or asked.fewest == 0:
        return dict.fromkeys([one.path for one in looks], NO_CLASSES)

    rows = None if seed is None else held_out(fit, seed)
    divided = None if rows is None else (fit.subset(rows[0]), fit.subset(rows[1]))
    tasks = [partial(trial_of, look, makers[look.reader], fit, asked, divided) for look in looks]
    trials = side_by_side(tasks, [one.reader in NETWORK_READERS for one in looks])

    return dict(zip([one.path for one in looks], trials, strict=True))


def trial_of(
    look: Look, make: Making, fit: Cases, asked: Cases, divided: tuple[Cases, Cases] | None
) -> Trial | str:
    """The trial of one look at a model, or why there is none.

    Args:
        look: View and reader.
        make: Makes the reader.
        fit: To learn from.
        asked: To be judged by.
        divided: `fit` in two parts, people to learn from and people held out; None for no such.
    """
    view = MAPS if look.reader == CONV else look.view
    if view not in fit.seen:
        return NO_MAPS
    if not fit.seen[view].shape[1]:
        return NO_OTHERS

    tried = math.nan
    if divided is not None and panel_place(look.path) in (*PANEL_PLACES, BEYOND):
        learnt, kept = divided
        tried = float(roc_auc_score(kept.truth, learnt_scores(make, view, learnt, kept)))

    return Trial(learnt_scores(make, view, fit, asked), asked.truth, asked.persons, tried)


def views(victim: Victim, outputs: Outputs) -> dict[str, np.ndarray]:
    """The numbers that the attacker sees of each image, float64, shape (images, numbers)."""
    features = list(outputs.stages.values())[-1]
    forgotten, retained = victim.request.forgotten, victim.request.retained
    told = torch.from_numpy(retained_truths(victim.task, victim.request, outputs))

    shown = {
        "output": outputs.logits[:, list(forgotten)],
        OUTPUTS: outputs.logits,
        "retained_outputs": outputs.logits[:, list(retained)],
        FEATURES: features,
        STAGES: torch.cat([*outputs.stages.values(), *outputs.spreads.values()], 1),
        # Without retained labels there is nothing beyond them.
        BEYOND: torch.cat([features.double(), told], 1) if told.shape[1] else told,
        **{stage_view(stage): means for stage, means in outputs.stages.items()},
    }
    return {view: numbers.double().numpy() for view, numbers in shown.items()}


def retained_truths(task: Task, request: ForgetRequest, images: Split | Outputs) -> np.ndarray:
    """The true retained labels, float64, shape (images, labels); unknown ones stand halfway."""
    truths = task.other_labels(images.targets, images.known, request.retained)
    return truths.double().numpy()


def image_views(victim: Victim, splits: Sequence[Split]) -> dict[str, np.ndarray]:
    """The last maps of a network, and the images themselves, of several splits in turn."""
    maps = [last_maps(victim.net, split) for split in splits]
    seen = {NETWORK: np.concatenate([plain_images(split) for split in splits])}
    found = [one for one in maps if one is not None]
    return {**seen, MAPS: np.concatenate(found)} if found else seen
