import json
import random
import shlex
from pathlib import Path

import optuna
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mlu.launch.build import build
from mlu.launch.check import MISSING, check_config, check_values
from mlu.launch.compose import composed, values_of
from mlu.launch.options import CONF
from mlu.launch.tune import (
    COST,
    EXCESS,
    REMEMBERED,
    RETAINED,
    best_trial,
    earlier_trials,
    leave_best,
    suggest,
)
from mlu.runs.notes import Note, leave_mark
from mlu.system.errors import UserError
from tests.conftest import METHODS
from tests.support.made_runs import made_run, results_of

SEARCHED = [
    name for name in METHODS if "search" in OmegaConf.load(CONF / "method" / f"{name}.yaml")
]


def trial_of(retained, excess, original=0.9, method="wf", remembered=0.0):
    metrics = {
        "unlearned/validation/forgotten/remembered": remembered,
        "unlearned/validation/retained/accuracy": retained,
        "unlearned/attack/aia/strongest/excess": excess,
        "original/validation/retained/accuracy": original,
    }
    run = {
        "method": method,
        "dataset": "faces",
        "backbone": "tiny",
        "forget_label": ["Male"],
        "seed": 42,
        "task": "multilabel",
        "date": "2026-01-01T00:00:00",
        "device": "a machine",
    }
    return made_run(metrics, run=run, seconds={"unlearn": 2.0, "attack": 1.0}).results


def test_what_there_is_to_tune_is_known_to_the_method():
    assert set(METHODS) - set(SEARCHED) == {"original", "head", "retrain"}


@pytest.mark.parametrize("method", SEARCHED)
def test_every_value_that_is_drawn_is_accepted_by_the_configuration(method):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    config = composed([f"method={method}"])
    parser = OverridesParser.create()
    for _ in range(20):
        trial = study.ask()
        suggest(config, trial)
        assert set(trial.params) == set(config.method.search)
        written = [f"{key}={value}" for key, value in trial.params.items()]
        changed = config.copy()
        for one in parser.parse_overrides(written):
            OmegaConf.update(changed, one.key_or_group, one.value())
        check_values(values_of(changed))
    # Composition is slow, so it is asked once whether it does the same.
    assert composed([f"method={method}", *written]) == changed
    for key in config.method.search:
        assert OmegaConf.select(config, key, default=MISSING) is not MISSING


def test_what_the_command_line_sets_is_not_drawn():
    study = optuna.create_study()
    trial = study.ask()
    trial.set_user_attr("method.phi", "0.1")
    suggest(composed(["method=wf"]), trial)
    assert "method.phi" not in trial.params
    assert "method.tuning.lr" in trial.params


def test_a_method_without_anything_to_tune_is_refused():
    with pytest.raises(UserError, match="method=head has nothing to tune"):
        suggest(composed(["method=head"]), optuna.create_study().ask())


def test_the_least_excess_among_those_that_retain_enough_is_best():
    good, leaky, lossy = trial_of(0.892, 0.01), trial_of(0.90, 0.05), trial_of(0.88, -0.2)
    assert best_trial([leaky, good, lossy]) is good
    assert best_trial([lossy, trial_of(0.80, -0.3)]) is lossy
    # To hide more than Retrain never learnt is no merit.
    keeps, hides = trial_of(0.90, -0.01), trial_of(0.892, -0.2)
    assert best_trial([good, hides, keeps]) is keeps
    # What the output says counts as much as what readers find.
    outspoken = trial_of(0.90, 0.0, remembered=0.02)
    assert best_trial([outspoken, good]) is good
    assert best_trial([outspoken, leaky]) is outspoken
    lacking = [trial_of(None, 0.0), trial_of(0.9, None), trial_of(0.9, 0.0, remembered=None)]
    assert best_trial(lacking) is None


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(-0.5, 0.5), st.floats(0, 1.5)), min_size=1, max_size=8
    )
)
def test_no_trial_beats_the_best_one(figures):
    trials = [trial_of(kept, excess, remembered=says) for kept, excess, says in figures]
    best = best_trial(trials)
    paths = (RETAINED, EXCESS, REMEMBERED)
    kept, excess, said = (best.metrics[f"unlearned/{path}"] for path in paths)
    for retained, other, says in figures:
        if kept >= 0.9 - COST:
            beats = (max(other, 0) + says, -retained) < (max(excess, 0) + said, -kept)
            assert not (retained >= 0.9 - COST and beats)
        else:
            assert retained <= kept


def test_the_best_settings_are_left_where_method_finds_them(tmp_path):
    source = CONF / "method" / "wf.yaml"
    trials = [
        (["method.phi=0.25", "method.tuning.lr=0.07", "experiment=tune"], trial_of(0.9, 0.0)),
        (["method.phi=0.3"], trial_of(0.9, 0.1)),
    ]
    random.Random(0).shuffle(trials)
    lines = leave_best(trials, source, tmp_path)
    file = tmp_path / "tuned" / "method" / "wf_tuned.yaml"
    found, before = yaml.safe_load(file.read_text()), yaml.safe_load(source.read_text())
    assert (found["phi"], found["tuning"]["lr"]) == (0.25, 0.07)
    del before["search"]
    before["phi"], before["tuning"]["lr"] = 0.25, 0.07
    assert found == before
    assert "best of 2 trials" in lines[0]
    assert "6 s" in lines[1]
    assert f"--config-dir {tmp_path / 'tuned'} method=wf_tuned" in lines[1]
    assert file.read_text().startswith("# best of 2 trials")


def drawn_by(method):
    """Values that a search of the method may try, as overrides."""
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    suggest(composed([f"method={method}"]), trial)
    return [f"{key}={value}" for key, value in trial.params.items()]


@pytest.mark.parametrize("method", SEARCHED)
def test_the_settings_that_were_found_are_a_method_of_every_command(method, tmp_path):
    found = drawn_by(method)
    source = CONF / "method" / f"{method}.yaml"
    lines = leave_best([(found, trial_of(0.9, 0.0, method=method))], source, tmp_path)
    words = shlex.split(lines[1].partition("use it: ")[2])
    tuned, chosen = Path(words[-2]), words[-1]

    folders = (tuned, CONF)
    config = composed([chosen, "attack=none"], [tuned])
    values = values_of(config, folders)
    check_config(values, folders)
    assert "search" not in values["method"]
    for one in OverridesParser.create().parse_overrides(found):
        assert OmegaConf.select(config, one.key_or_group) == one.value()
    built = build(values, tmp_path).method
    assert built == build(values_of(composed([f"method={method}", *found])), tmp_path).method


def test_without_figures_nothing_is_written(tmp_path):
    assert (
        "nothing is written"
        in leave_best([([], trial_of(None, None))], CONF / "method" / "wf.yaml", tmp_path)[0]
    )
    assert not list(tmp_path.iterdir())


def test_a_search_that_goes_on_counts_the_trials_before_it(tmp_path, monkeypatch):
    """As far as they are there and still what the study says of them."""
    asked = {name: tmp_path / name for name in ("there", "another's", "gone")}
    for name in ("there", "another's"):
        folder = asked[name]
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(results_of()))
        leave_mark(Note("s", 0, folder, ("phi=0.1", "seed=1")), "")
    given = {"there": "phi=0.1 seed=1", "another's": "phi=0.2", "gone": "phi=0.1 seed=1"}
    before = [(asked[name], given[name]) for name in asked]
    monkeypatch.setattr("mlu.launch.search._BEFORE", before)
    ((overrides, results),) = earlier_trials()
    assert overrides == ("phi=0.1", "seed=1")
    assert results.run.method == results_of()["run"]["method"]


def test_settings_that_somebody_has_edited_are_left_alone(tmp_path):
    source = CONF / "method" / "wf.yaml"

    def found(phi):
        return leave_best([([f"method.phi={phi}"], trial_of(0.9, 0.0))], source, tmp_path)[1]

    folder = tmp_path / "tuned" / "method"
    assert "method=wf_tuned" in found(0.1)
    assert found(0.2).endswith("method=wf_tuned")
    assert yaml.safe_load((folder / "wf_tuned.yaml").read_text())["phi"] == 0.2
    (folder / "wf_tuned.yaml").write_text("phi: 0.3  # mine")
    for phi in (0.4, 0.5):
        assert found(phi).endswith("method=wf_tuned_2")
        assert yaml.safe_load((folder / "wf_tuned_2.yaml").read_text())["phi"] == phi
    assert (folder / "wf_tuned.yaml").read_text() == "phi: 0.3  # mine"
