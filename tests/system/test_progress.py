import io
import sys
from functools import partial

import pytest

from mlu.system import progress
from mlu.system.progress import bars_hidden, progress_bar, tracked
from tests.support.terminal import terminal


def test_it_shows_what_is_done_how_far_it_is_and_a_note():
    with terminal() as screen, progress_bar("decoding [a]", 1200, "images") as bar:
        bar.advance(700, "loss: 0.5")
        bar.display.refresh()
    line = next(line for line in screen.lines() if "700/1200" in line)
    assert line.startswith("decoding [a] ")
    assert line.rstrip().endswith("loss: 0.5")


def test_a_rate_has_the_unit_of_its_steps():
    with terminal() as screen, progress_bar("decoding", 5000, "images") as bar:
        for second in range(3):
            bar.display.get_time = partial(float, second)
            bar.advance(1500)
        bar.display.refresh()
    assert any("1,500 images/s" in line for line in screen.lines())


def test_each_step_counts_and_what_is_tracked_comes_out():
    with terminal() as screen:
        assert list(tracked("abc", "reading", total=3)) == ["a", "b", "c"]
    assert any("reading" in line and "3/3" in line for line in screen.lines())


def test_it_begins_anew():
    with terminal() as screen, progress_bar("epoch 1", 2) as bar:
        bar.advance(2)
        bar.restart("epoch 2", 5)
        bar.advance(1)
        bar.display.refresh()
    assert any("epoch 2" in line and "1/5" in line for line in screen.lines())


def test_the_line_is_gone_when_it_is_done_also_after_a_fault():
    with terminal() as screen, pytest.raises(KeyError), progress_bar("reading", 3):
        raise KeyError
    one_line_up_and_empty = "\x1b[1A\x1b[2K"
    assert screen.getvalue().endswith(one_line_up_and_empty)


def test_what_is_quick_shows_no_bar_where_there_is_patience():
    with terminal() as screen:
        assert list(tracked("abc", "drawing", 3, patience=60.0)) == ["a", "b", "c"]
    assert screen.getvalue() == ""


def test_it_shows_once_patience_is_over(monkeypatch):
    with terminal() as screen, progress_bar("drawing", 3, patience=2.0) as bar:
        bar.advance(1)
        assert screen.getvalue() == ""
        monkeypatch.setattr(progress.time, "monotonic", lambda: bar.start)
        bar.advance(1)
        monkeypatch.undo()
        bar.display.refresh()
    assert any("2/3" in line for line in screen.lines())


def test_there_is_none_in_a_pipe():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", io.StringIO())
        with progress_bar("reading", 3) as bar:
            bar.advance(3)
        assert not bar.shown
        assert sys.stderr.getvalue() == ""


def test_there_is_none_where_bars_are_hidden():
    with terminal() as screen, bars_hidden(), progress_bar("reading", 3) as bar:
        bar.advance(3)
    assert not bar.shown
    assert screen.getvalue() == ""


def test_what_is_printed_meanwhile_stays_where_it_was_sent(capsys):
    with terminal() as screen, progress_bar("reading", 3):
        print("found")
    assert capsys.readouterr().out == "found\n"
    assert "found" not in screen.getvalue()
