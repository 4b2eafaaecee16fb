"""The commands that README, docs, help, yamls and docstrings show, and each as it is tried."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from mlu.launch.options import CONF
from tests.test_docs import IDS, PAGES, commands

ROOT = Path(__file__).parents[2]

NOT_RUN = {
    ("apt-get",): "installs from the network",
    ("unzip",): "unpacks what came from there",
    ("pip",): "installs from the network",
    ("source",): "changes the shell that reads it",
    ("wandb",): "asks W&B, or for an account",
    ("ray",): "starts a cluster; tests/whole_runs/test_launchers.py starts Ray",
    ("flock",): "tries a file system from two machines",
    ("for",): "its names are put into the next line",
    ("python", "-m", "mlu.audit"): "tests/test_audit.py and tests/test_challenge.py run it",
    ("python", "examples/foreign_unlearning.py"): "tests/test_examples.py runs it",
    ("python", "examples/ordered_weights.py"): "tests/test_examples.py runs it",
    ("python", "examples/own_model.py"): "tests/test_examples.py runs it",
    ("python", "examples/torchvision_model.py"): "tests/test_examples.py runs it",
    ("python", "examples/wandb/workspace.py"): "asks W&B for an account",
}
"""Beginnings of commands that are not tried, and why."""

LEFT_OUT = {
    r"hydra/launcher=(joblib|ray|submitit_\w+)": "tests/whole_runs/test_launchers.py runs each",
    r"hydra\.launcher\..+": "the same; tests/test_docs.py asks whether there is such a key",
    r"backbone\.weights=(DEFAULT|pretrained|lite0\.safetensors)": "downloads; see tests/models",
    r"dataset\.download=true": "downloads",
    r"trainer=ddp": "several devices: tests/training/test_team.py",
    r"trainer\.devices=4": "the same",
    r"trainer\.workers=\d": "processes that load: tests/whole_runs/test_determinism.py",
}
"""Words that are left out of a command that is tried, and why."""

SMALLER = {
    "backbone=resnet18": ["backbone=tiny"],
    "backbone=resnet50": ["backbone=tiny"],
    "backbone=vit_b_16": ["backbone=tiny"],
    "backbone.name=convnext_atto": ["backbone.name=test_resnet"],
    "dataset.images=3000": ["dataset.images=200"],
    "dataset.image_size=96": ["dataset.image_size=32"],
    "hydra.sweeper.n_trials=12": ["hydra.sweeper.n_trials=2"],
    "attack.lira.shadows=8": ["attack.lira.shadows=6"],
    "dataset.root=/data": ["dataset.root=data"],
    "dataset.root=fashion/usr/share/datasets/fashion-mnist": ["dataset.root=data"],
    "dataset.images=10000": ["dataset.images=null"],
    "backbone.name=tf_efficientnet_lite0": ["backbone.name=test_efficientnet"],
}
"""Words that stand for what is larger than a test can have."""

STANDS_FOR = {
    "outputs/runs/<time>": "outputs/runs/one",
    "outputs/sweeps/2026-01-31_12-00-00-000000": "outputs/sweeps/one",
    "RUN": "outputs/runs/one",
    "IMAGE...": "anna.jpg",
    "PATH...": "outputs/sweeps",
    "[--out FOLDER]": "--out outputs/report",
}
"""The same of words that are no `key=value`."""

WHOLE = "method=original,head,retrain,wf,wp"
"""The sweep of which two jobs are run."""

FILLED = {
    "NAME": {"attack": "mia", "method": "neggrad", "dataset": "digits"},
    "DIR": "data",
    "...": "data",
}
"""What a reader puts where a command says so."""

SMALL = {
    "training.epochs": "1",
    "trainer.accelerator": "cpu",
    "logger": "none",
    "attack": "none",
    "dataset.image_size": "16",
}
"""Settings that are put into a run, unless it has such a key."""
SMALL_ATTACKS = {
    "aia": {"attack.aia.hidden": "2"},
    "lira": {"attack.lira.shadows": "6", "attack.lira.jobs": "1"},
    "relearn": {"attack.relearn.samples": "[8]", "attack.relearn.cap": "2"},
    "durability": {"attack.durability.steps": "[1,2]"},
    "importance": {"attack.importance.single": "1", "attack.importance.parts": "2"},
}
"""Settings of attacks, where they are carried out."""
APART = ("durability", "importance")
"""Attacks that `attack=all` leaves out."""
DRAWN = {"faces": 120, "multidigits": 120, "digits": 200}
"""Images of the data sets that have as many as one asks for."""
JUDGED = "400"
"""Images where a search is judged, or a step chosen, by what is read from features."""
LARGER = "timm"
"""Its small models want pictures of 32 pixels at least."""


@dataclass(frozen=True)
class Shown:
    """A command that is shown.

    Attributes:
        place: Where.
        text: As it stands there.
    """

    place: str
    text: str


def shown_commands() -> list[Shown]:
    """All of them."""
    found = [Shown(name, text) for name, page in zip(IDS, PAGES, strict=True)
             for text in commands(page)]  # fmt: skip
    return [*found, *in_help(), *in_yamls(), *in_docstrings()]


def in_help() -> Iterator[Shown]:
    """Those of `--help`, which has explanations behind them."""
    template = yaml.safe_load((CONF / "config.yaml").read_text())["hydra"]["help"]["template"]
    for line in template.replace("\\\n", " ").splitlines():
        if line.strip().startswith("${run:}"):
            words = shlex.split(line.strip().removeprefix("${run:}"))
            yield Shown("--help", shlex.join(["python", "launch.py", *leading(words)]))


def in_yamls() -> Iterator[Shown]:
    """Those of comments in conf."""
    for file in sorted(CONF.rglob("*.yaml")):
        for found in re.finditer(
            r"#.*?\b(python (?:-m [\w.]+|launch\.py)[^#)\n]*)", file.read_text()
        ):
            words = found[1].split()
            start = 3 if words[1] == "-m" else 2
            yield Shown(file.name, " ".join([*words[:start], *leading(words[start:])]))


def in_docstrings() -> Iterator[Shown]:
    """Those with which the docstring of a module begins, and of `launch.py`."""
    for file in [ROOT / "launch.py", *sorted((ROOT / "mlu").rglob("*.py"))]:
        if found := re.match(r'"""(python [^\n:;]+)[:;]', file.read_text()):
            yield Shown(str(file.relative_to(ROOT)), found[1])


def leading(words: Sequence[str]) -> Iterator[str]:
    """The words of a command that stands before its explanation."""
    for place, word in enumerate(words):
        option = place and words[place - 1] in ("--cfg", "-p", "--config-dir")
        if "=" not in word and not word.startswith("-") and not option:
            return
        yield word


def reason_not_to_run(words: Sequence[str]) -> str | None:
    for beginning, reason in NOT_RUN.items():
        if tuple(words[: len(beginning)]) == beginning:
            return reason
    return None


@dataclass(frozen=True)
class Trial:
    """A command as it is tried.

    Attributes:
        environment: What is set before it.
        words: With small settings.
    """

    environment: tuple[tuple[str, str], ...]
    words: tuple[str, ...]


def trials_of(text: str, names: Sequence[str] = ()) -> list[Trial]:
    """A shown command as it is tried; several where `$name` stands for one name after the other."""
    text = text.removeprefix("do ")
    for shown, stands in STANDS_FOR.items():
        text = text.replace(shown, stands)

    if "$name" in text:
        return [one for name in names for one in trials_of(text.replace("$name", name))]

    words = shlex.split(text.partition("; done")[0], comments=True)
    settings = []
    while words and (found := re.fullmatch(r"([A-Z_]+)=(.*)", words[0])):
        settings.append((found[1], found[2]))
        words = words[1:]
    if not words or reason_not_to_run(words):
        return []

    return [Trial(tuple(settings), tuple(small(words)))]


def small(words: Sequence[str]) -> list[str]:
    """The words of a command, with small settings where it starts a run."""
    words = [filled(word) for word in words]
    if words[:2] == ["python", "-m"] and len(words) == 3:
        return [*words, "--help"]  # the name of a command alone
    if words[:2] != ["python", "launch.py"] or {"--help", "--cfg"} & set(words):
        return words

    kept = []
    for word in words:
        if not any(re.fullmatch(pattern, word) for pattern in LEFT_OUT):
            kept += SMALLER.get(word, [word])

    return narrowed([*kept, *settings_for(narrowed(kept))])


def filled(word: str) -> str:
    key, _, value = word.partition("=")
    if value in FILLED:
        choice = FILLED[value]
        return f"{key}={choice if isinstance(choice, str) else choice[key]}"
    return word


def settings_for(words: Sequence[str]) -> list[str]:
    """Small settings for a run of these words, which win."""
    given = {word.lstrip("+").partition("=")[0]: word.partition("=")[2] for word in words}
    settings = {**swept_by(given.get("experiment"), given.get("budget", "small")), **SMALL}

    dataset = given.get("dataset", settings.get("dataset", "faces"))
    if dataset in DRAWN:
        settings["dataset.images"] = str(DRAWN[dataset])
    if given.get("backbone", settings.get("backbone")) == LARGER:
        settings["dataset.image_size"] = "32"
    if given.get("hydra/sweeper") == "optuna" or given.get("experiment") == "tune":
        settings["hydra.sweeper.n_trials"] = "1"
    if given.get("experiment") == "tune":
        del settings["attack"]
    asked = given.get("keep") == "best" or "method.verify" in given
    if given.get("experiment") == "tune" or asked:
        settings["dataset.images"] = JUDGED
    if has_steps(settings | given):
        settings["method.tuning.steps"] = "1"
    if any(key.startswith("logger") for key in given):
        del settings["logger"]

    for attack, more in SMALL_ATTACKS.items():
        chosen = given.get("attack", "")
        if attack in chosen or (chosen == "all" and attack not in APART):
            settings |= more

    return [f"{key}={value}" for key, value in settings.items() if key not in given]


def has_steps(given: Mapping[str, str]) -> bool:
    """Whether the methods of these settings are all of ours and fine-tune for some steps."""
    # Of an ablation the method is what its name begins with.
    ablated = given.get("ablation", "wp").partition("_")[0]
    methods = given.get("method", ablated).split(",")
    files = [CONF / "method" / f"{name.removesuffix('_tuned')}.yaml" for name in methods]
    return all(
        file.is_file() and "steps" in yaml.safe_load(file.read_text()).get("tuning", {})
        for file in files
    )


def swept_by(experiment: str | None, budget: str) -> dict[str, str]:
    """The first value of each key that an experiment sweeps."""
    from tests.whole_runs.test_experiments import GRIDS, swept

    if experiment not in GRIDS:
        return {}
    first = {key: values[0] for key, values in swept(experiment, budget).items()}
    replaced = {}
    for key, value in first.items():
        (word, *more) = SMALLER.get(f"{key}={value}", [f"{key}={value}"])
        for one in (word, *more):
            replaced[one.partition("=")[0]] = one.partition("=")[2]
    return {key: value for key, value in replaced.items() if key != "backbone.weights"} | {
        "backbone.weights": "null"
    }


def narrowed(words: Sequence[str]) -> list[str]:
    """A sweep's words with one value of each swept key, and of WHOLE with two."""
    swept = [word for word in words if is_swept(word)]
    found = []
    for word in words:
        key, _, values = word.partition("=")
        choices = values.split(",")
        if key == "seed":
            word = "seed=1"
        elif swept == [WHOLE] == [word]:
            word = f"{key}={choices[0]},{choices[-1]}"
        elif word in swept:
            word = f"{key}={choices[-1]}"
        found.append(word)

    return found


def is_swept(word: str) -> bool:
    value = word.partition("=")[2]
    return "," in value and value[0] not in "[{'" and "(" not in value


@cache
def all_trials() -> dict[Trial, str]:
    """Every command that is tried, once, and a place where it is shown."""
    found: dict[Trial, str] = {}
    names: list[str] = []
    for shown in shown_commands():
        if shown.text.startswith("for name in "):
            names = shown.text.removeprefix("for name in ").split()
        for trial in trials_of(shown.text, names):
            found.setdefault(trial, shown.place)

    # Reports come first: the more runs there are, the longer they take.
    return dict(sorted(found.items(), key=lambda one: "mlu.report" not in one[0].words))
