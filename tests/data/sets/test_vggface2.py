import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlu.data.divided import ImageData
from mlu.data.labels import CELEBA, MAAD, PAPER
from mlu.data.sets.vggface2 import VGGFace2
from mlu.data.split import OPEN, partition
from mlu.system.errors import UserError
from tests.support.reading import edit, put, refusal, warnings_of
from tests.support.vggface2_folder import vggface2_facts, write_vggface2

IMAGES = 60
TABLE = "MAAD_Face.csv"


@pytest.fixture
def root(tmp_path):
    return write_vggface2(tmp_path / "gesichter-ä")


@pytest.fixture
def facts():
    return vggface2_facts()


def vggface2(root, labels=PAPER, **fields):
    own = {
        "name": "vggface2",
        "root": root,
        "image_size": 8,
        "labels": labels,
        "prepared": root / "prepared",
    }
    return VGGFace2(**{**own, **fields})


def plain(root, labels):
    """For each path: its targets, which of them are known, and its person; read with nothing but
    `csv`, row by row."""
    found = {}
    with (root / TABLE).open(newline="") as stream:
        for row in csv.DictReader(stream):
            for part in ("train", "test"):
                if (root / "VGGFace2" / part / row["Filename"]).is_file():
                    values = [int(row[label]) for label in labels]
                    has, known = (
                        [int(value == 1) for value in values],
                        [value in (1, -1) for value in values],
                    )
                    found[f"{part}/{row['Filename']}"] = has, known, int(row["Filename"][1:7])
    return found


def joined(data):
    rows = zip(data.targets.tolist(), data.known.tolist(), data.identities.tolist(), strict=True)
    return dict(zip(data.paths, rows, strict=True))


def test_the_paper_labels_exist_in_both_tables():
    assert len(MAAD) == len(set(MAAD)) == 47
    assert set(PAPER) <= set(MAAD) & set(CELEBA)


def test_reads_what_was_written(root, facts):
    data = vggface2(root, MAAD).load()
    assert (data.name, data.task, data.labels) == ("vggface2", "multilabel", MAAD)
    assert (data.targets.dtype, data.known.dtype) == (np.uint8, bool)
    np.testing.assert_array_equal(data.targets, facts.values == 1)
    np.testing.assert_array_equal(data.known, facts.values != 0)
    np.testing.assert_array_equal(data.identities, facts.identities)
    assert data.split is None
    assert [path.split("/", 1)[1] for path in data.paths] == list(facts.names)


def test_undefined_is_unknown_and_never_absent(root, facts):
    data = vggface2(root, MAAD).load()
    zero, minus = facts.values == 0, facts.values == -1
    assert zero.any()
    assert not data.known[zero].any()
    assert data.known[minus].all()
    assert not data.targets[zero | minus].any()


def test_the_masks_reach_the_splits(root):
    data = vggface2(root).load()
    for split in partition(data, seed=0).values():
        np.testing.assert_array_equal(split.known.numpy(), data.known[split.rows])
        assert not split.known.all()


def test_a_label_that_is_never_defined_is_read(root):
    for row in range(IMAGES):
        edit(root / TABLE, put(row, "Bald", "0"))
    data = vggface2(root).load()
    assert not data.known[:, PAPER.index("Bald")].any()


@pytest.mark.parametrize("label", MAAD)
def test_any_attribute_by_name(root, facts, label):
    data = vggface2(root, (label,)).load()
    np.testing.assert_array_equal(data.targets[:, 0], facts.values[:, MAAD.index(label)] == 1)


def test_the_papers_names_are_known_and_labels_keep_their_order(root, facts):
    data = vggface2(root, ["Young_Old", "Bald", "Gender"]).load()
    assert data.labels == ("Young", "Bald", "Male")
    columns = [MAAD.index(label) for label in data.labels]
    np.testing.assert_array_equal(data.targets, facts.values[:, columns] == 1)


def test_the_order_of_columns_does_not_count(root):
    before = vggface2(root).load().fingerprint
    edit(
        root / TABLE,
        lambda lines: lines.__setitem__(
            slice(None), [",".join(line.split(",")[::-1]) for line in lines]
        ),
    )
    assert vggface2(root).load().fingerprint == before


def test_rows_are_joined_by_name_not_by_position(root):
    rng = np.random.default_rng(1)
    edit(
        root / TABLE,
        lambda lines: lines.__setitem__(
            slice(1, None), [lines[row + 1] for row in rng.permutation(IMAGES)]
        ),
    )
    data = vggface2(root).load()
    assert joined(data) == plain(root, PAPER)
    assert list(joined(data)) == list(plain(root, PAPER))  # in the order of the table
    pixels = data.images[np.arange(IMAGES)]
    order = [vggface2_facts().names.index(path.split("/", 1)[1]) for path in data.paths]
    np.testing.assert_allclose(pixels[:, 0].mean((1, 2)), np.array(order) * 4, atol=4)


def test_rows_without_image_and_images_without_row_are_left_out_and_counted_once(
    root, facts, caplog
):
    folder = root / "VGGFace2" / "train"
    for row in (1, 20):
        (folder / facts.names[row]).unlink()
    edit(root / TABLE, lambda lines: [lines.pop(place) for place in (41, 31, 11)])
    data = vggface2(root).load()
    assert len(data.images) == IMAGES - 5
    assert joined(data) == plain(root, PAPER)
    lost, unnamed = warnings_of(caplog)
    assert f"2 of the {IMAGES - 3} rows" in lost
    assert facts.names[1] in lost
    assert f"3 of the {IMAGES - 2} images" in unnamed
    assert min(facts.names[row] for row in (10, 30, 40)) in unnamed


def test_a_whole_folder_is_no_reason_to_warn(root, caplog):
    (root / "VGGFace2" / "train" / "n000014" / "notes.txt").write_text("mine")
    (root / "VGGFace2" / "train" / "thumbnails").mkdir()
    vggface2(root).load()
    assert not warnings_of(caplog)


def flat(root):
    """No folder VGGFace2, and the other name of the table."""
    for part in ("train", "test"):
        (root / "VGGFace2" / part).rename(root / part)
    (root / TABLE).rename(root / "MAAD-Face.csv")
    return root


def inside(root):
    (root / TABLE).rename(root / "VGGFace2" / TABLE)
    return root


@pytest.mark.parametrize("layout", [lambda root: root / "VGGFace2", flat, inside])
def test_every_layout_gives_the_same(root, layout):
    before = vggface2(root).load()
    after = vggface2(layout(root)).load()
    assert before.fingerprint == after.fingerprint


def test_a_root_that_is_the_current_folder(root, monkeypatch):
    before = vggface2(root).load().fingerprint
    monkeypatch.chdir(root / "VGGFace2")
    assert vggface2(Path()).load().fingerprint == before


def test_the_table_may_be_elsewhere(root, tmp_path):
    before = vggface2(root).load().fingerprint
    (root / TABLE).rename(tmp_path / "mine.csv")
    assert "dataset.attributes=" in refusal(vggface2(root))
    assert vggface2(root, attributes=tmp_path / "mine.csv").load().fingerprint == before
    message = refusal(vggface2(root, attributes=tmp_path / "other.csv"))
    assert str(tmp_path / "other.csv") in message
    assert "dataset.attributes=" in message


def test_windows_line_ends_and_spaces_change_nothing(root):
    before = vggface2(root).load().fingerprint
    content = (root / TABLE).read_text().replace(",1,", ", 1,").replace("\n", "\r\n")
    (root / TABLE).write_bytes(content.encode())
    assert vggface2(root).load().fingerprint == before


def people_of(splits):
    people = {name: set(split.identities.tolist()) for name, split in splits.items()}
    assert all(people.values())
    assert sum(map(len, people.values())) == len(set.union(*people.values()))
    assert sum(len(split) for split in splits.values()) == IMAGES
    return people


def test_the_papers_split_pools_and_parts_the_people(root, facts):
    data = vggface2(root).load()
    drawn = [people_of(partition(data, seed))["test"] for seed in range(8)]
    assert any(people & set(facts.identities[~facts.tested].tolist()) for people in drawn)


def test_the_official_split_tests_on_its_own_folder(root, facts):
    data = vggface2(root, split="official").load()
    assert data.split.dtype == np.int8
    np.testing.assert_array_equal(data.split, np.where(facts.tested, 2, OPEN))
    for seed in range(3):
        assert people_of(partition(data, seed))["test"] == set(
            facts.identities[facts.tested].tolist()
        )


@pytest.mark.parametrize("part", ["train", "test"])
def test_one_part_is_enough_for_the_papers_split_only(root, facts, part):
    shutil.rmtree(root / "VGGFace2" / ("test" if part == "train" else "train"))
    data = vggface2(root).load()
    np.testing.assert_array_equal(
        np.unique(data.identities), np.unique(facts.identities[facts.tested == (part == "test")])
    )
    with pytest.raises(UserError, match=r"split of vggface2 has 0 images|at least 20"):
        ImageData(vggface2(root, split="official").load(), seed=0, batch_size=4)


def test_a_person_in_both_parts_is_refused(root, facts):
    shutil.copytree(root / "VGGFace2" / "train" / "n000014", root / "VGGFace2" / "test" / "n000014")
    message = refusal(vggface2(root))
    assert all(word in message for word in ("n000014", "train", "test")), message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put(4, "Bald", "2"), ["row n000021/0002_01.jpg", "Bald", "'2'"]),
        (put(4, "Bald", "-2"), ["row n000021/0002_01.jpg", "Bald", "'-2'"]),
        (put(5, "Male", "yes"), ["row n000021/0003_01.jpg", "Male", "'yes'"]),
        (put(5, "Male", "1.5"), ["row n000021/0003_01.jpg", "Male", "'1.5'"]),
        (put(59, "Young", ""), ["row n000119/0003_01.jpg", "Young", "''"]),
        (put(59, "Young", "NA"), ["row n000119/0003_01.jpg", "Young", "'NA'"]),
        (lambda lines: lines.append(lines[5]), ["twice"]),
        (put(4, "Filename", "../n000014/0002_01.jpg"), ["row 6", "'../n000014/0002_01.jpg'"]),
        (put(4, "Filename", "/n000014/0002_01.jpg"), ["row 6", "'/n000014/0002_01.jpg'"]),
        (put(4, "Filename", "n000014/../../0002_01.jpg"), ["row 6", "'n000014/../../0002_01.jpg'"]),
        (put(4, "Filename", "n000014/..\\0002_01.jpg"), ["row 6"]),
        (put(4, "Filename", "n14/0002_01.jpg"), ["row 6", "'n14/0002_01.jpg'"]),
        (put(4, "Filename", "train/n000014/0002_01.jpg"), ["row 6", "'train/n000014/0002_01.jpg'"]),
        (put(4, "Filename", ""), ["row 6", "''"]),
        (lambda lines: lines.__setitem__(5, lines[5] + ",1"), ["49", "50"]),
        (lambda lines: lines.__setitem__(0, lines[0].replace("Bald", "Hairless")), ["'Bald'"]),
        (
            lambda lines: lines.__setitem__(0, lines[0].replace("Filename", "File")),
            ["'Filename'", "mean 'File'"],
        ),
        (
            lambda lines: lines.__setitem__(0, lines[0].replace("Senior", "Bald")),
            ["'Bald' is there twice"],
        ),
        (lambda lines: lines.__setitem__(slice(1, None), []), ["none of the 0 images"]),
        (lambda lines: lines.clear(), []),
    ],
)
def test_a_malformed_table_is_named_with_row_column_and_value(root, change, says):
    edit(root / TABLE, change)
    message = refusal(vggface2(root))
    assert all(word in message for word in (str(root / TABLE), *says)), message


def test_a_row_that_is_doubled_is_named_even_without_its_image(root, facts):
    (root / "VGGFace2" / "train" / facts.names[3]).unlink()
    edit(root / TABLE, lambda lines: lines.append(lines[4]))
    assert f"row {facts.names[3]} is there twice" in refusal(vggface2(root))


def test_a_fault_in_a_column_that_is_not_asked_for_does_not_count(root):
    edit(root / TABLE, put(4, "Senior", "2"))
    vggface2(root).load()
    assert "Senior" in refusal(vggface2(root, ["Senior", "Male"]))


def test_no_image_at_all_is_refused(root):
    for part in ("train", "test"):
        for person in (root / "VGGFace2" / part).iterdir():
            shutil.rmtree(person)
    message = refusal(vggface2(root))
    assert all(
        word in message for word in (f"none of the {IMAGES} images", TABLE, str(root / "VGGFace2"))
    ), message


def test_a_missing_folder_says_what_is_expected_where(tmp_path):
    message = refusal(vggface2(tmp_path / "nowhere"))
    assert all(
        word in message
        for word in (str(tmp_path / "nowhere" / "VGGFace2"), "train", "dataset.root=")
    ), message


def test_an_unknown_label_is_named_with_the_nearest(root):
    message = refusal(vggface2(root, ["Midle_Aged"]))
    assert "did you mean 'Middle_Aged'?" in message


def test_a_truncated_image_is_named_when_its_row_is_read(root, facts):
    file = root / "VGGFace2" / "train" / facts.names[5]
    file.write_bytes(file.read_bytes()[:-200])
    images = vggface2(root).load().images
    with pytest.raises(UserError, match=facts.names[5]):
        images[np.arange(8)]
    assert images[np.array([4, 6])].shape == (2, 3, 8, 8)


def test_images_are_excluded_by_path(root, facts):
    (root / "out.txt").write_text(f"train/{facts.names[2]}\n")
    data = vggface2(root, exclude=root / "out.txt").load()
    assert len(data.images) == IMAGES - 1
    expected = plain(root, PAPER)
    del expected[f"train/{facts.names[2]}"]
    assert joined(data) == expected


def test_the_fingerprint_follows_the_content(root, facts):
    prints = {
        vggface2(root).load().fingerprint,
        vggface2(root, split="official").load().fingerprint,
    }
    assert vggface2(root).load().fingerprint in prints
    row = int(np.flatnonzero(facts.values[:, MAAD.index("Bald")] == -1)[0])
    edit(root / TABLE, put(row, "Bald", "0"))  # the target stays 0, but is no longer known
    prints.add(vggface2(root).load().fingerprint)
    edit(root / TABLE, put(row, "Bald", "1"))
    prints.add(vggface2(root).load().fingerprint)
    image = root / "VGGFace2" / "train" / facts.names[0]
    image.write_bytes(image.read_bytes() + b"x")
    prints.add(vggface2(root).load().fingerprint)
    assert len(prints) == 5
