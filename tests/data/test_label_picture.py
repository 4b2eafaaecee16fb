import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mlu.data.base import LabelledImages
from mlu.data.label_picture import (
    MOST_NAMED,
    draw_correlations,
    draw_label_picture,
    draw_rates,
    shares,
)
from mlu.data.split import Split


def split_of(targets, known):
    rows = np.arange(len(targets))
    return Split(np.zeros((len(targets), 3, 1, 1), np.uint8), rows, torch.tensor(targets).float(),
                 torch.tensor(known), rows)  # fmt: skip


def data_of(targets):
    count, labels = targets.shape
    names = tuple(f"label {number}" for number in range(labels))
    images = np.zeros((count, 3, 1, 1), np.uint8)
    return LabelledImages("toy", "multilabel", images, targets.astype(np.uint8), names, "print")


SPLITS = {
    "train": split_of([[1, 0], [1, 0], [0, 1], [1, 0]], [[True, True]] * 4),
    "test": split_of([[0, 1], [1, 1]], [[True, True], [False, True]]),
}


def test_shares_are_of_the_known_targets_alone():
    rates, known = shares(SPLITS)
    np.testing.assert_allclose(rates, [[0.75, 0.0], [0.25, 1.0]])
    np.testing.assert_allclose(known, [5 / 6, 1.0])


def test_each_bar_is_as_long_as_the_label_is_common_in_its_split():
    axes = Figure().subplots()
    draw_rates(axes, data_of(np.eye(2)), SPLITS)
    bars = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers}
    assert bars == {"train": pytest.approx([0.75, 0.25]), "test": pytest.approx([0.0, 1.0])}


@pytest.mark.parametrize("labels", [3, MOST_NAMED + 1])
def test_the_matrix_is_the_correlation_of_the_labels_and_is_written_where_it_can_be_read(labels):
    targets = np.random.default_rng(0).integers(0, 2, (50, labels))
    axes = Figure().subplots()
    image = draw_correlations(axes, data_of(targets))
    expected = np.corrcoef(targets.T)
    np.testing.assert_allclose(image.get_array(), expected, atol=1e-12)
    written = [text.get_text() for text in axes.texts]
    assert written == ([f"{value:.2f}" for value in expected.flat] if labels <= MOST_NAMED else [])


def test_the_picture_is_saved(tmp_path):
    draw_label_picture(data_of(np.eye(2)[[0, 1, 0, 1]]), SPLITS, tmp_path / "labels.png")
    assert (tmp_path / "labels.png").read_bytes().startswith(b"\x89PNG")
