"""Tables as other programs write them: read, or one line with a remedy."""

import gzip
import io
import shlex
import subprocess
import zipfile

import pyarrow as pa
import pyarrow.parquet
import pytest

from mlu.data.dialects import dialect_of, header_layout
from mlu.data.tables import read_table
from mlu.system.errors import UserError
from tests.support.photo_folder import write_lines

PLAIN = "image,Bald,Zoë\na.png,1,0\nb.png,0,1\n"
ROWS = {"image": ["a.png", "b.png"], "Bald": ["1", "0"], "Zoë": ["0", "1"]}
SEMICOLONS = PLAIN.replace(",", ";")
PARQUET = pa.BufferOutputStream()
pyarrow.parquet.write_table(pa.table(ROWS), PARQUET)

READ = {
    "plain": PLAIN.encode(),
    "byte order mark": PLAIN.encode("utf-8-sig"),
    "semicolons": SEMICOLONS.encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "bars": PLAIN.replace(",", "|").encode(),
    "told by Excel": b"sep=;\r\n" + SEMICOLONS.replace("\n", "\r\n").encode(),
    "told by Excel, marked": b"\xef\xbb\xbfsep=;\n" + SEMICOLONS.encode(),
    "told by Excel, a comma": b'"sep=,"\n' + PLAIN.encode(),
    "Excel's Unicode text": PLAIN.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "Windows' line ends": PLAIN.replace("\n", "\r\n").encode(),
    "old Macs' line ends": PLAIN.replace("\n", "\r").encode(),
    "no line end": PLAIN.rstrip().encode(),
    "blank lines at the end": (PLAIN + "\n\r\n\n").encode(),
    "blank lines above": ("\n\n" + PLAIN).encode(),
    "comments": ("# labels of 2024; mine\n#\n" + PLAIN).encode(),
    "blanks about names": PLAIN.replace("image,Bald,", " image, Bald ,\u00a0").encode(),
    "an accent apart": PLAIN.replace("ë", "e\u0308").encode(),
    "pandas' index": b",image,Bald,Zo\xc3\xab\n0,a.png,1,0\n1,b.png,0,1\n",
    "pandas' index twice": b"Unnamed: 0.1,Unnamed: 0,image,Bald,Zo\xc3\xab\n0,0,a.png,1,0\n"
    b"1,1,b.png,0,1\n",
    "R's row names": '"","image","Bald","Zoë"\n"1","a.png",1,0\n"2","b.png",0,1\n'.encode(),
    "a comma at the end": PLAIN.replace("\n", ",\n").encode(),
    "two commas at the end": PLAIN.replace("\n", ",,\n").encode(),
    "quotes": b'"image","Bald","Zo\xc3\xab"\n"a.png","1","0"\n"b.png","0","1"\n',
    "packed": gzip.compress(PLAIN.encode()),
    "Parquet": PARQUET.getvalue().to_pybytes(),
}


@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv", "labels.txt", "labels"])
@pytest.mark.parametrize("how", READ)
def test_a_table_of_another_program_is_read(how, name, tmp_path):
    (tmp_path / name).write_bytes(READ[how])
    assert read_table(tmp_path / name, needed=["image"]).to_pydict() == ROWS


def test_a_cell_may_have_line_ends_and_delimiters(tmp_path):
    (tmp_path / "a.csv").write_text('image;note;Bald\na.png;"one;\ntwo, three";1\n')
    assert read_table(tmp_path / "a.csv", needed=["image"]).to_pydict() == {
        "image": ["a.png"], "note": ["one;\ntwo, three"], "Bald": ["1"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("header", "needed", "delimiter"),
    [
        ("image,a;b;c;d", ["image"], ","),
        ("image,a|b|c", ["image"], ","),
        ("image,a\tb\tc", ["image"], ","),
        ('image,"a;b;c;d"', ["image"], ","),
        ("image", ["image"], ","),
        ("image;a,b,c,d", ["image"], ";"),
        ("path;a", ["image"], ";"),  # a column that is not there: told with the names
        ("a,b", ["image"], ","),
        ("a;b;c,image", ["image"], ","),
        ("who;image;Bald", ["image", "who"], ";"),
        ("image;a", [], ","),
        ("#image\tBald", ["#image"], "\t"),
    ],
)
def test_no_table_with_commas_is_misread(header, needed, delimiter):
    assert header_layout(f"{header}\n", needed, usual=",") == (delimiter, 0)


def archive(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name in names:
            file.writestr(name, PLAIN)
    return stream.getvalue()


REFUSED = {
    "Excel": (archive("[Content_Types].xml", "xl/workbook.xml"), ["Excel workbook", "CSV UTF-8"]),
    "LibreOffice": (archive("mimetype", "content.xml"), ["OpenDocument", "CSV UTF-8"]),
    "old Excel": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ["Excel workbook", "CSV UTF-8"]),
    "zip": (archive("labels.csv"), ["zip archive with labels.csv", "unzip "]),
    "cut zip": (archive("labels.csv")[:40], ["zip archive"]),
    "cut gzip": (gzip.compress(PLAIN.encode())[:20], ["a.csv"]),
    "a web page": (b"\n<!DOCTYPE html><html>", ["web page", "download the table itself"]),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid", ["git lfs pull"]),
    "JSON": (b'{"image": "a.png"}', ["JSON", "CSV"]),
    "a list of JSON": (b'[{"image": "a.png"}]', ["JSON", "CSV"]),
    "SQLite": (b"SQLite format 3\x00", ["SQLite"]),
    "Windows-1252": (PLAIN.encode("cp1252"), ["Windows-1252", "iconv -f WINDOWS-1252"]),
    "an umlaut in a cell": (
        PLAIN.replace("ë", "e").replace("b.png", "ü.png").encode("cp1252"),
        ["Windows-1252", "iconv -f WINDOWS-1252"],
    ),
    "UTF-16 without its mark": (PLAIN.encode("utf-16-le"), ["iconv -f UTF-16LE"]),
    "the same, big end first": (PLAIN.encode("utf-16-be"), ["iconv -f UTF-16BE"]),
    "no header": (b"a.png,1,0\nb.png,0,1\n", ["begins with a row (a.png, 1, 0)", "image,LABEL"]),
    "a comma at the end of rows": (b"image,Bald\na.png,1,\n", ["rows end with ','"]),
    "a comma at the end of the header": (b"image,Bald,\na.png,1\n", ["Row #2", "a cell for each"]),
    "a comma in a cell": (b"image,Bald\na,b.png,1\n", ["Row #2", "between quotes"]),
    "names that are one": (b"image,Bald, Bald\na.png,1,0\n", ["column 'Bald' is there twice"]),
    "names that look alike": (
        "image,Zoë,Zoe\u0308\na.png,1,0\n".encode(),
        ["column 'Zoë' is there twice"],
    ),
    "another name": (b"file;Bald\na.png;1\n", ["no column 'image'", "It has file, Bald"]),
}


def refusal_of(file):
    with pytest.raises(UserError) as error:
        read_table(file, needed=["image"])
    assert len(str(error.value).splitlines()) == 1
    assert str(file) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("how", REFUSED)
def test_what_cannot_be_read_is_told_with_a_remedy(how, tmp_path):
    content, says = REFUSED[how]
    (tmp_path / "a.csv").write_bytes(content)
    message = refusal_of(tmp_path / "a.csv")
    assert all(word in message for word in says), message


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16-be"])
def test_the_command_that_recodes_a_table_works_when_typed(encoding, tmp_path):
    folder = tmp_path / "my photos"
    folder.mkdir()
    (folder / "labels.csv").write_bytes(PLAIN.encode(encoding))
    command = refusal_of(folder / "labels.csv").partition("iconv ")[2]
    command = command.removesuffix(" and name that instead")
    subprocess.run(["sh", "-c", f"iconv {command}"], check=True)
    copy = shlex.split(command)[-1]
    assert read_table(folder / copy, needed=["image"]).to_pydict() == ROWS


def test_columns_without_a_name_are_told_once(tmp_path, caplog):
    caplog.set_level("INFO")
    file = write_lines(tmp_path / "a.csv", ",image,Bald,", "0,a.png,1,")
    assert read_table(file, needed=["image"]).column_names == ["image", "Bald"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"{file}: 2 columns without a name of their own are left out"


def test_a_compression_is_told_by_the_content(tmp_path):
    (tmp_path / "a.csv").write_bytes(gzip.compress(SEMICOLONS.encode()))
    found = dialect_of(tmp_path / "a.csv", ["image"])
    assert (found.compression, found.delimiter, found.encoding) == ("gzip", ";", "utf8")
