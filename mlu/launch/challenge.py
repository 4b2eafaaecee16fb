"""A challenge from a sweep: the models of its jobs, the seeds of their data, and our ratings."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlu.launch.check import as_list, as_names, value_at
from mlu.runs.card import CARD
from mlu.runs.challenge import (
    CHALLENGE,
    MOST_BYTES,
    ORIGINALS,
    RETRAINS,
    SETTINGS,
    ChallengeFacts,
    Replicate,
)
from mlu.runs.challenge_cards import challenge_card, models_card
from mlu.runs.layout import WEIGHTS, write_json
from mlu.runs.ratings import Limits, Rating, rating_of_runs
from mlu.runs.read import Run
from mlu.runs.typed import as_json
from mlu.runs.verdicts import max_loss_of
from mlu.system.commands import run_command
from mlu.system.owned import Owned
from mlu.system.store import checksum

FOLDER = "challenge"
"""Folder of it, in that of the sweep."""

_NONE = "no challenge is written"
_ELSEWHERE = "name another folder with hydra.sweep.dir=..., or move them away"
_DRAWN = "faces"

Jobs = Mapping[tuple[str, int], Run]
"""The runs of a sweep by method and seed."""


def leave_challenge(runs: Sequence[Run], folder: Path) -> list[str]:
    """Write the challenge that a sweep makes, all of it or nothing.

    Args:
        runs: Those of its jobs that have results.
        folder: Where it goes.

    Returns:
        Lines for the terminal: where it is and how large, or why there is none.

    Raises:
        UserError: If the folder has files of somebody else by the names of ours.
    """
    jobs = {(run.method, run.results.run.seed): run for run in runs}
    if reason := reason_for_none(runs, jobs):
        return [f"{_NONE}: {reason}"]

    seeds = sorted({seed for _, seed in jobs})
    replicates = [
        Replicate(number, seed, jobs[ORIGINALS, seed].seeds.images)
        for number, seed in enumerate(seeds, 1)
    ]
    given = {
        kind: {one.file: jobs[kind, one.seed].folder / WEIGHTS for one in replicates}
        for kind in (ORIGINALS, RETRAINS)
    }
    size = sum(file.stat().st_size for files in given.values() for file in files.values())
    if size > MOST_BYTES:
        return [
            f"{_NONE}: its models have {size / 1e6:.0f} MB, at most {MOST_BYTES / 1e6:.0f} are "
            "handed out: take a smaller backbone, such as backbone=tiny"
        ]

    facts = ChallengeFacts(
        settings=settings_of(jobs[ORIGINALS, seeds[0]].config),
        replicates=tuple(replicates),
        limits=limits_in(jobs),
        files={
            f"{kind}/{name}": checksum(file)
            for kind, files in given.items()
            for name, file in files.items()
        },
        ours=tuple(our_ratings(jobs, seeds)),
    )
    write_challenge(folder, facts, given)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    return [
        f"the challenge is in {folder}: {len(seeds)} replicates, {size / 1e6:.1f} MB",
        f"judge submissions to it: python -m mlu.audit challenge={folder} submission=FOLDER",
    ]


def reason_for_none(runs: Sequence[Run], jobs: Jobs) -> str:
    """Why a sweep makes no challenge; empty where it does."""
    if not runs:
        return "no job has results"

    lacking = sorted(
        (seed, kind)
        for kind in (ORIGINALS, RETRAINS)
        for seed in {seed for _, seed in jobs}
        if not ((run := jobs.get((kind, seed))) and (run.folder / WEIGHTS).is_file())
    )
    if lacking:
        seed, kind = lacking[0]
        whole = run_command("experiment=challenge")
        return f"seed {seed} has no method={kind}; all of it: {whole}"

    names = {run.results.run.dataset for run in runs}
    if names != {_DRAWN}:
        return f"it is of drawn people, and these are {', '.join(sorted(names))}: dataset=faces"
    if any(run.of_concept or run.config.get("requests") for run in runs):
        return "it forgets labels at once: leave concept and requests out"
    if any(run.seeds.apart for run in runs):
        return "seed decides all that is drawn: leave split_seed, train_seed and method_seed out"
    people = {run.seeds.images for run in runs}
    if len(people) < len({seed for _, seed in jobs}):
        return "seeds share their people: leave dataset.seed to the experiment"
    if any("aia" not in run.config["attack"] for run in runs):
        return "the verdict is that of attack=aia: name it as well"

    if any(map(has_another_judge, runs)):
        return "submissions are judged by attack.aia.insider=false and judged=test: leave both out"

    settings = [settings_of(run.config) for run in runs]
    differing = [key for key in SETTINGS if any(one[key] != settings[0][key] for one in settings)]
    return f"its jobs differ in {differing[0]}: leave one value of it" if differing else ""


def has_another_judge(run: Run) -> bool:
    """Whether readers of a run knew more than those of submissions, or were judged elsewhere."""
    aia = run.config["attack"]["aia"]
    return bool(aia.get("insider")) or aia.get("judged", "test") != "test"


def settings_of(config: Mapping[str, Any]) -> dict[str, bool | int | float | str | tuple[str, ...]]:
    """The values of SETTINGS in the configuration of a run."""
    found = {key: value_at(config, key) for key in SETTINGS}
    found["backbone"] = config["backbone"]["name"]
    for key in ("dataset.labels", "forget_label.names"):
        found[key] = tuple(as_names(as_list(found[key])))
    return found


def our_ratings(jobs: Jobs, seeds: Sequence[int]) -> list[Rating]:
    """Ratings of the methods of which every seed has a run, with what they have cost."""
    found = []
    for method in dict.fromkeys(method for method, _ in jobs):
        runs = [jobs[method, seed] for seed in seeds if (method, seed) in jobs]
        if len(runs) < len(seeds):
            continue

        numbers = range(1, len(seeds) + 1)
        rating = rating_of_runs(
            method,
            runs,
            limits_in(jobs),
            unchanged=numbers if method == ORIGINALS else (),
            copied=numbers if method == RETRAINS else (),
        )
        seconds, passes = (mean_figure(runs, f"{cost}/unlearn") for cost in ("seconds", "work"))
        found.append(replace(rating, ours=True, seconds=seconds, passes=passes))

    return found


def limits_in(jobs: Jobs) -> Limits:
    """Limits by the policy of the runs, which all have the same."""
    return Limits(max_loss=max_loss_of(next(iter(jobs.values()))))


def mean_figure(runs: Sequence[Run], path: str) -> float | None:
    """The mean of a figure over runs; None where one of them lacks it."""
    values = [run.figures.get(path) for run in runs]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def write_challenge(
    folder: Path, facts: ChallengeFacts, given: Mapping[str, Mapping[str, Path]]
) -> None:
    """Write the folder, its own file last.

    Args:
        folder: Where it goes.
        facts: What it consists of.
        given: File of each model by name, by the folder that it goes to.
    """
    place = Owned(folder)
    place.refuse_foreign((CHALLENGE, CARD), _ELSEWHERE)
    parts = {kind: Owned(folder / kind) for kind in given}
    for kind, part in parts.items():
        part.refuse_foreign((*given[kind], CARD), _ELSEWHERE)

    for kind, part in parts.items():
        drafts = part.fresh_drafts()
        for name, file in given[kind].items():
            shutil.copyfile(file, drafts / name)
        sums = {name: facts.files[f"{kind}/{name}"] for name in given[kind]}
        (drafts / CARD).write_text(models_card(facts, kind, sums), encoding="utf-8")
        part.settle(*given[kind], CARD)
        part.drop_drafts()

    drafts = place.fresh_drafts()
    (drafts / CARD).write_text(challenge_card(facts), encoding="utf-8")
    write_json(as_json(facts), drafts / CHALLENGE)
    place.settle(CARD, CHALLENGE)
    place.drop_drafts()
