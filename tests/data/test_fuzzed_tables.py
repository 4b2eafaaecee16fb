"""Readers of label tables on files that nobody has looked at: a table, or one line that says what
is wrong."""

import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlu.data.folder import listed_paths
from mlu.data.sets.celeba import (
    read_attributes,
    read_joined,
    read_numbers,
    read_partition,
    read_targets,
)
from mlu.data.sets.celeba_hq import image_number
from mlu.data.sets.csv import Csv
from mlu.data.sets.mufac import MUFAC_PARTS, part_file, read_mufac_part
from mlu.data.sets.vggface2 import VGGFace2
from mlu.data.spelling import plain_path, plain_text
from mlu.data.tables import read_table
from mlu.system.errors import UserError
from tests.support.photo_folder import SIZE

FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def outcome(reader, *given, **more):
    """What a reader gives; None where it refuses, which must be in one line."""
    try:
        return reader(*given, **more)
    except UserError as fault:
        lines = str(fault).splitlines()
    assert len(lines) == 1
    return None


BYTES = st.binary(max_size=60) | st.text("01-,;|\"'\n\r\t \x00\x1c\x85.ajpgé²٣", max_size=60).map(
    str.encode
)


@st.composite
def spoilt(draw, valid: bytes) -> bytes:
    """A file with some of its bytes replaced by others, or by none."""
    content = valid
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 8)))
        content = (
            content[:start]
            + draw(BYTES | st.sampled_from([b"\n", b",", b'"', b"9" * 5000]))
            + content[end:]
        )
    return content


def parquet(columns) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


VALID = b"image,who,part,Bald,Young\na.png,p,train,1,0\nb.png,,test,,1\nc.png,q,,0,0\n"
COLUMNS = {"image": ["a.png", "b.png", "c.png"], "who": ["p", None, "q"], "Bald": [1, 0, None]}
FORMS = {
    "table.csv": BYTES | spoilt(VALID),
    "table.csv.gz": BYTES,
    "table.parquet": BYTES | spoilt(parquet(COLUMNS)),
}


@pytest.mark.parametrize("name", FORMS)
def test_any_file_is_a_table_or_refused(name, tmp_path):
    file = tmp_path / name

    @FUZZ
    @given(content=FORMS[name])
    def claim(content):
        file.write_bytes(content)
        outcome(read_table, file)
        outcome(read_table, file, ["image", "Bald"], {"Bald": pa.int8()})

    claim()


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1, max_size=8
)
COLUMNS_OF_ONES_OWN = NAMES.map(plain_text).filter(bool)
TABLES = st.lists(COLUMNS_OF_ONES_OWN, min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.lists(st.tuples(*[NAMES for _ in names]), min_size=1, max_size=5).map(
        lambda rows: (names, rows)
    )
)


@FUZZ
@given(table=TABLES)
def test_what_was_written_is_read(table, tmp_path_factory):
    names, rows = table
    folder = tmp_path_factory.getbasetemp()
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    with (folder / "written.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    (folder / "written.parquet").write_bytes(parquet(columns))
    for name in ("written.csv", "written.parquet"):
        assert read_table(folder / name).to_pydict() == columns
        assert read_table(folder / name, names[::-1]).column_names == names[::-1]


def own(root, table, **fields):
    return Csv(
        name="csv", root=root, image_size=SIZE, table=table, prepared=root / "prepared", **fields
    )


MEANINGS = [
    {},
    {"labels": ["Bald"], "identity_column": "who", "split_column": "part", "split": "official"},
    {"class_column": "who"},
    {"list_column": "who", "separator": "a"},
    {"labels": ["x", "Young"], "list_column": "part", "positive": "train", "unknown": "test"},
    {"labels": ["Bald", "Young"], "positive": "yes", "negative": 0.5, "unknown": -1},
]


@pytest.mark.parametrize("fields", MEANINGS, ids=str)
def test_any_table_of_a_users_images_is_read_or_refused(fields, tmp_path):
    @FUZZ
    @given(content=BYTES | spoilt(VALID))
    @example(content=b"image,who,part,Bald,Young\n")
    def claim(content):
        (tmp_path / "labels.csv").write_bytes(content)
        found = outcome(own(tmp_path, "labels.csv", **fields).read)
        if found is not None:
            assert found.targets.shape == (len(found.paths), len(found.labels))
            assert set(np.unique(found.targets)) <= {0, 1}

    claim()


KINDS = [
    st.none(), st.booleans(), st.integers(-2, 3), st.floats(), st.text(max_size=3),
    st.binary(max_size=3), st.dates(), st.lists(st.sampled_from(["x", "Bald", None]), max_size=2),
    st.fixed_dictionaries({"x": st.integers(0, 9)}),
    st.lists(st.lists(st.integers(0, 1), max_size=1), max_size=2), st.decimals(0, 9, places=1),
]  # fmt: skip


@pytest.mark.parametrize("fields", MEANINGS, ids=str)
def test_any_types_of_columns_are_read_or_refused(fields, tmp_path):
    columns = st.sampled_from(KINDS).flatmap(lambda kind: st.lists(kind, min_size=3, max_size=3))
    images = columns | st.just(["a.png", "b.png", "c.png"])

    @FUZZ
    @given(
        st.fixed_dictionaries(
            {"image": images, **dict.fromkeys(("who", "part", "Bald", "Young"), columns)}
        )
    )
    def claim(values):
        (tmp_path / "labels.parquet").write_bytes(parquet(values))
        outcome(own(tmp_path, "labels.parquet", **fields).read)

    claim()


SIGNS = st.lists(st.sampled_from(["1", "0", ""]), min_size=2, max_size=2)


@FUZZ
@given(
    rows=st.dictionaries(
        NAMES.map(lambda name: plain_path(f"{name}.png")), SIGNS, min_size=1, max_size=6
    )
)
def test_labels_are_read_as_they_were_written(rows, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    with (folder / "signs.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(
            [["image", "Bald", "Young"], *([name, *signs] for name, signs in rows.items())]
        )
    found = own(folder, "signs.csv").read()
    assert list(found.paths) == list(rows)
    cells = np.array(list(rows.values()))
    np.testing.assert_array_equal(found.targets, cells == "1")
    np.testing.assert_array_equal(
        np.ones_like(found.targets) if found.known is None else found.known, cells != ""
    )


ATTRIBUTES = b"2\nBald Male Young\n000001.jpg -1  1  1\n000002.jpg  1 -1 -1\n"
KAGGLE = b"image_id,Bald,Male,Young\n000001.jpg,-1,1,1\n000002.jpg,1,-1,-1\n"


@pytest.mark.parametrize(("name", "valid"), [("a.txt", ATTRIBUTES), ("a.csv", KAGGLE)])
def test_any_file_of_attributes_is_read_or_refused(name, valid, tmp_path):
    file = tmp_path / name

    @FUZZ
    @given(content=BYTES | spoilt(valid))
    @example(content=b"0\nBald Male Young\n")
    @example(content=b"image_id,Bald\n")
    @example(content=b"9" * 5000 + b"\nBald\n")
    @example(content="²\nBald\n".encode())
    @example(content=b"1\nBald Bald\na.jpg 1 -1\n")
    def claim(content):
        file.write_bytes(content)
        found = outcome(read_attributes, file)
        if found is not None:
            header, names, table = found
            assert table.shape == (len(names), len(header))
            assert len(set(header)) == len(header)
        outcome(read_targets, file, ["Male"], key=lambda name: image_number(file, name))

    claim()


@pytest.mark.parametrize("name", ["identities.txt", "identities.csv"])
def test_any_file_of_numbers_is_read_or_refused(name, tmp_path):
    file = tmp_path / name

    @FUZZ
    @given(content=BYTES | spoilt(b"image_id,number\na.jpg,1\nb.jpg,-2\n".replace(b",", b" ")))
    @example(content=b"x y\na.jpg " + b"9" * 5000 + b"\n")
    @example(content=b"x y\na.jpg 99999999999999999999\n")
    @example(content=b"a.jpg 99999999999999999999\n")
    @example(content=b"a.jpg --1\n")
    def claim(content):
        file.write_bytes(content)
        numbers = outcome(read_numbers, file)
        outcome(read_joined, file, ["a.jpg", "b.jpg"], file)
        if numbers:
            outcome(read_partition, file, list(numbers), file)

    claim()


JPG = st.text("abc019_", min_size=1, max_size=6).map(lambda name: f"{name}.jpg")


@FUZZ
@given(
    rows=st.dictionaries(
        JPG, st.lists(st.booleans(), min_size=2, max_size=2), min_size=1, max_size=6
    ),
    numbers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=6, max_size=6),
)
def test_attributes_and_numbers_are_read_as_they_were_written(rows, numbers, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    lines = [
        f"{name} {' '.join(str(2 * sign - 1) for sign in signs)}" for name, signs in rows.items()
    ]
    (folder / "written.txt").write_text("\n".join([str(len(rows)), "Bald Male", *lines]))
    (folder / "numbers.txt").write_text(
        "\n".join(f"{name} {one}" for name, one in zip(rows, numbers, strict=False))
    )
    header, names, table = read_attributes(folder / "written.txt")
    assert (header, names) == (["Bald", "Male"], list(rows))
    np.testing.assert_array_equal(table, list(rows.values()))
    joined = read_joined(folder / "numbers.txt", names, folder / "written.txt")
    assert joined.tolist() == numbers[: len(rows)]


MUFAC = (
    b"family_id,person_id,age_class,image_path\n"
    b"F0001,D,a,F0001_AGE_D_18_a1.jpg\nF0001,M,b,F0001_AGE_M_40_b1.jpg\n"
)


def test_any_table_of_mufac_is_read_or_refused(tmp_path):
    @FUZZ
    @given(content=BYTES | spoilt(MUFAC))
    def claim(content):
        part_file(tmp_path, MUFAC_PARTS[0]).write_bytes(content)
        outcome(read_mufac_part, tmp_path, 0)

    claim()
    part_file(tmp_path, MUFAC_PARTS[0]).write_bytes(MUFAC)
    assert [(row.family, row.person, row.group) for row in read_mufac_part(tmp_path, 0)] == [
        ("F0001", "D", "0-6"), ("F0001", "M", "7-12")
    ]  # fmt: skip


MAAD = b"Filename,Male,Bald\nn000001/0001_01.jpg,1,-1\nn000002/0001_01.jpg,-1,0\n"


def test_any_table_of_maad_face_is_read_or_refused(tmp_path):
    for person in ("n000001", "n000002"):
        (tmp_path / "train" / person).mkdir(parents=True)
        (tmp_path / "train" / person / "0001_01.jpg").touch()
    data = VGGFace2(
        name="vggface2",
        root=tmp_path,
        image_size=SIZE,
        labels=["Male", "Bald"],
        prepared=tmp_path / "made",
    )

    @FUZZ
    @given(content=BYTES | spoilt(MAAD))
    def claim(content):
        (tmp_path / "MAAD_Face.csv").write_bytes(content)
        outcome(data.read)

    claim()
    (tmp_path / "MAAD_Face.csv").write_bytes(MAAD)
    assert data.read().targets.tolist() == [[1, 0], [0, 0]]


def test_any_list_of_images_is_read_or_refused(tmp_path):
    @FUZZ
    @given(content=BYTES | spoilt("ä.png\nb.png\n".encode()))
    def claim(content):
        (tmp_path / "list.txt").write_bytes(content)
        outcome(listed_paths, tmp_path / "list.txt")

    claim()
    (tmp_path / "list.txt").write_text("\ufeffä.png\n\n b.png \n", encoding="utf-8")
    assert listed_paths(tmp_path / "list.txt") == {"ä.png", "b.png"}
