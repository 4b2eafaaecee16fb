"""From a composed configuration to the objects of a run. What the configuration alone shows to be wrong stops here.

The checks import nothing heavy; only `build` does.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from mlu.data.attributes import forgotten_labels
from mlu.errors import UserError, did_you_mean, first_line

if TYPE_CHECKING:
    from mlu.experiment import Experiment

CONF = next(
    folder
    for folder in (Path(__file__).parent / "conf", Path(__file__).parent.parent / "conf")
    if (folder / "config.yaml").is_file()
)
"""In the wheel below the package, in a checkout beside it."""

Rule = tuple[Callable[[Any], bool], str]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def at_least(low: float) -> Rule:
    return lambda value: is_number(value) and low <= value < math.inf, f"a number >= {low:g}"


def above(low: float) -> Rule:
    return lambda value: is_number(value) and low < value < math.inf, f"a number > {low:g}"


def between(low: float, high: float) -> Rule:
    return lambda value: is_number(value) and low <= value <= high, f"a number in [{low:g}, {high:g}]"


def whole(low: int, high: float = math.inf) -> Rule:
    text = f"a whole number >= {low}" if high == math.inf else f"a whole number in [{low}, {high}]"
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high, text


def one_of(*choices: Any) -> Rule:
    return lambda value: value in choices, " or ".join(map(repr, choices))


def yes_or_no() -> Rule:
    return lambda value: isinstance(value, bool), "true or false"


def or_null(rule: Rule) -> Rule:
    return lambda value: value is None or rule[0](value), f"{rule[1]}, or null"


RADIUS: Rule = (lambda value: is_number(value) and value >= 0, "a number >= 0, or inf")
PATHS: Rule = (lambda value: isinstance(value, str | ListConfig), "the path of a figure, or a list of them")
REQUESTS: Rule = (
    lambda value: (
        isinstance(value, ListConfig) and len(value) > 0 and all(isinstance(one, ListConfig) for one in value)
    ),
    "a list of lists of labels, such as [[Male],[Young]]",
)
CHOSEN: Rule = (lambda value: value == "cv" or (is_number(value) and 0 <= value < math.inf), "a number >= 0, or 'cv'")
EPOCHS: Rule = (
    lambda value: isinstance(value, ListConfig) and all(isinstance(one, int) and one >= 1 for one in value),
    "a list of epochs, such as [3,5]",
)
SAMPLES: Rule = (
    lambda value: (
        isinstance(value, ListConfig) and len(value) > 0 and all(whole(2)[0](one) and one % 2 == 0 for one in value)
    ),
    "a list of even whole numbers >= 2, such as [8,64]",
)
SHARE: Rule = (lambda value: is_number(value) and 0 < value <= 1, "a number in (0, 1]")

OPTIMISATION: Mapping[str, Rule] = {
    "batch_size": whole(2),
    "lr": above(0),
    "optimiser": one_of("sgd", "adam"),
    "momentum": (lambda value: is_number(value) and 0 <= value < 1, "a number in [0, 1)"),
    "weight_decay": at_least(0),
    "schedule": one_of("constant", "one_cycle", "warm_restarts"),
    "clip": or_null(above(0)),
}

RULES: Mapping[str, Rule] = {
    "seed": whole(0, 2**32 - 1),
    "epsilon": RADIUS,
    "phi": or_null(between(0, 1)),
    "reference": one_of("retrain", "none"),
    "objective": or_null(PATHS),
    "requests": or_null(REQUESTS),
    "backbone.name": (lambda value: isinstance(value, str) and value != "", "a name, such as convnext_atto"),
    "dataset.images": or_null(whole(20)),
    "dataset.image_size": whole(16),
    "dataset.seed": whole(0),
    "dataset.images_per_identity": whole(1),
    "dataset.noise": at_least(0),
    "dataset.correlation": between(-1, 1),
    "dataset.prevalence": between(0, 1),
    "dataset.split": one_of("paper", "official"),
    "dataset.download": yes_or_no(),
    "dataset.separator": (lambda value: isinstance(value, str) and value != "", "some text"),
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
    **{f"{part}.{key}": rule for part in ("method.tuning", "training") for key, rule in OPTIMISATION.items()},
    "training.epochs": whole(1),
    "canaries.withheld": (lambda value: is_number(value) and 0 <= value < 1, "a number in [0, 1)"),
    "canaries.flipped": between(0, 1),
    "attack.aia.images": whole(20, 20_000),
    "attack.aia.strength": above(0),
    "attack.aia.hidden": whole(1),
    "attack.aia.judged": one_of("test", "validation"),
    "attack.lira.shadows": (lambda value: whole(6)[0](value) and value % 2 == 0, "an even whole number >= 6"),
    "attack.lira.gamma": above(0),
    "attack.lira.a": between(0, 1),
    "attack.lira.jobs": whole(1),
    "attack.relearn.samples": SAMPLES,
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
    "logger.mode": or_null(one_of("online", "offline", "disabled")),
}
"""What each key must be, where a configuration has it."""

METHOD_RULES: Mapping[str, Mapping[str, Rule]] = {
    "wp": {"alpha": CHOSEN},
    "neggrad": {"alpha": between(0, 1)},
    "ssd": {"alpha": above(0), "images": or_null(whole(2))},
    "scrub": {"tuning.epochs": whole(0)},
    "unsir": {"tuning.epochs": whole(0)},
}
"""Where a method's key differs from another method's key of the same name."""


def register_resolvers() -> None:
    """`${either:a,b}` is a, or b where a is null; `${by_budget:a,b}` is a, or b under budget=paper."""

    def by_budget(small: Any, paper: Any, *, _root_: Any) -> Any:
        return paper if _root_.budget == "paper" else small

    OmegaConf.register_new_resolver("either", lambda first, second: second if first is None else first, replace=True)
    OmegaConf.register_new_resolver("by_budget", by_budget, replace=True)


def check(config: DictConfig) -> None:
    """Refuse what the configuration alone shows to be wrong; raises UserError with key, value and remedy."""
    check_values(config)
    check_method(config)
    forgotten_names(config)
    check_weights("original.weights", config.original.weights)
    weights = config.backbone.weights
    if looks_like_path(weights) or (weights is not None and config.backbone.name == "tiny"):
        check_weights("backbone.weights", weights)
    size = OmegaConf.select(config, "backbone.image_size", default=config.dataset.image_size)
    if size != config.dataset.image_size:
        raise UserError(f"backbone.image_size={size}: images have the size of dataset.image_size, set that")


def check_values(config: DictConfig) -> None:
    """Refuse a value that its key cannot have."""
    own = {f"method.{key}": rule for key, rule in METHOD_RULES.get(config.method.name, {}).items()}
    for key, (holds, text) in {**RULES, **own}.items():
        value = OmegaConf.select(config, key, default=MISSING)
        if value is not MISSING and not holds(value):
            raise UserError(f"{key} must be {text}, got {value!r}: set {key}=...")


MISSING = object()
SEARCH = "search"
"""Of a method: what a search for its settings tries. It decides nothing of a run."""


def check_method(config: DictConfig) -> None:
    """Refuse a preset that the method does not have, and fine-tuning without an end."""
    presets = sorted(file.stem for file in (CONF / "preset" / "methods" / "source").glob("*.yaml"))
    if config.preset == "source" and config.method.name not in presets:
        raise UserError(f"preset=source: there is none for method={config.method.name}, only for {', '.join(presets)}")
    tuning = OmegaConf.select(config, "method.tuning")
    if tuning is not None and tuning.epochs is None and tuning.steps is None:
        raise UserError("method.tuning.epochs and method.tuning.steps are both null: set one of them, or both")


def looks_like_path(weights: Any) -> bool:
    return weights is not None and (Path(str(weights)).suffix != "" or "/" in str(weights))


def check_weights(key: str, path: Any) -> None:
    if path is not None and not Path(str(path)).is_file():
        raise UserError(f"{key}={path} does not exist: give the path of a .safetensors or .pt file")


def forgotten_names(config: DictConfig) -> tuple[str, ...]:
    """The labels to forget, by the data set's own names where the configuration has them; refuses the impossible."""
    if config.requests is not None:
        return tuple(name for request in requested(config) for name in request)
    names = config.forget_label.names
    if names is None:
        raise UserError(f"{config.dataset.name} has no default label to forget: set forget_label.names=[...]")
    names = [names] if isinstance(names, str | int) else list(names)
    if not names:
        raise UserError("forget_label.names is empty: name at least one label to forget")
    return own_names(config, names)


def own_names(config: DictConfig, names: Iterable[Any]) -> tuple[str, ...]:
    """Labels to forget by the data set's own names, where the configuration has them."""
    wanted = tuple(str(name) for name in names)
    if config.dataset.labels is None:
        return wanted
    return forgotten_labels(wanted, [str(label) for label in config.dataset.labels], config.dataset.name)


def requested(config: DictConfig) -> tuple[tuple[str, ...], ...]:
    """The labels of each request to forget, in the order in which they come."""
    if config.requests is None:
        return (forgotten_names(config),)
    found = tuple(own_names(config, request) for request in config.requests)
    together = own_names(config, [name for request in found for name in request])
    if len(together) < sum(map(len, found)) or not all(found):
        raise UserError(f"requests must be lists of labels, each label once, got {config.requests}")
    return found


def build(config: DictConfig, folder: Path, group: str | None = None) -> "Experiment":
    """The objects of a checked configuration. Imports torch and all that stands on it."""
    from mlu.experiment import Experiment
    from mlu.progress import quiet_lightning

    quiet_lightning()
    if config.dataset.labels is not None:
        # Else 3 on the command line and '3' in a file would be two labels, with an original each.
        config = config.copy()
        config.dataset.labels = [str(label) for label in config.dataset.labels]
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    plain["method"].pop(SEARCH, None)
    parts = {key: made(config, key) for key in ("dataset", "backbone", "method", "training")}
    return Experiment(
        **parts,
        attacks=tuple(made(config, "attack").values()),
        tracker=made(config, "logger"),
        forget=forgotten_names(config),
        requests=requested(config),
        seed=config.seed,
        with_reference=config.reference == "retrain",
        canaries=dict(config.canaries),
        original_weights=None if config.original.weights is None else Path(config.original.weights),
        trainer={key: config.trainer[key] for key in ("accelerator", "precision", "compile")},
        devices=config.trainer.devices,
        workers=config.trainer.workers,
        cache=Path(config.outputs) / "cache",
        folder=folder,
        group=group,
        config={str(key): value for key, value in plain.items()},
    )


def composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration of a command line such as `dataset=celeba dataset.root=photos`, without running Hydra."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def made(config: DictConfig, key: str) -> Any:
    """The object of one group; raises UserError for keys that its class does not have."""
    node = OmegaConf.to_container(config[key], resolve=True)
    assert isinstance(node, dict)
    node.pop(SEARCH, None)
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as fault:
        if isinstance(fault.__cause__, UserError):
            raise fault.__cause__ from None
        if isinstance(fault.__cause__, TypeError):
            raise UserError(f"{key}: {fault.__cause__}: see conf/{key} for its keys") from fault
        raise


REFUSED = {
    ("trainer", "fsdp"): "it cuts weights up, and scores, edits and their bounds want each one whole on every device; "
    "use trainer=ddp, for which the network and its gradients must fit on one device"
}
"""What one might look for in a group, and why it is not there."""


def explain(fault: Exception) -> str:
    """One line for what Hydra could not compose, with the nearest valid name."""
    text = str(fault)
    if missing := re.search(r"Could not find '([\w/]+)/([^/']+)'", text):
        group, name = missing.groups()
        if reason := REFUSED.get((group, name)):
            return f"{group}={name} is refused: {reason}"
        options = sorted(file.stem for file in (CONF / group).glob("*.yaml"))
        return f"{group}={name} does not exist{did_you_mean(name, options) or '.'} There are {', '.join(options)}"
    first = first_line(fault)
    if unknown := re.search(r"Could not override '([\w.@/]+)'", text):
        key = unknown.group(1)
        return f"there is no key {key!r}{did_you_mean(key, config_keys()) or '.'} See python launch.py --help"
    return first


def config_keys() -> Iterable[str]:
    """Keys at the top level, groups, and keys of the groups' files."""
    yield from nested(CONF / "config.yaml")
    for file in CONF.glob("*/*.yaml"):
        yield file.parent.name
        yield from (f"{file.parent.name}.{key}" for key in nested(file))


def nested(file: Path) -> Iterable[str]:
    """Paths of all keys of a file, those inside others included."""
    waiting: list[tuple[str, Any]] = [("", OmegaConf.to_container(OmegaConf.load(file)))]
    while waiting:
        path, value = waiting.pop(0)
        if path:
            yield path
        if isinstance(value, dict):
            own = {key: part for key, part in value.items() if key not in ("defaults", "hydra", "_target_")}
            waiting += [(f"{path}.{key}".removeprefix("."), part) for key, part in own.items()]
