from pathlib import Path

import numpy as np
import pytest

from mlu.data.labels import CELEBA, PAPER
from mlu.data.sets.celeba import CelebA
from mlu.system.errors import UserError
from tests.support.celeba_folder import celeba_facts, write_celeba
from tests.support.reading import edit, refusal, refusal_to_train

IMAGES = 24


@pytest.fixture
def root(tmp_path):
    return write_celeba(tmp_path, images=IMAGES, identities=8)


@pytest.fixture
def facts():
    return celeba_facts(images=IMAGES, identities=8)


def celeba(root, labels=PAPER, **fields):
    return CelebA(
        **{
            "name": "celeba",
            "root": root,
            "image_size": 16,
            "labels": labels,
            "prepared": root / "prepared",
            **fields,
        }
    )


def same(one, other):
    return (
        np.array_equal(one.targets, other.targets)
        and np.array_equal(one.identities, other.identities)
        and np.array_equal(
            one.images[np.arange(len(one.images))], other.images[np.arange(len(other.images))]
        )
    )


def test_reads_what_was_written(root, facts):
    data = celeba(root, CELEBA).load()
    assert (data.name, data.task, data.labels) == ("celeba", "multilabel", CELEBA)
    assert data.targets.dtype == np.uint8
    np.testing.assert_array_equal(data.targets, facts.targets)
    np.testing.assert_array_equal(data.identities, facts.identities)
    assert data.split is None
    assert data.known is None
    assert len(data.images) == IMAGES


def test_equals_torchvisions_reader(root, monkeypatch):
    torchvision = pytest.importorskip("torchvision.datasets").CelebA
    monkeypatch.setattr(torchvision, "_check_integrity", lambda self: True)
    for name, columns in (("list_bbox_celeba", 4), ("list_landmarks_align_celeba", 10)):
        rows = [f"{n:06}.jpg" + " 1" * columns for n in range(1, IMAGES + 1)]
        (root / "celeba" / f"{name}.txt").write_text(
            "\n".join([str(IMAGES), "x " * columns, *rows]) + "\n"
        )
    ours = celeba(root, CELEBA, split="official").load()
    for part, name in enumerate(("train", "valid", "test")):
        theirs = torchvision(str(root), split=name)
        rows = ours.split == part
        np.testing.assert_array_equal(ours.targets[rows], theirs.attr)
        np.testing.assert_array_equal(ours.identities[rows], theirs.identity[:, 0])
        assert [ours.images.paths[row] for row in np.flatnonzero(rows)] == theirs.filename
    assert tuple(name for name in theirs.attr_names if name) == ours.labels


@pytest.mark.parametrize("label", CELEBA)
def test_any_attribute_by_name(root, facts, label):
    data = celeba(root, (label,)).load()
    np.testing.assert_array_equal(data.targets[:, 0], facts.targets[:, CELEBA.index(label)])


def test_labels_keep_the_order_they_are_asked_in_and_the_papers_names_are_known(root, facts):
    data = celeba(root, ["Young_Old", "Bald", "Gender"]).load()
    assert data.labels == ("Young", "Bald", "Male")
    np.testing.assert_array_equal(data.targets, facts.targets[:, [39, 4, 20]])


@pytest.mark.parametrize(
    "name", ["list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"]
)
@pytest.mark.parametrize("split", ["paper", "official"])
def test_rows_are_joined_by_name_not_by_position(root, name, split):
    before = celeba(root, split=split).load()

    def reverse(lines):
        first = 2 if name.startswith("list_attr") else 0
        lines[first:] = reversed(lines[first:])

    edit(root / "celeba" / name, reverse)
    after = celeba(root, split=split).load()
    assert same(before, after)
    np.testing.assert_array_equal(before.split, after.split)


def test_a_subset_of_rows_is_read(root, facts):
    edit(
        root / "celeba" / "list_attr_celeba.txt",
        lambda lines: lines.__setitem__(slice(None), ["10", *lines[1:12]]),
    )
    edit(root / "celeba" / "identity_CelebA.txt", lambda lines: lines.__delitem__(slice(10, None)))
    data = celeba(root, CELEBA).load()
    np.testing.assert_array_equal(data.targets, facts.targets[:10])
    np.testing.assert_array_equal(data.identities, facts.identities[:10])


def test_official_split(root, facts):
    data = celeba(root, split="official").load()
    np.testing.assert_array_equal(data.split, facts.split)
    (root / "celeba" / "identity_CelebA.txt").unlink()
    data = celeba(root, split="official").load()
    assert data.identities is None
    np.testing.assert_array_equal(data.split, facts.split)


def test_root_may_be_the_folder_itself(root):
    assert same(celeba(root).load(), celeba(root / "celeba").load())


def test_kaggles_layout(root):
    before, folder = celeba(root, split="official").load(), root / "celeba"
    pixels = before.images[np.arange(IMAGES)]
    to_csv(folder / "list_attr_celeba.txt", ["image_id", *CELEBA], skip=2)
    to_csv(folder / "list_eval_partition.txt", ["image_id", "partition"])
    (folder / "img_align_celeba").rename(folder / "images")
    (folder / "img_align_celeba").mkdir()
    (folder / "images").rename(folder / "img_align_celeba" / "img_align_celeba")
    after = celeba(root, split="official").load()
    np.testing.assert_array_equal(after.images[np.arange(IMAGES)], pixels)
    np.testing.assert_array_equal(after.targets, before.targets)
    np.testing.assert_array_equal(after.split, before.split)


def to_csv(file, header, skip=0):
    rows = [line.split() for line in file.read_text().splitlines()[skip:]]
    file.with_suffix(".csv").write_text(
        "\r\n".join(",".join(row) for row in [header, *rows]) + "\r\n"
    )
    file.unlink()


def test_fingerprint_follows_the_content(root):
    prints = {celeba(root).load().fingerprint}
    prints |= {
        celeba(root, image_size=8).load().fingerprint,
        celeba(root, PAPER[:3]).load().fingerprint,
    }
    prints |= {celeba(root, split="official").load().fingerprint}
    assert celeba(root).load().fingerprint in prints
    edit(
        root / "celeba" / "identity_CelebA.txt", lambda lines: lines.__setitem__(0, "000001.jpg 77")
    )
    prints |= {celeba(root).load().fingerprint}
    assert len(prints) == 5
    image = root / "celeba" / "img_align_celeba" / "000001.jpg"
    image.write_bytes(image.read_bytes() + b"x")
    assert celeba(root).load().fingerprint not in prints


ATTR, PEOPLE, PARTITION = "list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt"


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        (ATTR, lambda lines: lines.__setitem__(0, "99"), [ATTR, "99", str(IMAGES)]),
        (ATTR, lambda lines: lines.__setitem__(0, "many"), [ATTR, "many", "line 1"]),
        (ATTR, lambda lines: lines.clear(), [ATTR, "line 1"]),
        (ATTR, lambda lines: lines.pop(5), [ATTR, str(IMAGES), str(IMAGES - 1)]),
        (
            ATTR,
            lambda lines: lines.__setitem__(4, "000003.jpg" + " 0" * 40),
            [ATTR, "000003.jpg", "'0'"],
        ),
        (
            ATTR,
            lambda lines: lines.__setitem__(4, "000003.jpg" + " 1" * 39),
            [ATTR, "000003.jpg", "39", "40"],
        ),
        (ATTR, lambda lines: lines.__setitem__(4, lines[3]), [ATTR, "000002.jpg", "twice"]),
        (
            ATTR,
            lambda lines: lines.__setitem__(1, lines[1].replace("Bald", "Hairless")),
            [ATTR, "'Bald'"],
        ),
        (PEOPLE, lambda lines: lines.pop(6), [PEOPLE, "000007.jpg", ATTR]),
        (PEOPLE, lambda lines: lines.append("999999.jpg 3"), [PEOPLE, "999999.jpg", ATTR]),
        (PEOPLE, lambda lines: lines.append(lines[4]), [PEOPLE, "000005.jpg", "twice"]),
        (
            PEOPLE,
            lambda lines: lines.__setitem__(2, "000003.jpg who"),
            [PEOPLE, "000003.jpg", "'who'"],
        ),
        (PEOPLE, lambda lines: lines.__setitem__(2, "000003.jpg"), [PEOPLE, "000003.jpg"]),
    ],
)
def test_a_malformed_file_is_named_with_its_row_and_value(root, file, change, says):
    edit(root / "celeba" / file, change)
    message = refusal(celeba(root))
    assert str(root / "celeba" / file) in message
    assert all(word in message for word in says), message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines.__setitem__(1, "000002.jpg 3"), ["000002.jpg", "got 3"]),
        (lambda lines: lines.pop(1), ["000002.jpg"]),
    ],
)
def test_a_malformed_partition_is_named(root, change, says):
    edit(root / "celeba" / PARTITION, change)
    message = refusal(celeba(root, split="official"))
    assert all(word in message for word in [PARTITION, *says]), message
    celeba(root).load()  # the paper's split does not need it


def test_an_unreadable_file_is_named(root):
    (root / "celeba" / ATTR).write_bytes(b"\xff\xfe\x00")
    assert ATTR in refusal(celeba(root))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"labels": ("Blad",)}, ["'Blad'", "did you mean 'Bald'?"]),
        ({"labels": ("gendr",)}, ["'gendr'", "did you mean 'Gender'?"]),
        ({"labels": ("truck77",)}, ["'truck77'", "It has 5_o_Clock_Shadow, "]),
        ({"labels": ("Male", "Gender")}, ["'Male' twice"]),
        ({"labels": ()}, ["dataset.labels", "empty"]),
        ({"split": "offical"}, ["'offical'", "did you mean 'official'?"]),
        ({"image_size": 0}, ["image_size", "got 0"]),
    ],
)
def test_a_wrong_field_is_named(root, fields, says):
    message = refusal(celeba(root, **fields))
    assert all(word in message for word in says), message


def test_a_missing_folder_says_what_is_expected_where(tmp_path):
    message = refusal(celeba(tmp_path / "nowhere"))
    expected = (
        str(tmp_path / "nowhere" / "celeba"),
        ATTR,
        "dataset.root=",
        "dataset.download=true",
        "mmlab.ie.cuhk.edu.hk",
    )
    assert all(word in message for word in expected), message


@pytest.mark.parametrize(("name", "split"), [(PEOPLE, "paper"), (PARTITION, "official")])
def test_a_missing_file_says_what_is_expected_where(root, name, split):
    (root / "celeba" / name).unlink()
    message = refusal(celeba(root, split=split))
    assert name in message
    assert str(root / "celeba") in message


def test_missing_images_are_counted_and_one_is_named(root):
    for name in ("000004.jpg", "000009.jpg"):
        (root / "celeba" / "img_align_celeba" / name).unlink()
    message = refusal_to_train(celeba(root))
    assert f"2 of the {IMAGES}" in message
    assert "000004.jpg is missing" in message
    (root / "celeba" / "img_align_celeba").rename(root / "elsewhere")
    assert f"none of the {IMAGES} images" in refusal(celeba(root))


def test_download_runs_only_when_files_are_missing(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")
    calls = []

    def fetch(root, download):
        calls.append(download)
        write_celeba(Path(root), images=IMAGES, identities=8)

    monkeypatch.setattr(datasets, "CelebA", fetch)
    for _ in range(2):
        assert len(celeba(tmp_path, download=True).load().images) == IMAGES
    assert calls == [True]


def test_a_failed_download_gives_the_reason_and_another_way(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")

    def fail(root, download):
        raise RuntimeError("quota exceeded\ntry later")

    monkeypatch.setattr(datasets, "CelebA", fail)
    message = refusal(celeba(tmp_path, download=True))
    assert all(word in message for word in (str(tmp_path), "quota exceeded", "dataset.root="))


def test_images_come_in_the_asked_order_cut_to_the_middle_square(root, facts):
    images = celeba(root, image_size=40).load().images
    rows = np.array([7, 0, 7, 3])
    pixels = images[rows]
    assert pixels.shape == (4, 3, 40, 40)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert images[np.array([], dtype=int)].shape == (0, 3, 40, 40)
    # The middles of the 5 x 8 blocks, one block per label, which fill the square.
    light = pixels[:, :, 4::8, 2::5].mean(1).reshape(4, 40) > 120
    np.testing.assert_array_equal(light, facts.targets[rows])


@pytest.mark.parametrize("damage", ["cut", "text", "gone"])
def test_a_damaged_image_is_named(root, damage):
    images = celeba(root).load().images
    file = root / "celeba" / "img_align_celeba" / "000005.jpg"
    content = file.read_bytes()
    file.unlink()
    if damage != "gone":
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"not an image")
    with pytest.raises(UserError, match=r"000005\.jpg") as error:
        images[np.arange(8)]
    assert "\n" not in str(error.value)
    assert images[np.array([0, 5])].shape == (2, 3, 16, 16)  # the others can still be read


def test_a_row_that_leads_out_of_the_folder_is_refused(root):
    for name in (ATTR, PEOPLE):
        edit(
            root / "celeba" / name,
            lambda lines: lines.__setitem__(-1, lines[-1].replace("000024", "../000024")),
        )
    assert "'../000024.jpg'" in refusal(celeba(root))
