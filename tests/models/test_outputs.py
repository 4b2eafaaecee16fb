import numpy as np
import pytest
import torch

from mlu.data.split import Split
from mlu.models import outputs as module
from mlu.models.backbones import ResNet, Tiny
from mlu.models.outputs import outputs_of, respond, respond_by_stage
from tests.support.plain_vit import STAGES, plain_stages, tiny_vit

IMAGES = 23
NETS = {"tiny": Tiny(name="tiny"), "resnet18": ResNet(name="resnet18")}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(module, "_IMAGES_AT_ONCE", 5)


@pytest.fixture
def split():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (IMAGES, 3, 32, 32), dtype=np.uint8)
    targets = torch.from_numpy(random.integers(0, 2, (IMAGES, 3))).float()
    return Split(
        pixels,
        np.arange(IMAGES),
        targets,
        torch.ones(IMAGES, 3, dtype=torch.bool),
        np.arange(IMAGES),
    )


@pytest.mark.parametrize("name", NETS)
def test_stages_are_the_means_of_each_stages_maps_and_the_last_is_what_the_head_reads(name, split):
    torch.manual_seed(0)
    net = NETS[name].build(3).eval()
    said = respond_by_stage(net, split)
    logits, stages = said.logits, said.stages
    images = torch.from_numpy(split.images)
    with torch.no_grad():
        maps, expected, spreads = (images / 255 - net.mean) / net.std, {}, {}
        for stage, part in list(net.body.named_children())[:-1]:
            maps = part(maps)
            expected[stage] = maps.mean((2, 3))
            spreads[stage] = torch.cat([maps.std((2, 3), correction=0), maps.amax((2, 3))], 1)
        torch.testing.assert_close(logits, net(images), atol=1e-5, rtol=1e-5)
    assert list(stages) == list(said.spreads) == list(expected)
    for stage, means in expected.items():
        torch.testing.assert_close(stages[stage], means, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(said.spreads[stage], spreads[stage], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(respond(net, split)[1], list(stages.values())[-1])


def test_stages_of_tokens_are_their_means_and_the_last_is_the_class_token(split):
    net = tiny_vit(size=32).float()
    said = respond_by_stage(net, split)
    logits, stages = said.logits, said.stages
    normal = (torch.from_numpy(split.images) / 255 - net.mean) / net.std
    state = {name.removeprefix("body.whole."): value for name, value in net.state_dict().items()}
    *tokens, features = plain_stages(state, normal)
    expected = [*(stage.mean(1) for stage in tokens), features]
    torch.testing.assert_close(
        stages, dict(zip(STAGES, expected, strict=True)), atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(logits, net.head(features), atol=1e-4, rtol=1e-4)
    assert torch.equal(respond(net, split)[1], stages["pool"])
    # The mean of the last tokens, even after the norm, is another thing.
    assert (stages["pool"] - plain_stages(state, normal, pooled="mean")[-1]).abs().max() > 0.1


@pytest.mark.parametrize("rows", [[0], [3, 4, 5, 19], [22], list(range(IMAGES)), []])
def test_traced_images_give_the_same_stages_as_when_all_are_traced(split, rows):
    torch.manual_seed(0)
    net, traced = NETS["tiny"].build(3), torch.tensor(rows, dtype=torch.long)
    every, some = respond_by_stage(net, split), respond_by_stage(net, split, traced)
    assert torch.equal(every.logits, some.logits)
    for stage, means in every.stages.items():
        assert torch.equal(some.stages[stage], means[traced])
        assert torch.equal(some.spreads[stage], every.spreads[stage][traced])
    said = outputs_of(split, some, traced)
    exposed, whole = said.with_stages(), outputs_of(split, every).subset(traced)
    for field in ("logits", "targets", "known"):
        assert torch.equal(getattr(exposed, field), getattr(whole, field))
    np.testing.assert_array_equal(exposed.identities, whole.identities)
    assert all(torch.equal(exposed.stages[stage], whole.stages[stage]) for stage in every.stages)
    assert said.subset(torch.tensor([1, 2])).stages == {}
