import numpy as np
import pytest

from mlu.data.divided import ImageData
from mlu.data.labels import CELEBA, PAPER
from mlu.data.sets.celeba_hq import CelebAHQ
from mlu.data.split import partition
from mlu.system.errors import UserError
from tests.support.celeba_hq_folder import celeba_hq_facts, write_celeba_hq
from tests.support.reading import edit, refusal, refusal_to_train

IMAGES = 40
ATTR, MUCAC_ATTR, PEOPLE = (
    "CelebAMask-HQ-attribute-anno.txt",
    "CelebA-HQ-attribute.txt",
    "CelebA-HQ-identity.txt",
)


@pytest.fixture
def root(tmp_path):
    return write_celeba_hq(tmp_path / "gesichter-ä")


@pytest.fixture
def folder(root):
    return root / "CelebAMask-HQ"


@pytest.fixture
def facts():
    return celeba_hq_facts()


def celeba_hq(root, labels=PAPER, **fields):
    own = {
        "name": "celeba_hq",
        "root": root,
        "image_size": 8,
        "labels": labels,
        "prepared": root / "prepared",
    }
    return CelebAHQ(**{**own, **fields})


def test_reads_what_was_written_in_the_order_of_the_numbers(root, facts):
    data = celeba_hq(root, CELEBA).load()
    assert (data.name, data.task, data.labels) == ("celeba_hq", "multilabel", CELEBA)
    assert tuple(data.paths) == facts.names
    assert data.paths[2] == "2.jpg"  # by text it would be 10.jpg
    np.testing.assert_array_equal(data.targets, facts.targets)
    np.testing.assert_array_equal(data.identities, facts.identities)
    assert data.targets.dtype == np.uint8
    assert data.known is None
    assert data.split is None


def test_pixels_belong_to_their_row(root):
    pixels = celeba_hq(root).load().images[np.arange(IMAGES)]
    np.testing.assert_allclose(pixels[:, 0].mean((1, 2)), np.arange(IMAGES) * 6, atol=4)


def test_the_papers_names_are_known_and_labels_keep_their_order(root, facts):
    data = celeba_hq(root, ["Young_Old", "Bald", "Gender"]).load()
    assert data.labels == ("Young", "Bald", "Male")
    np.testing.assert_array_equal(data.targets, facts.targets[:, [39, 4, 20]])


@pytest.mark.parametrize("name", [ATTR, PEOPLE])
def test_rows_are_joined_by_name_not_by_position(root, folder, name):
    before = celeba_hq(root).load()
    first = 2 if name == ATTR else 0
    edit(folder / name, lambda lines: lines.__setitem__(slice(first, None), lines[first:][::-1]))
    after = celeba_hq(root).load()
    assert before.fingerprint == after.fingerprint
    np.testing.assert_array_equal(before.targets, after.targets)
    np.testing.assert_array_equal(before.identities, after.identities)


def as_benchmark(root):
    """MUCAC's files beside the folder of the images."""
    (root / "CelebAMask-HQ" / ATTR).rename(root / MUCAC_ATTR)
    (root / "CelebAMask-HQ" / PEOPLE).rename(root / PEOPLE)
    return root


def flat(root):
    for file in (root / "CelebAMask-HQ").iterdir():
        file.rename(root / file.name)
    (root / "CelebAMask-HQ").rmdir()
    return root


@pytest.mark.parametrize("layout", [lambda root: root / "CelebAMask-HQ", as_benchmark, flat])
def test_every_layout_gives_the_same(root, layout):
    before = celeba_hq(root).load()
    after = celeba_hq(layout(root)).load()
    assert before.fingerprint == after.fingerprint


def test_windows_line_ends_change_nothing(root, folder):
    before = celeba_hq(root).load().fingerprint
    for name in (ATTR, PEOPLE):
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"\n", b"\r\n"))
    assert celeba_hq(root).load().fingerprint == before


def test_the_papers_split_is_complete_and_parts_the_people(root):
    data = celeba_hq(root).load()
    splits = partition(data, seed=0)
    rows = np.concatenate([split.rows for split in splits.values()])
    np.testing.assert_array_equal(np.sort(rows), np.arange(IMAGES))
    people = [set(split.identities.tolist()) for split in splits.values()]
    assert all(people)
    assert sum(map(len, people)) == len(set.union(*people))
    assert {4855, 189} <= set.union(*people)


def test_the_official_split_is_mucacs(root, facts):
    data = celeba_hq(root, split="official").load()
    np.testing.assert_array_equal(data.split, facts.split)
    splits = partition(data, seed=0)
    assert set(splits["test"].identities.tolist()) == {0, 7, 189}
    assert set(splits["validation"].identities.tolist()) == {4855, 4856, 6216}
    assert {190, 4854} <= set(splits["train"].identities.tolist())
    assert sum(len(split) for split in splits.values()) == IMAGES


@pytest.mark.parametrize("split", ["paper", "official"])
@pytest.mark.parametrize(
    ("name", "origin"),
    [
        (ATTR, "switchablenorms/CelebAMask-HQ"),
        (PEOPLE, "ndb796/MachineUnlearning"),
        ("CelebA-HQ-img", "CelebAMask-HQ"),
    ],
)
def test_what_is_missing_is_named_with_its_origin(root, folder, split, name, origin):
    (folder / name).rename(folder / "elsewhere")
    message = refusal(celeba_hq(root, split=split))
    assert all(word in message for word in (name, origin, str(folder), "dataset.root=")), message


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        (ATTR, lambda lines: lines.__setitem__(0, "30000"), [ATTR, "30000", str(IMAGES)]),
        (ATTR, lambda lines: lines.__setitem__(3, "1.jpg " + " 2" * 40), [ATTR, "1.jpg", "'2'"]),
        (ATTR, lambda lines: lines.__setitem__(3, "1.jpg " + " 0" * 40), [ATTR, "1.jpg", "'0'"]),
        (ATTR, lambda lines: lines.__setitem__(3, "1.jpg " + " no" * 40), [ATTR, "1.jpg", "'no'"]),
        (ATTR, lambda lines: lines.__setitem__(3, lines[2]), [ATTR, "0.jpg", "twice"]),
        (ATTR, lambda lines: lines.__setitem__(3, "../" + lines[3]), [ATTR, "../1.jpg"]),
        (ATTR, lambda lines: lines.__setitem__(3, "one" + lines[3]), [ATTR, "one1.jpg", "number"]),
        (PEOPLE, lambda lines: lines.pop(6), [PEOPLE, "6.jpg", ATTR]),
        (PEOPLE, lambda lines: lines.append("40.jpg 3"), [PEOPLE, "40.jpg", ATTR]),
        (PEOPLE, lambda lines: lines.append(lines[4]), [PEOPLE, "4.jpg", "twice"]),
        (PEOPLE, lambda lines: lines.__setitem__(2, "2.jpg who"), [PEOPLE, "2.jpg", "'who'"]),
    ],
)
def test_a_malformed_file_is_named_with_its_row_and_value(root, folder, file, change, says):
    edit(folder / file, change)
    message = refusal(celeba_hq(root))
    assert all(word in message for word in [str(folder), *says]), message


def test_an_unknown_label_is_named_with_the_nearest(root):
    message = refusal(celeba_hq(root, ["Blad"]))
    assert "'Blad'" in message
    assert "did you mean 'Bald'?" in message


def test_a_missing_image_is_named(root, folder):
    (folder / "CelebA-HQ-img" / "4.jpg").unlink()
    message = refusal_to_train(celeba_hq(root))
    assert f"1 of the {IMAGES}" in message
    assert "4.jpg" in message


def test_a_truncated_image_is_named_when_its_row_is_read(root, folder):
    file = folder / "CelebA-HQ-img" / "5.jpg"
    file.write_bytes(file.read_bytes()[:-200])
    images = celeba_hq(root).load().images
    with pytest.raises(UserError, match=r"5\.jpg"):
        images[np.arange(8)]
    assert images[np.array([4, 6])].shape == (2, 3, 8, 8)


def test_an_empty_split_is_named(root, folder):
    edit(
        folder / PEOPLE,
        lambda lines: lines.__setitem__(slice(None), [f"{line.split()[0]} 500" for line in lines]),
    )
    with pytest.raises(UserError, match="validation split of celeba_hq has 0 images"):
        ImageData(celeba_hq(root, split="official").load(), seed=0, batch_size=4)


def test_the_fingerprint_follows_the_content(root, folder):
    prints = {
        celeba_hq(root).load().fingerprint,
        celeba_hq(root, split="official").load().fingerprint,
    }
    assert celeba_hq(root).load().fingerprint in prints
    edit(folder / PEOPLE, lambda lines: lines.__setitem__(0, "0.jpg 77"))
    prints.add(celeba_hq(root).load().fingerprint)
    edit(folder / ATTR, lambda lines: lines.__setitem__(2, lines[2].replace("-1", " 1")))
    prints.add(celeba_hq(root).load().fingerprint)
    assert len(prints) == 4
