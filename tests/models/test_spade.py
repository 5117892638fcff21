"""The networks of SPADE and OASIS against plain ones, and what a random input promises."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from probes import live_features, parameters, radius
from torch import nn

from img2img.checkpoint import ModelInfo, open_model, save_model
from img2img.errors import ConfigError
from img2img.inference import Translator
from img2img.models import Resnet, SpadeResnet
from img2img.models.base import set_norm_stats
from img2img.models.noise import set_noise
from img2img.models.norm import BatchNorm
from img2img.models.segmentation_discriminator import SegmentationDiscriminator
from img2img.models.spectral import spectral_norm

_SPEC = importlib.util.spec_from_file_location(
    "plain_oasis", Path(__file__).parents[2] / "tools" / "plain_oasis.py"
)
plain = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(plain)
PlainDiscriminator, PlainGenerator = plain.PlainDiscriminator, plain.PlainGenerator
copy_weights = plain.copy_weights


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({"in_channels": 35}, 71_107_523),  # OASIS on Cityscapes
        ({"in_channels": 151}, 74_314_691),  # OASIS on ADE20K, in the paper 74 M
        ({"in_channels": 151, "middle": 1, "noise": 0}, 96_492_483),  # SPADE on ADE20K, in the paper 96 M
    ],
)
@pytest.mark.sampled(1)
def test_parameters_of_the_papers(arguments: dict, count: int) -> None:
    with torch.device("meta"):
        assert parameters(SpadeResnet(**arguments)) == count


def test_parameters_of_the_discriminator() -> None:
    with torch.device("meta"):
        ours = parameters(SegmentationDiscriminator(3, 35))
        theirs = PlainDiscriminator(35, [128, 128, 256, 256, 512, 512], 64)
    assert ours == parameters(theirs)


GENERATORS = [
    ({"noise": 3}, [48, 24, 12, 6, 3], [False, True, True, True, True]),
    ({"noise": 0, "middle": 1}, [48, 24, 24, 12, 6, 3], [False, True, False, True, True, True]),
]


@pytest.mark.parametrize(("arguments", "widths", "ups"), GENERATORS)
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.sampled(2)
def test_the_generator_is_the_plain_one(arguments: dict, widths: list, ups: list, norm: str) -> None:
    """In training and after it: outputs, gradients, averages of norms, singular vectors."""
    torch.manual_seed(0)
    ours = SpadeResnet(4, 3, features=3, downs=4, hidden=5, norm=norm, **arguments).double()
    theirs = PlainGenerator(4, arguments["noise"], widths, ups, 5, norm == "batch")
    copy_weights(ours, theirs)
    assert parameters(ours) == parameters(theirs)
    labels = nn.functional.one_hot(torch.randint(0, 4, (2, 32, 48))).permute(0, 3, 1, 2).double()
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        torch.manual_seed(1)
        found = ours(labels)
        torch.manual_seed(1)
        z = torch.randn(2, arguments["noise"]) if training else ours.noise.constant.expand(2, -1)
        expected = theirs(labels, z.double())
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    each = zip((found, expected), (ours, theirs), strict=True)
    gradients = [torch.autograd.grad(y.square().sum(), list(net.parameters())) for y, net in each]
    norms = [sorted(float(g.norm()) for g in some) for some in gradients]
    torch.testing.assert_close(*map(torch.tensor, norms), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("downs", [2, 3])
def test_the_discriminator_is_the_plain_one(downs: int) -> None:
    torch.manual_seed(0)
    ours = SegmentationDiscriminator(3, 4, features=2, downs=downs).double()
    theirs = PlainDiscriminator(4, [4, 4, 8][:downs], 2)
    copy_weights(ours, theirs)
    x = torch.rand(2, 3, 16, 24, dtype=torch.double)
    for training in (True, False):
        found, expected = ours.train(training)(x), theirs.train(training)(x)
        assert found.shape == (2, 5, 16, 24)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


def test_a_spectral_norm_of_averages_is_near_the_one_of_their_weight() -> None:
    """Whatever the length of what is remembered: averages of it are shorter."""
    torch.manual_seed(0)
    layer = spectral_norm(nn.Conv2d(3, 8, 3)).eval()
    before = layer.weight.detach()
    assert torch.linalg.matrix_norm(before.flatten(1), 2).item() == pytest.approx(1, abs=0.02)
    layer.parametrizations.weight[0].u.mul_(0.3)
    torch.testing.assert_close(layer.weight.detach(), before)


@pytest.mark.parametrize("arguments", [{"downs": 1}, {"downs": 2, "middle": 1}, {"downs": 2, "noise": 2}])
def test_the_receptive_field(arguments: dict) -> None:
    net = SpadeResnet(features=1, hidden=2, norm="none", spectral=False, **{"noise": 0, **arguments})
    assert net.tiling == "local" and radius(net, 24 * net.multiple_of) == net.receptive_field


def test_tiles_are_for_the_averages_of_the_training_alone() -> None:
    net = SpadeResnet(features=1, hidden=2, downs=1, noise=1)
    assert net.tiling == "local"
    set_norm_stats(net, "image")
    assert net.tiling == "global_statistics"
    assert SpadeResnet(features=1, hidden=2, downs=1, norm="instance").tiling == "global_statistics"


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.sampled(1)
def test_live_features(norm: str) -> None:
    net = SpadeResnet(features=8, hidden=24, downs=3, noise=4, norm=norm)
    assert live_features(net, 64) <= net.live_features <= 1.6 * live_features(net, 64)


def test_batch_norm_without_weights_over_processes_is_that_over_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.all_reduce", lambda x: None)
    x, alone, together = torch.randn(3, 2, 4, 4), BatchNorm(2, affine=False), BatchNorm(2, affine=False)
    together.synchronised = True
    assert not list(alone.parameters())
    torch.testing.assert_close(together(x), alone(x))
    torch.testing.assert_close(together.running_var, alone.running_var)


# --- several results


def labels(seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 2, (2, 3, 16, 16), generator=torch.Generator().manual_seed(seed)).float()


def test_in_use_a_seed_is_a_result_and_pictures_do_not_meet() -> None:
    torch.manual_seed(0)
    net = SpadeResnet(features=2, hidden=4, downs=2, noise=4, norm="instance").eval()
    x = labels()
    with torch.no_grad():
        first = net(x)
        assert torch.equal(net(x), first)
        torch.testing.assert_close(net(x[1:]), first[1:])
        assert set_noise(net, 1) == 1
        other = net(x)
        assert (other - first).abs().max() > 1e-4
        set_noise(net, 0)
        assert torch.equal(net(x), first)
        assert not torch.equal(net.train()(x), net(x))
    assert set_noise(Resnet(features=1, blocks=0), 1) == 0


def test_a_model_file_gives_the_same_results_by_seed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = SpadeResnet(features=2, hidden=4, downs=2, noise=4, norm="instance").eval()
    path, pixels = tmp_path / "model.safetensors", labels()[0].permute(1, 2, 0).contiguous().numpy()
    save_model(path, net, ModelInfo("own"))
    found = {}
    for seed in (None, 0, 7):
        again, info = open_model(path)
        found[seed] = Translator(again, info, device="cpu", noise=seed)(pixels)
    assert (found[None] == found[0]).all() and (found[0] != found[7]).any()
    with pytest.raises(ConfigError, match="no random input"):
        Translator(Resnet(features=1, blocks=0), noise=1)


@pytest.mark.parametrize("arguments", [{"downs": 0}, {"middle": -1}, {"noise": -1}, {"norm": "x"}])
def test_wrong_arguments_are_sentences(arguments: dict) -> None:
    with pytest.raises(ConfigError):
        SpadeResnet(**{"features": 1, "hidden": 1, "downs": 1, **arguments})
    with pytest.raises(ConfigError):
        SegmentationDiscriminator(3, 2, downs=0)
