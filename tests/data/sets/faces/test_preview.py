import pytest

from mlu.data.sets.faces import preview


def test_the_preview_is_a_picture(tmp_path):
    sheet = tmp_path / "faces.png"
    assert preview.main(["--output", str(sheet), "--images", "3", "--image-size", "16"]) == 0
    assert sheet.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "wrong", [["--images", "0"], ["--correlation", "2"], ["--output", "no/such/folder/a.png"]]
)
def test_a_bad_argument_ends_in_one_line(tmp_path, capsys, wrong):
    assert (
        preview.main(["--output", str(tmp_path / "faces.png"), "--image-size", "16", *wrong]) == 2
    )
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_the_options_older_name_gives_the_same_picture(tmp_path):
    for option in ("output", "preview"):
        file = tmp_path / f"{option}.png"
        words = [f"--{option}", str(file), "--images", "2", "--image-size", "16"]
        assert preview.main(words) == 0
    assert (tmp_path / "output.png").read_bytes() == (tmp_path / "preview.png").read_bytes()


def test_only_a_sheet_of_ours_is_drawn_over(tmp_path, capsys):
    words = ["--output", str(tmp_path / "faces.png"), "--images", "2", "--image-size", "16"]
    (tmp_path / "faces.png").write_text("mine")
    assert preview.main(words) == 2
    assert (tmp_path / "faces.png").read_text() == "mine"
    (line,) = capsys.readouterr().err.splitlines()
    assert "name another file with --output" in line
    (tmp_path / "faces.png").unlink()
    assert [preview.main(words), preview.main(words)] == [0, 0]
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["faces.png"]
