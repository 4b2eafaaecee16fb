import io
import logging
import sys
import time
from contextlib import contextmanager
from functools import partial

import pytest

from mlu.system import progress
from mlu.system.progress import bars_hidden, long_work, progress_bar, tracked
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


@contextmanager
def log_of(monkeypatch, caplog):
    """Within it standard error is a pipe; gives a clock to set, by seconds."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with caplog.at_level(logging.INFO):
        yield now


def test_a_log_hears_at_most_every_half_minute_how_far_it_is(monkeypatch, caplog):
    with log_of(monkeypatch, caplog) as now, progress_bar("decoding", 5000, "images") as bar:
        for _ in range(10):
            now[0] += 12
            bar.advance(400)
    assert caplog.messages == [
        "decoding: 1,200 of 5,000 images, 2 min left",
        "decoding: 2,400 of 5,000 images, 78 s left",
        "decoding: 3,600 of 5,000 images, 42 s left",
    ]


def test_a_log_hears_nothing_of_what_is_quick_or_hidden(monkeypatch, caplog):
    with log_of(monkeypatch, caplog) as now:
        with progress_bar("decoding", 3) as bar:
            now[0] += 29
            bar.advance(3)
        with bars_hidden(), progress_bar("decoding", 3) as bar:
            now[0] += 1000
            bar.advance(3)
    assert caplog.messages == []


def test_work_without_a_count_says_that_it_goes_on(monkeypatch, caplog):
    monkeypatch.setattr(progress, "RARELY", 0.02)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with caplog.at_level(logging.INFO):
        with long_work("wf: scoring"):
            time.sleep(0.1)
        with long_work("head: scoring"):
            pass
    assert 1 <= len(caplog.messages) <= 3
    assert caplog.messages[0] == "wf: scoring: 0 s so far"


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
