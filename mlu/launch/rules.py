"""What each key of a configuration must be. Plain values in, words out: nothing is imported for it."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Rule = tuple[Callable[[Any], bool], str]
"""Whether a value will do, and what it must be."""


def is_number(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != ""


def at_least(low: float) -> Rule:
    return lambda value: is_number(value) and low <= value < math.inf, f"a number >= {low:g}"


def above(low: float) -> Rule:
    return lambda value: is_number(value) and low < value < math.inf, f"a number > {low:g}"


def between(low: float, high: float) -> Rule:
    return (
        lambda value: is_number(value) and low <= value <= high,
        f"a number in [{low:g}, {high:g}]",
    )


def whole(low: int, high: float = math.inf) -> Rule:
    text = f"a whole number >= {low}" if high == math.inf else f"a whole number in [{low}, {high}]"
    return (
        lambda value: (
            isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        ),
        text,
    )


def one_of(*choices: str) -> Rule:
    return lambda value: isinstance(value, str) and value in choices, " or ".join(
        map(repr, choices)
    )


def yes_or_no() -> Rule:
    return lambda value: isinstance(value, bool), "true or false"


def text(what: str) -> Rule:
    return is_text, f"{what}, in quotes where it is a number"


def or_null(rule: Rule) -> Rule:
    return lambda value: value is None or rule[0](value), f"{rule[1]}, or null"


def many(rule: Rule, words: str) -> Rule:
    """A list of one or more."""
    return (
        lambda value: isinstance(value, list) and len(value) > 0 and all(map(rule[0], value)),
        words,
    )


def one_or_many(rule: Rule, words: str) -> Rule:
    return lambda value: rule[0](value) or many(rule, words)[0](value), words


PATH = text("a path")
COLUMN = text("the name of a column")
KEYS: Rule = (lambda value: isinstance(value, dict), "a group of keys")
TARGET: Rule = (
    lambda value: isinstance(value, str) and re.fullmatch(r"\w+(\.\w+)+", value) is not None,
    "a class, such as mlu.package.module.Class",
)
NAME: Rule = (
    lambda value: isinstance(value, str) and re.fullmatch(r"[\w-]+(\.[\w-]+)*", value) is not None,
    "a name of letters, digits, '-', '_' and single dots",
)
CELL: Rule = (
    lambda value: is_number(value) or isinstance(value, str | bool),
    "what a cell says: text or a number",
)
LABEL: Rule = (lambda value: is_number(value) or is_text(value), "a label's name")
LABELS = many(LABEL, "a list of labels' names, such as [Bald,Young]")
NAMES: Rule = (
    lambda value: value == [] or one_or_many(LABEL, "")[0](value),
    "the name of a label, or a list of them, such as [Bald,Young]",
)
PAIR: Rule = (
    lambda value: LABELS[0](value) and len(value) == 2,
    "a list of two digits, such as ['3','8']",
)
FIGURES = one_or_many((is_text, ""), "the path of a figure, or a list of them")
REQUESTS = many(
    (lambda value: value == [] or LABELS[0](value), ""),
    "a list of lists of labels, such as [[Male],[Young]]",
)
CHOSEN: Rule = (lambda value: value == "cv" or at_least(0)[0](value), "a number >= 0, or 'cv'")
RADIUS: Rule = (lambda value: is_number(value) and value >= 0, "a number >= 0, or inf")
SHARE: Rule = (lambda value: is_number(value) and 0 < value <= 1, "a number in (0, 1]")
BELOW_ONE: Rule = (lambda value: is_number(value) and 0 <= value < 1, "a number in [0, 1)")
EVEN: Rule = (lambda value: whole(2)[0](value) and value % 2 == 0, "an even whole number >= 2")
EPOCHS: Rule = (
    lambda value: value == [] or many(whole(1), "")[0](value),
    "a list of epochs, such as [3,5]",
)

OPTIMISATION: Mapping[str, Rule] = {
    "_target_": TARGET,
    "batch_size": whole(2),
    "lr": above(0),
    "optimiser": one_of("sgd", "adam"),
    "momentum": BELOW_ONE,
    "weight_decay": at_least(0),
    "schedule": one_of("constant", "one_cycle", "warm_restarts"),
    "clip": or_null(above(0)),
}

RULES: Mapping[str, Rule] = {
    # Groups come before what is in them, and values before those that follow them.
    **dict.fromkeys(
        (
            "dataset",
            "backbone",
            "method",
            "forget_label",
            "attack",
            "trainer",
            "logger",
            "training",
        ),
        KEYS,
    ),
    **dict.fromkeys(("canaries", "original", "method.tuning"), KEYS),
    **dict.fromkeys(("attack.aia", "attack.mia", "attack.lira", "attack.relearn"), KEYS),
    "experiment": or_null(text("the name of an experiment")),
    "seed": whole(0, 2**32 - 1),
    "epsilon": RADIUS,
    "phi": or_null(between(0, 1)),
    "reference": one_of("retrain", "none"),
    "requests": or_null(REQUESTS),
    "objective": or_null(FIGURES),
    "outputs": PATH,
    "preset": text("the name of a preset"),
    "budget": text("the name of a budget"),
    "canaries.withheld": BELOW_ONE,
    "canaries.flipped": between(0, 1),
    "original.weights": or_null(PATH),
    "dataset._target_": TARGET,
    "dataset.name": NAME,
    "dataset.root": PATH,
    "dataset.labels": or_null(LABELS),
    "dataset.default_forget": or_null(NAMES),
    "dataset.images": or_null(whole(20)),
    "dataset.image_size": whole(16),
    "dataset.seed": whole(0),
    "dataset.images_per_identity": whole(1),
    "dataset.noise": at_least(0),
    "dataset.correlation": between(-1, 1),
    "dataset.prevalence": between(0, 1),
    "dataset.correlated": PAIR,
    "dataset.split": one_of("paper", "official"),
    "dataset.download": yes_or_no(),
    "dataset.prepared": PATH,
    "dataset.exclude": or_null(one_or_many(PATH, "the path of a text file, or a list of them")),
    "dataset.attributes": or_null(PATH),
    "dataset.table": PATH,
    "dataset.image_column": COLUMN,
    "dataset.list_column": or_null(COLUMN),
    "dataset.separator": (lambda value: isinstance(value, str) and value != "", "some text"),
    "dataset.class_column": or_null(COLUMN),
    "dataset.identity_column": or_null(COLUMN),
    "dataset.split_column": or_null(COLUMN),
    "dataset.positive": CELL,
    "dataset.negative": CELL,
    "dataset.unknown": or_null(CELL),
    "forget_label.names": or_null(NAMES),
    "backbone._target_": TARGET,
    "backbone.name": (is_text, "a name, such as convnext_atto"),
    "backbone.weights": or_null(text("a path, or a name of weights")),
    "backbone.image_size": whole(16),
    "backbone.widths": many(whole(1), "a list of whole numbers >= 1, such as [16,32]"),
    "method._target_": TARGET,
    "method.name": NAME,
    "method.search": KEYS,
    "method.reading": one_of("selective", "above", "printed"),
    "method.phi": between(0, 1),
    "method.scope": or_null(one_of("layer", "global")),
    "method.adaptive": yes_or_no(),
    "method.epsilon": RADIUS,
    "method.epsilon_mode": one_of("relative", "absolute"),
    "method.sigma": at_least(0),
    "method.influence": one_of("none", "head_exact", "cg", "kfac"),
    "method.perturbation": one_of("label_flip", "label_prior", "input_noise"),
    "method.influential": SHARE,
    "method.damping": above(0),
    "method.curvature_images": whole(1),
    "method.alpha": at_least(0),
    "method.beta": CHOSEN,
    "method.curvature": one_of("fisher", "ggn", "hutchinson"),
    "method.slow": between(0, 1),
    "method.rounds": whole(1),
    "method.images": whole(2),
    "method.score_batch": whole(1),
    "method.delta": above(0),
    "method.soft": between(0, 1),
    "method.decorrelation": at_least(0),
    "method.k": whole(1),
    "method.reinit": yes_or_no(),
    "method.objective": one_of("kl_max", "kl_max_clipped", "kl_prior"),
    "method.gamma": at_least(0),
    "method.temperature": above(0),
    "method.max_passes": whole(0),
    "method.forget_fraction": SHARE,
    "method.forget_batch_size": whole(2),
    "method.milestones": EPOCHS,
    "method.decay": SHARE,
    "method.rewind": yes_or_no(),
    "method.noise_images": whole(2),
    "method.noise_steps": whole(0),
    "method.noise_lr": above(0),
    "method.penalty": at_least(0),
    "method.share": SHARE,
    "method.repair_lr": above(0),
    "method.fraction": between(0, 1),
    "method.relabel": one_of("prior", "uniform", "flip"),
    "method.resample": yes_or_no(),
    "method.capped": yes_or_no(),
    "method.dampening": at_least(0),
    "method.step": between(0, 1),
    "method.fold": yes_or_no(),
    "method.tolerance": above(0),
    "method.tuning.steps": or_null(whole(0)),
    "method.tuning.epochs": or_null(whole(0)),
    "method.tuning.recalibrate": whole(0),
    **{
        f"{part}.{key}": rule
        for part in ("method.tuning", "training")
        for key, rule in OPTIMISATION.items()
    },
    "training.epochs": whole(1),
    **{f"attack.{name}._target_": TARGET for name in ("aia", "mia", "lira", "relearn")},
    "attack.aia.images": whole(20, 20_000),
    "attack.aia.strength": above(0),
    "attack.aia.hidden": whole(1),
    "attack.aia.judged": one_of("test", "validation"),
    "attack.lira.shadows": (
        lambda value: EVEN[0](value) and value >= 6,
        "an even whole number >= 6",
    ),
    "attack.lira.gamma": above(0),
    "attack.lira.a": between(0, 1),
    "attack.lira.jobs": whole(1),
    "attack.relearn.samples": many(EVEN, "a list of even whole numbers >= 2, such as [8,64]"),
    "attack.relearn.recovered": SHARE,
    "attack.relearn.cap": whole(1),
    "attack.relearn.draws": whole(1),
    "attack.relearn.lr": above(0),
    "attack.relearn.batch_size": whole(2),
    "attack.relearn.judged": whole(2),
    "trainer.accelerator": one_of("auto", "cpu", "gpu"),
    "trainer.devices": whole(1),
    "trainer.precision": one_of("32-true", "bf16-mixed"),
    "trainer.compile": or_null(one_of("inductor", "aot_eager")),
    "trainer.workers": whole(0),
    "logger._target_": TARGET,
    "logger.project": text("the name of a project"),
    "logger.entity": or_null(text("a user or a team")),
    "logger.mode": or_null(one_of("online", "offline", "disabled")),
}
"""What each key must be, where a configuration has it."""

OWN_RULES: Mapping[str, Mapping[str, Rule]] = {
    "dataset=faces": {
        "dataset.images": whole(20),
        "dataset.correlation": between(0, 1),
        "dataset.labels": LABELS,
    },
    "dataset=digits": {"dataset.images": or_null(whole(20, 1797)), "dataset.labels": LABELS},
    "dataset=multidigits": {"dataset.images": whole(20), "dataset.labels": LABELS},
    **{
        f"dataset={name}": {"dataset.labels": LABELS}
        for name in ("celeba", "celeba_hq", "cifar10", "mnist", "mufac", "svhn", "vggface2")
    },
    "method=wp": {"method.alpha": CHOSEN},
    "method=neggrad": {"method.alpha": between(0, 1)},
    "method=ssd": {"method.alpha": above(0), "method.images": or_null(whole(2))},
    "method=scrub": {"method.tuning.epochs": whole(0)},
    "method=unsir": {"method.tuning.epochs": whole(0)},
}
"""Where a key is another thing in one data set or method than in others."""

ESSENTIAL = (
    *(
        key
        for key in RULES
        if "." not in key or key.split(".")[0] in ("trainer", "canaries", "original")
    ),
    "forget_label.names",
    *(f"dataset.{key}" for key in ("name", "labels", "image_size", "default_forget")),
    *("backbone.name", "backbone.weights", "method.name"),
)
"""Keys without which a configuration cannot be read; what else an object needs, its file and its
class say."""
