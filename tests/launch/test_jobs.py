"""The beginning of a job: nobody else writes into its folder, and its note is there."""

from dataclasses import replace

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from mlu.launch.jobs import begun
from mlu.runs.notes import Note, Noticeboard, note_in
from mlu.system.errors import UserError
from tests.support.made_runs import written

CONFIG = OmegaConf.create({"seed": 1, "twice": "${seed}", "epsilon": float("inf")})


@pytest.fixture
def board(tmp_path):
    return Noticeboard("mine", tmp_path / "board")


@pytest.fixture
def note(tmp_path):
    return Note("mine", 0, tmp_path / "folder")


def test_a_job_that_begins_leaves_its_note_and_what_it_was_asked(note, board):
    results = written(note.folder / "results.json", "{}")
    with begun(note, board, CONFIG):
        (left,) = board.notes()
        assert left == note_in(note.folder)
        assert left.stale is not None
        assert not left.is_done
        results.unlink()
        written(results, "{}")
    assert left.is_done
    assert left.is_last
    assert OmegaConf.load(note.folder / ".mlu" / "config.yaml") == CONFIG


def test_a_folder_in_use_is_left_alone(note, board, monkeypatch):
    monkeypatch.setattr("mlu.runs.notes.PATIENCE", 0.01)
    other = replace(note, sweep="yours")
    with (
        begun(other, None, CONFIG),
        pytest.raises(UserError, match=r"another run writes into .*hydra\.sweep\.dir="),
        begun(note, board, CONFIG),
    ):
        pass
    assert note_in(note.folder).sweep == "yours"
    assert board.notes() == []
    # What a dead process held is free.
    with begun(note, board, CONFIG):
        assert note_in(note.folder).sweep == "mine"


def test_jobs_of_one_sweep_do_not_overwrite_each_other(note, board, monkeypatch):
    with begun(note, board, CONFIG):
        pass
    with (
        pytest.raises(UserError, match=r"job 0 of this sweep writes into .* too: name each"),
        begun(replace(note, number=1), board, CONFIG),
    ):
        pass
    # One that is started again, and one of another sweep or of none, may.
    for again in (note, replace(note, sweep="yours", number=1), replace(note, sweep=None)):
        with begun(again, board, CONFIG):
            assert note_in(note.folder).sweep == again.sweep


def test_a_lock_that_nobody_holds_stops_nobody(note, board):
    lock = written(note.folder / ".mlu" / "lock", "")
    with FileLock(lock):
        pass
    with begun(note, board, CONFIG):
        assert len(board.notes()) == 1
