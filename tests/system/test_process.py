import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing import resource_sharer
from pathlib import Path

import pytest

from mlu.system.process import end_with_parent, processes
from tests.support.killing import ended, hear_ctrl_c, started, until

TUNED = """
import os, sys
from mlu.system.process import tune_process
tune_process({threads})
print(os.environ["GOMP_SPINCOUNT"], os.environ.get("OMP_NUM_THREADS"), "torch" in sys.modules)
"""

# A grandchild that outlives its parent's death unless it ends with it.
ORPHAN = """
import multiprocessing, os, time
from mlu.system.process import end_with_parent

def child(pipe):
    end_with_parent()
    pipe.send(os.getpid())
    time.sleep(600)

if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=child, args=(theirs,)).start()
    print(ours.recv(), flush=True)
    os._exit(1)
"""


def said(program, **environment):
    kept = {name: value for name, value in os.environ.items() if "OMP" not in name}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("threads", "environment", "expected"),
    [
        (None, {}, ["1000", "None"]),
        (3, {}, ["1000", "3"]),
        (3, {"GOMP_SPINCOUNT": "7", "OMP_NUM_THREADS": "2"}, ["7", "2"]),
    ],
)
def test_a_process_is_tuned_but_for_what_the_user_has_set(threads, environment, expected):
    *found, knows_torch = said(TUNED.format(threads=threads), **environment)
    assert found == expected
    assert knows_torch == "False"


def is_running(process):
    """Whether it is there and no zombie that waits for whoever adopted it."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False

    return state != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_process_ends_with_its_parent(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(ORPHAN)
    done = subprocess.run(
        [sys.executable, program],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    child = int(done.stdout)
    deadline = time.monotonic() + 60
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def map_long(folder):
    with processes(2, end_with_parent) as pool:
        waiting = [pool.submit(time.sleep, 600) for _ in range(4)]
        (folder / "busy").touch()
        waiting[0].result()


def interrupted_map(folder):
    """In a child: work in processes, of which a terminal's Ctrl-C reaches all."""
    os.setsid()
    hear_ctrl_c()
    os.dup2(os.open(folder / "said", os.O_WRONLY | os.O_CREAT), 2)
    with contextlib.suppress(KeyboardInterrupt):
        map_long(folder)
        os._exit(1)
    os._exit(0)


def test_processes_end_at_once_and_silently_with_work_that_is_interrupted(tmp_path):
    process = started(interrupted_map, tmp_path)
    until((tmp_path / "busy").exists)
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process) == 0
    assert (tmp_path / "said").read_text() == ""


def ignored_signals(process):
    """Numbers of the signals that a process ignores."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (ignored,) = [int(line.split()[1], 16) for line in lines if line.startswith("SigIgn")]
    return {number for number in range(1, 65) if ignored >> (number - 1) & 1}


def say_who_ignores(folder):
    """In a child: which of the processes that it has just started ignore Ctrl-C."""
    hear_ctrl_c()
    with contextlib.suppress(KeyboardInterrupt), processes(3, end_with_parent) as pool:
        for _ in range(3):
            pool.submit(time.sleep, 600)
        found = [ignored_signals(one.pid) for one in multiprocessing.active_children()]
        (folder / "ignore").write_text(str([signal.SIGINT in one for one in found]))
        raise KeyboardInterrupt


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_all_of_them_ignore_ctrl_c_before_they_have_imported_anything(tmp_path):
    assert ended(started(say_who_ignores, tmp_path)) == 0
    assert (tmp_path / "ignore").read_text() == str([True, True, True])


def told(fault, in_main_thread):
    """In a child: what is said of a fault, once it has started another process."""
    heard = []
    sys.excepthook = lambda kind, fault, trace: heard.append(fault)
    with processes(1, end_with_parent) as pool:
        pool.submit(abs, 1).result()

    teller = threading.Thread(target=lambda: sys.excepthook(type(fault), fault, None))
    if in_main_thread:
        teller.run()
    else:
        teller.start()
        teller.join()

    os._exit(heard == [fault])


PEER_GONE = [EOFError(), BrokenPipeError(), ConnectionResetError()]


@pytest.mark.parametrize("in_main_thread", [False, True])
@pytest.mark.parametrize("fault", [*PEER_GONE, ValueError()], ids=repr)
def test_nothing_is_said_of_a_peer_that_is_gone_but_of_all_else(fault, in_main_thread):
    expected = in_main_thread or isinstance(fault, ValueError)
    assert ended(started(told, fault, in_main_thread)) == expected


def leave_amid_greeting(folder):
    """In a child: a peer that asks for an open file and is gone before it has said who it is."""
    os.dup2(os.open(folder / "said", os.O_WRONLY | os.O_CREAT), 2)
    with processes(1, end_with_parent) as pool:
        pool.submit(abs, 1).result()

    address, _ = resource_sharer.DupFd(0)._id
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(address)
        peer.recv(1)

    resource_sharer.stop(timeout=60)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such sockets")
def test_an_end_amid_the_greeting_is_silent(tmp_path):
    assert ended(started(leave_amid_greeting, tmp_path)) == 0
    assert (tmp_path / "said").read_text() == ""


def test_processes_do_their_work_and_drop_the_rest_on_a_fault():
    with processes(1, end_with_parent) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]

    waiting = []
    with contextlib.suppress(ZeroDivisionError), processes(1, end_with_parent) as pool:
        waiting += [pool.submit(time.sleep, 0.2) for _ in range(100)]
        raise ZeroDivisionError
    assert sum(one.cancelled() for one in waiting) > 90
