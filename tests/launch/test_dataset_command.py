"""The doctor and its like: words, a user's own folder, and what is wrong with them."""

import pytest
import yaml

from mlu.launch.options import CONF
from tests.support.forked import Commands
from tests.support.photo_commands import write_labelled_photos


@pytest.fixture(scope="module")
def commands():
    process = Commands("mlu.launch.dataset_command", "mlu.pipeline.checkup")
    yield process
    process.end()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photographs, and a data set of a user's own that reads them."""
    folder = tmp_path_factory.mktemp("my photos [1]")
    own = yaml.safe_load((CONF / "dataset" / "csv.yaml").read_text())
    write_labelled_photos(folder)
    (folder / "conf" / "dataset").mkdir(parents=True)
    own |= {"root": str(folder), "image_size": 24, "prepared": str(folder / "prepared")}
    (folder / "conf" / "dataset" / "mine.yaml").write_text(yaml.safe_dump(own))
    return folder


WAYS = {
    "before": ["--config-dir", "FOLDER", "dataset=mine"],
    "behind": ["dataset=mine", "--config-dir", "FOLDER"],
    "between": ["dataset=mine", "-cd", "FOLDER", "seed=1"],
    "one word": ["dataset=mine", "--config-dir=FOLDER"],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_of_one_s_own_may_stand_anywhere(way, commands, place, tmp_path):
    words = [word.replace("FOLDER", str(place / "conf")) for word in WAYS[way]]
    done = commands.run("mlu.doctor", [*words, f"outputs={tmp_path / 'out'}"], tmp_path / "said")
    assert done.code == 0, done.stdout + done.stderr
    assert "is fit" in done.stdout


def test_what_is_to_be_prepared_may_be_one_s_own(commands, place, tmp_path):
    words = ["dataset=mine", f"--config-dir={place / 'conf'}"]
    done = commands.run("mlu.prepare", words, tmp_path)
    assert done.code == 0, done.stdout + done.stderr
    assert "200 images" in done.stdout


REFUSED = {
    "no folder": (["dataset=csv", "--config-dir", "nowhere"], "nowhere is no folder"),
    "a file": (["dataset=csv", f"--config-dir={CONF / 'config.yaml'}"], "is no folder"),
    "no value": (["dataset=csv", "--config-dir"], "--config-dir"),
    "two words": (["dataset=csv", "--cfg", "job"], "--cfg"),
    "a sweep": (["-m", "dataset=csv"], "-m"),
    "nothing": ([], "name a data set: python -m mlu.doctor dataset=NAME"),
    "no such data set": (["dataset=scv"], "did you mean 'csv'?"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_one_line(case, commands, tmp_path):
    words, says = REFUSED[case]
    done = commands.run("mlu.doctor", words, tmp_path)
    assert done.code == 2
    (line,) = done.stderr.splitlines()
    assert says in line


@pytest.mark.parametrize("module", ["mlu.doctor", "mlu.prepare"])
def test_help_shows_the_keys_of_the_data_set(module, commands, tmp_path):
    done = commands.run(module, ["dataset=csv", "--help"], tmp_path)
    assert done.code == 0
    for text in (f"python -m {module}", "--config-dir FOLDER", "identity_column: null", "# cell"):
        assert text in done.stdout


def test_help_shows_the_keys_of_a_data_set_of_one_s_own(commands, place, tmp_path):
    words = ["--help", "dataset=mine", "-cd", str(place / "conf")]
    done = commands.run("mlu.doctor", words, tmp_path)
    assert done.code == 0, done.stderr
    assert f"root: {place}" in done.stdout
