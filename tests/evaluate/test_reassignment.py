import numpy as np
import pytest
import torch
from torch import nn

from mlu.evaluate import reassignment
from mlu.evaluate.reassignment import (
    MULTILABEL,
    NO_FORGOTTEN_IMAGES,
    RESERVED,
    neighbours,
    reassignment_findings,
)
from mlu.metrics.findings import part_of_path
from mlu.models.outputs import Outputs
from mlu.models.tasks import ForgetRequest, MultiLabel, SingleLabel

NAMES = ("cat", "dog", "fox", "owl", "bat")
CLASSES = len(NAMES)


def head_of(seed=0, width=3):
    """Rows of very different lengths: the largest logit need not be of the nearest class."""
    head = nn.Linear(width, CLASSES).double().requires_grad_(False)
    draw = torch.Generator().manual_seed(seed)
    head.weight.copy_(torch.randn(CLASSES, width, dtype=torch.float64, generator=draw))
    head.weight.mul_(torch.tensor([1.0, 4.0, 0.5, 2.0, 1.0]).unsqueeze(1))
    head.bias.copy_(torch.randn(CLASSES, dtype=torch.float64, generator=draw))
    return head


def features_of(images=200, width=3, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(images, width, dtype=torch.float64, generator=draw)


def nearest_by_hyperplanes(features, classes, head, retained):
    """Point by point.

    The signed distance to each boundary, and that its foot really lies on the boundary.
    """
    weight, bias = head.weight.numpy(), head.bias.numpy()
    found = []
    for point, own in zip(features.numpy(), classes.tolist(), strict=True):
        distances = {}
        for other in retained:
            normal, offset = weight[own] - weight[other], bias[own] - bias[other]
            distances[other] = (normal @ point + offset) / np.sqrt(normal @ normal)
            foot = point - distances[other] * normal / np.sqrt(normal @ normal)
            logits = weight @ foot + bias
            np.testing.assert_allclose(logits[own], logits[other], atol=1e-9)
            np.testing.assert_allclose(
                np.linalg.norm(foot - point), abs(distances[other]), atol=1e-9
            )

        found.append(min(distances, key=distances.get))

    return torch.tensor(found)


def by_largest_logit(logits, classes, head, retained):
    """Takes logits for distances."""
    return torch.tensor(retained)[logits[:, list(retained)].argmax(1)]


def assert_nearest(find, seed, retained=(1, 2, 4)):
    """Try images of all other classes, right ones and misclassified ones."""
    head, features = head_of(seed), features_of()
    forgotten = [column for column in range(CLASSES) if column not in retained]
    classes = torch.tensor(forgotten)[torch.arange(len(features)) % len(forgotten)]
    logits = head(features)
    right = logits.argmax(1) == classes

    assert right.any()
    assert not right.all()
    assert torch.equal(
        find(logits, classes, head, retained),
        nearest_by_hyperplanes(features, classes, head, retained),
    )


@pytest.mark.parametrize("retained", [(1, 2, 4), (4, 1, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_neighbour_is_the_class_across_the_nearest_hyperplane_of_the_features(seed, retained):
    assert_nearest(neighbours, seed, retained)


def test_the_largest_logit_is_another_answer():
    with pytest.raises(AssertionError, match="equal"):
        assert_nearest(by_largest_logit, seed=0)


def test_whoever_walks_away_in_any_direction_meets_the_neighbour_first():
    """In a plane, for images that are classified right.

    No formula for distances, only where the logits cross.
    """
    head, features = head_of(width=2), features_of(width=2)
    own, retained = 0, (1, 2, 3, 4)
    logits = head(features)
    features, logits = features[logits.argmax(1) == own], logits[logits.argmax(1) == own]

    assert len(features) > 20
    angles = torch.arange(3600, dtype=torch.float64) * torch.pi / 1800
    rays = torch.stack([angles.cos(), angles.sin()], 1) @ head.weight.T
    found = neighbours(logits, torch.full((len(features),), own), head, retained)
    for row, neighbour in zip(logits, found.tolist(), strict=True):
        closing = rays[:, list(retained)] - rays[:, [own]]
        steps = torch.where(closing > 0, (row[own] - row[list(retained)]) / closing, torch.inf)
        assert retained[int(steps.min(0).values.argmin())] == neighbour


def test_classes_of_one_row_are_as_far_as_their_biases_say():
    """Their logits never cross, so that no step leads from the one to the other."""
    head = head_of()
    head.weight[1] = head.weight[0]
    head.bias[1] = head.bias[0] - 1
    logits = head(features_of())
    assert not (neighbours(logits, torch.zeros(200, dtype=torch.long), head, (1, 2)) == 1).any()


def outputs_of(classes, said):
    targets, logits = (nn.functional.one_hot(torch.tensor(of), CLASSES) for of in (classes, said))
    known = torch.ones_like(targets, dtype=torch.bool)
    return Outputs(logits.double(), targets.float(), known, np.arange(len(classes)))


def values(findings):
    return {finding.path: finding.value for finding in findings}


def test_shares_are_those_of_the_forgotten_classes_images_alone(monkeypatch):
    """Eight images of classes 0 and 3, one each of the others.

    One image is still said to be of its class.
    """
    monkeypatch.setattr(
        reassignment, "neighbours", lambda *_: torch.tensor([1, 1, 1, 2, 2, 2, 4, 4])
    )
    outputs = outputs_of([0, 0, 1, 0, 0, 3, 2, 3, 3, 3, 4], [1, 1, 4, 2, 2, 2, 4, 0, 4, 1, 4])
    request = ForgetRequest((0, 3), (1, 2, 4))
    found = reassignment_findings(SingleLabel(), outputs, outputs.logits, head_of(), request, NAMES)

    assert values(found) == {
        "reassigned/neighbour": 5 / 8,
        "reassigned/accuracy": pytest.approx(6 / 11),
        "reassigned/dog": 3 / 8,
        "reassigned/fox": 3 / 8,
        "reassigned/bat": 1 / 8,
    }


def test_neighbours_are_those_of_the_original_and_of_each_images_true_class():
    head, features = head_of(), features_of()
    classes = (torch.arange(len(features)) % CLASSES).tolist()
    original = head(features)
    request = ForgetRequest((0, 3), (1, 2, 4))
    rows = torch.tensor([one in request.forgotten for one in classes])
    nearest = nearest_by_hyperplanes(
        features[rows], torch.tensor(classes)[rows], head, request.retained
    )
    said = torch.tensor(classes)
    said[rows] = nearest

    for shift, share in ((0, 1.0), (1, 0.0)):
        outputs = outputs_of(classes, ((said + shift) % CLASSES).tolist())
        found = values(
            reassignment_findings(SingleLabel(), outputs, original, head, request, NAMES)
        )
        assert found["reassigned/neighbour"] == share
        assert found["reassigned/accuracy"] == share


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_retained_classes_sum_to_what_is_not_given_to_forgotten_ones(seed):
    draw = torch.Generator().manual_seed(seed)
    classes, said = (torch.randint(0, CLASSES, (60,), generator=draw).tolist() for _ in "ab")
    outputs, request = outputs_of(classes, said), ForgetRequest((1, 2), (0, 3, 4))
    found = values(
        reassignment_findings(SingleLabel(), outputs, outputs.logits, head_of(), request, NAMES)
    )
    shares = sum(found[f"reassigned/{NAMES[column]}"] for column in request.retained)
    kept = [
        guess in request.forgotten
        for one, guess in zip(classes, said, strict=True)
        if one in request.forgotten
    ]

    assert shares == pytest.approx(1 - np.mean(kept))
    assert shares <= 1 + 1e-6


@pytest.mark.parametrize(
    "name", ["neighbour", "accuracy", '"neighbour"', "fox/low", "neighbour/low", '"']
)
def test_a_class_that_is_called_like_a_path_hides_no_share(name):
    """Each share under a path of its own, and the others as with ordinary names."""
    outputs, request = outputs_of([0, 0, 0, 3], [1, 1, 2, 4]), ForgetRequest((0, 3), (1, 2, 4))
    plain, odd = (
        reassignment_findings(SingleLabel(), outputs, outputs.logits, head_of(), request, names)
        for names in (NAMES, ("cat", name, *NAMES[2:]))
    )
    assert len(values(odd)) == len(odd) == len(plain)
    assert [finding.value for finding in odd] == [finding.value for finding in plain]
    for path in (*RESERVED, "fox", "bat"):
        assert values(odd)[f"reassigned/{path}"] == values(plain)[f"reassigned/{path}"]

    assert values(odd)[f"reassigned/{part_of_path(name, RESERVED)}"] == 0.5
    ends = [f"reassigned/{one}/{end}" for one in ("fox", "neighbour") for end in ("low", "high")]
    assert not set(ends) & set(values(odd))


def test_a_multilabel_task_has_no_neighbours():
    outputs = outputs_of([0, 1], [1, 1])
    found = reassignment_findings(
        MultiLabel(), outputs, outputs.logits, head_of(), ForgetRequest((0,), (1, 2)), NAMES
    )
    assert [finding.path for finding in found] == ["reassigned/neighbour", "reassigned/accuracy"]
    assert {(finding.value, finding.missing) for finding in found} == {(None, MULTILABEL)}


def test_without_images_of_a_forgotten_class_every_share_is_missing():
    outputs, request = outputs_of([1, 2, 4], [0, 0, 0]), ForgetRequest((0, 3), (1, 2, 4))
    found = reassignment_findings(SingleLabel(), outputs, outputs.logits, head_of(), request, NAMES)
    assert [finding.path for finding in found] == [
        f"reassigned/{name}" for name in (*RESERVED, "dog", "fox", "bat")
    ]
    assert {(finding.value, finding.missing) for finding in found} == {(None, NO_FORGOTTEN_IMAGES)}


def test_the_original_gives_no_image_of_its_own_away_where_it_is_always_right():
    """The negative control of every share."""
    outputs, request = outputs_of([0, 3, 0, 1], [0, 3, 0, 1]), ForgetRequest((0, 3), (1, 2, 4))
    found = reassignment_findings(SingleLabel(), outputs, outputs.logits, head_of(), request, NAMES)
    right = values(found).pop("reassigned/accuracy")
    assert right == 1 / 4
    assert {finding.value for finding in found if finding.value != right} == {0.0}
