"""Every command that README, docs, help, yamls and docstrings show runs as it is written.

Small settings are put in (`tests.support.documented`). They run in a folder where all is that the
pages speak of.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image
from safetensors.torch import load_file

from tests.support.documented import (
    FILLED,
    LEFT_OUT,
    NOT_RUN,
    SMALLER,
    STANDS_FOR,
    Trial,
    all_trials,
    reason_not_to_run,
    shown_commands,
)
from tests.support.forked import carry_out_there
from tests.support.killing import ended, started
from tests.test_docs import write_extension
from tests.whole_runs.test_datasets import FILES

ROOT = Path(__file__).parents[2]
TRIALS = all_trials()
RUN = (
    "python launch.py -m method=head dataset.images=120 dataset.image_size=16 training.epochs=1 "
    "trainer.accelerator=cpu logger=none attack.aia.hidden=2 hydra.sweep.dir=outputs/sweeps/one"
)
MAY_FIND_FAULTS = "mlu.doctor"
"""Exit code 1 is what it found, not that it failed."""


def carried_out(place: Path, trial: Trial, said: Path) -> tuple[int, str]:
    """Exit code of a command, and what it said."""
    if trial.words[0] == "make":
        done = subprocess.run(
            ["make", "-n", *trial.words[1:]], cwd=ROOT, capture_output=True, text=True
        )
        return done.returncode, done.stderr

    _, first, *rest = trial.words
    module, words = (rest[0], rest[1:]) if first == "-m" else (str(ROOT / first), rest)
    said.mkdir(parents=True, exist_ok=True)
    command = started(carry_out_there, place, dict(trial.environment), module, words, said)
    code = ended(command)
    return code, "".join((said / name).read_text() for name in ("stdout", "stderr"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the files of all data sets, a sweep, a run, and what else is named."""
    place = tmp_path_factory.mktemp("documented")
    for name, (write, *_) in FILES.items():
        write(place / ("photos" if name == "csv" else "data"))
    write_extension(place)
    for name in ("anna.jpg", "ben.png"):
        Image.new("RGB", (20, 20)).save(place / name)

    code, said = carried_out(place, Trial((), tuple(shlex.split(RUN))), place / "said")
    assert code == 0, said
    shutil.copytree(place / "outputs/sweeps/one/0", place / "outputs/runs/one")
    (original,) = place.glob("outputs/cache/original/*/weights.safetensors")
    torch.save(load_file(original), place / "model.pt")

    return place


def needed_before(trial: Trial, place: Path) -> list[Trial]:
    """Commands that the page shows before this one, if they have not been tried yet."""
    if "--check" in trial.words and not (place / trial.words[-1]).exists():
        return [one for one in TRIALS if "--remove" in one.words]

    (found,) = re.findall(r"method=(\w+)_tuned", " ".join(trial.words)) or [""]
    if not found or (place / "outputs/tuned/method" / f"{found}_tuned.yaml").exists():
        return []
    search = {"experiment=tune", f"method={found}"}
    return [one for one in TRIALS if search <= {*one.words}]


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: " ".join(trial.words))
def test_a_command_runs(trial, place, tmp_path):
    for before in needed_before(trial, place):
        assert carried_out(place, before, tmp_path / "before")[0] == 0
    code, said = carried_out(place, trial, tmp_path / "said")
    right = (0, 1) if MAY_FIND_FAULTS in trial.words else (0,)
    assert code in right, f"{TRIALS[trial]}: {said}"
    assert "Traceback" not in said


def test_commands_of_all_kinds_are_tried():
    kinds = {trial.words[0] for trial in TRIALS}
    assert kinds == {"python", "make"}
    modules = {trial.words[2] for trial in TRIALS if trial.words[1] == "-m"}
    assert {"report", "doctor", "prepare", "predict", "certify", "purge", "export"} <= {
        module.removeprefix("mlu.") for module in modules
    }
    assert set(TRIALS.values()) >= {"README.md", "--help", "docs/commands.md", "launch.py"}
    assert any("method=scrub_tuned" in trial.words for trial in TRIALS)


SHOWN = [shown.text for shown in shown_commands()]
WORDS = {word for text in SHOWN for word in shlex.split(text, comments=True)}


@pytest.mark.parametrize("beginning", NOT_RUN, ids=" ".join)
def test_what_is_not_tried_is_shown_somewhere(beginning):
    shown = [shlex.split(text, comments=True) for text in SHOWN]
    assert any(tuple(words[: len(beginning)]) == beginning for words in shown)
    assert reason_not_to_run(beginning)


def test_all_that_is_left_out_or_made_smaller_is_shown_somewhere():
    for pattern in LEFT_OUT:
        assert any(re.fullmatch(pattern, word) for word in WORDS), pattern
    assert {*SMALLER} <= WORDS
    values = {word.partition("=")[2] for word in WORDS}
    assert {*FILLED} <= values
    assert all(any(shown in text for text in SHOWN) for shown in STANDS_FOR)


LAUNCHED = sorted(
    {
        tuple(word for word in shlex.split(text, comments=True) if "hydra" in word and "=" in word)
        for text in SHOWN
        if "hydra/launcher=" in text and "--cfg" not in text
    }
)


@pytest.mark.filterwarnings("ignore:(?s).*is validated against ConfigStore schema")
@pytest.mark.parametrize("words", LAUNCHED, ids=" ".join)
def test_what_is_left_out_of_a_launcher_is_a_key_of_it(words):
    from hydra import compose, initialize_config_dir

    from mlu.launch.options import CONF

    for one in OverridesParser.create().parse_overrides(list(words)):
        assert one.key_or_group.startswith(("hydra/launcher", "hydra.launcher", "hydra.sweeper"))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        compose("config", list(words), return_hydra_config=True)
