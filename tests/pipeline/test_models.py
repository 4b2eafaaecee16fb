"""The four models of a run, also where the original is the user's."""

import torch

from mlu.pipeline.context import context_of
from mlu.pipeline.trained import original_model


def test_a_model_of_the_users_is_unlearned(results_of, run, experiment, tmp_path):
    plain = results_of("method=head")
    context = context_of(experiment("method=head"))
    torch.save(original_model(context).net.state_dict(), tmp_path / "mine.pt")
    mine = run("method=head", f"original.weights={tmp_path / 'mine.pt'}", folder="mine")
    assert mine["metrics"] == plain["metrics"]
    assert mine["seconds"]["original"] is None
    assert "original.weights" in mine["missing"]["seconds/original"]


def test_a_network_with_an_added_layer_can_be_unlearnt_again(run, tmp_path):
    first = run("method=leace", folder="one")
    second = run(
        "method=original",
        f"original.weights={tmp_path / 'one' / 'unlearned.safetensors'}",
        folder="two",
    )
    for path in ("retained/accuracy", "label/Young/auroc"):
        assert (
            second["metrics"][f"original/test/{path}"] == first["metrics"][f"unlearned/test/{path}"]
        )
