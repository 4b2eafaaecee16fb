"""What runs and yamls of earlier versions name."""

from importlib import import_module

import yaml
from hydra.utils import get_object

from mlu.launch.options import CONF
from mlu.methods.parts.decorrelation import Decorrelation
from mlu.runs.moved import HOMES, LATER, PLAIN_TERM, present_config, present_path
from mlu.runs.read import collect
from tests.support.made_runs import config_of, leave

OLD = (
    "mlu.data.celeba.CelebA",
    "mlu.data.digits.MultiDigits",
    "mlu.data.synthetic.Faces",
    "mlu.optimise.Training",
    "mlu.optimise.Tuning",
    "mlu.tracking.Nothing",
    "mlu.tracking.Wandb",
    "mlu.cli.Gate",
    "mlu.sweep.SweepSummary",
    "mlu.search.suggest",
)


def test_what_moved_is_where_it_is_said_to_be():
    for path in OLD:
        assert callable(get_object(present_path(path))), path
    for module in HOMES.values():
        import_module(module)


def test_no_file_of_ours_names_a_path_of_before():
    for file in CONF.rglob("*.yaml"):
        words = file.read_text().split()
        assert not [word for word in words if present_path(word) != word], file


def test_a_run_of_before_there_was_a_choice_has_what_it_did(tmp_path):
    target = {"_target_": "mlu.methods.weight_filter.WeightFilter", "name": "wf"}
    config = config_of() | {"method": target}
    since = {"select": "score", "refit": 0, "share": None}
    assert present_config(config)["method"] == {**since, **target}
    # What a run says itself counts, and other classes get nothing.
    chosen = {**since, **target, "select": "worst"}
    assert present_config(config | {"method": chosen})["method"] == chosen
    assert present_config(config_of()) == config_of()


def test_the_number_that_decorrelation_was_is_the_weight_of_the_plain_linear_term():
    target = {"_target_": "mlu.methods.weight_pruning.WeightPruning", "decorrelation": 0.1}
    found = present_config(config_of() | {"method": target})["method"]["decorrelation"]
    assert found == {**PLAIN_TERM, "linear": 0.1}
    # What is a group already stays as it is, by whatever keys.
    group = target | {"decorrelation": {"linear": 0.3}}
    found = present_config(config_of() | {"method": group})["method"]["decorrelation"]
    assert found == {"linear": 0.3}
    settings = Decorrelation(
        **{key: value for key, value in {**PLAIN_TERM, "linear": 0.1}.items() if key != "_target_"}
    )
    assert settings.is_on


def test_the_keys_that_came_later_are_there():
    for path, keys in LATER.items():
        files = [file for file in CONF.glob("method/*.yaml") if path in file.read_text()]
        assert files
        for file in files:
            assert set(keys) <= set(yaml.safe_load(file.read_text())), file


def test_a_run_of_before_is_of_the_group_of_one_of_today(tmp_path):
    config = config_of()
    config["dataset"]["_target_"] = "mlu.data.synthetic.Faces"
    old = leave(tmp_path / "old", config=config)
    (found,) = collect([old]).runs
    assert found.config == present_config(config)
    assert found.config["dataset"]["_target_"] == "mlu.data.sets.faces.dataset.Faces"
