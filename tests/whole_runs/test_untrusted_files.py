"""Whoever wrote a file that is read here: nothing in it is run, and what is wrong with it is one
line."""

import copy
import io
import json
import logging
import pickle
import random
import re

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
import torchvision
import yaml
from PIL import EpsImagePlugin, Image, PngImagePlugin
from safetensors.torch import save_file
from scipy.io import savemat
from scipy.sparse import eye

import mlu
from mlu import certify, predict
from mlu.certify import issue
from mlu.data.files import ImageFiles
from mlu.data.sets.csv import Csv
from mlu.data.sets.digits import MultiDigits
from mlu.data.sets.faces.dataset import Faces
from mlu.data.sets.svhn import read_mat
from mlu.data.tables import read_table
from mlu.models.backbones import ResNet, Tiny
from mlu.models.weight_files import read_weights
from mlu.models.weights import load_trained
from mlu.pipeline import run as pipeline
from mlu.report.__main__ import main as report
from mlu.report.groups import settings_in
from mlu.report.pictures.curves import entropy_picture, rates
from mlu.runs.read import Run, collect, job_of
from mlu.system.errors import UserError
from tests.support.command_line import launch
from tests.support.made_runs import draw, leave, metrics_of
from tests.support.photo_folder import SIZE, write_lines, write_photos
from tests.support.traps import Trap, object_array, object_file, plant, sprung

pytestmark = pytest.mark.usefixtures("quick_processes")

FACES = ("Arched_Eyebrows", "Bald", "Male")


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "harm"


def line(call, *arguments, **keywords):
    """What a refusal says."""
    with pytest.raises(UserError) as error:
        call(*arguments, **keywords)
    assert str(error.value).isprintable()
    return str(error.value)


FORMS = {
    "zipped": lambda content, file: torch.save(content, file),
    "old": lambda content, file: torch.save(content, file, _use_new_zipfile_serialization=False),
    "plain": lambda content, file: file.write_bytes(pickle.dumps(content, protocol=2)),
}


@pytest.mark.parametrize("name", ["model.pt", "model.ckpt", "model.safetensors", "model"])
@pytest.mark.parametrize("form", FORMS)
def test_a_pickle_as_weights_is_refused_and_runs_nothing(name, form, tmp_path, mark):
    file = tmp_path / name
    FORMS[form]({"state_dict": {"head.weight": torch.zeros(2, 2)}, "callbacks": Trap(mark)}, file)
    assert str(file) in line(read_weights, file)
    assert not sprung(mark)
    pickle.loads(file.read_bytes()) if form == "plain" else torch.load(
        io.BytesIO(file.read_bytes()), weights_only=False
    )
    assert sprung(mark), "the trap is no trap"


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch has some for the rarer ones
@pytest.mark.parametrize(
    "state",
    [
        lambda: {0: torch.zeros(1)},
        lambda: {"a": torch.zeros(2, 2).to_sparse()},
        lambda: {"a": torch.zeros(2, device="meta")},
        lambda: {"a": torch.zeros(2, dtype=torch.complex64)},
        lambda: {"a": torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8)},
    ],
    ids=["numbered", "sparse", "without memory", "complex", "quantised"],
)
def test_a_state_dict_of_other_things_than_named_dense_tensors_is_refused(state, tmp_path):
    torch.save(state(), tmp_path / "model.pt")
    assert "holds no state dict of tensors" in line(read_weights, tmp_path / "model.pt")


@pytest.mark.parametrize(
    "change", [{"body.erase.bias": torch.zeros(3)}, {"body.erase.bias": torch.zeros(())}]
)
def test_a_layer_that_does_not_fit_is_refused(change, tmp_path):
    net = Tiny(name="tiny", widths=(4,)).build(2)
    torch.save({**net.state_dict(), **change}, tmp_path / "model.pt")
    assert "body.erase" in line(load_trained, net, tmp_path / "model.pt")


def test_what_lies_where_torchvision_downloads_to_is_not_trusted(tmp_path, mark, monkeypatch):
    """torch.hub takes a file that is there already without looking at its checksum."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = (
        tmp_path
        / "hub"
        / "checkpoints"
        / torchvision.models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    )
    file.parent.mkdir(parents=True)
    torch.save({"conv1.weight": Trap(mark)}, file)
    assert "delete it" in line(ResNet(name="resnet18", weights="DEFAULT").build, 2)
    assert not sprung(mark)
    torchvision.models.ResNet18_Weights.DEFAULT.get_state_dict()
    assert sprung(mark), "the trap is no trap"


def test_on_the_command_line_it_is_one_line_and_exit_code_2(tmp_path, mark):
    torch.save({"head.weight": Trap(mark)}, tmp_path / "bad.ckpt")
    small = (
        "dataset=digits",
        "dataset.images=60",
        "trainer.accelerator=cpu",
        "logger=none",
        "method=head",
    )
    done = launch(tmp_path, *small, f"backbone.weights={tmp_path / 'bad.ckpt'}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "bad.ckpt is neither safetensors nor a plain state dict" in done.stderr
    assert not mark.exists()


def saved(save, *arguments, **keywords):
    """The bytes that `save` writes."""
    stream = io.BytesIO()
    save(stream, *arguments, **keywords)
    return stream.getvalue()


@pytest.fixture
def planted_run(experiment, tmp_path):
    """Runs on a cache of its own."""

    def again():
        (tmp_path / "run").mkdir(exist_ok=True)
        overrides = (
            "method=head",
            "reference=none",
            "training.epochs=1",
            f"outputs={tmp_path / 'own'}",
        )
        overrides += ("dataset.images=160", "attack.aia.hidden=1")
        return pipeline.run(experiment(*overrides, folder=tmp_path / "run"))

    return again


def test_what_is_planted_in_the_cache_with_a_right_checksum_is_reported_and_built_again(
    planted_run, tmp_path, mark, caplog
):
    first, cache = planted_run(), tmp_path / "own" / "cache"
    traps = {
        "original/*/weights.safetensors": object_file(mark),
        "random/*/test.safetensors": saved(
            lambda stream: torch.save({"logits": Trap(mark)}, stream)
        ),
        "random/*/validation.safetensors": b"",
        "attack-aia/*/evidence.npz": saved(
            np.savez, **{"Trial:aia/output:scores": object_array(mark)}
        ),
    }
    for pattern, content in traps.items():
        for file in cache.glob(pattern):
            plant(file, content)
    with caplog.at_level(logging.WARNING):
        assert planted_run().metrics == first.metrics
    for pattern in traps:
        assert re.search(rf"cached {pattern.split('/')[0]} in .* is damaged", caplog.text)
    assert not sprung(mark)
    pickle.loads(object_file(mark))
    assert sprung(mark), "the trap is no trap"


DRAWN = {
    "faces": lambda root: Faces(name="faces", root=root, images=20, image_size=16, labels=FACES),
    "multidigits": lambda root: MultiDigits(
        name="multidigits", root=root, images=20, image_size=16, labels=("1", "2")
    ),
}


@pytest.mark.parametrize("array", ["images", "targets"])
@pytest.mark.parametrize("name", DRAWN)
def test_planted_images_and_targets_are_drawn_again(name, array, tmp_path, mark, caplog):
    first = DRAWN[name](tmp_path).load()
    (file,) = tmp_path.rglob(f"{array}.npy")
    plant(file, saved(np.save, object_array(mark), allow_pickle=True))
    again = DRAWN[name](tmp_path).load()
    np.testing.assert_array_equal(again.targets, first.targets)
    np.testing.assert_array_equal(again.images[np.arange(20)], first.images[np.arange(20)])
    assert "is damaged" in caplog.text
    assert not sprung(mark)
    np.load(io.BytesIO(saved(np.save, object_array(mark), allow_pickle=True)), allow_pickle=True)
    assert sprung(mark), "the trap is no trap"


PHOTOS = [f"{number}.png" for number in range(8)]


@pytest.fixture
def photos(tmp_path):
    """A data set of files that were prepared, its pixels, and the shard."""
    pixels = write_photos(tmp_path, PHOTOS)
    write_lines(tmp_path / "labels.csv", "image,Hat", *(f"{path},1" for path in PHOTOS))
    dataset = Csv(
        name="csv",
        root=tmp_path,
        table="labels.csv",
        image_size=SIZE,
        prepared=tmp_path / "prepared",
    )
    dataset.arrays(dataset.read()).make(jobs=1)
    (shard,) = (tmp_path / "prepared").rglob("*.npy")
    return dataset, pixels, shard


SHARDS = {
    "objects": lambda mark: saved(
        np.save, object_array(mark, (8, 3, SIZE, SIZE)), allow_pickle=True
    ),
    "floats": lambda mark: saved(np.save, np.zeros((8, 3, SIZE, SIZE))),
    "fewer": lambda mark: saved(np.save, np.zeros((7, 3, SIZE, SIZE), np.uint8)),
    "other size": lambda mark: saved(np.save, np.zeros((8, 3, 1, 1), np.uint8)),
    "no array": lambda mark: b"no array",
    "nothing": lambda mark: b"",
}


@pytest.mark.parametrize("kind", SHARDS)
def test_a_planted_array_of_prepared_images_is_not_read(kind, photos, mark):
    dataset, pixels, shard = photos
    shard.write_bytes(SHARDS[kind](mark))
    record = json.loads(shard.with_suffix(".json").read_text())
    shard.with_suffix(".json").write_text(json.dumps({**record, "bytes": shard.stat().st_size}))
    np.testing.assert_array_equal(dataset.load().images[np.arange(8)], pixels)
    assert not sprung(mark)


@pytest.mark.parametrize(
    "change",
    [
        {"unreadable": ["a"]},
        {"unreadable": {"x": "why"}},
        {"unreadable": {"8": "why"}},
        {"unreadable": None},
    ],
)
def test_a_record_of_prepared_images_that_makes_no_sense_is_not_believed(change, photos):
    dataset, pixels, shard = photos
    record = json.loads(shard.with_suffix(".json").read_text())
    shard.with_suffix(".json").write_text(json.dumps(record | change))
    data = dataset.load()
    assert not data.unreadable
    np.testing.assert_array_equal(data.images[np.arange(8)], pixels)


PATHS = {
    "up": "../x.png",
    "up in between": "a/../../x.png",
    "up at the end": "a/..",
    "up by Windows": "a\\..\\..\\x.png",
    "absolute": "/etc/hostname",
    "a share of Windows": "\\\\host\\x.png",
    "a drive": "C:\\x.png",
    "a folder of a drive": "C:x.png",
    "a zero byte": "x.png\0.jpg",
    "a zero byte alone": "\0",
}


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_no_path_of_a_label_table_leaves_the_root(kind, form, tmp_path):
    table = pa.table({"image": [PATHS[kind]], "Hat": ["1"]})
    writer = pyarrow.parquet.write_table if form == "parquet" else pa.csv.write_csv
    writer(table, tmp_path / f"labels.{form}")
    dataset = Csv(
        name="csv",
        root=tmp_path,
        table=f"labels.{form}",
        image_size=SIZE,
        prepared=tmp_path / "prepared",
    )
    assert repr(PATHS[kind]) in line(dataset.load)


def test_an_exclusion_list_opens_nothing_that_it_names(photos, tmp_path, caplog):
    dataset, _, _ = photos
    exclude = write_lines(tmp_path / "out.txt", PHOTOS[0], *(path for path in PATHS.values()))
    data = Csv(**{**vars(dataset), "exclude": exclude}).load()
    assert data.paths == PHOTOS[1:]
    assert f"names {len(PATHS)} images that csv lacks" in caplog.text


def test_a_link_in_the_root_is_followed(photos, tmp_path_factory):
    """Who may put a link there may put the image there."""
    dataset, pixels, _ = photos
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x.png"
    (dataset.root / PHOTOS[2]).rename(elsewhere)
    (dataset.root / PHOTOS[2]).symlink_to(elsewhere)
    np.testing.assert_array_equal(dataset.load().images[np.array([2])], pixels[[2]])


def test_what_a_table_names_commands_no_terminal(tmp_path):
    write_lines(tmp_path / "labels.csv", "image,Hat", '"a\n\x1b[2Jb.png",2')
    dataset = Csv(
        name="csv",
        root=tmp_path,
        table="labels.csv",
        image_size=SIZE,
        prepared=tmp_path / "prepared",
    )
    assert "(a\\n\\x1b[2Jb.png)" in line(dataset.load)


def test_a_parquet_file_that_asks_for_a_pickle_gets_none_read(tmp_path, mark):
    asks = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Trap(mark)),
    }
    field = pa.field("image", pa.string(), metadata=asks)
    pyarrow.parquet.write_table(
        pa.table([["a.png"]], schema=pa.schema([field])), tmp_path / "a.parquet"
    )
    assert read_table(tmp_path / "a.parquet").column_names == ["image"]
    assert not sprung(mark)
    pickle.loads(asks["ARROW:extension:metadata"])
    assert sprung(mark), "the trap is no trap"


@pytest.mark.parametrize("name", ["X", "y"])
def test_a_sparse_matrix_in_a_file_of_matlab_is_refused(name, tmp_path):
    content = {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.ones((2, 1))} | {
        name: eye(2).tocsc()
    }
    savemat(tmp_path / "a.mat", content)
    assert f"{name} must be an array of numbers" in line(read_mat, tmp_path / "a.mat", test=False)


def decode(file, content):
    file.write_bytes(content)
    return ImageFiles(file.parent, (), SIZE).decode(file)


def huge_picture():
    """A file of 200 bytes that says that it is 100,000 pixels wide and high."""
    content = bytearray(saved(Image.new("1", (1, 1)).save, "png"))
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    content[29:33] = PngImagePlugin.zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def test_a_picture_of_far_too_many_pixels_is_one_line(tmp_path):
    assert "decompression bomb" in line(decode, tmp_path / "a.png", huge_picture())


def test_a_program_that_calls_itself_a_picture_is_not_run(tmp_path, mark, monkeypatch):
    """Pillow knows PostScript by its first bytes, whatever the name.

    And gives it to Ghostscript.
    """

    def ghostscript(*arguments, **keywords):
        mark.touch()
        return Image.new("RGB", (4, 4)).im

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ghostscript)
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"
    assert "PostScript, a program that is not run" in line(decode, tmp_path / "a.jpg", content)
    assert not sprung(mark)
    with Image.open(tmp_path / "a.jpg") as image:
        image.convert("RGB")
    assert sprung(mark), "the trap is no trap"


BACKBONE = {
    "_target_": "mlu.models.backbones.Tiny",
    "name": "tiny",
    "weights": None,
    "widths": [4, 4],
}
LABELS = ("Bald", "Brown_Hair", "Male", "Young")


def foreign_run(folder):
    """A run as somebody else may hand it out, with all its files."""
    leave(folder, metrics_of(labels=LABELS), config={"backbone": BACKBONE, "epsilon": 0.1})
    draw(folder, LABELS)
    facts = json.loads((folder / "labels.json").read_text())
    (folder / "labels.json").write_text(json.dumps({**facts, "task": "multilabel"}))
    state = Tiny(name="tiny", widths=(4, 4)).build(len(LABELS)).state_dict()
    save_file(
        {name: value.contiguous() for name, value in state.items()},
        folder / "unlearned.safetensors",
    )
    return folder


def uses(folder, out):
    """Everything that is done with somebody else's run."""
    picture = out / "a.png"
    Image.new("RGB", (16, 16)).save(picture)
    yield lambda: mlu.load(folder).predict(picture)
    yield lambda: issue(folder, out)
    yield lambda: report([str(folder), "--out", str(out / "report")])


def test_a_run_of_somebody_elses_names_no_code_that_is_run(tmp_path, mark, monkeypatch):
    monkeypatch.setattr("mlu.report.pictures.of_setting.pictures_of", lambda setting: ())
    folder, out = foreign_run(tmp_path / "run"), tmp_path / "out"
    out.mkdir()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    call = {
        "_target_": "pathlib.Path.touch",
        "self": str(mark),
        "_args_": [str(mark)],
        "name": "wf",
    }
    for key in ("method", "dataset", "attack", "logger", "training", "trainer"):
        config[key] = {**config[key], **call} | (
            {"name": "faces", "image_size": 64} if key == "dataset" else {}
        )
    for name in ("config.yaml", ".hydra/config.yaml", ".hydra/hydra.yaml"):
        (folder / name).write_text(yaml.safe_dump(config))
    for use in uses(folder, out):
        use()
    assert not mark.exists()
    # Even where it is the backbone, or a tag of YAML.
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"backbone": call}))
    assert "is no backbone" in line(mlu.load, folder)
    (folder / "config.yaml").write_text(f"a: !!python/object/apply:pathlib.Path.touch [{mark}]\n")
    assert "cannot be read" in line(mlu.load, folder)
    assert report([str(folder), "--out", str(out / "report")]) == 0
    assert not mark.exists()


JUNK = (
    None,
    [],
    {},
    "",
    "x",
    "[/b]",
    "\ud800",
    -1,
    10**400,
    1e308,
    float("nan"),
    True,
    [None],
    {"a": [1]},
    [[1]],
)


def places(value, path=()):
    """Paths of all values in a nested one."""
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield from places(inner, (*path, key))


def with_junk(content, draws):
    """A copy with one value replaced."""
    content = copy.deepcopy(content)
    *outer, last = draws.choice(
        [path for path in places(content) if path and len(path) < 4 and path[0] != "metrics"]
    )
    inner = content
    for key in outer:
        inner = inner[key]
    inner[last] = draws.choice(JUNK)
    return content


@pytest.mark.parametrize("name", ["results.json", "config.yaml", "labels.json"])
def test_whatever_a_foreign_file_says_ends_with_a_line_or_well(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mlu.report.pictures.of_setting.pictures_of", lambda setting: ())
    folder, out = foreign_run(tmp_path / "run"), tmp_path / "out"
    out.mkdir()
    read, write = (
        (yaml.safe_load, yaml.safe_dump) if name == "config.yaml" else (json.loads, json.dumps)
    )
    whole, draws = read((folder / name).read_text()), random.Random(0)
    ended = {True: 0, False: 0}
    for _ in range(15):
        spoilt = with_junk(whole, draws)
        (folder / name).write_text(write(spoilt))
        for use in uses(folder, out):
            try:
                use()
                ended[True] += 1
            except UserError:
                ended[False] += 1
    assert min(ended.values()) > 3


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", DEEP),
        ("config.yaml", "a: 2026-99-99"),
        ("labels.json", DEEP),
        ("labels.json", "[]"),
    ],
    ids=["a deep configuration", "no date", "deep labels", "labels in a list"],
)
def test_what_cannot_be_read_of_a_run_is_one_line(name, content, tmp_path):
    folder = foreign_run(tmp_path / "run")
    (folder / name).write_text(content)
    assert str(folder / name) in line(mlu.load, folder)
    assert isinstance(job_of(folder), Run)


@pytest.mark.parametrize("name", [".hydra/config.yaml", "results.json", "failure.json"])
@pytest.mark.parametrize(
    "content", [DEEP, "a: 2026-99-99", '{"a": 1e999}'], ids=["deep", "no date", "infinite"]
)
def test_a_report_goes_on_without_what_it_cannot_read(name, content, tmp_path):
    folder = foreign_run(tmp_path / "run")
    if name == "failure.json":
        (folder / "results.json").unlink()
    (folder / name).write_text(content)
    job = job_of(folder)
    assert isinstance(job, Run) == (name == ".hydra/config.yaml")


ARRAYS = {
    "cut": lambda content, mark: content[: len(content) // 2],
    "no zip": lambda content, mark: b"PK\x03\x04 no zip",
    "an array alone": lambda content, mark: saved(np.save, np.arange(3)),
    "objects": lambda content, mark: saved(
        np.savez, **{"unlearned/test/entropy/histogram/counts": object_array(mark)}
    ),
    "other lengths": lambda content, mark: saved(
        np.savez,
        **{
            f"{model}/test/entropy/histogram/{part}": np.arange(3.0)
            for model in ("original", "retrain", "unlearned")
            for part in ("counts", "edges")
        },
    ),
    "words": lambda content, mark: saved(
        np.savez, **{"unlearned/mia/combined/true": np.array(["a"])}
    ),
}


def test_pictures_are_made_of_sound_arrays_alone(tmp_path, mark):
    folder = foreign_run(tmp_path / "run")
    whole = {name: (folder / name).read_bytes() for name in ("distributions.npz", "roc.npz")}
    (setting,) = settings_in(collect([folder]))
    assert entropy_picture(setting)
    assert rates(setting)
    for spoil in ARRAYS.values():
        for name, content in whole.items():
            (folder / name).write_bytes(spoil(content, mark))
        entropy_picture(setting)
        rates(setting)
    assert not mark.exists()


@pytest.mark.parametrize("command", [certify.main, predict.main])
def test_commands_end_with_one_line_and_exit_code_2(command, tmp_path, capsys):
    folder = foreign_run(tmp_path / "run")
    (folder / "config.yaml").write_text(DEEP)
    with pytest.raises(SystemExit) as end:
        command([str(folder)] + ([] if command is certify.main else [str(tmp_path / "a.png")]))
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
