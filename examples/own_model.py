"""Forget a label in a model of your own: python examples/own_model.py (half a minute on a CPU,
nothing is downloaded).

The model is a small network that was trained elsewhere, here just before; the data are
scikit-learn's handwritten digits with four labels each. The call of `forget` is all that forgetting
takes.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

LABELS = ["even", "prime", "round", "large"]


class DigitNet(nn.Module):
    """Any classifier will do whose last operation is a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(0.1), nn.Linear(256, len(LABELS)))

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))


def digits() -> TensorDataset:
    """Normalised images, shape (1797, 1, 8, 8), and what holds of each digit, 0 or 1, shape (1797,
    4)."""
    source = load_digits()
    digit = torch.tensor(source.target)
    targets = [digit % 2 == 0, torch.isin(digit, torch.tensor([2, 3, 5, 7])),
               torch.isin(digit, torch.tensor([0, 6, 8, 9])), digit > 4]  # fmt: skip
    images = torch.tensor(source.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    return TensorDataset(images, torch.stack(targets, 1).float())


def train(model: nn.Module, loader: DataLoader, epochs: int) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for images, targets in loader:
            optimiser.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(model(images), targets).backward()
            optimiser.step()


@torch.no_grad()
def balanced_accuracies(model: nn.Module, loader: DataLoader) -> Tensor:
    """Mean of the accuracies where a label holds and where it does not, shape (labels,)."""
    said = torch.cat([model(images) > 0 for images, _ in loader])
    true = torch.cat([targets > 0 for _, targets in loader])
    return ((said & true).sum(0) / true.sum(0) + (~said & ~true).sum(0) / (~true).sum(0)) / 2


def show(title: str, accuracies: Tensor) -> None:
    kept = accuracies[1:].mean()
    print(
        f"{title:8} {LABELS[0]} {accuracies[0]:.3f}, retained labels {kept:.3f} (balanced accuracy)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=15, help="passes of training before")
    parser.add_argument("--method", default="wf", help="how to forget")
    given = parser.parse_args()
    torch.manual_seed(0)
    training, test = random_split(digits(), [0.75, 0.25])
    loader, test_loader = (
        DataLoader(part, batch_size=64, shuffle=part is training) for part in (training, test)
    )
    model = DigitNet()
    train(model, loader, given.epochs)
    show("before", balanced_accuracies(model.eval(), test_loader))

    from mlu import forget

    unlearned = forget(model, loader, labels=LABELS, names="even", method=given.method)
    show("after", balanced_accuracies(unlearned, test_loader))


if __name__ == "__main__":
    main()
