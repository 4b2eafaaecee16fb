"""Where metrics go besides `results.json`. The only file that knows W&B.

W&B may be out of reach or out of space at any time. A run says so, and goes on.
"""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

from mlu.pipeline.subject import LONGEST_NAME, Subject, called, named_tags
from mlu.runs.layout import Histograms, PlainTable
from mlu.system.errors import UserError, first_line

log = logging.getLogger(__name__)

_NOT_IN_PROJECTS = "/\\#?%:"
"""What W&B takes in no name of a project."""

WANDB_PATIENCE = 30.0
"""Seconds that W&B is given to answer at the start, and to take the rest at the end."""

WANDB_KILLED = 255
"""Exit code of a run that W&B calls killed."""


@dataclass
class Line:
    """The line to W&B. Once it has broken, nothing more is sent, and the run goes on.

    Attributes:
        broken: Whether it has.
    """

    broken: bool = False

    def send(self, work: Callable[[], object]) -> None:
        """Do some work on the line, unless it has broken."""
        if not self.broken:
            self.attempt(work)

    def end(self, run: Any, exit_code: int) -> None:
        """Finish W&B's run in any case.

        Where the line has broken, its process ends as well: the next job gets a new one.
        """
        self.attempt(lambda: run.finish(exit_code=exit_code))
        if self.broken:
            import wandb

            self.attempt(lambda: wandb.teardown(exit_code))

    def attempt(self, work: Callable[[], object]) -> None:
        """Do some work on the line; if it fails, say so once, and take the line for broken."""
        try:
            work()
        except Exception as fault:  # its process may have died, and then each call has another kind
            if not self.broken:
                log.warning("W&B gets no more of this run: %s", first_line(fault))
            self.broken = True


DISCREET: Mapping[str, Any] = {
    "x_disable_meta": True,
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "host": "",
}
"""What W&B is not told, though it would ask: host and user, folders, the command line, the address
of the checkout's origin (which may hold a token), code. The configuration says what was run,
`results.json` on what."""


@dataclass(frozen=True)
class Tracking:
    """A run that is being tracked, or none.

    Attributes:
        lightning: What Lightning logs training curves to.
        wandb_run: W&B's run.
        line: The way to it.
    """

    lightning: Logger | None = None
    wandb_run: Any = None
    line: Line = field(default_factory=Line)

    def record(
        self,
        metrics: Mapping[str, float | None],
        histograms: Histograms,
        tables: Mapping[str, PlainTable],
    ) -> None:
        """Send final figures, histograms and tables, each under its path.

        The figures are the run's summary.
        """
        if self.wandb_run is not None:
            self.line.send(lambda: self.wandb_run.log(loggable(metrics, histograms, tables)))


def loggable(
    metrics: Mapping[str, float | None], histograms: Histograms, tables: Mapping[str, PlainTable]
) -> dict[str, Any]:
    """Figures, histograms and tables in the form that W&B takes."""
    import wandb

    figures: dict[str, Any] = {path: value for path, value in metrics.items() if value is not None}
    drawn = {
        path: wandb.Histogram(np_histogram=histogram) for path, histogram in histograms.items()
    }
    laid = {
        path: wandb.Table(columns=[*columns], data=[*rows])
        for path, (columns, rows) in tables.items()
    }

    return figures | drawn | laid


class Tracker(ABC):
    """Opens one tracked run per job."""

    @abstractmethod
    @contextmanager
    def run(self, folder: Path, subject: Subject, config: Mapping[str, Any]) -> Iterator[Tracking]:
        """A run that is finished when the block ends, however it ends.

        So the next job starts its own.
        """
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
        mode: `online`, `offline` or `disabled`; None follows WANDB_MODE, else online when logged
            in, else offline.
    """

    project: str
    entity: str | None = None
    mode: str | None = None

    def __post_init__(self) -> None:
        if len(self.project) > LONGEST_NAME or set(self.project) & set(_NOT_IN_PROJECTS):
            raise UserError(
                f"logger.project={self.project} is no name of a project of W&B: give one of at "
                f"most {LONGEST_NAME} characters, none of them {' '.join(_NOT_IN_PROJECTS)}"
            )

    @contextmanager
    def run(self, folder: Path, subject: Subject, config: Mapping[str, Any]) -> Iterator[Tracking]:
        run = self.opened(folder, subject, config)
        if run is None:
            yield Tracking()
            return

        line = Line()
        try:
            yield Tracking(Curves(WandbLogger(experiment=run), line), run, line)
        except KeyboardInterrupt:
            line.end(run, exit_code=WANDB_KILLED)
            raise
        except BaseException:
            line.end(run, exit_code=1)
            raise

        line.end(run, exit_code=0)

    def opened(self, folder: Path, subject: Subject, config: Mapping[str, Any]) -> Any:
        """W&B's run; offline where it cannot be had as it is wanted, None where not at all."""
        import wandb

        if "WANDB_TAGS" in os.environ:
            # It reads them too, and takes none that is empty or too long.
            os.environ["WANDB_TAGS"] = ",".join(named_tags(os.environ))

        described = called(subject, folder, os.environ)
        wanted = (
            self.mode or os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
        )
        for mode in dict.fromkeys((wanted, "offline")):
            try:
                # W&B would else go to a folder for what is temporary.
                described["dir"].mkdir(parents=True, exist_ok=True)
                return wandb.init(
                    project=self.project,
                    entity=self.entity,
                    mode=mode,  # type: ignore[arg-type]
                    config=dict(config),
                    settings=wandb.Settings(
                        silent=True,
                        init_timeout=WANDB_PATIENCE,
                        finish_timeout=WANDB_PATIENCE,
                        **DISCREET,
                    ),
                    **described,
                )
            # Of the network, of the account, of the disk: W&B has a kind for each.
            except Exception as fault:
                log.warning("W&B cannot be used %s: %s", mode, first_line(fault))

        return None


class Curves(Logger):
    """Lightning's way to W&B, which may break off without ending a training."""

    def __init__(self, logger: WandbLogger, line: Line) -> None:
        super().__init__()
        self.logger, self.line = logger, line

    @property
    def name(self) -> str | None:
        return self.logger.name

    @property
    def version(self) -> str | None:
        return self.logger.version

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.line.send(lambda: self.logger.log_metrics(metrics, step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The run's configuration has them."""


def logged_in() -> bool:
    """Whether W&B has a key, in the environment or in the netrc file that `wandb login` writes.

    It asks no network.
    """
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, UnicodeDecodeError, NetrcParseError):
        return False
