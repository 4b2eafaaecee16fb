"""The beginning of a job: its note, and its claim on the folder that it writes into."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from mlu.launch.plan import as_written
from mlu.launch.sweep import command_of
from mlu.runs.layout import RESULTS
from mlu.runs.notes import Note, Noticeboard, hold, leave_mark, note_in, stamp_of
from mlu.system.errors import UserError


def note_of(config: HydraConf, board: Noticeboard | None) -> Note:
    """The note of a job that begins.

    Args:
        config: Hydra's own, of the job.
        board: Of its sweep; None for a run of its own.
    """
    choices: Any = OmegaConf.to_container(OmegaConf.create(config.runtime.choices))
    overrides = as_written(config.overrides.task)

    return Note(
        sweep=None if board is None else board.sweep,
        number=0 if board is None else int(config.job.num),
        folder=Path(config.runtime.output_dir),
        overrides=tuple(overrides),
        choices=choices,
        command=command_of(overrides, config),
    )


@contextmanager
def begun(note: Note, board: Noticeboard | None, config: DictConfig) -> Iterator[None]:
    """The time in which a job, and nobody else, writes into its folder.

    Raises:
        UserError: If another job writes there, or one of the same sweep has. Then it is left alone.
    """
    refuse_taken(note)
    with hold(note.folder):
        refuse_taken(note)
        begins = replace(note, stale=stamp_of(note.folder / RESULTS))
        if board is not None:
            board.leave(begins)
        leave_mark(begins, OmegaConf.to_yaml(config))
        yield


def refuse_taken(note: Note) -> None:
    """Refuse a job the folder of another one of its sweep, whose results it would overwrite."""
    last = note_in(note.folder)
    if last is None or last.sweep is None or last.sweep != note.sweep:
        return

    if last.number != note.number:
        raise UserError(
            f"job {last.number} of this sweep writes into {note.folder} too: name each job's own "
            "folder, as does hydra.sweep.subdir='${hydra.job.num}'"
        )
