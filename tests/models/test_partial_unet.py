"""Partial convolutions against the sums of the paper, and what its network promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from img2img.errors import ConfigError
from img2img.models import PartialConv2d, PartialUNet


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def by_the_paper(x, mask, weight, bias, stride):
    """W(X * M) * sum(1) / sum(M) + b, window by window, with a mask for each channel."""
    (channels, height, width), kernel = x.shape, weight.shape[-1]
    pad = kernel // 2
    x, mask = (np.pad(v, ((0, 0), (pad, pad), (pad, pad))) for v in (x, mask))
    rows, columns = -(-height // stride), -(-width // stride)
    result, updated = np.zeros((len(weight), rows, columns)), np.zeros((rows, columns))
    for row in range(rows):
        for column in range(columns):
            window = (
                ...,
                slice(row * stride, row * stride + kernel),
                slice(column * stride, column * stride + kernel),
            )
            known = mask[window].sum()
            if known > 0:
                seen = (weight * (x[window] * mask[window])).sum((1, 2, 3))
                result[:, row, column] = seen * (channels * kernel * kernel) / known + bias
                updated[row, column] = 1
    return result, updated


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 2), (7, 2)])
def test_the_layer_is_that_of_the_paper(kernel, stride):
    layer = PartialConv2d((2, 3), 4, kernel, stride, bias=True).double()
    parts = [torch.randn(1, 2, 13, 11).double(), torch.randn(1, 3, 13, 11).double()]
    masks = [torch.zeros(1, 1, 13, 11), torch.zeros(1, 1, 13, 11)]  # known in few places, not the same
    masks[0][..., 1:4, 2:3], masks[1][..., 2:3, 8:] = 1, 1
    with torch.inference_mode():
        result, updated = layer(parts, masks)
    every = torch.cat([mask.expand_as(part) for part, mask in zip(parts, masks, strict=True)], 1)
    weight, bias = (p.detach().numpy() for p in (layer.conv.weight, layer.conv.bias))
    expected = by_the_paper(torch.cat(parts, 1)[0].numpy(), every[0].numpy(), weight, bias, stride)
    assert 0 < expected[1].mean() < 1
    np.testing.assert_allclose(result[0].numpy(), expected[0], atol=1e-5)
    np.testing.assert_array_equal(updated[0, 0].numpy(), expected[1])


def test_with_everything_known_it_is_a_convolution_inside_the_border():
    layer = PartialConv2d((3,), 5, 3, bias=True)
    x = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        result, mask = layer([x], [torch.ones(2, 1, 8, 8)])
        plain = layer.conv(x)
    assert mask.all()
    torch.testing.assert_close(result[..., 1:-1, 1:-1], plain[..., 1:-1, 1:-1])
    assert not torch.allclose(result[..., 0, :], plain[..., 0, :])  # there zeros are counted out


def test_what_a_hole_holds_does_not_reach_the_result():
    network = PartialUNet(**PartialUNet.tiny).eval()
    x, mask = torch.rand(1, 3, 24, 32), torch.zeros(1, 1, 24, 32)
    mask[..., 5:19, 7:25] = 1
    other = torch.where(mask > 0, 1e4 * torch.randn_like(x), x)
    with torch.inference_mode():
        assert torch.equal(network(x, mask), network(other, mask))
        assert not torch.equal(network(x, mask), network(x, 0 * mask))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_picture_that_is_one_hole_gives_numbers(precision):
    network = PartialUNet(**PartialUNet.tiny).to(precision).eval()
    with torch.inference_mode():
        result = network(torch.rand(2, 3, 16, 16, dtype=precision), torch.ones(2, 1, 16, 16))
    assert result.isfinite().all() and result.dtype == precision


def test_greys_of_a_mask_are_holes_above_one_half():
    network = PartialUNet(**PartialUNet.tiny).eval()
    x, mask = torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16)
    with torch.inference_mode():
        assert torch.equal(network(x, mask), network(x, (mask > 0.5).float()))


def test_frozen_norms_of_the_encoder_keep_their_averages_and_learn():
    network = PartialUNet(**PartialUNet.tiny)
    network.freeze_encoder_norm = True
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.rand(2, 3, 16, 16), (torch.rand(2, 1, 16, 16) > 0.7).float()).sum().backward()
    moved = {
        n for n, v in network.state_dict().items() if n.endswith("running_mean") and (v != before[n]).any()
    }
    assert moved and all(name.startswith("decoder") for name in moved)
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.freeze_encoder_norm = False
    assert all(module.training for module in network.train().modules())


@pytest.mark.parametrize(
    ("arguments", "count"),
    [({}, 32_859_796), ({"downs": 7}, 25_779_860), ({"features": 24, "growth": 6, "downs": 7}, 2_240_076)],
)
def test_parameters(arguments, count):
    with torch.device("meta"):
        network = PartialUNet(**arguments)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_one_level_is_none():
    with pytest.raises(ConfigError, match="downs is 1"):
        PartialUNet(downs=1)
