"""The end of a forgetting: what knew the label goes from the cache, and the ledger tells it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlu.data.labels import forgotten_labels
from mlu.runs.cached import CACHE, DRAWN, CacheEntry, entries_in, entry_of, knew, links_in
from mlu.runs.files import config_of, label_facts_of, need
from mlu.runs.layout import CONFIG, LABELS, RESULTS, WEIGHTS
from mlu.runs.ledger import (
    ASKED_FOR,
    DONE,
    INTERRUPTED,
    PURGED,
    PURGING,
    REQUESTS,
    VERIFIED,
    Ledger,
    lines_about,
    results_in,
)
from mlu.runs.notes import refuse_held
from mlu.runs.read import Run, job_folders, job_of
from mlu.runs.verdicts import verdict_facts
from mlu.system.errors import UserError
from mlu.system.home import at_home
from mlu.system.store import checksum

UNTOLD = "nobody can tell what it is"
"""Why an entry is kept that says nothing of itself."""

_NOTHING = "original"
"""The method that forgets nothing."""
_FILES = (WEIGHTS, RESULTS, CONFIG, LABELS)
"""Files of a run that the ledger knows by checksum."""
_LAYOUT = {"runs": 1, "sweeps": 2}
"""Folder of outputs -> levels at which the folders of runs lie below it."""
_OF_MODELS = ("original", "retrain")
"""Kinds of entries that are trained by a run's own `train_seed`."""


@dataclass(frozen=True)
class Forgetting:
    """A run whose forgetting is to be completed.

    Attributes:
        run: With all that it has measured.
        outputs: Folder that holds its cache and the ledger.
        results: SHA-256 of its `results.json`, by which the ledger knows it.
        labels: Names of all outputs.
        forgotten: Names of the labels that it made a model forget.
        columns: Of these.
        data: Fingerprint of its data.
    """

    run: Run
    outputs: Path
    results: str
    labels: tuple[str, ...]
    forgotten: tuple[str, ...]
    columns: tuple[int, ...]
    data: str

    @property
    def cache(self) -> Path:
        return self.outputs / CACHE

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.outputs / REQUESTS)

    def called(self, path: Path) -> str:
        """A path in the words of the ledger: below the outputs, or as it is."""
        below = path.is_relative_to(self.outputs)
        return str(path.relative_to(self.outputs)) if below else str(path)

    @property
    def about(self) -> dict[str, Any]:
        """The part of a line of the ledger that says which run it is about."""
        return {"run": {"folder": self.called(self.run.folder), "results": self.results}}


@dataclass(frozen=True)
class Keep:
    """An entry that stays.

    Attributes:
        entry: Of the cache.
        needed_by: Runs, in the words of the ledger; none where nobody can tell what it is.
    """

    entry: CacheEntry
    needed_by: tuple[str, ...]


@dataclass(frozen=True)
class Untouched:
    """Something outside of what is removed, which knows the label or may.

    Attributes:
        name: In the words of the ledger.
        tells: In words.
    """

    name: str
    tells: str


@dataclass(frozen=True)
class PurgePlan:
    """The lists of a purge.

    Attributes:
        removed: To be removed, or what was.
        kept: Entries that knew and stay.
        untouched: Whatever else knows.
    """

    removed: tuple[CacheEntry, ...]
    kept: tuple[Keep, ...]
    untouched: tuple[Untouched, ...]


def forgetting_of(folder: Path, outputs: Path | None = None) -> Forgetting:
    """The run in a folder, which has ended and has made a model forget.

    Args:
        folder: Of the run.
        outputs: Folder that holds its cache; None finds it.

    Raises:
        UserError: If a file is missing or cannot be read, if nothing was forgotten, or if the run
            is of a version that did not record which data it was of.
    """
    results = need(folder, RESULTS)
    folder = folder.resolve()
    refuse_held(folder)
    config, facts, job = config_of(folder), label_facts_of(folder), job_of(folder)
    if not isinstance(job, Run):
        raise UserError(f"{folder} cannot be purged: {job.reason}")

    about = job.results.run
    if about.method == _NOTHING:
        raise UserError(
            f"{folder} forgot nothing (method={_NOTHING}): give the folder of a run that did"
        )
    if about.data is None:
        raise UserError(
            f"{folder} is of a version that did not record the fingerprint of its data, so nobody "
            f"can tell what knew them: run it again, or delete the whole cache"
        )

    labels = tuple(facts["labels"])
    forgotten = forgotten_labels(about.forget_label, labels, about.dataset)
    columns = tuple(sorted(labels.index(name) for name in forgotten))
    place = outputs_folder(folder, config) if outputs is None else outputs.resolve()
    if not place.is_dir():
        raise UserError(f"no folder {place}: give the one that holds the cache with --outputs")

    return Forgetting(job, place, checksum(results), labels, forgotten, columns, about.data)


def outputs_folder(folder: Path, config: Mapping[str, Any]) -> Path:
    """The folder of outputs that a run is of: by its place, else as its configuration has it."""
    for name, levels in _LAYOUT.items():
        above = folder.resolve().parents
        if len(above) > levels and above[levels - 1].name == name:
            return above[levels]
    return Path(at_home(str(config.get("outputs", "outputs")))).resolve()


def plan_of(asked: Forgetting, also_needed: bool) -> PurgePlan:
    """The lists of a purge: what of the cache goes and what stays, and what else knows.

    Args:
        asked: Whose forgetting is to be completed.
        also_needed: Whether what another run needs goes as well, and what nobody can tell.
    """
    purged = purged_runs(asked)
    entries = list(entries_in(asked.cache)) if asked.cache.is_dir() else []
    noted = {Path(user).resolve() for entry in entries for user in entry.users}
    others = other_runs(asked, noted)
    unnoted = [one for one in others if one.folder not in noted]

    removed, kept = [], []
    for entry in entries:
        known = knew(entry, asked.data, asked.columns)
        if known is False or not entry.files():
            continue

        needs = tuple(needing(entry, asked, unnoted, purged)) if known else ()
        stays = bool(needs) or known is None
        if stays and not also_needed:
            kept.append(Keep(entry, needs))
        else:
            removed.append(entry)

    return PurgePlan(tuple(removed), tuple(kept), tuple(untouched_by(asked, others)))


def other_runs(asked: Forgetting, noted: Iterable[Path]) -> list[Run]:
    """Runs of the same data, copies of the run itself left out.

    Args:
        asked: Whose forgetting is to be completed.
        noted: Folders of runs that the cache knows, wherever they are; those below the outputs are
            found besides.
    """
    places = [place for name in _LAYOUT if (place := asked.outputs / name).is_dir()]
    below = [folder for place in places for folder in job_folders(place)]
    elsewhere = sorted(folder for folder in noted if (folder / RESULTS).is_file())

    found = []
    for folder in dict.fromkeys([*below, *elsewhere]):
        job = job_of(folder) if file_sum(folder / RESULTS) != asked.results else None
        if isinstance(job, Run) and job.results.run.data == asked.data:
            found.append(job)

    return found


def purged_runs(asked: Forgetting) -> set[str]:
    """Checksums of the results of all runs that were purged: they need nothing any more."""
    lines = asked.ledger.lines()
    found = {results_in(line) for line in lines if line["event"] == PURGED}
    return {one for one in found if one is not None} | {asked.results}


def file_sum(file: Path) -> str | None:
    """SHA-256 of a file; None where there is none."""
    return checksum(file) if file.is_file() else None


def needing(
    entry: CacheEntry, asked: Forgetting, unnoted: Sequence[Run], purged: set[str]
) -> Iterator[str]:
    """The runs that need an entry: those noted beside it, and of older versions those that may.

    Args:
        entry: Of the cache.
        asked: Whose forgetting is to be completed.
        unnoted: Runs of the same data that no entry has noted: older ones, or moved ones.
        purged: Checksums of the results of runs that need nothing.
    """
    users = [Path(user).resolve() for user in entry.users]
    for folder in users:
        is_other = folder != asked.run.folder and folder.is_dir()
        if is_other and file_sum(folder / RESULTS) not in purged:
            yield asked.called(folder)

    all_known = entry.complete and all(folder.is_dir() for folder in users)
    for run in () if all_known else unnoted:
        if file_sum(run.folder / RESULTS) not in purged and may_have_used(entry, run):
            yield asked.called(run.folder)


def may_have_used(entry: CacheEntry, run: Run) -> bool:
    """Whether a run's seeds are those of an entry of its data."""
    key, seeds = entry.key or {}, run.seeds
    own = {"split_seed": seeds.split, "seed": seeds.seed}
    if entry.kind in _OF_MODELS:
        own["train_seed"] = seeds.train
    return all(key.get(name, seed) == seed for name, seed in own.items())


def untouched_by(asked: Forgetting, others: Iterable[Run]) -> Iterator[Untouched]:
    """Whatever else knows the label: data, models, what W&B keeps, and what is no entry."""
    about, config = asked.run.results.run, asked.run.config
    dataset = config.get("dataset") or {}
    labels = ", ".join(asked.forgotten)
    yield Untouched(
        f"data {about.dataset}", f"holds the labels themselves ({where_data_lie(dataset)})"
    )
    yield Untouched(
        asked.called(asked.run.folder),
        "the run itself: the released model, and figures of the original, of no single image",
    )

    given = (config.get("original") or {}).get("weights")
    if given is not None:
        yield Untouched(str(given), f"the original that the run was given: tells {labels}")

    for run in (asked.run, *others):
        yield from kept_by_wandb(asked, run)
    for run in others:
        if (run.folder / WEIGHTS).is_file():
            yield released(asked, run)

    if asked.cache.is_dir():
        for link in links_in(asked.cache):
            yield Untouched(asked.called(link), "a link, which mlu makes none of: not looked at")


def where_data_lie(dataset: Mapping[str, Any]) -> str:
    """Where the files of a data set are, in words."""
    if dataset.get("name") in DRAWN:
        return f"drawn, in {CACHE}/{dataset['name']}"
    return f"root {dataset['root']}" if "root" in dataset else "its own files"


def kept_by_wandb(asked: Forgetting, run: Run) -> Iterator[Untouched]:
    """The folders that W&B keeps in that of a run."""
    for folder in sorted((run.folder / "wandb").glob("*run-*")):
        if folder.is_dir() and not folder.is_symlink():
            yield Untouched(
                asked.called(folder),
                "W&B's: curves and figures of the original; outside the cache, so remove it by "
                "hand, and in W&B what was sent there",
            )


def released(asked: Forgetting, run: Run) -> Untouched:
    """The model that another run has released, and the labels that it still tells."""
    about = run.results.run
    gone = () if about.method == _NOTHING else about.forget_label
    told = [label for label in asked.labels if label not in gone]
    kept = [label for label in asked.forgotten if label not in gone]
    tells = f"a model that tells {', '.join(told) or 'no label'}"
    if kept:
        tells += f"; it was not made to forget {', '.join(kept)}"

    return Untouched(asked.called(run.folder / WEIGHTS), tells)


def note_request(asked: Forgetting, who: str | None) -> None:
    """Write down who asked, what was done about it and what came of that, where nobody has yet."""
    lines = lines_about(asked.ledger.lines(), asked.results)
    known = [line.get("who") for line in lines if line["event"] == ASKED_FOR]
    about = asked.run.results.run
    if not known or (who is not None and who not in known):
        facts = {"who": who, "forget": list(asked.forgotten), "data": asked.data}
        asked.ledger.append(ASKED_FOR, {**asked.about, **facts})

    if not any(line["event"] == DONE for line in lines):
        facts = {"method": about.method, "on": about.date, "config": about.config_hash}
        sums = {name: file_sum(asked.run.folder / name) for name in _FILES}
        asked.ledger.append(DONE, {**asked.about, **facts, "files": sums})

    if not any(line["event"] == VERIFIED for line in lines):
        judged = verdict_facts(asked.run)
        facts = {"verdict": judged["word"], "said": judged["said"]}
        asked.ledger.append(VERIFIED, {**asked.about, **facts})


def still_there(asked: Forgetting) -> list[str]:
    """Names of all entries that knew, or may have, by the cache as it is now."""
    entries = entries_in(asked.cache) if asked.cache.is_dir() else ()
    return [
        entry.name
        for entry in entries
        if entry.files() and knew(entry, asked.data, asked.columns) is not False
    ]


def last_purge(asked: Forgetting) -> dict[str, Any] | None:
    """The last purge of the run, if it came to its end and nothing held it up; None for none."""
    lines = lines_about(asked.ledger.lines(), asked.results)
    tried = [line for line in lines if line["event"] in (PURGING, PURGED, INTERRUPTED)]
    done = bool(tried) and tried[-1]["event"] == PURGED and not tried[-1]["held"]
    return tried[-1] if done else None


def already_gone(asked: Forgetting) -> dict[str, dict[str, str]]:
    """All that a purge which was killed has removed, though no line says so, with its checksums."""
    pending: dict[str, dict[str, str]] = {}
    for line in lines_about(asked.ledger.lines(), asked.results):
        if line["event"] == PURGING:
            pending |= line["entries"]
        elif line["event"] == INTERRUPTED:
            pending = {name: pending[name] for name in pending if name not in line["removed"]}
        elif line["event"] == PURGED:
            pending = {}

    return {name: sums for name, sums in pending.items() if not (asked.cache / name).exists()}


def kept_facts(plan: PurgePlan) -> dict[str, Any]:
    """The part of the ledger's line that names every file that knew and stays, and why."""
    return {
        keep.entry.name: {
            "files": [file.name for file in keep.entry.files()],
            "needed_by": list(keep.needed_by) or UNTOLD,
        }
        for keep in plan.kept
    }


@dataclass(frozen=True)
class PurgeOutcome:
    """The end of a purge.

    Attributes:
        plan: With what was removed.
        held: Names of entries that a running process holds, which stay for now.
        left: Folders of entries in which somebody has put something that is not mlu's.
        line: The last line of the ledger about the run; None where it has none.
    """

    plan: PurgePlan
    held: tuple[str, ...]
    left: tuple[str, ...]
    line: Mapping[str, Any] | None


def purge(asked: Forgetting, also_needed: bool, who: str | None) -> PurgeOutcome:
    """Remove from the cache what knew, and write down what was asked for and done.

    Args:
        asked: Whose forgetting is to be completed.
        also_needed: As in `plan_of`.
        who: Who asked for it, in the user's words.

    Raises:
        UserError: If the ledger does not fit.
        KeyboardInterrupt: When the user ends it: the ledger then says what is gone.
    """
    with asked.ledger.held():
        asked.ledger.mend()
        plan = plan_of(asked, also_needed)
        note_request(asked, who)

        if not plan.removed and (done := last_purge(asked)) and done["kept"] == kept_facts(plan):
            return PurgeOutcome(plan, (), (), done)

        gone_since = already_gone(asked)
        entries = {entry.name: dict(entry.checksums) for entry in plan.removed}
        asked.ledger.append(PURGING, {**asked.about, "entries": entries})
        return removed_in_turn(asked, plan, gone_since)


def removed_in_turn(
    asked: Forgetting, plan: PurgePlan, gone_since: Mapping[str, Mapping[str, str]]
) -> PurgeOutcome:
    """Remove entry after entry, and write down which are gone, however that ends."""
    removed: dict[str, Mapping[str, str]] = dict(gone_since)
    held: list[str] = []
    left: list[str] = []
    under_way: list[str] = []

    try:
        for entry in plan.removed:
            with entry.claimed() as ours:
                if not ours:
                    held.append(entry.name)
                    continue
                under_way[:] = [entry.name]
                if entry.folder.is_dir():
                    # What is there now: somebody may have built it anew.
                    removed[entry.name] = entry_of(entry.folder).remove()
                under_way.clear()
            if entry.folder.exists():
                left.append(entry.name)
    except BaseException:
        facts = {"removed": removed, "begun": under_way, "held": held}
        asked.ledger.append(INTERRUPTED, {**asked.about, **facts})
        raise

    facts = {
        "removed": removed,
        "kept": kept_facts(plan),
        "held": held,
        "left": left,
        "still_there": still_there(asked),
        "untouched": {one.name: one.tells for one in plan.untouched},
    }
    line = asked.ledger.append(PURGED, {**asked.about, **facts})

    gone = tuple(entry for entry in plan.removed if entry.name not in held)

    return PurgeOutcome(replace(plan, removed=gone), tuple(held), tuple(left), line)
