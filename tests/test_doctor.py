"""The command itself; what it finds is tested in tests/pipeline/test_checkup.py."""

import pytest

from tests.support.forked import Commands
from tests.support.photo_commands import photo_command, write_labelled_photos


@pytest.fixture(scope="module")
def bare():
    process = Commands("mlu.launch.dataset_command")
    yield process
    process.end()


@pytest.mark.parametrize("module", ["mlu.doctor", "mlu.prepare"])
@pytest.mark.parametrize(
    ("words", "code"), [([], 2), (["dataset=scv"], 2), (["dataset=csv", "--help"], 0)], ids=str
)
def test_refusals_and_help_import_nothing_heavy(module, words, code, bare, tmp_path):
    done = bare.run(module, words, tmp_path)
    assert (done.code, done.heavy) == (code, [])


def test_it_ends_with_the_verdict_as_exit_code(tmp_path):
    done = photo_command("doctor", write_labelled_photos(tmp_path))
    assert done.code == 0, done.stdout + done.stderr
    assert str(tmp_path / "outputs" / "doctor" / "csv") in done.stdout
