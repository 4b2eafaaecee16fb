"""Ctrl-C and its like: one line, the code of the signal, and at once the second time."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from mlu.system import interruption
from mlu.system.interruption import (
    Interruption,
    interruptible,
    interruptible_job,
    raise_if_heard,
    unheard,
)
from mlu.system.progress import progress_bar
from tests.support.killing import ended, hear_ctrl_c, started, until

BOTH = {"Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM}
COMMAND = "python launch.py phi=0.1 'dataset.root=my photos'"


def begin(folder):
    """In a child: a command of these words, which says what it says in a file."""
    hear_ctrl_c()
    os.dup2(os.open(folder / "said", os.O_WRONLY | os.O_CREAT), 2)
    sys.argv = ["launch.py", "phi=0.1", "dataset.root=my photos"]


def busy(folder, seconds=60):
    (folder / "busy").touch()
    time.sleep(seconds)


def train(folder):
    begin(folder)
    with interruptible(), progress_bar("retrain: epoch 3 of 8", 8):
        busy(folder)


def look(folder):
    begin(folder)
    with interruptible():
        busy(folder)


def tidy_up_long(folder):
    begin(folder)
    with interruptible():
        try:
            busy(folder)
        finally:
            (folder / "ending").touch()
            time.sleep(60)


def say_more(folder):
    begin(folder)
    with interruptible(lambda: print("a table", file=sys.stderr)):
        busy(folder)


def fail_to_say_more(folder):
    begin(folder)
    with interruptible(lambda: 1 / 0):
        busy(folder)


def in_the_background(folder):
    begin(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible():
        busy(folder, seconds=0.5)


def through_another(folder):
    """As `launch.py` is: one around the other."""
    begin(folder)
    with interruptible(), interruptible():
        busy(folder)


class Finaliser:
    """What Python drops at once, and with it whatever is raised meanwhile."""

    def __init__(self, folder):
        self.folder = folder

    def __del__(self):
        busy(self.folder, seconds=1)


def within_a_finaliser(folder):
    begin(folder)
    with interruptible():
        Finaliser(folder)
        (folder / "after").touch()
        time.sleep(60)


def within_a_finaliser_of_a_job(folder):
    """As in a process that a launcher has made: there Python itself raises it."""
    begin(folder)
    try:
        with interruptible_job():
            Finaliser(folder)
            (folder / "after").touch()
            time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(7)


def swallow_another(folder):
    """Another fault of a finaliser is told as ever."""
    begin(folder)

    class Faulty:
        def __del__(self):
            raise ValueError("of a finaliser")

    with interruptible():
        Faulty()
        (folder / "busy").touch()
        time.sleep(60)


def clear_up_wrongly(folder):
    begin(folder)
    with interruptible():
        try:
            busy(folder)
        finally:
            raise ValueError("cleared up wrongly")


def end_by_another(folder):
    """As Lightning does: it takes Ctrl-C for itself and ends the process."""
    begin(folder)
    with interruptible():
        try:
            busy(folder)
        except KeyboardInterrupt:
            sys.exit(1)


def overlook(folder):
    """Some library takes the interruption for a fault that it can do without."""
    begin(folder)
    interruption.LATER = 0.5
    with interruptible():
        try:
            busy(folder)
        except BaseException:
            (folder / "overlooked").touch()
        time.sleep(60)


def end_slowly(folder):
    """What takes longer than an interruption waits is no reason to end twice."""
    begin(folder)
    interruption.LATER = 0.1
    with interruptible(lambda: time.sleep(0.5)):
        busy(folder)


def interrupted(work, folder, number):
    """Exit code of some work that gets a signal when it is busy, and what it said."""
    process = started(work, folder)
    until((folder / "busy").exists)
    os.kill(process.pid, number)
    return ended(process), (folder / "said").read_text()


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("work", "says"),
    [
        (train, f"ended by NAME at 'retrain: epoch 3 of 8'; to go on: {COMMAND}\n"),
        (look, f"ended by NAME; to go on: {COMMAND}\n"),
        (say_more, f"a table\nended by NAME; to go on: {COMMAND}\n"),
        (
            fail_to_say_more,
            f"cannot say what is done: division by zero\nended by NAME; to go on: {COMMAND}\n",
        ),
        (through_another, f"ended by NAME; to go on: {COMMAND}\n"),
        (clear_up_wrongly, f"ended by NAME; to go on: {COMMAND}\n"),
        (end_by_another, f"ended by NAME; to go on: {COMMAND}\n"),
        (overlook, f"ended by NAME; to go on: {COMMAND}\n"),
        (end_slowly, f"ended by NAME; to go on: {COMMAND}\n"),
    ],
)
def test_a_signal_ends_a_command_with_one_line(name, work, says, tmp_path):
    code, said = interrupted(work, tmp_path, BOTH[name])
    assert code == 128 + BOTH[name]
    assert said == says.replace("NAME", name)


@pytest.mark.parametrize("name", BOTH)
def test_a_signal_that_comes_in_a_finaliser_is_not_lost(name, tmp_path):
    code, said = interrupted(within_a_finaliser, tmp_path, BOTH[name])
    assert code == 128 + BOTH[name]
    assert said == f"ended by {name}; to go on: {COMMAND}\n"
    assert (tmp_path / "after").exists()


def test_nor_is_it_in_a_process_of_a_launcher(tmp_path):
    assert interrupted(within_a_finaliser_of_a_job, tmp_path, signal.SIGINT) == (7, "")
    assert (tmp_path / "after").exists()


def test_a_job_within_a_command_leaves_all_to_that():
    with interruptible():
        hook = sys.unraisablehook
        with interruptible_job():
            assert sys.unraisablehook == hook
    hook = sys.unraisablehook
    with interruptible_job():
        assert sys.unraisablehook != hook
    assert sys.unraisablehook == hook


def test_other_faults_of_a_finaliser_are_told(tmp_path):
    code, said = interrupted(swallow_another, tmp_path, signal.SIGINT)
    assert code == 130
    assert "ValueError: of a finaliser" in said
    before = sys.unraisablehook
    with interruptible():
        assert sys.unraisablehook != before
    assert sys.unraisablehook == before


@pytest.mark.parametrize("name", BOTH)
def test_a_second_one_ends_it_at_once(name, tmp_path):
    process = started(tidy_up_long, tmp_path)
    until((tmp_path / "busy").exists)
    os.kill(process.pid, signal.SIGINT)
    until((tmp_path / "ending").exists)
    start = time.monotonic()
    os.kill(process.pid, BOTH[name])
    assert ended(process) == 128 + BOTH[name]
    assert time.monotonic() - start < 30


def test_what_a_process_was_told_to_ignore_it_ignores(tmp_path):
    assert interrupted(in_the_background, tmp_path, signal.SIGINT) == (0, "")


def test_a_fault_after_no_signal_is_a_fault():
    with interruptible():
        raise_if_heard()
    with pytest.raises(ValueError, match="a fault"), interruptible():
        raise ValueError("a fault")
    with pytest.raises(SystemExit, match="3"), interruptible():
        sys.exit(3)
    raise_if_heard()


def handlers():
    return [signal.getsignal(number) for number in BOTH.values()]


def test_signals_are_heard_as_before_when_all_is_done():
    before = handlers()
    with interruptible():
        assert handlers() != before
    assert handlers() == before
    with pytest.raises(ZeroDivisionError), interruptible():
        raise ZeroDivisionError
    assert handlers() == before


def fork_and_kill(number):
    """How a process ends that was forked meanwhile and hears a signal."""
    child = os.fork()
    if not child:
        try:
            time.sleep(60)
        except KeyboardInterrupt as found:
            os._exit(7 + isinstance(found, Interruption))
    time.sleep(0.1)
    os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_two(folder):
    hear_ctrl_c()
    with interruptible():
        codes = [fork_and_kill(number) for number in BOTH.values()]
    (folder / "codes").write_text(str(codes))


def test_processes_that_are_forked_meanwhile_end_as_ever(tmp_path):
    assert ended(started(fork_two, tmp_path)) == 0
    assert (tmp_path / "codes").read_text() == str([7, -signal.SIGTERM])


def fork_daemon(folder):
    """A daemon that is forked meanwhile, as those that load batches, and hears two signals."""
    begin(folder)
    with interruptible():
        fork = multiprocessing.get_context("fork")
        daemon = fork.Process(target=busy, args=(folder,), daemon=True)
        daemon.start()
        until((folder / "busy").exists)

        os.kill(daemon.pid, signal.SIGINT)
        daemon.terminate()
        daemon.join()
    (folder / "code").write_text(str(daemon.exitcode))


def test_daemons_among_them_leave_ctrl_c_to_the_one_that_ends_them(tmp_path):
    assert ended(started(fork_daemon, tmp_path)) == 0
    assert (tmp_path / "said").read_text() == ""
    assert (tmp_path / "code").read_text() == str(-signal.SIGTERM)


def start_another(folder):
    begin(folder)
    with interruptible(), unheard():
        os.kill(os.getpid(), signal.SIGTERM)
        (folder / "complete").touch()


def test_a_process_that_is_told_to_end_first_completes_the_one_that_it_starts(tmp_path):
    assert ended(started(start_another, tmp_path)) == 143
    assert (tmp_path / "said").read_text().startswith("ended by SIGTERM")
    assert (tmp_path / "complete").exists()


def test_processes_that_are_started_unheard_ignore_it():
    program = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    before = signal.getsignal(signal.SIGINT)
    with unheard():
        child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert child.stdout == "True\n"
    assert signal.getsignal(signal.SIGINT) is before
