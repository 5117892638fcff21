"""The configurations of the papers, and what is particular to compact, EDSR and RRDBNet."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from probes import live_features
from torch import nn

from img2img.errors import ConfigError
from img2img.models import EDSR, ArchSpec, Compact, RRDBNet, build


@pytest.mark.parametrize(
    ("name", "arguments", "parameters"),
    [
        ("compact", {}, 621_424),
        ("compact", {"convs": 32}, 1_213_296),
        ("rrdbnet", {}, 16_697_987),
        ("rrdbnet", {"scale": 2, "unshuffle": 2}, 16_703_171),
        ("rrdbnet", {"scale": 1, "unshuffle": 4}, 16_723_907),
        ("rrdbnet", {"blocks": 6}, 4_467_779),
        ("rrdbnet", {"features": 32, "blocks": 12}, 5_021_155),
        ("rrdbnet", {"features": 32, "blocks": 12, "growth": 16}, 2_198_755),
    ],
)
@pytest.mark.sampled(1)
def test_parameters_of_the_published_configurations(name, arguments, parameters):
    with torch.device("meta"):
        generator = build(ArchSpec(name, arguments))
    assert sum(p.numel() for p in generator.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "arguments", "radius"),
    [
        ("compact", {}, 18),
        ("compact", {"convs": 32}, 34),
        ("rrdbnet", {}, 349),
        ("rrdbnet", {"blocks": 6}, 94),
        ("rrdbnet", {"scale": 2, "unshuffle": 2}, 698),
    ],
)
@pytest.mark.sampled(1)
def test_published_receptive_radii(name, arguments, radius):
    with torch.device("meta"):
        assert build(ArchSpec(name, arguments)).receptive_field == radius


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("activation", ["prelu", "relu", "leakyrelu"])
@pytest.mark.sampled(6)
def test_compact_adds_its_input_enlarged_by_nearest_neighbour(scale, activation):
    generator = Compact(scale=scale, features=4, convs=1, activation=activation)
    x = torch.rand(2, 3, 5, 6)
    expected = F.pixel_shuffle(generator.body(x), scale) + F.interpolate(x, scale_factor=scale)
    assert torch.equal(generator(x), expected)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 3), (3, 1), (1, 1), (4, 4)])
def test_compact_with_other_channels(inputs, outputs):
    generator = Compact(inputs, outputs, scale=2, features=4, convs=1)
    assert generator(torch.rand(1, inputs, 3, 4)).shape == (1, outputs, 6, 8)


@pytest.mark.parametrize(
    "arguments", [{"activation": "tanh"}, {"scale": 0}, {"in_channels": 2}, {"convs": -1}]
)
def test_compact_refuses_nonsense(arguments):
    with pytest.raises(ConfigError):
        Compact(**arguments)


@pytest.mark.parametrize(("scale", "unshuffle"), [(1, 2), (2, 2), (1, 4)])
def test_edsr_with_its_input_folded_is_what_its_docstring_says(scale, unshuffle):
    torch.manual_seed(0)
    generator = EDSR(scale=scale, unshuffle=unshuffle, features=8, blocks=1).double()
    x = torch.rand(1, 3, 32, 48, dtype=torch.float64, requires_grad=True)
    folded = F.pixel_unshuffle(x, unshuffle)
    first = generator.first(folded)
    change = F.pixel_shuffle(
        generator.last(first + generator.after(generator.blocks(first))), scale * unshuffle
    )
    result = generator(x)
    assert torch.allclose(result, change + F.interpolate(x, scale_factor=scale))
    # what a pixel sees ends where `receptive_field` says, counted from its cell
    row, column = 16 * scale, 24 * scale
    (gradient,) = torch.autograd.grad(result[0, 0, row, column], x)
    seen = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    reach, cell = generator.receptive_field, generator.multiple_of
    assert seen.min() >= max(0, 16 - reach) and seen.max() <= 16 + cell - 1 + reach
    alive = live_features(generator.float(), 64)
    assert alive <= generator.live_features <= 1.4 * alive


@pytest.mark.parametrize("arguments", [{"unshuffle": 3}, {"scale": 0}, {"in_channels": 2}])
def test_edsr_refuses_nonsense(arguments):
    with pytest.raises(ConfigError):
        EDSR(**arguments)


@pytest.mark.parametrize("arguments", [{"scale": 3}, {"unshuffle": 3}, {"blocks": 0}])
def test_rrdbnet_refuses_nonsense(arguments):
    with pytest.raises(ConfigError):
        RRDBNet(**arguments)


@pytest.mark.parametrize("scale", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("unshuffle", [1, 2, 4])
@pytest.mark.sampled(3)
def test_rrdbnet_at_every_scale_in_strips_equals_whole(scale, unshuffle):
    torch.manual_seed(0)
    generator = RRDBNet(scale=scale, unshuffle=unshuffle, features=8, blocks=1, growth=4).double()
    nn.init.normal_(generator.conv_last.weight)
    x = torch.rand(1, 3, 28, 12, dtype=torch.float64)
    with torch.inference_mode():
        whole, strips = generator(x), generator.infer(x)
    assert whole.shape == (1, 3, 28 * scale, 12 * scale)
    torch.testing.assert_close(strips, whole, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_the_tail_in_strips_takes_far_less_memory():
    """At x4 the last enlarged map of 64 features and its convolution alone are 2048 values a pixel."""
    with torch.device("meta"):
        assert RRDBNet().live_features < 1024


def test_opening_leaves_the_random_numbers_alone(tmp_path):
    from img2img.checkpoint import ModelInfo, open_model, save_model

    save_model(tmp_path / "m.safetensors", Compact(features=4, convs=1), ModelInfo())
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    open_model(tmp_path / "m.safetensors")
    assert torch.equal(torch.rand(3), expected)
