"""Files of features: both kinds hold the same, in whatever order of rows."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mlu.auditing.features import FEATURES_STAGE, read_features
from mlu.system.errors import UserError
from tests.support.audited import IMAGES, LABELS, features_of, paths, write_archive


def test_an_archive_gives_the_rows_that_are_asked_for(tmp_path):
    order = np.random.default_rng(0).permutation(IMAGES)
    names = np.array(paths())[order]
    file = read_features(
        write_archive(tmp_path / "x.npz", image=names, after=features_of(3.0)[order]), LABELS
    )
    rows = file.rows(["007.png", "001.png"])
    said = file.answers("after", rows, 3)
    expected = torch.from_numpy(features_of(3.0)[[7, 1]]).float()
    torch.testing.assert_close(said.stages[FEATURES_STAGE], expected)
    assert said.logits.shape == (2, 3)


def test_without_outputs_these_say_nothing(tmp_path):
    file = read_features(write_archive(tmp_path / "x.npz", after_outputs=None), LABELS)
    assert not file.answers("after", np.arange(4), 3).logits.any()


@pytest.mark.parametrize("fixed", [False, True])
def test_parquet_holds_the_same(fixed, tmp_path):
    after = features_of(3.0).astype(np.float32)
    kind = pa.list_(pa.float32(), after.shape[1]) if fixed else pa.list_(pa.float32())
    table = pa.table(
        {"image": paths(), "after": pa.array(list(after), kind), "retrain": list(after)}
    )
    pq.write_table(table, tmp_path / "x.parquet")
    file = read_features(tmp_path / "x.parquet", LABELS)
    np.testing.assert_array_equal(file.arrays["after"], after)
    assert file.images == paths()


def test_names_of_outputs_must_be_those_of_the_table(tmp_path):
    read_features(write_archive(tmp_path / "x.npz", labels=np.array(LABELS)), LABELS)
    with pytest.raises(UserError, match="in this order"):
        read_features(write_archive(tmp_path / "x.npz", labels=np.array(LABELS[::-1])), LABELS)
