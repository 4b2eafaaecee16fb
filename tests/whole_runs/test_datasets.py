"""Every data set walks the road, from files in the format in which it is handed out."""

import numpy as np
import pytest

from mlu.data.base import LabelledImages
from mlu.launch.options import CONF
from mlu.pipeline import run as pipeline
from mlu.pipeline.context import context_of
from tests.conftest import TINY
from tests.support.array_files import write_cifar, write_mnist, write_svhn
from tests.support.celeba_folder import write_celeba
from tests.support.celeba_hq_folder import write_celeba_hq
from tests.support.mufac_folder import write_mufac
from tests.support.photo_folder import write_lines, write_photos
from tests.support.vggface2_folder import write_vggface2

OWN = [f"{number}.png" for number in range(150)]


def write_own(root):
    """Pictures that are light where Beard is 1; Glasses is sometimes unknown; two pictures of each
    person."""
    write_photos(root, OWN)
    signs = np.random.default_rng(0).integers(0, 2, (75, 2)).repeat(2, 0)
    cells = [(beard, "" if row % 7 == 0 else glasses) for row, (beard, glasses) in enumerate(signs)]
    rows = (
        f"{path},p{row // 2},{a},{b}"
        for row, (path, (a, b)) in enumerate(zip(OWN, cells, strict=True))
    )
    write_lines(root / "labels.csv", "image,who,Beard,Glasses", *rows)


FILES = {
    "celeba": (lambda root: write_celeba(root, images=120, identities=30), "multilabel", 10),
    "celeba_hq": (lambda root: write_celeba_hq(root, images=120, people=40), "multilabel", 10),
    "vggface2": (lambda root: write_vggface2(root, people=40), "multilabel", 10),
    "mufac": (lambda root: write_mufac(root, families=8), "singlelabel", 8),
    "cifar10": (lambda root: write_cifar(root, train=150, test=40), "singlelabel", 10),
    "mnist": (lambda root: write_mnist(root, train=150, test=40), "singlelabel", 10),
    "svhn": (lambda root: write_svhn(root, train=150, test=40), "singlelabel", 10),
    "csv": (write_own, "multilabel", 2),
}
"""By the name of a data set: what writes its files into a folder, its task and its labels."""
MORE = {"csv": ["forget_label.names=[Beard]", "dataset.identity_column=who"]}


def test_every_data_set_is_here_or_brings_its_own_images():
    assert {file.stem for file in (CONF / "dataset").glob("*.yaml")} == {
        *FILES,
        "faces",
        "digits",
        "multidigits",
    }


@pytest.mark.parametrize("split", ["paper", "official"])
@pytest.mark.parametrize("name", FILES)
def test_a_data_set_is_read_and_divided(name, split, experiment, tmp_path):
    write, task, labels = FILES[name]
    write(tmp_path)
    setup = experiment(
        f"dataset.root={tmp_path}", f"dataset.split={split}", *MORE.get(name, []), dataset=name
    )
    data = setup.dataset.load()
    assert isinstance(data, LabelledImages)
    assert (data.task, len(data.labels)) == (task, labels)
    assert data.images[np.array([1, 0])].shape == (2, 3, 32, 32)
    context = context_of(setup)
    splits = context.data.splits
    rows = np.concatenate([part.rows for part in splits.values()])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(data.images)))
    people = [set(part.identities) for part in splits.values()]
    if data.identities is not None and (split == "paper" or name != "mufac"):
        assert not (people[0] & people[1] | people[0] & people[2] | people[1] & people[2])
    assert context.experiment.forget == ("Beard",) if name == "csv" else context.experiment.forget


@pytest.mark.parametrize("name", FILES)
def test_a_data_set_walks_the_road(name, experiment, tmp_path):
    write, task, _ = FILES[name]
    write(tmp_path / "files")
    method = ["method=wf", "method.tuning.steps=2", "training.epochs=1", "attack=none"]
    setup = experiment(
        *method, f"dataset.root={tmp_path / 'files'}", *MORE.get(name, []), dataset=name
    )
    results = pipeline.run(setup).to_json()
    assert results["run"]["dataset"] == name
    metrics = results["metrics"]
    assert metrics["unlearned/train/retained/accuracy"] is not None
    if task == "multilabel":
        assert metrics["unlearned/train/forgotten/balanced_accuracy"] == 0.5
    else:
        assert metrics["unlearned/train/forgotten/recall"] < 1


def test_all_small_data_sets_have_small_settings():
    assert {*FILES, "faces", "digits"} == {*TINY}
