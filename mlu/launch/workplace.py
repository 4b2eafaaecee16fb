"""The folder of a run or a sweep, into which Hydra writes before a line of ours is reached.

So it is looked at before that, and put back as it was where the run is refused.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from mlu.launch.plan import UNPLANNED, folders_of_jobs, planned
from mlu.runs.layout import CONFIG, LEFT, RESULTS
from mlu.runs.notes import refuse_held, stamp_of
from mlu.system.errors import UserError, plain_fault, stop
from mlu.system.owned import HIDDEN, Owned

HYDRAS = (CONFIG, "hydra.yaml", "overrides.yaml")
"""Files that Hydra leaves in a folder of its own, below a job's."""
PLAN = "multirun.yaml"
"""File that Hydra leaves in the folder of a sweep."""


@dataclass(frozen=True)
class Before:
    """A folder as it was before somebody wrote into it.

    Attributes:
        folder: Absolute.
        contents: Of small files that may be written, by name; None where there was none.
        logs: Sizes of files that only grow, by name; None where there was none.
        absent: It, and folders above and below it, as far as they were not there: lowest first.
        unnoted: Whether it is of a sweep that was killed, so that nobody may have come to note what
            Hydra had written for its jobs.
    """

    folder: Path
    contents: dict[str, bytes | None]
    logs: dict[str, int | None]
    absent: tuple[Path, ...]
    unnoted: bool = False

    @classmethod
    def of(
        cls, folder: Path, names: Iterable[str], logs: Iterable[str], unnoted: bool = False
    ) -> "Before":
        names = [*names, *hidden_files(folder)]
        below = {(folder / name).parent for name in names} | {folder / HIDDEN}
        places = [*sorted(below - {folder}, reverse=True), folder, *folder.parents]
        return cls(
            folder,
            {name: content_of_file(folder / name) for name in names},
            {name: size_of(folder / name) for name in logs},
            tuple(place for place in places if not os.path.lexists(place)),
            unnoted,
        )

    def restore(self) -> None:
        """Put the folder back; of a disk that does not take even this, something stays."""
        with suppress(OSError):
            Owned(self.folder).drop_drafts()
            self.restore_contents()
            for name, size in self.logs.items():
                if size is not None and size_of(self.folder / name) != size:
                    os.truncate(self.folder / name, size)
                elif size is None:
                    (self.folder / name).unlink(missing_ok=True)

            for place in self.absent:
                # Somebody else may have put something there meanwhile.
                with suppress(OSError):
                    place.rmdir()

    def restore_contents(self) -> None:
        """Put back the small files alone, and remove those that were not there."""
        came = dict.fromkeys(hidden_files(self.folder))
        for name, content in (came | self.contents).items():
            file = self.folder / name
            if content is None:
                file.unlink(missing_ok=True)
            elif content_of_file(file) != content:
                file.write_bytes(content)


_BEFORE: list[Before] = []
"""The folder of the run or sweep of this process. Hydra has no place to keep it."""


def hidden_files(folder: Path) -> list[str]:
    """Names of all that mlu itself has noted down about a folder."""
    files = (Path(place, name) for place, _, names in os.walk(folder / HIDDEN) for name in names)
    return [str(file.relative_to(folder)) for file in files]


def absolute(folder: str) -> Path:
    """A folder as Hydra names it to a job: links are not followed."""
    return Path(os.path.abspath(folder))  # noqa: PTH100


def content_of_file(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def size_of(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


def hydras_files(config: HydraConf | DictConfig) -> list[str]:
    """Names, in a job's folder, of what Hydra writes there."""
    if config.output_subdir is None:
        return []
    return [f"{config.output_subdir}/{name}" for name in HYDRAS]


def logs_of(config: DictConfig) -> list[str]:
    """Names, in the folder of a job that is to come, of the files that Hydra opens for its log."""
    folder, runtime = Path(os.sep, "of-a-job"), config.hydra.runtime
    before: Any = OmegaConf.to_container(runtime)

    with read_write(runtime), open_dict(runtime):
        runtime.output_dir = str(folder)
        try:
            return logs_in(folder, config.hydra)
        finally:
            runtime.output_dir = before.get("output_dir", MISSING)


def logs_in(folder: Path, config: HydraConf | DictConfig) -> list[str]:
    """Names of the files in a job's folder that are its log."""
    try:
        said: Any = OmegaConf.to_container(config.job_logging, resolve=True)
        handlers = said["handlers"].values()
        files = [Path(handler["filename"]) for handler in handlers if "filename" in handler]
    # Of a user's own logging anything, or nothing, can be said.
    except (OmegaConfBaseException, KeyError, TypeError, AttributeError, ValueError):
        return []

    return [str(file.relative_to(folder)) for file in files if file.is_relative_to(folder)]


def open_run(config: DictConfig) -> None:
    """Look at the folder of a run of its own before Hydra makes it, and take it.

    Raises:
        UserError: If the run would overwrite what mlu has not written.
        OSError: If it cannot be written to.
    """
    folder = absolute(config.hydra.run.dir)
    names, logs = hydras_files(config.hydra), logs_of(config)
    place = Owned(folder)
    refuse_held(folder)
    place.refuse_foreign([*LEFT, *names, *logs], elsewhere("run"))
    _BEFORE[:] = [Before.of(folder, names, logs)]
    place.claim([*names, *logs])


def open_sweep(config: DictConfig) -> None:
    """The same of a sweep and the folders of its jobs, as far as they are planned.

    Raises:
        UserError: If it, or one of its jobs, would overwrite what mlu has not written.
        OSError: If it cannot be written to.
    """
    folder = absolute(config.hydra.sweep.dir)
    sweep = Owned(folder)
    sweep.refuse_foreign([PLAN], elsewhere("sweep"))

    _BEFORE[:] = [Before.of(folder, [PLAN], [], unnoted=sweep.is_claimed(PLAN))]
    look_at_jobs(config, planned(config) or [])
    sweep.claim([PLAN])


def look_at_jobs(config: DictConfig, jobs: Sequence[Sequence[str]], first: int = 0) -> None:
    """Refuse a sweep of which a job would overwrite what mlu has not written.

    Args:
        config: Of the sweep.
        jobs: The overrides of each.
        first: The number of the first.
    """
    noted = not any(before.unnoted for before in _BEFORE)
    hydras = [*hydras_files(config.hydra), *logs_of(config)] if noted else []
    for job in folders_of_jobs(config, jobs, first):
        Owned(job).refuse_foreign([*LEFT, *hydras], elsewhere("sweep"))


def close_sweep(config: DictConfig) -> None:
    """Note what Hydra has written in the folder of a sweep that has come to its end."""
    Owned(absolute(config.hydra.sweep.dir)).seal([PLAN])


def elsewhere(kind: str) -> str:
    return f"name another folder with hydra.{kind}.dir=..., or move them away"


def put_back() -> None:
    """Undo what Hydra has written for a run or a sweep that is refused."""
    while _BEFORE:
        _BEFORE.pop().restore()


@contextmanager
def refusal_ends() -> Iterator[None]:
    """Within it a refusal undoes what Hydra has written, and ends the command with one line.

    What cannot be composed goes its own way: Hydra tells it a moment later.
    """
    try:
        yield
    except UNPLANNED:
        raise
    except (UserError, OSError) as fault:
        put_back()
        found = plain_fault(fault)
        if isinstance(found, UserError):
            stop(str(found))
        raise


class Workplace:
    """The folder of a job while it works, into which Hydra has written its part.

    A run of its own that is refused before it has begun leaves no trace there. One that fails later
    leaves the results of an earlier one, and those files of Hydra's that belong to these.

    Attributes:
        keeps_results: Whether the job has failed and those of an earlier one are still there.
    """

    def __init__(self, folder: Path, config: HydraConf) -> None:
        self.place, self.single = Owned(folder), config.mode == RunMode.RUN
        self.hydras, self.logs = hydras_files(config), logs_in(folder, config)
        self.results = folder / RESULTS
        self.earlier: str | None = None
        self.keeps_results = False

    def __enter__(self) -> None:
        self.earlier = stamp_of(self.results)
        self.place.claim(self.logs)
        self.place.seal(self.hydras)

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        if fault is None or stamp_of(self.results) != self.earlier:
            return

        begun = self.place.drafts.is_dir()
        with suppress(OSError):
            self.place.drop_drafts()

        if self.single and not begun and is_refusal(fault):
            put_back()
        elif self.earlier is not None:
            self.keeps_results = True
            keep_results()


def is_refusal(fault: BaseException) -> bool:
    return isinstance(fault, Exception) and isinstance(plain_fault(fault), UserError)


def keep_results() -> None:
    """Put back what belongs to the results that an earlier run has left."""
    for before in _BEFORE:
        with suppress(OSError):
            before.restore_contents()
