"""What a run has measured: its costs, its figures, and what decided them."""

from types import SimpleNamespace

import pytest

from mlu.data.divided import ImageData
from mlu.metrics.findings import Finding
from mlu.pipeline.outcome import facts_of_run, identity, metrics_of
from mlu.runs.seeds import Seeds
from mlu.system.errors import UserError


def test_work_is_counted_by_hand(run, experiment):
    overrides = [
        "method.tuning.steps=3",
        "method.tuning.recalibrate=100",
        "method.images=40",
        "method.soft=0.5",
        "method.refit=30",
        "method.share=null",
    ]
    overrides += ["method.tuning.batch_size=64"]
    results = run("method=wf", *overrides)
    setup = experiment()
    data = ImageData(setup.dataset.load(), setup.seeds.split, setup.training.batch_size)
    train = data.splits["train"]
    tuned = 3 * 64
    # 20 images with the label and 20 without; two score maps; a teacher at each step; statistics
    # renewed once; 30 images for the outputs.
    assert results["work"]["unlearn"] == {
        "forward": 40 + 2 * tuned + 100 + 30,
        "backward": 2 * 40 + tuned,
    }
    seen = setup.training.epochs * (len(train) - (len(train) % setup.training.batch_size == 1))
    assert results["work"]["retrain"] == {"forward": seen, "backward": seen}
    assert results["work_ratio"] == 2 * seen / sum(results["work"]["unlearn"].values())


def test_where_files_lie_does_not_change_the_hash_of_a_configuration(experiment, tmp_path):
    first, moved, other = (
        identity(experiment(*overrides).config)
        for overrides in (
            [],
            [f"outputs={tmp_path}", "logger=wandb", "trainer.workers=2"],
            ["seed=1"],
        )
    )
    assert first == moved != other


def test_the_seeds_of_a_run_are_written_down_as_they_were(experiment):
    setup = experiment("method=head", "seed=3", "method_seed=5")
    data = SimpleNamespace(task="multilabel", fingerprint="abc")
    facts = facts_of_run(setup, data, SimpleNamespace(device="a CPU", date="today"))
    kept = {name: value for name, value in vars(facts).items() if name.endswith("seed")}
    assert kept == {"seed": 3, "split_seed": 3, "train_seed": 3, "method_seed": 5}
    assert Seeds.of(vars(facts)) == setup.seeds


def test_without_a_reference_its_figures_are_missing_with_the_reason(run):
    results = run("method=head", "reference=none")
    assert results["seconds"]["retrain"] is None
    assert results["speedup"] is None
    paths = (
        "retrain/test/retained/accuracy",
        "unlearned/test/entropy/jensen_shannon",
        "speedup",
        "seconds/retrain",
    )
    for path in paths:
        assert "reference=none" in results["missing"][path]
    assert results["metrics"]["retrain/test/retained/accuracy"] is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_no_number_is_named_before_anything_is_written(value):
    with pytest.raises(
        UserError, match=r"1 figures are no finite numbers, first x/y = (nan|inf): no results"
    ) as error:
        metrics_of([Finding("x/z", 0.5), Finding("x/y", value)])
    assert "\n" not in str(error.value)
