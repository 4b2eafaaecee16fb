"""Forget a class in an architecture of torchvision's: python examples/torchvision_model.py (a
minute on a CPU).

A vision transformer with random weights learns scikit-learn's ten handwritten digits for a little
while, then forgets the 3. Nothing is downloaded. Batches are (images, classes), so this is a task
of one class per image.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchvision.models import VisionTransformer

DIGITS = [str(digit) for digit in range(10)]
FORGOTTEN = "3"


def transformer() -> nn.Module:
    """Its last linear layer is `heads.head`."""
    return VisionTransformer(
        image_size=8,
        patch_size=2,
        num_layers=2,
        num_heads=4,
        hidden_dim=64,
        mlp_dim=128,
        num_classes=len(DIGITS),
    )


def digits() -> TensorDataset:
    """Images in three equal channels, shape (1797, 3, 8, 8), and their digits, shape (1797,)."""
    source = load_digits()
    images = (
        torch.tensor(source.images, dtype=torch.float32).unsqueeze(1).expand(-1, 3, -1, -1) / 8 - 1
    )
    return TensorDataset(images, torch.tensor(source.target))


def train(model: nn.Module, loader: DataLoader, epochs: int) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for images, classes in loader:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images), classes).backward()
            optimiser.step()


@torch.no_grad()
def accuracies(model: nn.Module, loader: DataLoader) -> tuple[float, float]:
    """Share of right answers among images of the forgotten class, and among the others."""
    said = torch.cat([model(images).argmax(1) for images, _ in loader])
    true = torch.cat([classes for _, classes in loader])
    gone, right = true == DIGITS.index(FORGOTTEN), said == true
    return right[gone].float().mean().item(), right[~gone].float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20, help="passes of training before")
    parser.add_argument("--steps", type=int, default=60, help="steps of fine-tuning after the edit")
    given = parser.parse_args()
    torch.manual_seed(0)
    training, test = random_split(digits(), [0.75, 0.25])
    loader, test_loader = (
        DataLoader(part, batch_size=64, shuffle=part is training) for part in (training, test)
    )
    model = transformer()
    train(model.train(), loader, given.epochs)
    print(
        "before: digit {} {:.3f}, others {:.3f} (accuracy)".format(
            FORGOTTEN, *accuracies(model.eval(), test_loader)
        )
    )

    from mlu import forget

    # A transformer wants smaller steps than the convolutions that the defaults are made for.
    tuning = {"lr": 0.02, "steps": given.steps}
    unlearned = forget(model, loader, labels=DIGITS, names=FORGOTTEN, method="wf", tuning=tuning)
    print(
        "after:  digit {} {:.3f}, others {:.3f} (accuracy)".format(
            FORGOTTEN, *accuracies(unlearned, test_loader)
        )
    )


if __name__ == "__main__":
    main()
