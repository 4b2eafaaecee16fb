"""Every figure of a run's models by their outputs."""

import re

import pytest

from tests.support.command_line import ROOT

MODELS, SPLITS = ("original", "retrain", "unlearned"), ("train", "validation", "test")


def described() -> list[str]:
    """Patterns of the paths that docs/figures.md explains."""
    text = (ROOT / "docs" / "figures.md").read_text().partition("| Path |")[2].partition("\n\n")[0]
    paths = [
        path for row in text.splitlines()[2:] for path in re.findall("`([^`]+)`", row.split("|")[1])
    ]
    return [
        re.sub("<metric>", "[a-z_0-9]+", re.sub("<(Label|Class)>", "[^/]+", path)) for path in paths
    ]


@pytest.mark.parametrize("dataset", ["faces", "digits"])
def test_every_figure_is_described(results_of, dataset):
    metrics, patterns = (
        results_of("method=head", "attack=none", dataset=dataset)["metrics"],
        described(),
    )
    met = set()
    for path in metrics:
        model, split, rest = path.removesuffix("/low").removesuffix("/high").split("/", 2)
        assert model in MODELS
        assert split in SPLITS
        matching = {pattern for pattern in patterns if re.fullmatch(pattern, rest)}
        assert matching, path
        met |= matching
    assert met == set(patterns)


def test_a_class_that_is_gone_goes_to_others(run):
    metrics = run("method=wp", "method.tuning.steps=3", dataset="digits")["metrics"]
    before, after = (
        [metrics[f"{model}/test/reassigned/{digit}"] for digit in "012456789"]
        for model in ("original", "unlearned")
    )
    recall = metrics["original/test/forgotten/recall"]
    assert recall > 0
    assert sum(before) == pytest.approx(1 - recall)
    assert sum(after) == pytest.approx(1)
    for model, shares in (("original", before), ("unlearned", after)):
        assert 0 <= metrics[f"{model}/test/reassigned/neighbour"] <= sum(shares) + 1e-6


def test_a_multi_label_task_says_why_nothing_is_reassigned(results_of):
    assert (
        "multi-label" in results_of("method=head")["missing"]["unlearned/test/reassigned/neighbour"]
    )
