import gzip

import pyarrow as pa
import pyarrow.parquet
import pytest

from mlu.data.tables import read_table, refuse_doubles
from mlu.system.errors import UserError
from tests.support.photo_folder import write_lines


def refusal(*arguments, **keywords):
    with pytest.raises(UserError) as error:
        read_table(*arguments, **keywords)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_columns_come_in_the_order_asked_for_and_as_text(tmp_path):
    file = write_lines(tmp_path / "läbels.csv", "image,Bald,Young", "ä.jpg,1,0", '"b, c.jpg",,1')
    table = read_table(file)
    assert table.to_pydict() == {
        "image": ["ä.jpg", "b, c.jpg"],
        "Bald": ["1", ""],
        "Young": ["0", "1"],
    }
    assert read_table(file, ["Young", "image"]).column_names == ["Young", "image"]
    assert read_table(file, ["Bald"], {"Bald": pa.int8()}).to_pydict() == {"Bald": [1, None]}


def test_a_byte_order_mark_windows_line_ends_and_gzip_are_read(tmp_path):
    content = "\ufeffimage,Bald\r\na.jpg,1\r\n".encode()
    (tmp_path / "a.csv").write_bytes(content)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(content))
    for name in ("a.csv", "b.csv.gz"):
        assert read_table(tmp_path / name).to_pydict() == {"image": ["a.jpg"], "Bald": ["1"]}


def test_parquet_says_the_same(tmp_path):
    rows = {"image": ["a.jpg", "b.jpg"], "Bald": [1, 0]}
    pyarrow.parquet.write_table(pa.table(rows), tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").to_pydict() == rows
    assert read_table(tmp_path / "a.parquet", ["Bald"]).to_pydict() == {"Bald": [1, 0]}


def test_what_is_wrong_is_named(tmp_path):
    assert "no label table" in refusal(tmp_path / "none.csv")
    file = write_lines(tmp_path / "a.csv", "image,Bald", "a.jpg,1", "b.jpg,1,0")
    assert all(word in refusal(file) for word in (str(file), "#3", "Expected 2 columns, got 3"))
    file = write_lines(tmp_path / "b.csv", "image,Bald", "a.jpg,1", "b.jpg,many")
    assert all(
        word in refusal(file, types={"Bald": pa.int8()}) for word in (str(file), "'many'", "#3")
    )
    file = write_lines(tmp_path / "c.csv", "image,Bald,Bald", "a.jpg,1,0")
    assert "column 'Bald' is there twice" in refusal(file)
    file = write_lines(tmp_path / "d.csv", "image,Bald", "a.jpg,1")
    assert all(
        word in refusal(file, ["Blad"])
        for word in ("'Blad'", "did you mean 'Bald'?", "It has image, Bald")
    )


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00\x01", b"image\n\xff\xfe.jpg\n", b"PAR1 not really"]
)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_file_that_is_no_table_is_named(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    assert str(tmp_path / name) in refusal(tmp_path / name)


def test_the_first_double_is_named(tmp_path):
    refuse_doubles(tmp_path / "a.csv", ["x", "y"])
    with pytest.raises(UserError, match=r"a\.csv: row x is there twice"):
        refuse_doubles(tmp_path / "a.csv", ["x", "y", "z", "y", "x"])
