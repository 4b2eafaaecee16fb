"""A disk that is full, damaged or not to be written to: one line or the same result as ever, and a
sound cache."""

import ctypes
import errno
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mlu.pipeline import keys
from mlu.system import disk
from tests.support import command_line
from tests.support.command_line import ROOT
from tests.support.killing import CHANGES, SAID, SMALL, ended, launch, started, writes

RUN = (
    *SMALL,
    "dataset.images=120",
    "method=wf",
    "training.epochs=2",
    "attack=mia",
    "logger=none",
)
NO_ROOM = (
    "cannot write {}: No space left on device; make room, or choose another folder with outputs=..."
)
CAP_DAC_OVERRIDE, PR_CAPBSET_DROP = 1, 24
"""Of Linux: what lets root write where nobody may."""


def command(outputs):
    return outputs, (*RUN, f"hydra.run.dir={outputs}/run")


def results_of(outputs: Path) -> dict:
    return json.loads((outputs / "run" / "results.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outputs of a run that nothing disturbs."""
    outputs = tmp_path_factory.mktemp("whole")
    assert ended(started(launch, *command(outputs))) == 0, (outputs / SAID).read_text()
    return outputs


def full(outputs: Path, first: int, *more: str) -> None:
    """A run whose disk has no room from a numbered write on, or a sweep."""
    done, root = 0, f"{outputs}/"

    def hook(event, arguments):
        nonlocal done
        if event in CHANGES - {"os.remove", "os.rmdir"} or (
            event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            path = str(arguments[0])
            if path.startswith(root) and path.removeprefix(root) not in ("said", "writes"):
                done += 1
                if done > first:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    sys.addaudithook(hook)
    launch(outputs, (*more, *command(outputs)[1]))


def limited(outputs: Path, size: int) -> None:
    """A run that may write no file larger than so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    launch(*command(outputs))


def last_line(outputs: Path) -> str:
    return (outputs / SAID).read_text().strip().splitlines()[-1]


def creations(outputs: Path) -> list[str]:
    return [write.path for write in writes(outputs) if write.event not in ("os.remove", "os.rmdir")]


WHERE = {
    "run folder": "run",
    "data": "images.npy",
    "checkpoint": "progress.draft",
    "weights": "weights.safetensors",
    "manifest": "manifest.json",
    "evidence": "evidence.npz",
    "results": "new/results.draft",
    "what is replaced": "new/results.json",
}
"""The first write that finds no room: the first of this name."""


@pytest.mark.parametrize("place", WHERE)
def test_a_full_disk_is_one_line_and_leaves_the_cache_sound(place, whole, tmp_path):
    paths = creations(whole)
    first = next(number for number, path in enumerate(paths) if path.endswith(WHERE[place]))
    assert ended(started(full, tmp_path, first)) == 2, (tmp_path / SAID).read_text()
    said = last_line(tmp_path)
    assert said == NO_ROOM.format(said.split()[2].removesuffix(":"))
    assert said.split()[2].startswith(str(tmp_path))
    assert "Traceback" not in (tmp_path / SAID).read_text()
    assert not list(tmp_path.rglob("results.json"))
    assert ended(started(launch, *command(tmp_path))) == 0
    assert "damaged" not in (tmp_path / SAID).read_text()
    assert results_of(tmp_path)["metrics"] == results_of(whole)["metrics"]
    assert not list(tmp_path.rglob("*.draft"))


def test_a_sweep_on_a_full_disk_says_what_is_lost_and_how_to_repeat_it(whole, tmp_path):
    # The weights of its first job find no room, nor does what that says of it, nor the folder of
    # the second job.
    first = next(
        number
        for number, path in enumerate(creations(whole))
        if path.endswith("weights.safetensors")
    )
    sweep = ("-m", "seed=1,2", f"hydra.sweep.dir={tmp_path}/sweep")
    assert ended(started(full, tmp_path, first, *sweep)) == 1, (tmp_path / SAID).read_text()
    said = (tmp_path / SAID).read_text()
    assert "Traceback" not in said
    assert "job 0 has no results" in said
    assert "repeat it: python launch.py" in said
    assert last_line(tmp_path).startswith("hydra/launcher=basic broke off: cannot write")
    assert not list(tmp_path.rglob("results.json"))


@pytest.mark.parametrize("size", [300_000, 2_000_000])
def test_what_breaks_off_in_the_middle_of_a_file_is_no_file(size, whole, tmp_path):
    """The images have 368,768 bytes, a checkpoint 2.6 million."""
    assert ended(started(limited, tmp_path, size)) == 2, (tmp_path / SAID).read_text()
    assert last_line(tmp_path).startswith("cannot write")
    assert "File too large; make room" in last_line(tmp_path)
    assert "Traceback" not in (tmp_path / SAID).read_text()
    assert ended(started(launch, *command(tmp_path))) == 0
    assert results_of(tmp_path)["metrics"] == results_of(whole)["metrics"]


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGE = {
    "original/*/weights.safetensors": flip,
    "retrain/*/test.safetensors": cut,
    "random/*/manifest.json": cut,
    "attack-mia/*/evidence.npz": flip,
    "datasets/faces/*/images.npy": flip,
}


def test_what_a_disk_has_changed_is_named_and_made_again(whole):
    expected, weights = results_of(whole), (whole / "run" / "unlearned.safetensors").read_bytes()
    for pattern, spoil in DAMAGE.items():
        for file in (whole / "cache").glob(pattern):
            spoil(file)
    assert ended(started(launch, *command(whole))) == 0
    said = (whole / SAID).read_text()
    for pattern in DAMAGE:
        assert re.search(rf"in {whole}/cache/{pattern.split('/*')[0]}/\w+ is damaged", said), (
            pattern
        )
    assert results_of(whole)["metrics"] == expected["metrics"]
    assert (whole / "run" / "unlearned.safetensors").read_bytes() == weights
    assert ended(started(launch, *command(whole))) == 0
    assert "damaged" not in (whole / SAID).read_text()
    assert results_of(whole)["measured"]["original"]["cached"]


def changed_code(outputs: Path) -> None:
    """A run of a version whose training code is another one."""
    digest = keys.code_digest
    keys.code_digest = lambda *modules: digest(*modules)[::-1]
    launch(*command(outputs))


def test_models_of_another_version_are_left_alone_and_made_again(whole):
    before = set((whole / "cache" / "original").glob("*/manifest.json"))
    assert ended(started(changed_code, whole)) == 0
    after = set((whole / "cache" / "original").glob("*/manifest.json"))
    assert before < after
    assert not results_of(whole)["measured"]["original"]["cached"]
    assert ended(started(launch, *command(whole))) == 0
    assert results_of(whole)["measured"]["original"]["cached"]


def without_rights_of_root() -> None:
    """In a child: what root is forbidden from now on is what others are. Others have no such right
    to lose."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=1,2"]])
def test_a_folder_that_may_not_be_written_to_is_one_line(sweep, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o555)
    words = [sys.executable, str(ROOT / "launch.py"), *sweep, *RUN, f"outputs={folder}/outputs"]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=without_rights_of_root,
        timeout=300,
    )
    assert done.returncode in (1, 2)
    (line,) = done.stderr.strip().splitlines()
    assert f"cannot read or write {folder}/outputs" in line
    assert (
        "Permission denied; give the right to, or name another file or folder (outputs=..." in line
    )
    assert list(folder.iterdir()) == []


def test_a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    done = command_line.launch(tmp_path / "file" / "outputs", *RUN)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Not a directory; give the right to, or name another file or folder" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_room_for_images_is_taken_before_they_are_painted(tmp_path):
    images = disk.new_images(tmp_path / "images.npy", (4, 3, 64, 64))
    assert images.shape == (4, 3, 64, 64)
    blocks = (tmp_path / "images.npy").stat().st_blocks
    assert blocks * 512 >= images.nbytes
