"""Every experiment composes in both forms, and each of its jobs is one that a run would accept."""

import itertools
from functools import cache

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mlu.launch.check import check_config
from mlu.launch.compose import register_resolvers, values_of
from mlu.launch.options import CONF
from mlu.launch.plan import distinct_jobs
from tests.support.composing import composed_in_parts

EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
GRIDS = [name for name in EXPERIMENTS if name not in ("tune",)]
SEEDS = ["1", "2", "3"]


@cache
def composed(*overrides):
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides), return_hydra_config=True)


@cache
def swept(name, budget, *overrides):
    """The values of each swept key, as Hydra's sweeper reads them: the command line wins."""
    params = composed(f"experiment={name}", f"budget={budget}").hydra.sweeper.params
    written = [
        f"{key}={value}" for key, value in OmegaConf.to_container(params, resolve=True).items()
    ]
    found = {}
    for one in OverridesParser.create().parse_overrides([*written, *overrides]):
        values = (
            one.sweep_string_iterator()
            if one.is_sweep_override()
            else [one.get_value_element_as_str()]
        )
        found[one.get_key_element()] = list(values)
    return found


@pytest.mark.parametrize("budget", ["small", "paper"])
@pytest.mark.parametrize("name", GRIDS)
def test_every_job_of_an_experiment_composes_and_is_accepted(name, budget):
    values = swept(name, budget)
    # Every value of every key with the first of all others, not their product.
    firsts = {key: choices[0] for key, choices in values.items()}
    jobs = [firsts | {key: value} for key, choices in values.items() for value in choices]
    # Of a method without a strength one job is left, where there are several strengths.
    for words in distinct_jobs([[f"{key}={value}" for key, value in job.items()] for job in jobs]):
        config = composed_in_parts([f"experiment={name}", f"budget={budget}", *words])
        check_config(values_of(config))
        assert config.experiment == name
        assert config.budget == budget


@pytest.mark.parametrize(
    "name", [name for name in GRIDS if name not in ("compare", "evidence", "ablation", "challenge")]
)
def test_three_seeds_are_the_default_of_every_table_but_one(name):
    seeds = ["1", "2", "3", "4", "5"] if name == "table3" else SEEDS
    assert swept(name, "small")["seed"] == swept(name, "paper")["seed"] == seeds


@pytest.mark.parametrize("budget", ["small", "paper"])
@pytest.mark.parametrize("name", GRIDS)
def test_the_command_line_wins(name, budget):
    values = swept(name, budget, "dataset=digits", "seed=range(5,9)", "method=wp")
    assert (values["dataset"], values["method"]) == (["digits"], ["wp"])
    assert values["seed"] == ["5", "6", "7", "8"]


NO_TERM = {"method.decorrelation.linear": 0.0, "method.decorrelation.gaussian": 0.0}
PLAIN = {
    "method.decorrelation.conditional": False,
    "method.decorrelation.linear": 0.1,
    "method.decorrelation.gaussian": 0.0,
    "method.decorrelation.stages": 1,
}
LINEAR = {"method.decorrelation.linear": 0.2, "method.decorrelation.gaussian": 0.0}
ABLATIONS = {
    "head": {},
    "wf": {},
    "wp": {},
    "decorrelate": {},
    "wf_no_weights": {"method.phi": 0.0},
    "wf_random_weights": {"method.select": "random"},
    "wf_worst_weights": {"method.select": "worst"},
    "wf_no_decorrelation": NO_TERM,
    "wf_plain": PLAIN,
    "wf_unconditional": {"method.decorrelation.conditional": False},
    "wf_linear": LINEAR,
    "wf_last_stage": {"method.decorrelation.stages": 1},
    "wf_no_refit": {"method.refit": 0},
    "wf_sensitivity": {"method.reading": "above"},
    "wf_influence": {"method.influence": "head_exact"},
    "wf_adaptive": {"method.adaptive": True},
    "wf_noise": {"method.sigma": 1.0},
    "wf_rounds": {"method.rounds": 2},
    "wp_cross_validated": {"method.alpha": "cv", "method.beta": "cv"},
}
"""What each of conf/ablation changes of its method."""


def flat(values, start="method"):
    """Values of nested keys by their paths."""
    found = {}
    for key, value in values.items():
        path = f"{start}.{key}"
        found |= flat(value, path) if isinstance(value, dict) else {path: value}
    return found


def test_every_ablation_is_held_to_what_it_says():
    assert {file.stem for file in (CONF / "ablation").glob("*.yaml")} == set(ABLATIONS)


@pytest.mark.parametrize("name", ["evidence", "ablation"])
def test_evidence_is_of_draws_that_no_other_setting_has_seen(name):
    values = swept(name, "small")
    seeds = 20 if name == "evidence" else 5
    assert values["seed"] == [str(seed) for seed in range(1, seeds + 1)]
    assert {"wf", "wp", "decorrelate", "wf_no_decorrelation"} <= set(values["ablation"])
    assert set(values["ablation"]) <= set(ABLATIONS)
    config = values_of(composed_in_parts([f"experiment={name}", "seed=7"]))
    assert (config["dataset"]["seed"], config["dataset"]["correlation"]) == (1007, 1.0)
    assert config["dataset"]["default_forget"] == "Male"
    assert not config["dataset"]["keep_draws"]


def test_a_frontier_is_of_draws_of_its_own_and_of_several_strengths():
    values = swept("frontier", "small")
    assert values["strength"] == ["0", "0.3", "1", "3", "10"]
    assert values["dataset.correlation"] == ["1.0", "0.0"]
    config = composed("experiment=frontier", "seed=2")
    assert config.dataset.seed == 1002
    jobs = distinct_jobs(
        [
            [f"method={method}", f"strength={strength}"]
            for method, strength in itertools.product(values["method"], values["strength"])
        ]
    )
    alone = [job for job in jobs if job[0] in ("method=head", "method=leace")]
    assert [job[1] for job in alone] == ["strength=1", "strength=1"]
    assert len(jobs) == 7 * 5 + 2


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_is_its_method_but_for_its_part(name):
    method = name.partition("_")[0]
    whole = flat(values_of(composed_in_parts([f"method={method}"]))["method"])
    found = flat(values_of(composed_in_parts([f"ablation={name}"]))["method"])
    changed = {key: value for key, value in found.items() if value != whole[key]}
    wanted = {key: value for key, value in ABLATIONS[name].items() if value != whole[key]}
    assert changed == wanted
    assert bool(wanted) == ("_" in name)


def test_the_small_form_needs_no_files_and_the_papers_form_takes_the_papers_data():
    embedded = {"faces", "digits", "multidigits"}
    for name in GRIDS:
        assert set(swept(name, "small").get("dataset", ["faces"])) <= embedded, name
    expected = {
        "table1": ["celeba"],
        "table2": ["celeba", "vggface2"],
        "table3": ["mufac"],
        "table4": ["celeba"],
        "figure2": ["celeba", "vggface2"],
        "figure3": ["celeba", "mufac"],
        "appendix_labels": ["celeba"],
        "appendix_single_label": ["cifar10", "mnist", "svhn"],
    }
    for name, datasets in expected.items():
        assert swept(name, "paper")["dataset"] == datasets
    for name in ("table2", "figure3"):
        assert swept(name, "paper")["backbone"] == ["resnet18", "resnet50"]
    rivals = {"cfk", "scrub", "unsir", "salun"}
    for name in ("table2", "table3", "table4", "figure2", "figure3"):
        assert rivals <= set(swept(name, "paper")["method"])
    assert composed("budget=paper").training.epochs == 50


def test_a_grid_has_the_cells_that_the_paper_prints():
    printed = {("0.1", "1.0"), ("0.5", "1.0"), ("1.0", "1.0"), ("0.5", "0.01"), ("0.5", "0.1")}
    for name in ("table1", "table1_selective"):
        values = swept(name, "small")
        assert printed <= set(itertools.product(values["epsilon"], values["phi"]))
