"""Where metrics go besides `results.json`. The only file that knows W&B."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

from mlu.contracts import Histograms, PlainTable

DISCREET: Mapping[str, Any] = {
    "x_disable_meta": True,
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "host": "",
}
"""What W&B is not told, though it would ask: host and user, folders, the command line, the address of the checkout's
origin (which may hold a token), code. The configuration says what was run, `results.json` on what."""


@dataclass(frozen=True)
class Tracking:
    """A run that is being tracked, or none.

    Attributes:
        lightning: What Lightning logs training curves to.
        wandb_run: W&B's run.
    """

    lightning: Logger | None = None
    wandb_run: Any = None

    def record(
        self, metrics: Mapping[str, float | None], histograms: Histograms, tables: Mapping[str, PlainTable]
    ) -> None:
        """Send final figures, histograms and tables, each under its path; the figures are the run's summary."""
        if self.wandb_run is not None:
            import wandb

            drawn: dict[str, Any] = {
                path: wandb.Histogram(np_histogram=histogram) for path, histogram in histograms.items()
            }
            laid = {path: wandb.Table(columns=[*columns], data=[*rows]) for path, (columns, rows) in tables.items()}
            self.wandb_run.log({path: value for path, value in metrics.items() if value is not None} | drawn | laid)


@dataclass(frozen=True)
class Subject:
    """What a dashboard calls a run.

    Attributes:
        title: Its name.
        group: The sweep, or the experiment, that it belongs to; None for a run of its own.
        method: What kind of job it is.
        tags: What to filter by.
    """

    title: str
    group: str | None
    method: str
    tags: tuple[str, ...]


class Tracker(ABC):
    """Opens one tracked run per job."""

    @abstractmethod
    @contextmanager
    def run(self, folder: Path, subject: Subject, config: Mapping[str, Any]) -> Iterator[Tracking]:
        """A run that is finished when the block ends, however it ends, so that the next job starts its own."""
        yield Tracking()


@dataclass(frozen=True)
class Nothing(Tracker):
    """Tracks nothing."""

    @contextmanager
    def run(self, folder: Path, subject: Subject, config: Mapping[str, Any]) -> Iterator[Tracking]:
        yield Tracking()


@dataclass(frozen=True)
class Wandb(Tracker):
    """Weights & Biases: one run per job, grouped per sweep, offline unless the user is logged in.

    Attributes:
        project: W&B project.
        entity: User or team; None is the user's default.
        mode: `online`, `offline` or `disabled`; None follows WANDB_MODE, else online when logged in, else offline.
    """

    project: str
    entity: str | None = None
    mode: str | None = None

    @contextmanager
    def run(self, folder: Path, subject: Subject, config: Mapping[str, Any]) -> Iterator[Tracking]:
        import wandb

        mode: Any = self.mode or os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
        with wandb.init(
            project=self.project,
            entity=self.entity,
            mode=mode,
            name=subject.title,
            group=subject.group,
            job_type=subject.method,
            tags=list(subject.tags),
            dir=folder,
            config=dict(config),
            settings=wandb.Settings(silent=True, **DISCREET),
        ) as run:
            yield Tracking(WandbLogger(experiment=run), run)


def logged_in() -> bool:
    """Whether W&B has a key, in the environment or in the netrc file that `wandb login` writes. Asks no network."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (FileNotFoundError, NetrcParseError):
        return False
