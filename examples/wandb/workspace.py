"""A W&B workspace for mlu's runs: python examples/wandb/workspace.py ENTITY [PROJECT]

Needs `pip install wandb-workspaces` and `wandb login`; prints the workspace's address.
"""

import sys

import wandb_workspaces.reports.v2 as panels
import wandb_workspaces.workspaces as workspaces

MODELS = ("original", "retrain", "unlearned")
RETAINED, FORGOTTEN = "test/retained/accuracy", "test/forgotten/balanced_accuracy"
FEATURES, EXCESS = "attack/aia/features/balanced_accuracy", "attack/aia/features/excess"
VIEWS = ("output", "outputs", "retained_outputs", "features")


def workspace(entity: str, project: str) -> workspaces.Workspace:
    """Four sections: the trade-off, what attackers read, cost, and the settings that decide."""
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name="Forgetting a label",
        sections=[
            workspaces.Section(
                name="What is kept and what is left", panels=trade_off(), is_open=True
            ),
            workspaces.Section(name="What an attacker learns", panels=attacks(), is_open=True),
            workspaces.Section(name="What it costs", panels=cost()),
            workspaces.Section(name="Which settings decide", panels=settings()),
        ],
        runset_settings=workspaces.RunsetSettings(
            groupby=[workspaces.Config("method.name")],
            order=[workspaces.Ordering(workspaces.Summary(f"unlearned/{EXCESS}"), ascending=True)],
        ),
    )


def trade_off() -> list:
    by_method = {"groupby": panels.Config("method.name"), "groupby_rangefunc": "stddev"}
    return [
        panels.ScatterPlot(
            title="Retained accuracy against excess over Retrain",
            x=panels.SummaryMetric(f"unlearned/{EXCESS}"),
            y=panels.SummaryMetric(f"unlearned/{RETAINED}"),
        ),
        panels.BarPlot(title="Retained accuracy", metrics=[f"unlearned/{RETAINED}"], **by_method),
        panels.BarPlot(
            title="Balanced accuracy of the forgotten output",
            metrics=[f"unlearned/{FORGOTTEN}"],
            **by_method,
        ),
    ]


def attacks() -> list:
    read = [
        panels.BarPlot(
            title=f"Read from {view.replace('_', ' ')}",
            metrics=[f"{model}/attack/aia/{view}/balanced_accuracy" for model in MODELS],
            groupby=panels.Config("method.name"),
        )
        for view in VIEWS
    ]
    perceptron = "attack/aia/features/mlp/balanced_accuracy"
    return [
        *read,
        panels.BarPlot(
            title="By a perceptron", metrics=[f"{model}/{perceptron}" for model in MODELS]
        ),
    ]


def cost() -> list:
    by_method = {"groupby": panels.Config("method.name"), "groupby_rangefunc": "stddev"}
    return [
        panels.BarPlot(title="Seconds", metrics=["seconds/unlearn"], **by_method),
        panels.BarPlot(title="Times faster than Retrain", metrics=["speedup"], **by_method),
        panels.BarPlot(title="Times fewer image passes", metrics=["work_ratio"], **by_method),
    ]


def settings() -> list:
    columns = [panels.Config("method.phi"), panels.Config("method.epsilon")]
    figures = [panels.SummaryMetric(f"unlearned/{path}") for path in (RETAINED, FEATURES, EXCESS)]
    return [
        panels.ParallelCoordinatesPlot(
            columns=[
                panels.ParallelCoordinatesPlotColumn(metric=metric)
                for metric in (*columns, *figures)
            ]
        ),
        panels.ParameterImportancePlot(with_respect_to=f"unlearned/{EXCESS}"),
    ]


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    print(workspace(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "mlu").save().url)
