import subprocess
import sys

import pytest

from mlu.runs.files import config_of, forgotten_in, label_facts_of, need
from mlu.system.errors import UserError
from tests.support.forgotten_runs import forgot


def test_the_files_of_a_run_are_read(tmp_path):
    run = forgot(tmp_path, "one")
    assert need(run, "labels.json") == run / "labels.json"
    assert label_facts_of(run)["labels"][2] == "Male"
    assert forgotten_in(config_of(run)) == ["Male"]


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"forget_label": {"names": "Male"}}, ["Male"]),
        ({"forget_label": {"names": [3, "Young"]}, "requests": None}, ["3", "Young"]),
        ({"forget_label": {"names": ["x"]}, "requests": [["Male"], ["Bald"]]}, ["Male", "Bald"]),
    ],
)
def test_what_was_to_be_forgotten_is_one_list(config, names):
    assert forgotten_in(config) == names


def test_what_is_missing_or_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no run in"):
        need(tmp_path / "nowhere", "labels.json")
    run = forgot(tmp_path, "one")
    with pytest.raises(UserError, match=r"has no other\.json"):
        need(run, "other.json")
    (run / "labels.json").write_text("[]")
    with pytest.raises(UserError, match="cannot be read"):
        label_facts_of(run)
    (run / "labels.json").write_text('{"labels": ["a"], "task": "other"}')
    with pytest.raises(UserError, match="must hold labels and a task"):
        label_facts_of(run)
    (run / "config.yaml").write_text("- 1")
    with pytest.raises(UserError, match="is no configuration of a run"):
        config_of(run)


def test_they_are_read_without_torch():
    code = "import sys, mlu.runs.files, mlu.runs.purging; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
