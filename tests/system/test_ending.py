import signal
import sys

from mlu.system import ending
from mlu.system.ending import code_of_signal, ending_line, heard_signals
from mlu.system.interruption import restore


def test_a_signal_has_the_code_that_shells_give_it():
    assert [code_of_signal(number) for number in ending.NAMES] == [130, 143]


def test_the_line_names_the_signal_what_was_done_and_the_command(monkeypatch):
    monkeypatch.setattr(ending, "own_command", lambda: "mlu a=b")
    assert ending_line(signal.SIGTERM) == "ended by SIGTERM; to go on: mlu a=b"
    assert ending_line(signal.SIGINT, "looking") == (
        "ended by Ctrl-C at 'looking'; to go on: mlu a=b"
    )


def test_it_commands_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["launch.py", "a\x1b[31m\nb"])
    line = ending_line(signal.SIGINT)
    assert line.isprintable()
    assert line.endswith(r"'a\x1b[31m\nb'")


def test_what_a_process_was_told_to_ignore_does_not_end_it():
    before = {number: signal.getsignal(number) for number in ending.NAMES}
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert list(heard_signals()) == [signal.SIGTERM]
    finally:
        restore(before)
