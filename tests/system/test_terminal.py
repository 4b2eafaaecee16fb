import io
import os
import subprocess
import sys

import pytest

from mlu.system import terminal
from mlu.system.errors import UserError

SAID = "– × ± ≥ … é 中 😀 ┃ \udcff a"
SHOWN = {
    "ascii": "- x +- >= ... ? ? ? ? ? a",
    "latin-1": "- × ± >= ... é ? ? ? ? a",
    "iso8859-15": "- × ± >= ... é ? ? ? ? a",
    "cp1252": "– × ± >= … é ? ? ? ? a",
    "cp437": "- x ± ≥ ... é ? ? ? ? a",
    "koi8-r": "- x +- ≥ ... ? ? ? ? ? a",
    "gbk": "– × ± ≥ … é 中 ? ┃ ? a",
    "utf-8": "– × ± ≥ … é 中 😀 ┃ ? a",
}


@pytest.mark.parametrize("encoding", SHOWN)
def test_a_sign_that_a_stream_lacks_is_replaced(encoding):
    kept = io.BytesIO()
    stream = terminal.tolerant(io.TextIOWrapper(kept, encoding), 1)
    stream.write(SAID)
    stream.flush()
    assert kept.getvalue().decode(encoding) == SHOWN[encoding]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_the_streams_of_a_launcher_s_process_stay_who_they_are(encoding, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", None)
    monkeypatch.setattr("logging.raiseExceptions", True)
    terminal.replace_lacking_signs()
    assert sys.stdout is stream
    print("│", flush=True)


def test_no_stream_takes_everything():
    stream = terminal.tolerant(None, 1)
    with stream:
        stream.write(SAID.removesuffix("\udcff a"))


def test_a_reader_who_has_gone_is_not_missed():
    reading, writing = os.pipe()
    os.close(reading)
    raw = terminal.Mouth(writing, "wb", closefd=True)
    with io.TextIOWrapper(io.BufferedWriter(raw), "utf-8") as stream:
        for _ in range(3):
            stream.write("a" * 100_000)
            stream.flush()


CLOSED = {
    "stdout": ">&-",
    "stderr": "2>&-",
    "both": ">&- 2>&-",
    "all": "<&- >&- 2>&-",
    "a reader who has gone": "| true",
    "a full disk": ">/dev/full",
}


@pytest.mark.parametrize("how", CLOSED)
def test_a_command_ends_well_and_writes_into_no_file_of_ours(how, tmp_path):
    code = (
        "import os, sys; from mlu.system.terminal import *; tolerant_streams(); "
        f"file = open({str(tmp_path / 'file')!r}, 'w'); "
        "print('–' * 10**3); print('said', file=sys.stderr); os.system('echo child'); "
        f"file.write('mine'); file.close(); last_words(); open({str(tmp_path / 'end')!r}, 'w')"
    )
    command = f'{sys.executable} -c "$CODE" {CLOSED[how]}'
    words = ["bash", "-c", f"set -o pipefail; {command}"]
    done = subprocess.run(
        words,
        env=os.environ | {"CODE": code, "PYTHONUNBUFFERED": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert (done.returncode, b"Error" in done.stderr) == (0, False), done.stderr
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "end").exists()


def test_what_is_spared_is_one_line():
    said = []
    with terminal.spared("a picture cannot be drawn", said.append):
        raise UserError("no room\nat all")
    assert said == ["a picture cannot be drawn: no room\\nat all"]
    with pytest.raises(KeyboardInterrupt), terminal.spared("", said.append):
        raise KeyboardInterrupt
