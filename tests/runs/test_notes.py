"""The notes of jobs: what tells a sweep's own jobs from all else that lies in its folder."""

import json
from dataclasses import replace

import pytest

from mlu.runs.layout import RESULTS
from mlu.runs.notes import MARK, Note, Noticeboard, leave_mark, note_in, stamp_of
from tests.support.made_runs import written


@pytest.fixture
def note(tmp_path):
    return Note(
        sweep="mine",
        number=3,
        folder=tmp_path / "3",
        overrides=("seed=1", "method=wf"),
        choices={"method": "wf", "attack": ["mia", "relearn"], "experiment": None},
        command="python launch.py seed=1",
        stale="1 2",
    )


def test_what_is_left_is_what_is_read(note, tmp_path):
    board = Noticeboard("mine", tmp_path / "board")
    assert board.notes() == []
    board.leave(replace(note, number=10))
    board.leave(note)
    board.leave(replace(note, number=10, error="UserError: no"))
    assert board.notes() == [note, replace(note, number=10, error="UserError: no")]
    leave_mark(note, "seed: 1")
    assert note_in(note.folder) == note


def test_two_sweeps_in_one_folder_do_not_see_each_other(note, tmp_path):
    mine, yours = (Noticeboard(name, tmp_path / name) for name in ("mine", "yours"))
    mine.leave(note)
    yours.leave(replace(note, sweep="yours", number=0))
    assert [one.number for one in mine.notes()] == [3]
    leave_mark(note, "")
    assert note.is_last
    for other in (replace(note, sweep="yours"), replace(note, number=4), replace(note, sweep=None)):
        leave_mark(other, "")
        assert other.is_last
        assert not note.is_last


@pytest.mark.parametrize(
    "content", ["", "[]", "{", "null", "3", '{"sweep": "mine"}', "[" * 100_000, '{"number": "x"}']
)
def test_what_is_no_note_is_none(content, note, tmp_path):
    written(tmp_path / "3" / MARK, content)
    written(tmp_path / "board" / "3.json", content)
    assert note_in(tmp_path / "3") is None
    assert Noticeboard("mine", tmp_path / "board").notes() == []
    assert not note.is_last


def test_results_that_stood_there_before_are_not_the_jobs(note):
    assert not note.is_done
    file = written(note.folder / RESULTS, json.dumps({}))
    begun = replace(note, stale=stamp_of(file))
    assert not begun.is_done
    draft = written(note.folder / "draft", json.dumps({}))
    draft.rename(file)
    assert begun.is_done
    assert not replace(begun, error="UserError: no").is_done
