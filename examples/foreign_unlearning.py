"""Train, unlearn and retrain a classifier without mlu: python examples/foreign_unlearning.py photos

The folder has pictures of one size and a `labels.csv` with the columns image, who, split (train,
validation or test) and one of 0 and 1 for each label. It gets `before.pt`, which knows all labels;
`after.pt`, whose output for one of them starts anew, as some unlearning does; and `retrain.pt` and
`again.pt`, which never saw that label. `python -m mlu.audit` says which of them has forgotten it.
"""

import argparse
import csv
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.transforms.v2.functional import normalize, pil_to_tensor

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=Path)
parser.add_argument("--label", default="Male", help="what is to be forgotten")
parser.add_argument("--epochs", type=int, default=6)
given = parser.parse_args()

with (given.folder / "labels.csv").open() as table:
    rows = [row for row in csv.DictReader(table) if row["split"] == "train"]
labels = [name for name in rows[0] if name not in ("image", "who", "split")]
pictures = [Image.open(given.folder / row["image"]).convert("RGB") for row in rows]
own = ResNet18_Weights.DEFAULT.transforms()
images = normalize(torch.stack([pil_to_tensor(one) for one in pictures]) / 255, own.mean, own.std)
targets = torch.tensor([[float(row[name]) for name in labels] for row in rows])


def trained(columns: list[int], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = resnet18(num_classes=len(labels))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for batch in (
        part for _ in range(given.epochs) for part in torch.randperm(len(rows)).split(64)
    ):
        logits, truth = model(images[batch])[:, columns], targets[batch][:, columns]
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(logits, truth).backward()
        optimiser.step()
    return model


gone = labels.index(given.label)
others = [column for column in range(len(labels)) if column != gone]
before = trained([*range(len(labels))], seed=0)
torch.save(before.state_dict(), given.folder / "before.pt")
with torch.no_grad():
    before.fc.weight[gone] = torch.randn_like(before.fc.weight[gone]) * 0.04
    before.fc.bias[gone] = 0
torch.save(before.state_dict(), given.folder / "after.pt")
for seed, name in enumerate(("retrain.pt", "again.pt")):
    torch.save(trained(others, seed).state_dict(), given.folder / name)
print("before.pt, after.pt, retrain.pt and again.pt are in", given.folder)
