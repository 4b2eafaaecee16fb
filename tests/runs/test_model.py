"""What a run leaves can be used: `mlu.load`."""

import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import mlu
from mlu.data.files import ImageFiles
from mlu.launch.options import CONF
from mlu.models.backbones import Tiny
from mlu.models.outputs import respond
from mlu.pipeline import run as pipeline
from mlu.pipeline.context import context_of
from mlu.pipeline.trained import original_model
from mlu.pipeline.unlearned import unlearned_model
from mlu.runs.model import Unlearned, backbone_of
from mlu.system.errors import UserError

RUNS = {
    "wf": ("faces", []),
    "leace": ("faces", []),
    "head": ("digits", ["forget_label.names=['3','5']"]),
}


@pytest.fixture(params=RUNS)
def run(request, experiment, finished):
    """A run on small data: its method, its experiment and its folder."""
    dataset, further = RUNS[request.param]
    overrides = (f"method={request.param}", "reference=none", "attack=none", *further)
    folder = finished(*overrides, dataset=dataset)
    return experiment(*overrides, dataset=dataset, folder=folder)


@pytest.fixture
def folder(finished):
    return finished("method=head", "reference=none", "attack=none")


@pytest.fixture
def photos(tmp_path):
    """Files of several sizes and kinds."""
    generator = np.random.default_rng(0)
    files = []
    for number, (height, width) in enumerate([(40, 60), (70, 35), (32, 32)]):
        files.append(tmp_path / f"photo {number}.{'jpg' if number == 1 else 'png'}")
        Image.fromarray(generator.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(
            files[-1]
        )
    return files


def test_the_model_is_the_one_that_was_released(run):
    """The second derivation: what the pipeline itself says of the test images."""
    model = mlu.load(run.folder)
    context = context_of(run)
    split = context.data.splits["test"]
    images = split[torch.arange(len(split))].images
    probs = model.predict(images)
    released = unlearned_model(context, run.method, original_model(context))
    expected = context.task.probs(respond(released.net, split)[0])
    assert isinstance(model, Unlearned)
    assert not any(part.training for part in model.modules())
    assert (model.labels, model.task.name) == (context.data.labels, context.data.task)
    assert model.forgotten == tuple(
        context.data.labels[column] for column in context.request.forgotten
    )
    assert model.image_size == run.dataset.image_size
    assert list(probs) == list(context.data.labels)
    for column, label in enumerate(context.data.labels):
        torch.testing.assert_close(probs[label], expected[:, column])
    said = model(images.float() / 255)
    torch.testing.assert_close(model.task.probs(said), torch.stack(list(probs.values()), 1))
    # The original says something else of what was forgotten.
    before = context.task.probs(original_model(context).outputs["test"].logits)
    column = context.request.forgotten[0]
    assert (before[:, column] - probs[context.data.labels[column]]).abs().max() > 0.1


@pytest.mark.parametrize("requests", ["[[Male],[Young]]", "[[Bald,Young]]"])
def test_it_knows_what_several_requests_have_forgotten(requests, experiment, tmp_path):
    pipeline.run(experiment("method=head", "reference=none", "attack=none", f"requests={requests}"))
    model = mlu.load(tmp_path)
    assert set(model.forgotten) == {name for name in ("Male", "Young", "Bald") if name in requests}
    said = model.predict(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert {label for label in said if said[label].std() < 1e-6} == set(model.forgotten)


def test_it_has_every_weight_of_the_file(run):
    model = mlu.load(str(run.folder))
    state = load_file(run.folder / "unlearned.safetensors")
    assert set(model.net.state_dict()) == set(state)
    for name, value in model.net.state_dict().items():
        assert torch.equal(value, state[name])
    assert ("body.erase.weight" in state) == (run.method.name == "leace")


def test_files_are_decoded_as_for_training(folder, photos):
    model = mlu.load(folder)
    names = [file.name for file in photos]
    images = torch.from_numpy(ImageFiles(photos[0].parent, names, model.image_size)[np.arange(3)])
    from_files, plain = model.predict(photos), torch.sigmoid(model.net(images.float() / 255))
    for column, label in enumerate(model.labels):
        torch.testing.assert_close(from_files[label], plain[:, column])
    assert all(len(probs) == 0 for probs in model.predict([]).values())
    many = model.predict(photos * 50)
    torch.testing.assert_close(many["Bald"], from_files["Bald"].repeat(50))
    array = model.predict(images.numpy())
    torch.testing.assert_close(array["Bald"], from_files["Bald"])
    torch.testing.assert_close(model.predict(photos[0])["Bald"], from_files["Bald"][:1])
    with pytest.raises(
        UserError, match=r"must have shape \(images, 3, height, width\), got \(3, 32, 32\)"
    ):
        model.predict(images[0])


@pytest.mark.parametrize("name", ["config.yaml", "labels.json", "unlearned.safetensors"])
def test_a_missing_file_is_one_line(name, folder):
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}: give the folder of a run") as caught:
        mlu.load(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_run_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"there is no run in .*nowhere"):
        mlu.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.json", "{", "labels.json cannot be read"),
        ("labels.json", '{"labels": ["a"]}', "labels.json cannot be read: KeyError"),
        ("labels.json", '{"labels": ["a"], "task": "regression"}', "must hold labels and a task"),
        (
            "labels.json",
            '{"labels": ["Male", "b"], "task": "multilabel"}',
            "were other labels learnt",
        ),
        ("config.yaml", "a: [", "config.yaml cannot be read"),
        ("config.yaml", "3", "no configuration of a run"),
        ("config.yaml", "seed: 3", "no configuration of a run"),
        ("unlearned.safetensors", "no", "neither safetensors nor"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(name, content, message, folder):
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        mlu.load(folder)
    assert "\n" not in str(caught.value)


def test_a_configuration_names_no_other_code(folder):
    """A run's folder may come from somebody else."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["backbone"] = {"_target_": "pathlib.Path.touch", "self": str(folder / "touched")}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"backbone._target_=pathlib.Path.touch is no backbone"):
        mlu.load(folder)


@dataclass(frozen=True, kw_only=True)
class Own(Tiny):
    """A user's backbone."""


def test_a_backbone_of_the_user_s_own_is_built_where_the_user_names_it(folder):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["backbone"]["_target_"] = f"{__name__}.Own"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"one of your own: mlu.load\(run, backbones=\[Own\]\)$"):
        mlu.load(folder)
    assert len(mlu.load(folder, backbones=[Own]).labels) > 1


@pytest.mark.parametrize(
    "file", sorted((CONF / "backbone").glob("*.yaml")), ids=lambda file: file.stem
)
def test_every_backbone_can_be_loaded(file):
    settings = {
        "name": "test_vit",
        **{key: value for key, value in yaml.safe_load(file.read_text()).items() if value},
    }
    assert backbone_of({**settings, "image_size": 64}).name == settings["name"]


def test_weights_that_training_started_from_are_not_needed(folder):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["backbone"]["weights"] = "gone.pt"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    mlu.load(folder)


def test_the_paper_s_name_of_a_label_is_known(folder):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["forget_label"]["names"] = ["Gender"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert mlu.load(folder).forgotten == ("Male",)


def test_a_folder_may_be_moved(folder, tmp_path, photos):
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "run")
    facts = json.loads((moved / "labels.json").read_text())
    assert mlu.load(moved).labels == tuple(facts["labels"])
    torch.testing.assert_close(mlu.load(moved).predict(photos), mlu.load(folder).predict(photos))


def test_an_unreadable_image_is_one_line(folder):
    with pytest.raises(UserError, match="cannot read the image"):
        mlu.load(folder).predict([folder / "config.yaml"])


def test_a_run_and_images_are_found_at_home(folder, monkeypatch):
    Image.new("RGB", (40, 40), "teal").save(folder.parent / "teal.png")
    monkeypatch.setenv("HOME", str(folder.parent))
    model = mlu.load(f"~/{folder.name}")
    here, there = model.predict(["~/teal.png"]), model.predict([folder.parent / "teal.png"])
    torch.testing.assert_close(here, there, rtol=0, atol=0)
