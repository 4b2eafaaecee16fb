"""The answers of a network that are kept."""

from mlu.pipeline.context import context_of
from mlu.pipeline.trained import original_model


def test_stages_of_no_more_images_are_kept_than_allowed(run, experiment, monkeypatch):
    monkeypatch.setattr("mlu.pipeline.outputs.EXPOSED_IMAGES", 60)
    settings = ("method=head", "seed=77", "attack=[aia,mia]", "training.epochs=2")
    first, again = (run(*settings, folder=folder) for folder in ("one", "two"))
    assert again["metrics"] == first["metrics"]
    assert again["measured"]["original"]["cached"]
    assert first["metrics"]["original/attack/aia/features/balanced_accuracy"] is not None
    context = context_of(experiment(*settings))
    said = original_model(context).outputs["validation"]
    assert {len(means) for means in said.stages.values()} == {60}
    assert len(said) == len(context.data.splits["validation"]) > 60
