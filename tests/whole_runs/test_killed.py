"""A run is killed anywhere and started again: what it leaves is what an uninterrupted one leaves,
to the last bit."""

import json
import random
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGKILL

import pytest

from mlu.system.store import PROGRESS
from mlu.training.resumption import read_sealed
from tests.support.killing import SAID, SMALL, code_of, ended, launch, started, writes

EPOCHS, TRAINED = 3, ("original", "retrain")
RUN = (
    *SMALL,
    "dataset.images=120",
    "dataset.image_size=16",
    "method=wf",
    f"training.epochs={EPOCHS}",
)
PHASES: dict[str, Callable[[str], bool]] = {
    "start": lambda path: path.startswith("run/") and "wandb" not in path,
    "data": lambda path: path.startswith("cache/datasets"),
    "training": lambda path: "progress.draft" in path,
    "models": lambda path: path.startswith("cache/") and path.split("/")[1] in (*TRAINED, "random"),
    "attacks": lambda path: path.startswith("cache/attack"),
    "tracking": lambda path: path.startswith("run/wandb"),
    "results": lambda path: path.startswith("run/.mlu/new/"),
}
"""Which writes belong to a phase."""
KINDS: dict[str, tuple[str, ...]] = {
    "tracked": ("attack=mia",),
    "read": ("attack=aia", "logger=none"),
    "attacked": ("attack=mia", "logger=none"),
    "alone": ("attack=none", "logger=none"),
}
"""Runs that are killed: with W&B, with the attack that takes longest, with one, with neither."""
KIND = {
    "attacks": "read",
    "unlearning": "attacked",
    "tracking": "tracked",
    "finishing": "tracked",
}
"""Kind of run by phase, alone otherwise: what has no part in a phase is left out."""
OF_EACH, OF_TRAINING = 3, 5
BETWEEN = {
    "unlearning": ("cache/random", "cache/attack"),
    "finishing": ("run/wandb", "run/.mlu/new/unlearned"),
}
"""Phases that write nothing in Python: they lie between the last write of one kind and the first of
the next."""
MOMENTS = 4
"""At random, as likely in every second of a run."""


@dataclass(frozen=True)
class Kill:
    """When a run is to end.

    Attributes:
        write: Number of the write that happens last, or of the one that does not (`after` None).
        after: Seconds from that write on; None to end just before it.
        kind: Of the run.
    """

    write: int
    after: float | None
    kind: str


@dataclass(frozen=True)
class Outcome:
    """What came of a kill.

    Attributes:
        code: How the killed process ended.
        early: Results that it left, if any.
        kept: Epochs that it had trained, by stage; None where the model was complete.
        again: Exit code of the second run, and epochs that it trained, by stage.
        folder: The outputs.
    """

    code: int
    early: dict | None
    kept: dict[str, int | None]
    again: int
    trained: dict[str, int]
    folder: Path


def command(outputs, kind):
    return outputs, (*RUN, *KINDS[kind], f"hydra.run.dir={outputs}/run")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outputs of runs that nobody disturbs, by kind."""
    found = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    with ThreadPoolExecutor(2) as pool:
        ends = pool.map(lambda kind: ended(started(launch, *command(found[kind], kind))), KINDS)
        for kind, code in zip(KINDS, ends, strict=True):
            assert code == 0, (found[kind] / SAID).read_text()
    return found


def kills(whole: dict[str, Path]) -> list[Kill]:
    """Points of every phase, and moments drawn evenly over the whole run."""
    draw = random.Random(0)
    chosen = []
    for phase, belongs in PHASES.items():
        kind = KIND.get(phase, "alone")
        done = writes(whole[kind])
        taken = {kill.write for kill in chosen if kill.kind == kind}
        own = [
            number
            for number, write in enumerate(done)
            if belongs(write.path) and number not in taken
        ]
        assert len(own) >= OF_EACH, phase
        chosen += [
            Kill(number, None, kind)
            for number in draw.sample(own, OF_TRAINING if phase == "training" else OF_EACH)
        ]
    for phase, (before, behind) in BETWEEN.items():
        kind = KIND.get(phase, "alone")
        done = writes(whole[kind])
        first = next(number for number, write in enumerate(done) if write.path.startswith(behind))
        assert done[first - 1].path.startswith(before)
        gap = done[first].at - done[first - 1].at
        chosen += [Kill(first - 1, gap * share, kind) for share in (0.2, 0.7)]

    done = writes(whole["read"])
    for _ in range(MOMENTS):
        at = draw.uniform(done[0].at, done[-1].at)
        number = max(number for number, write in enumerate(done) if write.at <= at)
        chosen.append(Kill(number, at - done[number].at, "read"))
    return chosen


def epochs_of(outputs: Path) -> dict[str, int]:
    """Epochs that the last run there has finished, by stage."""
    kept = [
        write.path
        for write in writes(outputs)
        if write.event == "os.rename" and "progress.draft" in write.path
    ]
    return {stage: sum(path.startswith(f"cache/{stage}/") for path in kept) for stage in TRAINED}


def kept_epochs(outputs: Path, stage: str) -> int | None:
    if list(outputs.glob(f"cache/{stage}/*/manifest.json")):
        return None if not list(outputs.glob(f"cache/{stage}/*.draft")) else EPOCHS
    files = list(outputs.glob(f"cache/{stage}/*.draft/{PROGRESS}"))
    return read_sealed(files[0])["epoch"] + 1 if files else 0


def end_it(process, outputs: Path, kill: Kill) -> None:
    """Kill a process from outside, some time after a write."""
    while code_of(process) is None and len(writes(outputs)) <= kill.write:
        time.sleep(0.002)
    time.sleep(kill.after)
    process.kill()


def killed(outputs: Path, kill: Kill) -> int:
    """Exit code of a run that is killed."""
    inside = kill.write if kill.after is None else None
    process = started(launch, *command(outputs, kill.kind), inside)
    if kill.after is not None:
        end_it(process, outputs, kill)
    return ended(process)


def outcome_of(outputs: Path, kill: Kill) -> Outcome:
    """A run that is killed, and one that starts again in the same place."""
    code = killed(outputs, kill)
    while code == 0 and kill.after:
        # It was over before, on a machine that is less busy than when the moment was drawn.
        shutil.rmtree(outputs)
        kill = replace(kill, after=kill.after / 2)
        code = killed(outputs, kill)

    file = outputs / "run" / "results.json"
    early = json.loads(file.read_text()) if file.is_file() else None
    kept = {stage: kept_epochs(outputs, stage) for stage in TRAINED}
    again = ended(started(launch, *command(outputs, kill.kind)))
    return Outcome(code, early, kept, again, epochs_of(outputs), outputs)


@pytest.fixture(scope="module")
def outcomes(whole, tmp_path_factory):
    """Of all kills, two at a time."""
    points = kills(whole)
    folders = [tmp_path_factory.mktemp(f"kill{number}") for number in range(len(points))]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(points, pool.map(outcome_of, folders, points), strict=True))


def test_the_run_is_killed_in_every_phase_and_in_30_places(outcomes):
    assert len(outcomes) >= 30
    assert {outcome.code for outcome in outcomes.values()} == {-SIGKILL}


def test_a_killed_run_leaves_no_results_or_whole_ones(outcomes, whole):
    for kill, outcome in outcomes.items():
        expected = results_of(whole[kill.kind])["metrics"]
        assert outcome.early is None or outcome.early["metrics"] == expected, kill


def test_the_second_run_leaves_what_an_undisturbed_one_does_to_the_last_bit(outcomes, whole):
    for kill, outcome in outcomes.items():
        expected = results_of(whole[kill.kind])
        weights = (whole[kill.kind] / "run" / "unlearned.safetensors").read_bytes()
        assert outcome.again == 0, (kill, (outcome.folder / SAID).read_text())
        found = results_of(outcome.folder)
        assert found["metrics"] == expected["metrics"], kill
        assert found["missing"] == expected["missing"], kill
        assert found["work"] == expected["work"], kill
        assert (outcome.folder / "run" / "unlearned.safetensors").read_bytes() == weights, kill
        assert not list(outcome.folder.rglob("*.draft")), kill
        assert not list(outcome.folder.rglob(PROGRESS)), kill


def test_training_goes_on_after_its_last_epoch(outcomes):
    resumed = 0
    for kill, outcome in outcomes.items():
        for stage in TRAINED:
            kept = outcome.kept[stage]
            assert outcome.trained[stage] == (0 if kept is None else EPOCHS - kept), (kill, stage)
            resumed += kept is not None and kept > 0
    assert resumed > 0


def results_of(outputs: Path) -> dict:
    return json.loads((outputs / "run" / "results.json").read_text())
