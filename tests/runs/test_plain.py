from mlu.runs.plain import plain_tables
from tests.support.made_runs import made_run

METRICS = {
    "original/test/retained/accuracy": 0.9,
    "original/test/retained/accuracy/low": 0.88,
    "original/test/retained/accuracy/high": 0.92,
    "unlearned/test/retained/accuracy": 0.8,
    "unlearned/test/forgotten/balanced_accuracy": None,
    "unlearned/attack/aia/features/excess": -0.1,
    "unlearned/attack/aia/features/excess/low": -0.2,
    "unlearned/attack/aia/features/excess/high": 0.0,
    "random/attack/mia/combined/auroc": 0.5,
    "original/test/label/Male/auroc": 0.99,
    "unlearned/test/label/Bald/accuracy": 0.97,
}
SECONDS = {"original": 40.0, "retrain": None, "unlearn": 4.0}


def as_dicts(table):
    columns, rows = table
    assert all(len(row) == len(columns) for row in rows)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_each_table_holds_the_figures_of_the_results_and_none_where_there_is_none():
    tables = plain_tables(made_run(METRICS, seconds=SECONDS), ["Bald", "Male"])
    models = {row["model"]: row for row in as_dicts(tables["tables/models"])}
    assert list(models) == ["original", "retrain", "unlearned"]
    assert models["original"]["test/retained/accuracy/high"] == 0.92
    assert models["unlearned"]["test/retained/accuracy"] == 0.8
    assert models["unlearned"]["test/forgotten/balanced_accuracy"] is None
    assert [models[name]["seconds"] for name in models] == [40.0, None, 4.0]
    labels = {row["label"]: row for row in as_dicts(tables["tables/labels"])}
    assert (labels["Male"]["forgotten"], labels["Bald"]["forgotten"]) == (True, False)
    assert labels["Male"]["original/auroc"] == 0.99
    assert labels["Bald"]["unlearned/accuracy"] == 0.97
    assert labels["Bald"]["original/auroc"] is None
    assert as_dicts(tables["tables/attacks"]) == [
        {
            "model": "unlearned",
            "attack": "aia/features",
            "metric": "excess",
            "value": -0.1,
            "low": -0.2,
            "high": 0.0,
        },
        {
            "model": "random",
            "attack": "mia/combined",
            "metric": "auroc",
            "value": 0.5,
            "low": None,
            "high": None,
        },
    ]
