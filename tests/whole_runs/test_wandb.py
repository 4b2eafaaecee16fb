"""What examples/wandb promises: sweeps whose jobs a run accepts, and a workspace of figures that
runs have."""

import sys
from pathlib import Path

import pytest
import yaml

from mlu.launch.check import check_config
from mlu.launch.compose import composed, values_of

EXAMPLES = Path(__file__).parents[2] / "examples" / "wandb"
SWEEPS = sorted(EXAMPLES.glob("*.yaml"))
FIGURES = (
    "unlearned/test/retained/accuracy",
    "unlearned/test/forgotten/balanced_accuracy",
    "unlearned/attack/aia/features/excess",
)


def first_values(parameters):
    """The first value of each parameter, as an agent would pass it to launch.py."""
    for key, values in parameters.items():
        value = values.get("value", values.get("min", (values.get("values") or [None])[0]))
        yield f"{key}={value}"


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_a_sweeps_jobs_are_accepted(file):
    sweep = yaml.safe_load(file.read_text())
    assert sweep["program"] == "launch.py"
    assert "${args_no_hyphens}" in sweep["command"]
    assert sweep["metric"]["name"] in FIGURES
    check_config(values_of(composed([*first_values(sweep["parameters"])])))


# wandb-workspaces of its own code.
@pytest.mark.filterwarnings("ignore:Pydantic V1 style")
def test_the_workspace_shows_figures_that_runs_have(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from workspace import workspace

    made = workspace("somebody", "mlu")
    text = made._to_model().model_dump_json()
    for figure in FIGURES:
        assert figure in text
    assert [len(section.panels) for section in made.sections] == [3, 5, 3, 2]
    sys.modules.pop("workspace")
