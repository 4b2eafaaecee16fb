import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlu.data.divided import ImageData
from mlu.data.labels import plain_cell
from mlu.data.sets.csv import Csv
from mlu.data.split import OPEN, partition
from mlu.system.errors import UserError
from tests.support.photo_folder import SIZE, write_lines, write_photos
from tests.support.reading import refusal

PATHS = [f"fotos/bild {number} é.png" for number in range(30)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("Fotos von früher")
    write_photos(root, PATHS)
    return root


def csv(root, file, **fields):
    return Csv(
        name="csv",
        root=root,
        image_size=SIZE,
        table=file.name,
        prepared=root / "prepared",
        **fields,
    )


def table(root, name, header, rows):
    return write_lines(
        root / name, header, *(",".join([path, *map(str, row)]) for path, row in rows)
    )


def test_a_column_for_each_label(root):
    signs = np.random.default_rng(0).integers(0, 2, (30, 2))
    data = csv(
        root, table(root, "a.csv", "image,Beard,Bald", zip(PATHS, signs, strict=True))
    ).load()
    assert (data.task, data.labels, data.paths) == ("multilabel", ("Beard", "Bald"), PATHS)
    np.testing.assert_array_equal(data.targets, signs)
    assert data.known is data.identities is data.split is None
    np.testing.assert_array_equal(data.images[np.arange(30)], write_photos(root, PATHS))
    only = csv(root, root / "a.csv", labels=["Bald"]).load()
    np.testing.assert_array_equal(only.targets, signs[:, 1:])


@pytest.mark.parametrize(
    ("fields", "positive", "negative", "unknown"),
    [
        ({}, "1", "0", ""),
        ({}, "1.0", "false", " "),
        ({"negative": -1, "unknown": 0}, "1", "-1", "0"),
        ({"positive": "yes", "negative": "no", "unknown": "?"}, "yes", "no", "?"),
    ],
)
def test_cells_that_say_nothing_are_unknown_not_absent(root, fields, positive, negative, unknown):
    words = np.array([positive, negative, unknown])
    cells = np.random.default_rng(1).integers(0, 3, (30, 2))
    file = table(root, "b.csv", "image,Bald,Young", zip(PATHS, words[cells], strict=True))
    data = csv(root, file, **fields).load()
    np.testing.assert_array_equal(data.targets, cells == 0)
    np.testing.assert_array_equal(data.known, cells != 2)


@given(value=st.floats(allow_nan=False, allow_infinity=False, width=16))
@settings(max_examples=50, deadline=None)
def test_a_number_has_one_spelling(value):
    assert plain_cell(value) == plain_cell(f" {value} ") == plain_cell(str(float(f"{value:g}")))
    assert (plain_cell(value) == plain_cell(1)) == (f"{value:g}" == "1")


def test_booleans_and_numbers_of_parquet(root):
    values = np.random.default_rng(2).integers(0, 2, 30)
    rows = {
        "image": PATHS,
        "Bald": values.astype(bool),
        "Young": values.astype(float),
        "Old": values,
    }
    pyarrow.parquet.write_table(pa.table(rows), root / "c.parquet")
    data = csv(root, root / "c.parquet").load()
    np.testing.assert_array_equal(data.targets, np.stack([values] * 3, 1))


@pytest.mark.parametrize("form", ["text", "parquet"])
def test_a_list_of_labels(root, form):
    has = np.random.default_rng(3).random((30, 3)) < 0.4
    names = np.array(["cat", "dog", "red fox"])
    if form == "text":
        cells = (" ; ".join(names[row]) for row in has)
        file = table(
            root,
            "d.csv",
            "image,tags",
            ((path, [cell]) for path, cell in zip(PATHS, cells, strict=True)),
        )
    else:
        file = root / "d.parquet"
        pyarrow.parquet.write_table(
            pa.table({"image": PATHS, "tags": [list(names[row]) for row in has]}), file
        )
    data = csv(root, file, list_column="tags", separator=";").load()
    assert (data.task, data.labels) == ("multilabel", ("cat", "dog", "red fox"))
    np.testing.assert_array_equal(data.targets, has)
    some = csv(root, file, list_column="tags", separator=";", labels=["red fox", "cat"]).load()
    np.testing.assert_array_equal(some.targets, has[:, [2, 0]])


def test_a_class_for_each_image(root):
    classes = np.random.default_rng(4).integers(0, 3, 30)
    file = table(
        root,
        "e.csv",
        "image,age",
        ((path, [one]) for path, one in zip(PATHS, classes, strict=True)),
    )
    data = csv(root, file, class_column="age").load()
    assert (data.task, data.labels) == ("singlelabel", ("0", "1", "2"))
    np.testing.assert_array_equal(data.targets.argmax(1), classes)
    np.testing.assert_array_equal(data.targets.sum(1), 1)
    two = csv(root, file, class_column="age", labels=[2, 0]).load()
    kept = np.flatnonzero(classes != 1)
    assert two.labels == ("2", "0")
    assert two.paths == [PATHS[row] for row in kept]
    np.testing.assert_array_equal(two.targets[:, 0], classes[kept] == 2)
    np.testing.assert_array_equal(two.images[np.array([3])], data.images[kept[[3]]])


def test_people_and_splits_of_ones_own(root):
    people = ["Änne" if row % 3 == 0 else "Bo" if row % 3 == 1 else "" for row in range(30)]
    parts = [("train", "VAL", "2", "")[row % 4] for row in range(30)]
    rows = (
        (path, [person, part, 1, row % 2])
        for row, (path, person, part) in enumerate(zip(PATHS, people, parts, strict=True))
    )
    file = table(root, "f.csv", "image,who,part,Bald,Young", rows)
    own = {"identity_column": "who", "split_column": "part"}
    data = csv(root, file, split="official", **own).load()
    assert data.labels == ("Bald", "Young")
    np.testing.assert_array_equal(data.split, [(0, 1, 2, OPEN)[row % 4] for row in range(30)])
    same = data.identities[:, None] == data.identities
    expected = [
        [a == b and (a != "" or i == j) for j, b in enumerate(people)] for i, a in enumerate(people)
    ]
    np.testing.assert_array_equal(same, expected)
    assert csv(root, file, split="paper", **own).load().split is None


def test_an_open_part_is_divided_between_train_and_validation(root):
    parts = ["test" if row < 6 else "" for row in range(30)]
    file = table(
        root,
        "g.csv",
        "image,part,Bald",
        (
            (path, [part, row % 2])
            for row, (path, part) in enumerate(zip(PATHS, parts, strict=True))
        ),
    )
    splits = partition(csv(root, file, split_column="part", split="official").load(), seed=0)
    np.testing.assert_array_equal(splits["test"].rows, np.arange(6))
    assert len(splits["train"]) + len(splits["validation"]) == 24
    assert abs(len(splits["train"]) - 24 * 0.65 / 0.9) < 3


GOOD = "image,Bald,Young"


@pytest.mark.parametrize(
    ("lines", "fields", "says"),
    [
        (
            [GOOD, f"{PATHS[0]},1,2"],
            {},
            ["row 1", PATHS[0], "'Young'", "'2'", "dataset.positive", "dataset.unknown"],
        ),
        (
            [GOOD, f"{PATHS[0]},1,0", f"{PATHS[1]},-,0"],
            {},
            ["row 2", "'Bald'", "\"dataset.unknown='-'\""],
        ),
        ([GOOD, f"{PATHS[0]},1,0", f"{PATHS[0]},1,0"], {}, [f"row {PATHS[0]} is there twice"]),
        ([GOOD, ",1,0"], {}, ["row 1", "'image' is empty"]),
        ([GOOD, "../x.png,1,0"], {}, ["'../x.png'", "leads out"]),
        ([GOOD, "/etc/hostname,1,0"], {}, ["'/etc/hostname'", "leads out"]),
        (
            [GOOD, "fotos/none.png,1,0"],
            {},
            ["none of the 1 images", "fotos/none.png", "names them"],
        ),
        ([GOOD, f"{PATHS[0]},1,0"], {"labels": ["Blad"]}, ["'Blad'", "did you mean 'Bald'?"]),
        ([GOOD, f"{PATHS[0]},1,0"], {"labels": ["Bald", "Bald"]}, ["'Bald'", "twice"]),
        ([GOOD, f"{PATHS[0]},1,0"], {"image_column": "imag"}, ["'imag'", "did you mean 'image'?"]),
        (
            [GOOD, f"{PATHS[0]},1,"],
            {"class_column": "Young"},
            ["row 1", PATHS[0], "'Young' is empty"],
        ),
        ([GOOD, f"{PATHS[0]},1,"], {"list_column": "Young"}, ["'Young'", "no row has a label"]),
        ([GOOD, f"{PATHS[0]},1,x"], {"list_column": "Young", "labels": ["y"]}, ["'y'", "It has x"]),
        ([GOOD, f"{PATHS[0]},1,x"], {"list_column": "Young", "class_column": "Bald"}, ["set one"]),
        (
            [GOOD, f"{PATHS[0]},1,late"],
            {"split_column": "Young", "split": "official"},
            ["row 1", "'late'"],
        ),
        (["image", PATHS[0]], {}, ["dataset.labels", "empty"]),
    ],
)
def test_what_is_wrong_is_named_with_its_row(root, lines, fields, says):
    file = write_lines(root / "bad.csv", *lines)
    message = refusal(csv(root, file, **fields))
    assert all(word in message for word in says), message


def test_an_empty_split_is_named(root):
    rows = [(path, ["train" if row < 20 else "val", row % 2]) for row, path in enumerate(PATHS)]
    data = csv(
        root, table(root, "h.csv", "image,part,Bald", rows), split_column="part", split="official"
    ).load()
    with pytest.raises(UserError, match="the test split of csv has 0 images"):
        ImageData(data, seed=0, batch_size=8)


def test_the_fingerprint_follows_the_table(root):
    rows = [(path, [row % 2, row % 3 == 0]) for row, path in enumerate(PATHS)]
    prints = {csv(root, table(root, "i.csv", GOOD, rows)).load().fingerprint}
    assert csv(root, table(root, "other.csv", GOOD, rows)).load().fingerprint in prints
    prints.add(csv(root, table(root, "i.csv", GOOD, rows[1:])).load().fingerprint)
    rows[0] = (PATHS[0], ["", 1])
    prints.add(csv(root, table(root, "i.csv", GOOD, rows)).load().fingerprint)
    assert len(prints) == 3
