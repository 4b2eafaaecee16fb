import copy
import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from mlu.errors import UserError
from mlu.models.backbones import ResNet, Tiny, load_trained, read_weights

LABELS = 5


def images(size=64):
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def lived_in(net):
    """With batch-norm statistics that matter."""
    for name, value in net.named_buffers():
        if name.endswith("running_mean"):
            value.normal_(0, 0.1)
        if name.endswith("running_var"):
            value.uniform_(0.2, 0.8)
    return net.eval()


def tiny(seed=0, labels=LABELS, **fields):
    torch.manual_seed(seed)
    net = Tiny(name="tiny", **fields).build(labels)
    return net.eval() if fields.get("weights") else lived_in(net)


@pytest.fixture(scope="module")
def source():
    """torchvision's own network."""
    torch.manual_seed(1)
    return lived_in(torchvision.models.resnet18(num_classes=LABELS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


def save(state, path):
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def assert_equal(one, two):
    torch.testing.assert_close(one.state_dict(), two.state_dict(), rtol=0, atol=0)


def one_line(error, *says):
    assert "\n" not in str(error.value)
    for part in says:
        assert part in str(error.value)


def test_tiny_has_about_a_third_of_a_million_weights():
    net = tiny()
    assert 250_000 <= sum(parameter.numel() for parameter in net.parameters()) <= 350_000
    assert [name for name, _ in net.body.named_children()] == [f"block{n}" for n in range(1, 6)] + ["pool"]


@pytest.mark.parametrize("size", [16, 32, 64])
def test_tiny_takes_images_of_any_size_and_normalises_them(size):
    net = tiny()
    assert net.features(images(size)).shape == (2, net.head.in_features)
    torch.testing.assert_close(net(images(size)), net(images(size).float() / 255), rtol=1e-5, atol=1e-6)
    logits = net(images(size))
    assert logits.shape == (2, LABELS)
    normal = (images(size) / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    torch.testing.assert_close(logits, net.head(net.body(normal)), rtol=1e-5, atol=1e-6)


def test_weights_are_random_but_by_the_seed():
    assert_equal(tiny(3), tiny(3))
    assert not torch.equal(tiny(3).head.weight, tiny(4).head.weight)


@pytest.mark.parametrize("form", ["resnet.pt", "resnet.safetensors"])
def test_resnet18_is_torchvisions(source, folder, form):
    net = ResNet(name="resnet18").build(LABELS)
    load_trained(net, save(source.state_dict(), folder / form))
    net, theirs = net.double().eval(), copy.deepcopy(source).double()
    normal = torchvision.transforms.functional.normalize(
        images().double() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    with torch.no_grad():
        expected = theirs(normal)
        assert (expected.std(0) > 1e-3).all()  # the images matter
        torch.testing.assert_close(net(images()), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(net(images()), net(images().double() / 255), rtol=1e-10, atol=1e-10)


def test_resnet_can_start_from_a_file_with_another_head(source, folder, caplog):
    path = save(source.state_dict(), folder / "start.pt")
    torch.manual_seed(0)
    net = ResNet(name="resnet18", weights=str(path)).build(2)
    assert net.head.weight.shape == (2, 512)
    assert torch.equal(net.get_parameter("body.stem.conv1.weight"), source.conv1.weight)
    assert torch.equal(net.get_buffer("body.layer4.1.bn2.running_var"), source.layer4[1].bn2.running_var)
    same = ResNet(name="resnet18", weights=str(path)).build(LABELS)
    assert torch.equal(same.head.weight, source.fc.weight)


def in_lightning(state):
    return {"state_dict": {f"net.{name}": value for name, value in state.items()}, "epoch": 3}


def parallel(state):
    return {f"module.{name}": value for name, value in state.items()}


def without_counts(state):
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("form", ["tiny.pt", "tiny.safetensors"])
def test_our_own_names_are_loaded(tmp_path, form):
    trained, net = tiny(1), tiny(2)
    load_trained(net, save(trained.state_dict(), tmp_path / form))
    assert_equal(net, trained)


@pytest.mark.parametrize("change", [in_lightning, parallel, without_counts], ids=lambda change: change.__name__)
def test_other_forms_of_a_state_dict_are_loaded(tmp_path, change):
    trained, net = tiny(1), tiny(2)
    load_trained(net, save(change(trained.state_dict()), tmp_path / "tiny.pt"))
    assert_equal(net, trained)


def test_tiny_can_start_from_a_file(tmp_path):
    trained = tiny(1)
    path = save(trained.state_dict(), tmp_path / "tiny.safetensors")
    assert_equal(tiny(2, weights=str(path)), trained)
    other = tiny(2, labels=2, weights=str(path))
    torch.testing.assert_close(other.body.state_dict(), trained.body.state_dict(), rtol=0, atol=0)
    assert other.head.weight.shape[0] == 2


def test_a_start_that_lacks_weights_of_the_body_is_refused(tmp_path):
    state = tiny().state_dict()
    del state["body.block2.conv.weight"]
    with pytest.raises(UserError) as error:
        tiny(weights=str(save(state, tmp_path / "part.pt")))
    one_line(error, "lacks 1 weights", "body.block2.conv.weight")


class Harmful:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["bad.pt", "bad.pkl", "bad.ckpt"])
def test_code_in_a_pickle_is_not_run(tmp_path, form):
    mark, path = tmp_path / "harm", tmp_path / form
    content = {"state_dict": tiny().state_dict(), "callback": Harmful(mark)}
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(UserError) as error:
        load_trained(tiny(), path)
    one_line(error, str(path))
    assert not mark.exists()
    # Control: it would have done harm.
    torch.load(path, weights_only=False) if path.suffix != ".pkl" else pickle.loads(path.read_bytes())
    assert mark.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state | {"head.weight": torch.zeros(7, 160)}, ["(7, 160)", "(5, 160)", "'head.weight'"]),
        (lambda state: {k: v for k, v in state.items() if k != "head.bias"}, ["no weight 'head.bias'"]),
        (lambda state: {k.replace("conv", "konv"): v for k, v in state.items()}, ["body.block1.conv.weight", "konv"]),
        (lambda state: {}, ["no weight"]),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, says):
    path, net = tmp_path / "wrong.pt", tiny(2)
    torch.save(change(tiny(1).state_dict()), path)
    with pytest.raises(UserError) as error:
        load_trained(net, path)
    one_line(error, str(path), *says)
    assert_equal(net, tiny(2))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("junk.safetensors", b"junk"),
        ("junk.pt", b"junk"),
        ("empty.safetensors", b""),
        pytest.param("empty.pt", b""),
        ("list.pt", [torch.zeros(2)]),
        ("numbers.pt", {"epoch": 3}),
        ("nested.pt", {"state_dict": {"a": {"b": torch.zeros(1)}}}),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(UserError) as error:
        read_weights(path)
    one_line(error, str(path))


@pytest.mark.parametrize("name", ["none.pt", "none.safetensors", "."])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(UserError) as error:
        load_trained(tiny(), tmp_path / name)
    one_line(error, "there are no weights at", str(tmp_path / name))
    with pytest.raises(UserError):
        Tiny(name="tiny", weights=str(tmp_path / name)).build(LABELS)


def test_weights_of_a_deeper_resnet_are_refused(tmp_path):
    path = save(torchvision.models.resnet34(num_classes=LABELS).state_dict(), tmp_path / "resnet34.pt")
    with pytest.raises(UserError):
        load_trained(ResNet(name="resnet18").build(LABELS), path)


@pytest.mark.parametrize("weights", ["none.pt", "IMAGENET1K_V9"])
def test_weights_that_are_neither_a_file_nor_torchvisions_are_the_users_fault(weights):
    with pytest.raises(UserError) as error:
        ResNet(name="resnet18", weights=weights).build(LABELS)
    one_line(error, weights, "IMAGENET1K_V1")


def test_a_second_eraser_joins_the_first():
    torch.manual_seed(0)
    net = Tiny(name="tiny").build(3).eval()
    images = torch.rand(4, 3, 32, 32)
    features = net.features(images)
    width = features.shape[1]
    maps = [(torch.randn(width, width) / width, torch.randn(width)) for _ in range(2)]
    for matrix, offset in maps:
        net.erase(matrix, offset)
        features = features @ matrix.T + offset
    torch.testing.assert_close(net.features(images), features, rtol=1e-4, atol=1e-5)
